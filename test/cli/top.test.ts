// `ptalk top`: what it says of a server is what the server, its lock and its table say.

import stringWidth from "fast-string-width";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { frame } from "../../lib/cli/top/frame.ts";
import type { TopSnapshot } from "../../lib/cli/top/snapshot.ts";
import { parseInfo } from "../../lib/client/server-monitor.ts";
import { Directory } from "../../lib/index.ts";
import { ReadersWriterLock } from "../../lib/ipc/index.ts";
import { User } from "../helpers/cli.ts";
import { COMMAND, commandLine } from "../helpers/command.js";
import { hostCommand, whyNoHosts } from "../helpers/host.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

const WATCHDOG_MS = 60_000;
const OUR_UID = process.getuid?.() ?? 0;

let user: User;
let serving: Serving;
beforeAll(async () => {
  user = new User();
  serving = await Serving.start();
});
afterAll(async () => {
  await serving[Symbol.asyncDispose]();
  user[Symbol.dispose]();
});

async function top(): Promise<TopSnapshot> {
  const { code, stdout, stderr } = await user.run(["--server", serving.address, "top", "--once", "--json"]);
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout);
}

/** Waits, with a watchdog, until a snapshot is as wanted. */
async function until(program: Program, wanted: (snapshot: TopSnapshot) => boolean): Promise<TopSnapshot> {
  for (const end = Date.now() + WATCHDOG_MS; ; ) {
    const snapshot: TopSnapshot = JSON.parse(await program.line());
    if (wanted(snapshot)) return snapshot;
    if (Date.now() > end) throw new Error(`never as wanted: ${wanted}\n${JSON.stringify(snapshot)}`);
  }
}

const portOf = (address: string): number => Number(address.split(":")[1]);

/** The lock of the server's table, as another process of the host finds it. */
function lockName(): string {
  using directory = Directory.open({ port: portOf(serving.address) });
  return `${directory.name}.lock`;
}

