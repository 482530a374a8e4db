// The host of a directory in shared memory: the rows of workers that died, and an end that leaves nothing.
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Directory, DirectoryEvent } from "../../../lib/directory/directory.ts";
import { packEntry } from "../../../lib/directory/entry.ts";
import { ClientTable } from "../../../lib/directory/shm/client-table.ts";
import { requestOf } from "../support/asking.ts";
import { makeShmHost, silent } from "../support/world.ts";

const SERVER = readFileSync(join(import.meta.dirname, "../../../docs/SERVER.md"), "utf8");
const GRACE_MS = 1000 * Number((/come back within (\d+) s/.exec(SERVER) ?? expect.fail("not said"))[1]);

const ends: (() => unknown)[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const end of ends.splice(0).reverse()) await end();
});

/** A host with directories of workers 1 and 2. `tells`: whether worker 2's events reach the primary. */
async function hosted(tells = true) {
  const events: DirectoryEvent[] = [];
  let settled = 0;
  const { host, remove } = await makeShmHost({
    capacity: 1000,
    nameLimit: 1000,
    onEvents: (heard) => void events.push(...heard),
    onSettled: () => void settled++,
  });
  ends.push(remove, () => host.close());
  const open = (worker: number, publishes: boolean) => {
    const publish = (heard: readonly DirectoryEvent[]) => void (publishes && host.observe(worker, heard));
    const directory = host.open({ log: silent, publish });
    directory.setLiveWorkers([1, 2]);
    ends.push(() => directory.close());
    return directory;
  };
  const told = async (count: number) => {
    while (settled < count) await nextTurn();
  };
  return { host, events, told, one: open(1, true), two: open(2, tells) };
}

const at = (worker: number, name: string, takeover: string | null = null) => requestOf(name, { worker, takeover });
const brief = (events: readonly DirectoryEvent[]) => events.map(({ kind, name }) => `${kind} ${name}`).sort();
const published = async () => {
  for (let turn = 0; turn < 3; turn++) await nextTurn();
};

async function names(directory: Directory): Promise<string[]> {
  return (await directory.page(0, 1000)).rows.map(({ entry }) => entry.name).sort();
}

describe("the rows of a worker that died", () => {
  it(`stay for ${GRACE_MS} ms, then go; those of clients that came back stay, and those of others`, async () => {
    expect(GRACE_MS).toBe(5000);
    const { host, events, told, one, two } = await hosted();
    await one.register(at(1, "ann"));
    const back = at(2, "back");
    for (const request of [at(2, "bob"), at(2, "carol"), back]) await two.register(request);
    await published();
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    host.workerDied(2);
    await told(1);
    expect(events).toEqual([]); // all was announced
    one.setLiveWorkers([1]);
    vi.advanceTimersByTime(GRACE_MS - 1);
    await published();
    expect(await names(one)).toEqual(["ann", "back", "bob", "carol"]);
    await one.register(at(1, "back"));
    vi.advanceTimersByTime(1);
    await told(2);
    expect(await names(one)).toEqual(["ann", "back"]);
    expect(brief(events)).toEqual(["off bob", "off carol"]);
    expect(await one.ownerOf("bob")).not.toBeNull();
  });

  it("are told of, where the worker no longer could: who came, who changed, who left", async () => {
    const { host, events, told, one, two } = await hosted(false);
    await one.register(at(1, "ann"));
    const [left, changes] = [at(2, "left"), at(2, "changed")];
    const { claim } = await two.register(left);
    const changing = await two.register(changes);
    // These two had been announced.
    for (const [{ entry }, { version }] of [
      [left, claim],
      [changes, changing.claim],
    ] as const) {
      host.observe(2, [{ kind: "on", name: entry.name, version, entry: packEntry(entry) }]);
    }
    await two.remove(claim);
    await two.register(at(2, "came"));
    const { version } = await two.update(changing.claim, { rooms: ["#ops"] });
    await published();
    host.workerDied(2);
    await told(1);
    expect(brief(events)).toEqual(["off left", "on came", "on changed"]);
    expect(events.find(({ name }) => name === "changed")?.version).toBe(version);
    expect(events.find(({ name }) => name === "left")?.version).toBe(claim.version);
  });

  it("are told of once, though another worker has the name by then", async () => {
    const { host, events, told, one, two } = await hosted(false);
    const first = at(2, "ann");
    await two.register(first);
    await one.register(at(1, "ann", first.claimId));
    await published();
    host.workerDied(2);
    await told(1);
    expect(events).toEqual([]);
  });

  it("a sweep that cannot have the lock is done later", async () => {
    const { host, told, one, two } = await hosted();
    await two.register(at(2, "bob"));
    await published();
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    host.workerDied(2);
    await told(1);
    // As when the lock times out.
    const page = vi.spyOn(ClientTable.prototype, "page").mockImplementationOnce(() => {
      throw new Error("not now");
    });
    vi.advanceTimersByTime(GRACE_MS);
    await published();
    expect(await names(one)).toEqual(["bob"]);
    vi.advanceTimersByTime(500);
    await told(2);
    page.mockRestore();
    expect(await names(one)).toEqual([]);
  });
});

describe("the end of a host", () => {
  const objects = (table: string) => readdirSync("/dev/shm").filter((file) => file.includes(table.slice(1)));

  it("leaves nothing, though somebody has removed its objects before", async () => {
    for (const removesFirst of [false, true]) {
      const { host, remove } = await makeShmHost({ capacity: 10, nameLimit: 10 });
      const table = host.config?.table as string;
      expect(objects(table).length).toBeGreaterThanOrEqual(3);
      const directory = host.open({ log: silent, publish() {} });
      await directory.register(requestOf("ann"));
      if (removesFirst) for (const file of objects(table)) rmSync(`/dev/shm/${file}`);
      directory.close();
      await host.close();
      expect(objects(table)).toEqual([]);
      remove();
    }
  });

  it("counts the lock's work", async () => {
    const { host, one } = await hosted();
    const before = host.stats();
    await one.register(at(1, "ann"));
    const { lock_writes = 0, lock_recoveries } = host.stats();
    expect(lock_writes).toBe((before["lock_writes"] ?? 0) + 1);
    expect(lock_recoveries).toBe(0);
    expect([host.count, host.capacity]).toEqual([1, 1000]);
  });
});
