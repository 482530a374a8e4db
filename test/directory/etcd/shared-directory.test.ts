// What two servers of one directory hold together, beyond the contract that each keeps by itself.
import { afterEach, expect, it } from "vitest";
import type { Claim, DirectoryEvent } from "../../../lib/directory/directory.ts";
import type { Engine } from "../../../lib/directory/etcd/engine.ts";
import type { HostedDirectory } from "../../../lib/directory/hosted-directory.ts";
import { NO_RIGHT } from "../../../lib/directory/name-right.ts";
import { requestOf } from "../support/asking.ts";
import { KEYS } from "../support/entries.ts";
import { silent } from "../support/world.ts";
import { sharedHosts } from "./support/etcd-world.ts";

const [K1, K2] = KEYS as [string, string];
let close: (() => Promise<void>) | null = null;
afterEach(async () => {
  await close?.();
  close = null;
});

let engineOf: () => Engine;

async function two(realm = ""): Promise<[HostedDirectory, HostedDirectory, DirectoryEvent[], string[]]> {
  const events: DirectoryEvent[] = [];
  const replaced: string[] = [];
  const hosts = await sharedHosts(
    ["s1", "s2"],
    realm,
    (event) => events.push(event),
    (id) => replaced.push(id),
  );
  close = hosts.close;
  engineOf = hosts.engine;
  const [a, b] = hosts.hosts.map((host) => {
    const directory = host.open({ log: silent, publish() {} });
    directory.setLiveWorkers([1]);
    return directory;
  });
  return [a as HostedDirectory, b as HostedDirectory, events, replaced];
}

it("a miss at one server asks the engine, and shows what the other has registered", async () => {
  const [a, b] = await two();
  expect(await b.find("ann")).toBeNull();
  await a.register(requestOf("ann"));
  // Whether the watch was there first or not.
  expect((await b.find("ANN"))?.entry.key).toBe(K1);
  expect(await b.ownerOf("ann")).toBe(K1);
});

it("a row that has moved to another server is that one's: the first neither changes nor removes it", async () => {
  const [a, b, , replaced] = await two();
  const first = requestOf("ann");
  const { claim } = await a.register(first);
  const { claim: later } = await b.register(requestOf("ann", { takeover: first.claimId }));
  await expect(a.update(claim, { rooms: ["#ops"] })).rejects.toMatchObject({ code: "replaced" });
  expect(await a.remove(claim)).toBe(false);
  expect((await b.find("ann"))?.claimId).toBe(later.id);
  expect(replaced.filter((id) => id !== first.claimId)).toEqual([]);
});

it("idle is written at most once a minute, and what a person says at once", async () => {
  const [a, b] = await two();
  const { claim } = await a.register(requestOf("ann"));
  const status = (state: "here" | "idle" | "away", text = "") => ({
    status: { state, text, since: 1_790_000_000_000 },
  });
  const shown = async () => (await a.find("ann"))?.entry.status.state;
  const revision = async () =>
    (await engineOf().list("/t/n/", { limit: 9, revision: 0, deadline: 1_000 })).values[0]?.modRevision;
  await a.update(claim, status("idle"));
  expect(await shown()).toBe("idle");
  const written = await revision();
  for (let i = 0; i < 20; i++) await a.update(claim, status(i % 2 === 0 ? "here" : "idle"));
  expect(await revision()).toBe(written);
  expect(await shown()).toBe("idle");
  await a.update(claim, status("away", "at lunch"));
  expect(await shown()).toBe("away");
  await a.update(claim, status("here"));
  expect(await shown()).toBe("here");
  expect(await revision()).toBeGreaterThan(written ?? 0);
  await expect.poll(async () => (await b.find("ann"))?.entry.status.state).toBe("here");
});

it("changes that were asked for before the removal are made before it", async () => {
  const [a] = await two();
  const { claim } = await a.register(requestOf("ann"));
  const [first, second, removed] = await Promise.all([
    a.update(claim, { rooms: ["#ops"] }),
    a.update(claim, { rooms: ["#dev"] }),
    a.remove(claim),
  ]);
  expect([first.id, second.id, removed]).toEqual([claim.id, claim.id, true]);
  expect(await a.find("ann")).toBeNull();
});

it("members of a room are those of all servers", async () => {
  const [a, b, events] = await two();
  const claims: Claim[] = [];
  for (const [at, name, key] of [
    [a, "ann", K1],
    [b, "bob", K2],
  ] as const) {
    claims.push((await at.register(requestOf(name, { fields: { rooms: ["#ops"], key } }))).claim);
  }
  for (const at of [a, b]) {
    for (const name of ["ann", "bob"]) await at.find(name); // from then on the table has it
    expect(at.members("#OPS").map(({ entry }) => entry.name)).toEqual(["ann", "bob"]);
  }
  await a.remove(claims[0] as Claim);
  expect(a.members("#ops").map(({ entry }) => entry.name)).toEqual(["bob"]);
  expect(events.map(({ name }) => name)).toEqual(expect.arrayContaining(["ann"]));
});

it("in one realm a bound login name is no other uid's, on whatever host", async () => {
  const login = { uid: 1000, login: "ann" };
  const other = { uid: 2000, login: "ann" };
  const [a, b] = await two("lab");
  await a.bind("ann", K1, { ...login, owner: login });
  await expect(b.bind("ann", K2, { ...other, owner: other })).rejects.toMatchObject({
    code: "reserved",
    message: expect.stringMatching(/uid 1000.*lab.*uid 2000/),
  });
  // The same person, at another host and with another key.
  await b.bind("ann", K2, { ...login, owner: login });
  expect(await b.bindingOf("ann")).toMatchObject({ key: K2, ...login });
  await expect(a.bind("ann", K1, { ...NO_RIGHT, owner: login })).rejects.toMatchObject({ code: "reserved" });
});

it.each([
  ["row", "/t/n/ann", '["1","{}"]'],
  ["owner", "/t/o/ann", "{"],
])(
  "a %s that no server of this version can read is not written over, and the refusal names its key",
  async (_, key, text) => {
    const [a, b] = await two();
    await engineOf().transact({ when: [], then: [{ put: key, value: Buffer.from(text) }], otherwise: [] }, 1_000);
    await expect(a.register(requestOf("ann"))).rejects.toMatchObject({
      code: "try-again",
      message: expect.stringContaining(`has at ${key}: upgrade it, or have that key deleted`),
    });
    await engineOf().transact({ when: [], then: [{ delete: key }], otherwise: [] }, 1_000);
    await a.register(requestOf("ann"));
    expect((await b.find("ann"))?.entry.key).toBe(K1);
  },
);
