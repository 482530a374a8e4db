// What can go wrong in shared memory alone: a full disk under the names, an end in the middle, a chain that is full. The rules that
// hold for every directory: conformance.ts.
import { readdirSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import type { Directory, DirectoryEvent, DirectoryHost, RegisterRequest } from "../../../lib/directory/directory.ts";
import { openDirectory } from "../../../lib/directory/open.ts";
import { ClientTable } from "../../../lib/directory/shm/client-table.ts";
import { NameKey } from "../../../lib/directory/shm/name-key.ts";
import { NameLog } from "../../../lib/directory/shm/name-log.ts";
import { ShmDirectory } from "../../../lib/directory/shm/shm-directory.ts";
import { HEADER, MAX_CHAIN } from "../../../lib/directory/shm/table-layout.ts";
import { WriteBatcher } from "../../../lib/directory/shm/write-batcher.ts";
import { requestOf, shown } from "../support/asking.ts";
import { makeShmHost, silent } from "../support/world.ts";
import { client } from "./support/clients.ts";
import { atEveryStore } from "./support/every-store.ts";
import { HeapTable } from "./support/heap-table.ts";
import { expectWhole } from "./support/whole.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function hosted(capacity = 10): Promise<{ host: DirectoryHost; names: string }> {
  const made = await makeShmHost({ capacity, nameLimit: 100 });
  ends.push(made.remove, () => made.host.close());
  return made;
}

/** A directory of its own over the same table, whose names are in another file. */
function openWith(host: DirectoryHost, names: string): { directory: ShmDirectory; events: DirectoryEvent[] } {
  const events: DirectoryEvent[] = [];
  const parts = {
    table: ClientTable.open(host.config?.table as string),
    names: new NameLog(names, 100, silent),
    writes: new WriteBatcher({ withWrite: async (change) => change() }),
    lock: null,
    held: null,
    open: () => ({ table: ClientTable.open(host.config?.table as string), lock: null }),
  };
  const directory = new ShmDirectory(parts, { log: silent, publish: (published) => void events.push(...published) });
  directory.setLiveWorkers([1, 2]);
  ends.push(() => directory.close());
  return { directory, events };
}

describe("a name that cannot be written down", () => {
  const full = expect.objectContaining({ code: "ENOSPC" });

  it("is not on, either, and makes no event", async () => {
    const { host } = await hosted();
    const { directory, events } = openWith(host, "/dev/full");
    directory.watch("everybody", (heard) => void events.push(...heard));
    await expect(directory.register(requestOf("ann"))).rejects.toEqual(full);
    expect([directory.find("ann"), directory.count, await directory.ownerOf("ann")]).toEqual([null, 0, null]);
    await expect(Promise.resolve(directory.bind("ann", requestOf("ann").entry.key))).rejects.toEqual(full);
    directory.close();
    expect(events).toEqual([]);
  });

  it("leaves the registration before it in place", async () => {
    const { host, names } = await hosted();
    const good = openWith(host, names).directory;
    const first = requestOf("ann");
    await good.register(first);
    const { directory } = openWith(host, "/dev/full");
    const before = shown(good.find("ann"));
    await expect(directory.register(requestOf("ann", { takeover: first.claimId }))).rejects.toEqual(full);
    expect(shown(good.find("ann"))).toEqual(before);
  });
});

describe("a closed directory", () => {
  it("refuses changes at once, those that wait too, and keeps no process alive", async () => {
    const { host } = await hosted();
    const directory = host.open({ log: silent, publish() {} }) as ShmDirectory;
    const { claim } = await directory.register(requestOf("ann"));
    const closed = expect.objectContaining({ code: "closed" });
    const waiting: Promise<unknown>[] = [directory.remove(claim), directory.register(requestOf("bob"))];
    directory.close();
    directory.close();
    waiting.push(directory.remove(claim), directory.update(claim, {}), directory.register(requestOf("carol")));
    for (const outcome of await Promise.allSettled(waiting.slice(2)))
      expect(outcome).toEqual({ status: "rejected", reason: closed });
    for (const outcome of await Promise.allSettled(waiting.slice(0, 2))) {
      if (outcome.status === "rejected") expect(outcome.reason).toEqual(closed); // or it was made before
    }
    expect(() => directory.find("ann")).toThrow(closed);
  });
});

