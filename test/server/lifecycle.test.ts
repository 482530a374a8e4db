import { spawnSync } from "node:child_process";
import { appendFileSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type Client,
  freshStateDir,
  newKeys,
  remains,
  ServerProcess,
  until,
  within,
} from "../helpers/lookup-server.ts";
import { isRunning } from "../helpers/processes.ts";

let state: ReturnType<typeof freshStateDir>;
let servers: ServerProcess[] = [];
beforeEach(() => {
  state = freshStateDir();
});
afterEach(async () => {
  await Promise.all(servers.map((server) => server.child.exitCode ?? server.child.signalCode ?? server.stop()));
  servers = [];
  state.remove();
});

async function start(...args: string[]): Promise<ServerProcess> {
  const stateDir = args.includes("--state-dir") ? [] : ["--state-dir", state.path];
  const server = await ServerProcess.start([...stateDir, ...args]);
  servers.push(server);
  return server;
}

/** Pids of a server's workers, from INFO. */
async function workers(client: Client): Promise<number[]> {
  const info = (await client.ask("INFO")) as string;
  return [...info.matchAll(/^worker_\d+:id=\d+,pid=(\d+)/gm)].map((match) => Number(match[1]));
}

const isOn = async (client: Client, name: string) => (await client.ask("LOOKUP", name)) !== null;

describe("a worker that is killed", () => {
  it("is replaced; its clients keep their names, nobody else notices", async () => {
    const server = await start("--workers", "2");
    const keys = [newKeys(), newKeys(), newKeys(), newKeys()];
    const clients = await Promise.all(keys.map(() => server.client()));
    for (const [i, client] of clients.entries()) expect(await client.register(`w${i}`, keys[i] as never)).toBe("OK");
    const before = await workers(clients[0] as Client);
    expect(before).toHaveLength(2);
    process.kill(before[0] as number, "SIGKILL");
    await until("connections to break", () => clients.filter((client) => client.isClosed).length === 2);
    const survivors = clients.filter((client) => !client.isClosed);
    const lost = [...clients.keys()].filter((i) => clients[i]?.isClosed);
    expect(lost).toHaveLength(2);
    for (const client of survivors) expect(await client.ask("PING")).toBe("PONG");
    // Still in the directory, and theirs to come back to; not another's.
    const thief = await server.client();
    for (const i of lost) {
      expect(await isOn(thief, `w${i}`)).toBe(true);
      expect(await thief.register(`w${i}`, newKeys())).toMatchObject({ code: "TAKEN" });
      const back = await server.client();
      expect(await back.register(`w${i}`, keys[i] as never)).toBe("OK");
    }
    await until("a new worker", async () => (await workers(thief)).length === 2);
    expect(await workers(thief)).not.toContain(before[0]);
    expect(isRunning(before[0] as number)).toBe(false);
    expect(await server.stop()).toBe(0);
    expect(remains(server.port)).toEqual([]);
  });

  it("whose clients do not come back: their names are free after a grace, and watchers are told", async () => {
    const server = await start("--workers", "1");
    const client = await server.client();
    await client.register("gone", newKeys());
    process.kill((await workers(client))[0] as number, "SIGKILL");
    await client.closed;
    const watcher = await server.client();
    await watcher.ask("WATCH");
    expect(await isOn(watcher, "gone")).toBe(true);
    expect(await watcher.push("left")).toEqual(["left", "gone"]);
    expect(await isOn(watcher, "gone")).toBe(false);
  });

  it("whose clients are called: the caller hears that nobody is there, within the grace, too", async () => {
    const server = await start("--workers", "2");
    const [callee, caller] = [await server.client(), await server.client()];
    await callee.register("callee", newKeys());
    const info = (await caller.ask("INFO")) as string;
    await caller.register("caller", newKeys());
    process.kill(Number(/pid=(\d+),connections=\d+,clients=1,/.exec(info)?.[1]), "SIGKILL");
    await callee.closed;
    await until("the caller's worker to know", async () => (await caller.ask("CALL", "callee")) === null);
    expect(await isOn(caller, "callee")).toBe(true);
  });

  it("all of them at once: connections wait for the new ones", async () => {
    const server = await start("--workers", "2");
    const client = await server.client();
    for (const pid of await workers(client)) process.kill(pid, "SIGKILL");
    await client.closed;
    const next = await server.client();
    expect(await next.ask("PING")).toBe("PONG");
    next.close();
  });
});

