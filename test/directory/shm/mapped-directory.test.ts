import { spawn } from "node:child_process";
import { truncateSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { fingerprint } from "../../../lib/crypto/fingerprint.ts";
import { HEADER, LAYOUT_VERSION } from "../../../lib/directory/shm/table-layout.ts";
import { Directory, DirectoryEntry } from "../../../lib/index.ts";
import { Program } from "../../helpers/program.ts";
import { fieldsOf } from "../support/entries.ts";
import { client } from "./support/clients.ts";
import { ListeningSocket, raw, ServedTable } from "./support/server-table.ts";
import { isOneEntry, saysOneNumber } from "./support/telling.ts";

const WRITER = join(import.meta.dirname, "../../fixtures/table/writer.js");

const served: ServedTable[] = [];
const programs: Program[] = [];

afterEach(async () => {
  for (const program of programs.splice(0)) {
    program.child.kill("SIGKILL");
    await program.ended;
  }
  for (const server of served.splice(0)) server[Symbol.dispose]();
});

function serve(capacity: number): ServedTable {
  const server = new ServedTable(capacity);
  served.push(server);
  return server;
}

async function start(fixture: string, ...args: string[]): Promise<Program> {
  const program = new Program(process.execPath, [fixture, ...args]);
  programs.push(program);
  expect(await program.line()).toBe("ready");
  return program;
}

describe("Directory", () => {
  it("shows every field of an entry, by any spelling of the name", () => {
    const { table, port } = serve(10);
    const endpoints = [
      { address: "2001:db8::7", port: 4711, kind: "observed" as const },
      { address: "10.0.0.1", port: 4712, kind: "host" as const },
    ];
    const fields = fieldsOf("Zoë", 1, { endpoints, host: "büro", user: "zoe", uid: 1000, attested: "kernel" });
    const { slot, version } = table.insert(client("Zoë", 1, fields));
    table.insert(client("bob", 3));
    const directory = Directory.open({ port });
    const zoe = {
      name: "Zoë",
      address: "2001:db8::7",
      port: 4711,
      host: "büro",
      key: fields.key,
      fingerprint: fingerprint(Buffer.from(fields.key, "base64")),
      startedAt: new Date(fields.startedAt).toISOString(),
      lastLookupAt: null as string | null,
      endpoints,
      protocol: 2,
      server: "",
      user: "zoe",
      uid: 1000,
      attested: "kernel",
      status: { state: "here", text: "", since: new Date(fields.startedAt).toISOString() },
      rooms: [],
      stale: false,
    };
    const json = (entry: DirectoryEntry | null) => entry?.toJSON();
    expect(directory.lookup("zoë")).toBeInstanceOf(DirectoryEntry);
    expect(json(directory.lookup("zoë"))).toEqual(zoe);
    expect(directory.lookup("zoë")?.startedAt).toBe(fields.startedAt);
    table.touch(slot, version, 1_790_000_000_777);
    zoe.lastLookupAt = new Date(1_790_000_000_777).toISOString();
    expect(json(directory.lookup("ZOE\u0308"))).toEqual(zoe);
    const all = directory.all().sort((a, b) => (a.name < b.name ? -1 : 1));
    expect(all.map(json)).toEqual([zoe, json(directory.lookup("bob"))]);
    expect(directory.capacity).toBe(10);
    for (const nobody of ["carol", "", "all", "a b", "x".repeat(100), "\ud800"])
      expect(directory.lookup(nobody)).toBeNull();
    // A program in JavaScript may ask with anything.
    for (const nothing of [undefined, null, 7, {}, ["bob"], Symbol("bob"), { length: 3, charCodeAt: () => 98 }]) {
      expect(directory.lookup(nothing as unknown as string)).toBeNull();
    }
    directory.close();
    expect(() => directory.lookup("bob")).toThrow(expect.objectContaining({ code: "closed" }));
    expect(() => directory.all()).toThrow(expect.objectContaining({ code: "closed" }));
    directory.close();
  });

  it("says which port it cannot open, and why", () => {
    using socket = new ListeningSocket();
    expect(() => Directory.open({ port: socket.port })).toThrow(expect.objectContaining({ code: "ENOENT" }));
    for (const port of [0, 65536, 1.5, -1])
      expect(() => Directory.open({ port })).toThrow(expect.objectContaining({ code: "usage" }));
    const { table, port } = serve(1);
    raw(table.name, (words) => {
      words[HEADER.layoutVersion] = 9;
    });
    expect(() => Directory.open({ port })).toThrow(new RegExp(`layout version 9.*version ${LAYOUT_VERSION}`));
  });

  it("is stale once the server has gone, finds nobody then, and its successor is opened anew", () => {
    const { table, port } = serve(5);
    table.insert(client("ann"));
    const directory = Directory.open({ port });
    expect(directory.stale).toBe(false);
    table.unlink();
    const successor = serve(5);
    successor.table.insert(client("bob"));
    expect(directory.stale).toBe(true);
    expect(directory.lookup("ann")).toBeNull();
    expect(directory.all()).toEqual([]);
    const again = Directory.open({ port: successor.port });
    expect(again.lookup("bob")?.name).toBe("bob");
    expect(again.lookup("ann")).toBeNull();
    again.close();
    directory.close();
  });

  it("finds nobody, and stays alive, when the object is truncated under it", () => {
    const { table, port } = serve(2000);
    for (let i = 0; i < 2000; i++) table.insert(client(`u${i}`, i));
    const directory = Directory.open({ port });
    expect(directory.lookup("u7")?.name).toBe("u7");
    truncateSync(`/dev/shm${table.name}`, 4096 * 3);
    for (let i = 0; i < 2000; i++) directory.lookup(`u${i}`);
    directory.all();
    truncateSync(`/dev/shm${table.name}`, 0);
    for (let i = 0; i < 2000; i++) expect(directory.lookup(`u${i}`)).toBeNull();
    expect(directory.all()).toEqual([]);
    expect(directory.stale).toBe(true);
    directory.close();
  });

  it("makes no system call for a lookup", async () => {
    const strace = spawn("strace", ["-V"], { stdio: "ignore" });
    const there = await new Promise((resolve) =>
      strace.on("error", () => resolve(false)).on("exit", () => resolve(true)),
    );
    if (!there) return console.log("left out: no strace here");
    const { table, port } = serve(100);
    for (let i = 0; i < 100; i++) table.insert(client(`u${i}`, i));
    const index = JSON.stringify(join(import.meta.dirname, "../../../dist/index.js"));
    // Two marks around the lookups, on the main thread; the compiler's and collector's threads are not followed (no -f).
    const script = `
      const { Directory } = await import(${index});
      const { accessSync } = await import("node:fs");
      const mark = (name) => { try { accessSync("/mark-" + name); } catch {} };
      const directory = Directory.open({ port: ${port} });
      const names = Array.from({ length: 100 }, (_, i) => "u" + i);
      const look = (n) => { let c = 0; for (let i = 0; i < n; i++) c += directory.lookup(names[i % 100]).port; return c; };
      look(100000);
      mark("begin"); look(1000); mark("end");`;
    const child = spawn("strace", [
      "-qq",
      process.execPath,
      "--single-threaded-gc",
      "--input-type=module",
      "-e",
      script,
    ]);
    let calls = "";
    child.stderr.on("data", (data) => {
      calls += data;
    });
    await new Promise((resolve) => child.on("close", resolve));
    const between = calls.slice(calls.indexOf("/mark-begin"), calls.indexOf("/mark-end")).split("\n").slice(1, -1);
    // The remaining calls are V8's: memory for its own heap, waking its threads, and getpid for its traces.
    expect(between.filter((line) => !/^(madvise|mprotect|mmap|munmap|futex|getpid|---|brk)/.test(line))).toEqual([]);
  });
});

describe("readers without a lock, beside a writer process", () => {
  it.each([1, 4, 200])("never see half a record (%i names)", async (names) => {
    const { table, port } = serve(names);
    await start(WRITER, table.name, String(names), "-", "0");
    const directory = Directory.open({ port });
    const end = performance.now() + 4000;
    let found = 0;
    let rounds = 0;
    while (performance.now() < end) {
      for (let i = 0; i < 2000; i++) {
        const n = i % names;
        const entry = directory.lookup(`user${n}`);
        if (entry === null) continue;
        found++;
        if (entry.name !== `user${n}`) expect.fail("another one's record");
        expectWholeEntry(entry);
      }
      for (const entry of directory.all()) expectWholeEntry(entry);
      for (const row of table.page(0, 100).rows) {
        expectWholeEntry(row.entry);
        if (!saysOneNumber(row)) expect.fail(`torn: ${JSON.stringify(row)}`);
      }
      rounds++;
    }
    expect(found).toBeGreaterThan(0);
    expect(rounds).toBeGreaterThan(0);
    directory.close();
  });
});

function expectWholeEntry(entry: DirectoryEntry): void {
  if (!isOneEntry(entry)) expect.fail(`torn: ${JSON.stringify(entry)}`);
}

it.each<[string, unknown]>([
  ["options", undefined],
  ["port", {}],
  ["port", { port: 0 }],
  ["port", { port: "5518" }],
  ["address", { port: 5518, address: "localhost" }],
  ["host", { port: 5518, host: "127.0.0.1" }],
])("a mistake in %s is the caller's: %j", (subject, options) => {
  const open = Directory.open as (options: unknown) => Directory;
  expect(() => open(options)).toThrow(expect.objectContaining({ name: "TalkError", code: "usage", subject }));
});
