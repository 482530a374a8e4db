// What is one server to its clients, though they are at different worker processes, which share nothing but the directory.
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type Client, freshStateDir, newKeys, ServerProcess, until } from "../helpers/lookup-server.ts";

const WORKERS = 2;
const bob = newKeys();
const state = freshStateDir();
let server: ServerProcess;
let client: Client;

beforeAll(async () => {
  server = await ServerProcess.start(["--workers", String(WORKERS), "--capacity", "64", "--state-dir", state.path]);
  client = await server.client();
});
afterAll(async () => {
  await server.stop();
  state.remove();
});

// Or the next test hears of the departures of this one.
afterEach(() => until("every client to be out", async () => (await client.ask("COUNT")) === 0));

/** Connections go to the workers in turn: some at each. */
const several = () => Promise.all(Array.from({ length: 2 * WORKERS }, () => server.client()));
const entryOf = async (asker: Client, name: string) => (await asker.ask("LOOKUP", name)) as Map<string, unknown>;

describe("every worker", () => {
  it("finds a client as soon as its registration is answered, and not when it has left", async () => {
    const [askers, owner] = [await several(), await server.client()];
    for (let round = 0; round < 3; round++) {
      expect(await owner.register("Bob", bob, { port: 4000 + round })).toBe("OK");
      // Twice: the second reply is one that the worker has kept ready.
      for (const asker of [...askers, ...askers]) expect((await entryOf(asker, "bOB")).get("port")).toBe(4000 + round);
      expect(await owner.ask("UNREGISTER")).toBe("OK");
      for (const asker of askers) expect(await asker.ask("LOOKUP", "bob")).toBeNull();
    }
    for (const c of [...askers, owner]) c.close();
  });

  it("shows when a client of another has last looked somebody up", async () => {
    const [askers, seeker] = [await several(), await server.client()];
    await seeker.register("seeker", newKeys());
    for (const asker of askers) expect((await entryOf(asker, "seeker")).get("lastLookupAt")).toBeNull();
    let last = 0;
    for (const request of [["LOOKUP", "seeker"], ["TOUCH"], ["LOOKUP", "nobody"], ["CALL", "seeker"]]) {
      await until("a later time", () => Date.now() > last);
      await seeker.ask(...request);
      const times = await Promise.all(
        askers.map(async (asker) => (await entryOf(asker, "seeker")).get("lastLookupAt")),
      );
      expect(new Set(times).size).toBe(1);
      expect(times[0]).toBeGreaterThan(last);
      last = times[0] as number;
    }
    for (const c of [...askers, seeker]) c.close();
  });

  it("knows whose a name is", async () => {
    const [askers, owner, thief] = [await several(), await server.client(), await server.client()];
    const keys = newKeys();
    expect(await owner.claim("Ivy", keys)).toBe("OK");
    for (const asker of askers) {
      expect(await asker.ask("KEY", "iVY")).toBe(keys.key);
      expect(await asker.claim("ivy", newKeys())).toMatchObject({ code: "TAKEN" });
    }
    expect(await thief.register("ivy", newKeys())).toMatchObject({ code: "TAKEN" });
    for (const c of [...askers, owner, thief]) c.close();
  });

  it("tells its watchers who comes and goes, wherever that is", async () => {
    const watchers = await several();
    for (const watcher of watchers) expect(await watcher.ask("WATCH")).toBe("OK");
    const [a, b] = [await server.client(), await server.client()];
    await a.register("fay", newKeys());
    await b.register("guy", newKeys());
    // Of a client that is gone again before the event has arrived, another worker tells only that.
    for (const watcher of watchers) await until("both joins", () => watcher.pushes.length === 2);
    await a.ask("UNREGISTER");
    b.close();
    for (const watcher of watchers) {
      await until("both departures", () => watcher.pushes.length === 4);
      const seen = watcher.pushes.map(([kind, name]) => `${kind} ${name}`);
      expect(seen.toSorted()).toEqual(["joined fay", "joined guy", "left fay", "left guy"]);
      const joined = watcher.pushes.find(([kind]) => kind === "joined") as unknown[];
      expect(joined[2]).toBeInstanceOf(Map);
      watcher.close();
    }
    a.close();
  });

  it("tells its clients who is about to talk to them", async () => {
    const callees = await several();
    for (const [i, callee] of callees.entries()) await callee.register(`callee${i}`, newKeys());
    const caller = await server.client();
    await caller.register("caller", newKeys(), { port: 777 });
    for (const [i, callee] of callees.entries()) {
      expect(await caller.ask("CALL", `CALLEE${i}`)).toBe("OK");
      const [, name, entry] = await callee.push("call");
      expect(name).toBe("caller");
      expect((entry as Map<string, unknown>).get("port")).toBe(777);
      callee.close();
    }
    caller.close();
  });

  it("hears of a registration that replaces one of its own", async () => {
    const keys = newKeys();
    const clients = await several();
    expect(await (clients[0] as Client).register("erin", keys)).toBe("OK");
    for (let i = 1; i < clients.length; i++) {
      const [before, next] = [clients[i - 1] as Client, clients[i] as Client];
      const how = i % 2 === 0 ? { replace: true } : { takeover: before.claimId };
      expect(await next.register("erin", keys, { port: 5000 + i, ...how })).toBe("OK");
      expect(await before.push("replaced")).toEqual(["replaced", "erin"]);
      await before.closed;
      expect((await entryOf(client, "erin")).get("port")).toBe(5000 + i);
    }
    clients.at(-1)?.close();
    await until("erin to leave", async () => (await client.ask("LOOKUP", "erin")) === null);
  });
});

it("INFO sums up what all of them have done", async () => {
  const askers = await several();
  for (const asker of askers) await asker.ask("WATCH");
  const info = (await client.ask("INFO")) as string;
  const value = (field: string) => Number(new RegExp(`^${field}:(\\d+)\r$`, "m").exec(info)?.[1]);
  expect(value("workers")).toBe(WORKERS);
  expect(value("watchers")).toBe(askers.length);
  expect(value("registrations")).toBeGreaterThanOrEqual(3);
  expect(value("takeovers")).toBeGreaterThanOrEqual(3);
  expect(value("pushes_sent")).toBeGreaterThanOrEqual(3 + 4 * askers.length);
  expect(value("unknown_outcomes")).toBe(0);
  expect(value("lock_writes")).toBeGreaterThan(0);
  for (const worker of ["worker_0:", "worker_1:"]) expect(info).toContain(worker);
  for (const c of askers) c.close();
});