it("a worker that is stopped is replaced, and what was on its way to it is served once", async () => {
  const server = await start("--workers", "2");
  const witness = await server.client();
  const [one, other] = (await workers(witness)) as [number, number];
  const own = /pid=(\d+),connections=1,/.exec((await witness.ask("INFO")) as string)?.[1];
  const stopped = Number(own) === one ? other : one;
  process.kill(stopped, "SIGSTOP");
  const clients = await Promise.all(Array.from({ length: 4 }, () => server.client(2)));
  const answers = Promise.all(clients.map((client) => client.ask("PING")));
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  if (isRunning(stopped)) process.kill(stopped, "SIGCONT");
  expect(await answers).toEqual(["PONG", "PONG", "PONG", "PONG"]);
  expect(await workers(witness)).not.toContain(stopped);
  for (const client of clients) expect(client.unasked).toEqual([]);
});

describe("a server that is killed", () => {
  it("takes its workers with it, and the next one cleans up and starts empty", async () => {
    const server = await start("--workers", "2");
    const client = await server.client();
    const keys = newKeys();
    await client.register("bob", keys);
    const pids = await workers(client);
    server.child.kill("SIGKILL");
    await client.closed;
    await until("the workers to end", () => !pids.some(isRunning));
    const left = remains(server.port); // or nothing: each command of this user takes away what dead servers have left
    const next = await start("--listen", server.address, "--workers", "1");
    const fresh = await next.client();
    expect(await fresh.ask("COUNT")).toBe(0);
    expect(remains(server.port).filter((file) => left.includes(file))).toEqual([]);
    expect(await fresh.register("bob", newKeys())).toMatchObject({ code: "TAKEN" });
    expect(await fresh.register("bob", keys)).toBe("OK");
    expect(await next.stop()).toBe(0);
    expect(remains(server.port)).toEqual([]);
  });

  it("while it lives, a second one exits 69 and names its pid", async () => {
    const server = await start("--workers", "1");
    const second = await start("--listen", server.address, "--state-dir", join(state.path, "2"));
    expect(await within("the second to end", second.exited)).toEqual([69, null]);
    expect(second.log).toContain(`pid ${server.pid}`);
    const client = await server.client();
    expect(await client.ask("PING")).toBe("PONG");
    client.close();
  });

  it("a server on the same state directory is refused", async () => {
    const server = await start("--workers", "1");
    const second = await start("--workers", "1");
    expect(await within("the second to end", second.exited)).toEqual([69, null]);
    expect(second.log).toContain("state directory");
    expect(await server.stop()).toBe(0);
  });
});