describe("opening", () => {
  it("leaves nothing open when it fails", async () => {
    const { host } = await hosted();
    const config = host.config ?? expect.fail("nothing to open");
    const missing = expect.objectContaining({ code: "ENOENT" });
    const options = { log: silent, publish() {} };
    const descriptors = () => readdirSync("/proc/self/fd").length;
    const before = descriptors();
    for (const part of ["table", "lock", "names"] as const) {
      expect(() => openDirectory({ ...config, [part]: `${config[part]}-missing` }, options)).toThrow(missing);
      expect(descriptors(), part).toBe(before);
    }
  });
});

describe("a chain that is full", () => {
  /** Names that one bucket of this table gets. */
  function colliding(words: Int32Array, bucketMask: number, count: number): string[] {
    const key = new NameKey(words[HEADER.seed] as number, words[HEADER.seed + 1] as number);
    const found: string[] = [];
    for (let i = 0; found.length < count; i++) {
      key.set(`u${i}`);
      if ((key.hash & bucketMask) === 0) found.push(`u${i}`);
    }
    return found;
  }

  it("refuses one more name with full; finds, replaces, repairs and removes all that are in it", () => {
    const table = new HeapTable(300);
    // One place of the longest chain is for the stand-in of a replacement.
    const names = colliding(table.words, table.geometry.bucketMask, MAX_CHAIN);
    const last = names.pop() as string;
    const handles = names.map((name, i) => table.writer.insert(client(name, i)));
    const full = expect.objectContaining({ name: "DirectoryError", code: "full" });
    expect(() => table.writer.insert(client(last))).toThrow(full);
    expect(table.find(last)).toBeNull();
    for (const [i, name] of names.entries()) {
      expect(table.find(name)?.place.connection).toBe(i);
      const { slot } = handles[i] ?? expect.fail("no handle");
      handles[i] = table.writer.replace(slot, client(name, 1000 + i));
      expect(table.find(name)?.place.connection).toBe(1000 + i);
    }
    expect(table.repair()).toEqual({ kept: names.length, discarded: 0 });
    expectWhole(table);
    const [first] = handles;
    expect(table.writer.remove(first?.slot ?? -1, first?.version ?? -1)).toBe(true);
    expect(table.writer.insert(client(last)).slot).toBe(first?.slot);
    expect(() => table.writer.insert(client(names[0] as string))).toThrow(full);
  });

  it("survives a crash at every store of a replacement in it", () => {
    const table = new HeapTable(300);
    const names = colliding(table.words, table.geometry.bucketMask, MAX_CHAIN - 1);
    const handles = names.map((name, i) => table.writer.insert(client(name, i)));
    for (const i of [0, names.length - 1]) {
      atEveryStore(
        () => table.writer.replace(handles[i]?.slot ?? -1, client(names[i] as string, 1000)),
        () => {
          expect(table.find(names[i] as string)).not.toBeNull();
          const image = table.copy();
          expect(image.repair().kept).toBe(names.length);
          expectWhole(image);
        },
      );
    }
  });
});

describe("one claim id", () => {
  it("that is registered at the same time through two directories makes one row and one event", async () => {
    const { host, names } = await hosted();
    const [one, other] = [openWith(host, names), openWith(host, names)];
    const request: RegisterRequest = requestOf("ann");
    const both: Directory[] = [one.directory, other.directory];
    const answers = await Promise.all(both.map((directory) => directory.register(request)));
    expect(answers[0]?.claim.version).toBe(answers[1]?.claim.version);
    for (const directory of both) directory.close();
    expect([...one.events, ...other.events].map(({ kind }) => kind)).toEqual(["on"]);
  });
});
