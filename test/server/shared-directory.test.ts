// Two real servers, each in a process of its own, that share one directory in a real etcd.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { EtcdCluster, etcdMissing } from "../helpers/etcd.ts";
import { type Client, newKeys, ServerProcess } from "../helpers/lookup-server.ts";

/** Far beyond what any of it takes; only there so that a hang fails with a message. */
const WATCHDOG_MS = 60_000;
/** A dead server's lease, and a change of leader. */
const LEASE_TEST_MS = 120_000;

describe.skipIf(etcdMissing !== null)("servers that share a directory", { timeout: LEASE_TEST_MS }, () => {
  let etcd: EtcdCluster;
  let prefixes = 0;
  const servers: ServerProcess[] = [];

  beforeAll(async () => {
    etcd = await EtcdCluster.start();
  }, LEASE_TEST_MS);
  afterEach(async () => {
    etcd.resume(0);
    for (const server of servers.splice(0))
      if (server.child.exitCode === null && server.child.signalCode === null) await server.stop();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  async function start(...flags: string[]): Promise<ServerProcess> {
    const directory = `etcd://${etcd.members[0]}/test${prefixes}`;
    const server = await ServerProcess.start(["--workers", "1", "--directory", directory, ...flags]);
    servers.push(server);
    return server;
  }
  async function pair(...flags: string[]): Promise<[ServerProcess, ServerProcess]> {
    prefixes++;
    return [await start(...flags), await start(...flags)];
  }
  async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + WATCHDOG_MS;
    while (!(await holds())) {
      if (performance.now() > end) throw new Error(`not within ${WATCHDOG_MS} ms: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  const nameIn = (reply: unknown) => (reply instanceof Map ? reply.get("name") : reply);
  const lookup = async (client: Client, name: string) => nameIn(await client.ask("LOOKUP", name));

  it("find each other's clients at once, with the server that they are at", async () => {
    const [a, b] = await pair();
    const [ann, bob] = [await a.client(), await b.client()];
    expect(await bob.ask("LOOKUP", "ann")).toBeNull();
    await ann.register("ann", newKeys());
    await until("ann is seen at the other server", async () => (await lookup(bob, "ann")) === "ann");
    await bob.register("bob", newKeys());
    // The table here may not have it yet: then the engine is asked.
    const entry = (await ann.ask("LOOKUP", "bob")) as Map<string, unknown>;
    expect(entry.get("name")).toBe("bob");
    expect(String(entry.get("server"))).toMatch(new RegExp(`:${b.port}$`));
  });

  it("have each name once, whichever of them it is asked of", async () => {
    const [a, b] = await pair();
    const keys = newKeys();
    const [ann, other, same] = [await a.client(), await b.client(), await b.client()];
    await ann.register("ann", keys);
    for (const client of [other, same]) {
      expect(await client.register("ann", client === same ? keys : newKeys())).toMatchObject({ code: "TAKEN" });
    }
    // Of many that want one at once, one gets it.
    const clients = await Promise.all(Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? a : b).client()));
    const outcomes = await Promise.all(clients.map((client) => client.register("bob", newKeys())));
    expect(outcomes.filter((outcome) => outcome === "OK")).toHaveLength(1);
  });

  it("let a client move to another one with its claim, and end its connection at the first", async () => {
    const [a, b] = await pair();
    const keys = newKeys();
    const [first, second] = [await a.client(), await b.client()];
    await first.register("ann", keys);
    await second.register("ann", keys, { takeover: first.claimId });
    await first.closed;
    expect(first.pushes.map(([word]) => String(word))).toContain("replaced");
    const asking = await a.client();
    expect(String(((await asking.ask("LOOKUP", "ann")) as Map<string, unknown>).get("server"))).toMatch(`:${b.port}`);
  });

  it("free the names of one that was killed, for their keys", async () => {
    const [a, b] = await pair();
    const keys = newKeys();
    const ann = await a.client();
    await ann.register("ann", keys);
    const bob = await b.client();
    await until("ann is seen at the other server", async () => (await lookup(bob, "ann")) === "ann");
    a.child.kill("SIGKILL");
    await a.exited;
    await until("ann is gone", async () => (await lookup(bob, "ann")) === null);
    expect(await (await b.client()).register("ann", newKeys())).toMatchObject({ code: "TAKEN" });
    expect(await (await b.client()).register("ann", keys)).toBe("OK");
    expect(await lookup(bob, "ann")).toBe("ann");
  });

  it("say what they know while the engine is away, and never that somebody is not there", async () => {
    const [a] = await pair();
    const ann = await a.client();
    await ann.register("ann", newKeys());
    etcd.pause(0);
    const isStale = async () => ((await ann.ask("LOOKUP", "ann")) as Map<string, unknown>).get("stale") === 1;
    await until("the server notices", isStale);
    expect(await ann.ask("LOOKUP", "nobody")).toMatchObject({ code: "TRYAGAIN" });
    const other = await a.client();
    expect(await other.register("bob", newKeys())).toMatchObject({ code: "TRYAGAIN" });
    etcd.resume(0);
    await until("the engine answers again", async () => !(await isStale()));
    const keys = newKeys();
    await until("names can be had again", async () => (await other.register("bob", keys)) === "OK");
    expect(await ann.ask("LOOKUP", "nobody")).toBeNull();
  });

  it("bring the names of their state directory into a directory that they share from then on, once", async () => {
    const [folder, other] = [0, 1].map(() => mkdtempSync(join(tmpdir(), "ptalk-shared-names-"))) as [string, string];
    const [annsKeys, bobsKeys] = [newKeys(), newKeys()];
    try {
      for (const [state, name, keys] of [
        [folder, "ann", annsKeys],
        [other, "ann", bobsKeys],
        [other, "bob", bobsKeys],
      ] as const) {
        const alone = await ServerProcess.start(["--workers", "1", "--state-dir", state]);
        expect(await (await alone.client()).register(name, keys)).toBe("OK");
        await alone.stop();
      }
      prefixes++;
      const a = await start("--state-dir", folder);
      expect(await (await a.client()).register("ann", newKeys())).toMatchObject({ code: "TAKEN" });
      const b = await start("--state-dir", other);
      expect(await (await b.client()).register("ann", bobsKeys)).toMatchObject({ code: "TAKEN" });
      await until("a log says so", async () => /has the names of the state directory now/.test(b.log));
      expect(b.log).toMatch(/names=1\b.*ofOtherKeys=1\b.*first=ann/);
      expect(await (await a.client()).register("bob", newKeys())).toMatchObject({ code: "TAKEN" });
      expect(await (await a.client()).register("bob", bobsKeys)).toBe("OK");
      expect(await (await b.client()).register("ann", annsKeys)).toBe("OK");
      expect(existsSync(join(folder, "server-names.shared"))).toBe(true);
      // What is released afterwards does not come back with the next start.
      await a.stop();
      const again = await start("--state-dir", folder);
      expect(again.log).not.toContain("has the names of the state directory now");
    } finally {
      for (const path of [folder, other]) rmSync(path, { recursive: true });
    }
  });

  it("state one realm", async () => {
    prefixes++;
    await start("--realm", "lab");
    const other = await start("--realm", "field");
    expect((await other.exited)[0]).toBe(77);
    expect(other.log).toMatch(/"lab".*"field".*--realm/s);
  });

  it("say what is wrong with an address, or that nobody is there", async () => {
    const wrong = await ServerProcess.start(["--directory", "etcd://nowhere"]);
    expect((await wrong.exited)[0]).toBe(64);
    const nobody = await ServerProcess.start(["--directory", "etcd://127.0.0.1:9/x"]);
    expect((await nobody.exited)[0]).toBe(69);
    expect(nobody.log).toContain("etcd://127.0.0.1:9");
    const lonely = await ServerProcess.start(["--realm", "lab"]);
    expect((await lonely.exited)[0]).toBe(64);
  });
});