describe("names and keys", () => {
  it("belong together across restarts, over damage to the file", async () => {
    const keys = newKeys();
    const names = join(state.path, "server-names");
    let address = "127.0.0.1:0";
    for (let round = 0; round < 4; round++) {
      // On the same port: the next one removes what a killed one has left.
      const server = await start("--workers", "2", "--listen", address);
      address = server.address;
      const client = await server.client();
      expect(await client.register("Ströhm", newKeys())).toMatchObject(round === 0 ? {} : { code: "TAKEN" });
      if (round === 0) await client.ask("UNREGISTER");
      else expect(await client.register("bob", newKeys())).toMatchObject({ code: "TAKEN" });
      expect(await client.register("bob", keys)).toBe("OK");
      if (round % 2 === 0) server.child.kill("SIGKILL");
      else await server.stop();
      await server.exited;
      if (round === 1) appendFileSync(names, "deadbeef AAAA torn"); // a line that a crash cut short
      if (round === 2) {
        appendFileSync(names, "\u0000\u0000\u0000\nnonsense\n");
        appendFileSync(names, readFileSync(names).subarray(15, 30));
      }
    }
    expect(readFileSync(names, "utf8")).toMatch(/^ptalk-names-v1\n/);
  });

  it("survive a file torn anywhere: what is whole stays, what is torn is free", async () => {
    const first = await start("--workers", "1");
    const client = await first.client();
    const keys = newKeys();
    for (const name of ["one", "two", "three"]) {
      expect(await client.register(name, keys)).toBe("OK");
      await client.ask("UNREGISTER");
    }
    await first.stop();
    const names = join(state.path, "server-names");
    truncateSync(names, readFileSync(names).length - 3);
    const second = await start("--workers", "1");
    const other = await second.client();
    const strangers = newKeys();
    expect(await other.register("one", strangers)).toMatchObject({ code: "TAKEN" });
    expect(await other.register("two", strangers)).toMatchObject({ code: "TAKEN" });
    expect(await other.register("three", strangers)).toBe("OK");
    await second.stop();
  });
});

describe("--exit-when-empty", () => {
  it.each(["QUIT", "crash", "UNREGISTER"])("ends when the last client has gone by %s", async (how) => {
    const server = await start("--workers", "2", "--exit-when-empty");
    const [a, b] = [await server.client(), await server.client()];
    expect(await a.register("a", newKeys())).toBe("OK");
    expect(await b.register("b", newKeys())).toBe("OK");
    a.close();
    await expect.poll(() => b.ask("COUNT"), { timeout: 30_000 }).toBe(1);
    if (how === "crash") b.socket.resetAndDestroy();
    else await b.ask(how);
    expect(await within("the server to end", server.exited)).toEqual([0, null]);
    expect(remains(server.port)).toEqual([]);
  });

  it("stays while a client is on, and for a while after starting alone", async () => {
    const server = await start("--workers", "1", "--exit-when-empty");
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const client = await server.client();
    await client.register("a", newKeys());
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(await client.ask("PING")).toBe("PONG");
    expect(await server.stop()).toBe(0);
  });
});

describe("addresses", () => {
  it("other than loopback need TLS or --insecure", async () => {
    const refused = await start("--listen", "0.0.0.0:0");
    expect(await within("it to end", refused.exited)).toEqual([64, null]);
    expect(refused.log).toMatch(/--tls.*--insecure/);
    const open = await start("--listen", "0.0.0.0:0", "--insecure", "--workers", "1");
    expect(open.port).toBeGreaterThan(0);
    await open.stop();
  });

  it("may be IPv6", async () => {
    const server = await start("--listen", "[::1]:0", "--workers", "1");
    expect(server.address).toMatch(/^\[::1\]:\d+$/);
    const client = await server.client();
    await client.register("six", newKeys());
    expect(((await client.ask("LOOKUP", "six")) as Map<string, unknown>).get("address")).toBe("::1");
    client.close();
  });

  it("that cannot be had are refused with what to do", async () => {
    const nowhere = await start("--listen", "192.0.2.1:0", "--insecure");
    expect(await within("it to end", nowhere.exited)).toEqual([69, null]);
    expect(nowhere.log).toContain("does not have that address");
  });
});

it("the table's mode is what --table-mode says", async () => {
  const server = await start("--workers", "1", "--table-mode", "0640");
  const [table] = remains(server.port).filter((file) => /\.[0-9a-f]{16}$/.test(file) && !file.startsWith("sem."));
  const { stdout } = spawnSync("stat", ["-c", "%a", `/dev/shm/${table}`], { encoding: "utf8" });
  expect(stdout.trim()).toBe("640");
});