describe("ptalk top --once --json", () => {
  it("has the server with its workers, the lock, signals and tables, in this order", async () => {
    const client = user.start(["--server", serving.address, "--as", "bob", "--json", "recv"]);
    await client.line(); // registered
    const snapshot = await top();
    expect(Object.keys(snapshot)).toEqual(["at", "server", "lock", "signals", "tables"]);
    expect(new Date(snapshot.at).toISOString()).toBe(snapshot.at);
    const { server, lock, tables } = snapshot;
    const fields = ["address", "pid", "uid", "uptimeMs", "clients", "capacity", "workers"];
    expect(Object.keys(server ?? {})).toEqual(fields);
    expect(server).toMatchObject({ address: serving.address, uid: OUR_UID, clients: 1, capacity: 4096 });
    expect(server?.uptimeMs).toBeGreaterThan(0);
    const [worker] = server?.workers ?? [];
    expect(Object.keys(worker ?? {})).toEqual(["id", "pid", "connections", "clients", "requests", "loopDelayP99Ms"]);
    expect(worker).toMatchObject({ clients: 1, connections: 2 }); // bob's, and our own
    expect(Object.keys(lock ?? {})).toEqual(["epoch", "holders", "waiters", "recoveries"]);
    expect(lock).toMatchObject({ holders: [], waiters: [], recoveries: expect.any(Number) });
    using directory = Directory.open({ port: portOf(serving.address) });
    const { name, bytes } = directory;
    expect(tables[0]).toEqual({ name, bytes, rows: 1, owner: OUR_UID });
    expect(Object.keys(tables[0] ?? {})).toEqual(["name", "bytes", "rows", "owner"]);
    const local = tables.find((table) => table.name.startsWith("/ptalk-host-") && table.owner === OUR_UID);
    expect(local?.rows).toBeGreaterThan(0);
    client.child.kill("SIGTERM");
    await client.ended;
  });

  it("shows the lock's holders and waiters, and a recovery", async () => {
    const name = JSON.stringify(lockName());
    const inside = new NodeProgram(`
      ipc.ReadersWriterLock.open(${name}).withWrite(() => { say("inside"); return new Promise(() => {}); });`);
    await inside.heard();
    const waiting = new NodeProgram(`
      const lock = ipc.ReadersWriterLock.open(${name});
      lock.withRead(() => say("inside"));
      while (lock.stats().waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      say("waits");`);
    expect(await waiting.heard()).toBe("waits");
    const { lock } = await top();
    const { sinceMs, ...holder } = lock?.holders[0] ?? { sinceMs: Number.NaN };
    expect(holder).toEqual({ pid: inside.pid, kind: "write", phase: "inside" });
    expect(sinceMs).toBeGreaterThanOrEqual(0);
    expect(lock?.waiters).toMatchObject([{ pid: waiting.pid, kind: "read" }]);
    expect(["want", "queued"]).toContain(lock?.waiters[0]?.phase);
    await inside.kill();
    expect(await waiting.heard()).toBe("inside");
    await waiting.end();
    expect((await top()).lock).toMatchObject({ holders: [], waiters: [], recoveries: 1 });
  });

  it("counts the server's signals, with the sender of the last one", async () => {
    const before = (await top()).signals.find(({ name }) => name === "SIGINT")?.count ?? 0;
    const { server } = await top();
    process.kill(server?.pid ?? 0, "SIGINT"); // without a terminal it goes on
    const program = user.start(["--server", serving.address, "--json", "top"]);
    const { signals } = await until(program, (each) => each.signals.some(({ count }) => count > before));
    expect(signals).toEqual([{ name: "SIGINT", count: before + 1, lastPid: process.pid }]);
    program.child.kill("SIGTERM");
    expect(await program.ended).toMatchObject({ code: 143 });
  });

  it("ends with 69 when the server that was asked for does not answer", async () => {
    const { code, stderr } = await user.run(["--server", "127.0.0.1:1", "top", "--once"]);
    expect([code, stderr]).toEqual([69, expect.stringContaining("127.0.0.1:1")]);
  });

  it.skipIf(whyNoHosts !== null)("shows the rest where no server was asked for and none is on", async () => {
    const program = new Program(...hostCommand([...COMMAND, "top", "--once", "--json"]), { env: user.env });
    const { at: _, ...rest } = JSON.parse(await program.line());
    expect(rest).toEqual({ server: null, lock: null, signals: [], tables: [] });
    expect(await program.ended).toMatchObject({ code: 0 });
  });
});

describe("ptalk top", () => {
  it("goes on when the server is replaced, with --json in lines", async () => {
    await using own = await Serving.start();
    const program = user.start(["--server", own.address, "--json", "top"]);
    const { server } = await until(program, () => true);
    await own.stop();
    const away = await until(program, (each) => each.server === null);
    expect(away).toMatchObject({ lock: null, signals: [] });
    const successor = user.start(["serve", "--listen", own.address, "--workers", "1"]);
    const back = await until(program, (each) => each.server !== null && each.lock !== null);
    expect(back.server).toMatchObject({ address: own.address, pid: successor.pid });
    expect(back.server?.pid).not.toBe(server?.pid);
    program.child.kill("SIGINT");
    expect(await program.ended).toMatchObject({ code: 130 });
    successor.child.kill("SIGTERM");
    await successor.ended;
  });

  it("has the whole terminal at 80 columns, and gives it back at q", async () => {
    using pty = new Pty(...commandLine(["--server", serving.address, "top"]), {
      columns: 80,
      rows: 24,
      env: { ...user.env, NO_COLOR: "1" } as Record<string, string>,
    });
    await pty.shows(/^server 127\.0\.0\.1:\d+ {2}pid \d+ \(.+\) {2}up \d+ s {2}clients 0\/4096$/);
    await pty.shows(/^WORKER +PID +CONNECTIONS +CLIENTS +REQUESTS +A SECOND +LOOP DELAY P99$/);
    await pty.shows(/^lock {2}inside 0 {2}waiting 0 {2}recoveries \d+ {2}epoch \d+$/);
    await pty.shows(/^TABLE +BYTES +ROWS +OWNER$/);
    await pty.shows(/^1 +\d+ +\d+ +0 +\d+ +[1-9]\d* /); // a rate: our own questions
    pty.resize(40, 10);
    // The emulator keeps the cells beyond its new width.
    await pty.until((screen) => screen.rows()[0]?.slice(0, 40).endsWith("…") === true);
    pty.type("q");
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
    expect(pty.raw).toContain("\x1b[?1049h");
    expect(pty.raw.trimEnd().endsWith("\x1b[?7h\x1b[?25h\x1b[?1049l")).toBe(true);
  });

  it("prints one screen after the other on a dumb terminal, without control sequences", async () => {
    using pty = new Pty(...commandLine(["--server", serving.address, "top"]), {
      columns: 80,
      rows: 24,
      env: { ...user.env, TERM: "dumb" } as Record<string, string>,
    });
    await pty.until(({ raw }) => raw.split("server 127.0.0.1:").length > 3);
    pty.type("\x03");
    expect(await pty.ended).toMatchObject({ exitCode: 130 });
    expect(pty.raw).not.toContain("\x1b");
  });

  it("prints one screen after the other where there is no terminal", async () => {
    const program = user.start(["--server", serving.address, "top"]);
    for (let heads = 0; heads < 2; ) if ((await program.line()).startsWith("server 127.0.0.1:")) heads++;
    program.child.stdout?.destroy();
    expect(await program.ended).toMatchObject({ code: 0, stderr: "" });
  });
});

describe("a screen", () => {
  const crowded: TopSnapshot = {
    at: "2026-11-28T15:00:01.000Z",
    server: {
      address: "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535",
      pid: 4_194_303,
      uid: 4_294_967_294,
      uptimeMs: 1e10,
      clients: 1_048_576,
      capacity: 1_048_576,
      workers: [
        { id: 17, pid: 4_194_302, connections: 65_000, clients: 65_000, requests: 9e12, loopDelayP99Ms: 1234.5 },
      ],
    },
    lock: {
      epoch: 2 ** 32 - 1,
      recoveries: 3,
      holders: Array.from({ length: 200 }, (_, i) => ({ pid: i + 1, kind: "read", phase: "inside", sinceMs: i * 1e6 })),
      waiters: [{ pid: 4_194_301, kind: "write", phase: "queued", sinceMs: 12 }],
    },
    signals: [{ name: "SIGRTMIN+1", count: 12, lastPid: 0 }],
    tables: [{ name: `/${"x".repeat(250)}`, bytes: 1e9, rows: 5, owner: 0 }],
  };
  const options = { columns: 80, paint: (_: string, text: string) => text, before: null, userOf: String };

  it("fits 80 columns, whatever is in it", () => {
    const lines = frame(crowded, options);
    expect(lines.filter((line) => stringWidth(line) > 80)).toEqual([]);
    expect(lines).toContain("and 193 more");
  });

  it("shows the rate of requests since the snapshot before, of the same worker process only", () => {
    const rate = (pid: number) => {
      const workers = crowded.server?.workers.map((worker) => ({ ...worker, pid, requests: worker.requests - 4321 }));
      const server = crowded.server && { ...crowded.server, workers: workers ?? [] };
      const before = { ...crowded, at: "2026-11-28T15:00:00.000Z", server };
      return frame(crowded, { ...options, columns: 200, before })[3]?.split(/ {2,}/)[5];
    };
    expect([rate(4_194_302), rate(1)]).toEqual(["4321", "-"]);
  });
});

describe("INFO", () => {
  it("of another version is an error that names the field", () => {
    expect(() => parseInfo("# Server\r\nptalk_version:1\r\n")).toThrow(/listening/);
  });
});

it("a lock can be looked at without a part in it", async () => {
  const name = lockName();
  const before = ReadersWriterLock.inspect(name);
  for (let i = 0; i < 300; i++) ReadersWriterLock.inspect(name); // more than it has places
  expect(ReadersWriterLock.inspect(name)).toEqual(before);
  expect(() => ReadersWriterLock.inspect("/test-ptalk-no-such-lock")).toThrow(
    expect.objectContaining({ code: "ENOENT" }),
  );
  using directory = Directory.open({ port: portOf(serving.address) });
  expect(() => ReadersWriterLock.inspect(directory.name)).toThrow(expect.objectContaining({ code: "EINVAL" }));
});
