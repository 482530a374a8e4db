// The client table: lookups from another process, with and without the lock, what a change costs; then the lock's own figures,
// which belong to the same promise. "On one core" is a second of CPU time of this process: the same on a quiet and on a busy machine.
// The reference (reference/table-lookup.c) does the same lookup over the same memory in C.
import { execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { fstatSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MAX_DETAILS_BYTES } from "../dist/directory/entry.js";
import { newServerName } from "../dist/directory/live-server.js";
import { ClientTable } from "../dist/directory/shm/client-table.js";
import { MappedDirectory as Directory } from "../dist/directory/shm/mapped-directory.js";
import {
  DETAIL_WORDS,
  geometryOf,
  HEADER,
  NEAR_TEXT_WORDS,
  RECORD,
  RECORD_WORDS,
  VERSIONS,
} from "../dist/directory/shm/table-layout.js";
import { ReadersWriterLock, SharedMemory } from "../dist/ipc/index.js";
import { run as runLock } from "./lock.bench.js";
import { benchClient } from "./reference/clients.js";

const here = join(import.meta.dirname, "reference");
const FEW = 1000;
const MANY = 1_000_000;
/** Names asked for, over and over: so many that among a million clients next to nothing is found in a cache. */
const NAMES = 1_000_000;
/** They are asked for in parts, and the best part counts: a short one has a chance to be undisturbed. */
const PART = 250_000;
const PARTS = 24;
const LOCKED_MS = 3000;
const WRITES = 100_000;

export async function run(report) {
  // By it the table is known for that of a live server.
  const socket = createServer().listen(0).unref();
  const { port } = socket.address();
  const place = { port, name: newServerName(port), listener: fstatSync(socket._handle.fd).ino };
  const lockName = `/ptalk-bench-table-${process.pid}`;
  const reference = compileReference();
  const lock = ReadersWriterLock.openOrCreate(lockName, {});
  try {
    const few = await withServer(place, FEW, lockName, "still", () => lookups(report, place, FEW, reference));
    const many = await withServer(place, MANY, lockName, "still", () => lookups(report, place, MANY, reference));
    report.row({
      name: "  its time among 1,000,000, to that among 1,000",
      value: few / many,
      unit: "x",
      target: "<= 2x",
      met: few / many <= 2,
    });
    await withServer(place, FEW, lockName, "turns", (server) =>
      locked(report, place, lock, server, "a writer with a section each turn of its loop", 300_000),
    );
    await withServer(place, FEW, lockName, "hammer", (server) =>
      locked(report, place, lock, server, "a writer without a pause"),
    );
    await writes(report, lock, place);
  } finally {
    lock.close();
    lock.unlink();
    reference.remove();
    socket.close();
  }
  await runLock(report);
}

async function withServer({ name, listener }, clients, lockName, how, measure) {
  const server = fork(join(here, "table-server.js"), [name, String(clients), lockName, how, String(listener)]);
  try {
    await once(server, "message");
    return await measure(server);
  } finally {
    server.disconnect();
    await once(server, "exit");
  }
}

/** Lookups per CPU second, the best of the rounds. */
function lookups(report, { port, name }, clients, reference) {
  const directory = Directory.open({ port });
  const names = Array.from({ length: NAMES }, () => `user${Math.floor(Math.random() * clients)}`);
  const rate = rateOf(names, (name) => directory.lookup(name) !== null);
  report.row({
    name: `Directory.lookup among ${clients.toLocaleString("en")} (ratio: the same in C)`,
    value: rate,
    unit: "/s",
    ratio: rate / reference.rate(name, clients),
    ...(clients === FEW ? { target: ">= 1,000,000 /s", met: rate >= 1e6 } : {}),
  });
  // An entry unpacks its details at their first use.
  const withAddress = rateOf(names, (name) => directory.lookup(name)?.port > 0);
  report.row({ name: "  with its address read", value: withAddress, unit: "/s" });
  directory.close();
  return rate;
}

/** @param look returns false if the name is not there */
function rateOf(names, look) {
  globalThis.gc?.();
  let best = Number.POSITIVE_INFINITY;
  for (let part = 0; part < PARTS; part++) {
    const from = (part * PART) % NAMES;
    const start = process.cpuUsage();
    for (let i = from; i < from + PART; i++) {
      if (!look(names[i])) throw new Error(`${names[i]} is not there`);
    }
    const { user, system } = process.cpuUsage(start);
    // The first time through is for the compiler and for page faults.
    if (part >= NAMES / PART) best = Math.min(best, (user + system) / 1e6);
  }
  return PART / best;
}

async function locked(report, { name }, lock, server, beside, target) {
  const table = ClientTable.open(name);
  const names = Array.from({ length: FEW }, (_, i) => `user${i}`);
  let next = 0;
  const find = () => table.find(names[next++ % FEW]);
  const section = async () => {
    if ((await lock.withRead(find)) === null) throw new Error("not found");
  };
  for (let i = 0; i < 20_000; i++) await section();
  const written = await sectionsOf(server);
  const start = performance.now();
  const cpu = process.cpuUsage();
  let done = 0;
  while (performance.now() < start + LOCKED_MS) {
    for (let i = 0; i < 1000; i++) await section();
    done += 1000;
    await new Promise((resolve) => setImmediate(resolve));
  }
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const rate = done / ((user + system) / 1e6);
  table.close();
  report.row({
    name: `withRead + find beside ${beside}, a CPU second`,
    value: rate,
    unit: "/s",
    ...(target ? { target: `>= ${target.toLocaleString("en")} /s`, met: rate >= target } : {}),
  });
  // Where the two differ, somebody waits for the other, or for a processor that others use.
  report.row({ name: "  a second of the clock", value: done / seconds, unit: "/s" });
  report.row({ name: "  that writer's sections", value: ((await sectionsOf(server)) - written) / seconds, unit: "/s" });
}

async function sectionsOf(server) {
  server.send("how many");
  return (await once(server, "message"))[0];
}

/** What registering and unregistering cost, with the write section around each, and without. */
async function writes(report, lock, { name }) {
  const table = ClientTable.create(name, { capacity: FEW + 1 });
  try {
    for (let i = 0; i < FEW; i++) table.insert(benchClient(`user${i}`, i));
    let handle = null;
    const change = () => {
      if (handle) table.remove(handle.slot, handle.version);
      handle = handle ? null : table.insert(benchClient("guest", 1));
    };
    const microseconds = async (work) => {
      let best = Number.POSITIVE_INFINITY;
      for (let round = 0; round < 5; round++) {
        const start = process.cpuUsage();
        await work();
        const { user, system } = process.cpuUsage(start);
        best = Math.min(best, (user + system) / WRITES);
      }
      return best;
    };
    const bare = await microseconds(() => {
      for (let i = 0; i < WRITES; i++) change();
    });
    const empty = await microseconds(async () => {
      for (let i = 0; i < WRITES; i++) await lock.withWrite(() => {});
    });
    const whole = await microseconds(async () => {
      for (let i = 0; i < WRITES; i++) await lock.withWrite(change);
    });
    const row = (name, value) => report.row({ name, value, unit: "us", ratio: value / empty });
    row("an empty write section (ratios: to this)", empty);
    row("insert or remove, without the lock", bare);
    row("a write section with an insert or a remove in it", whole);
  } finally {
    table.close();
    table.unlink();
  }
}

function compileReference() {
  const folder = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  const program = join(folder, "table-lookup");
  const offsets = {
    VERSIONS,
    RECORD_WORDS,
    SEQUENCE: RECORD.sequence,
    HASH: RECORD.hash,
    NEXT: RECORD.next,
    LENGTHS: RECORD.lengths,
    STARTED_AT: RECORD.startedAt,
    TEXT: RECORD.text,
    NEAR_TEXT_WORDS,
    DETAIL_WORDS,
    MAX_DETAILS_BYTES,
  };
  const defines = Object.entries(offsets).map(([name, value]) => `-D${name}=${value}`);
  execFileSync("cc", ["-std=gnu11", "-O2", ...defines, "-o", program, join(here, "table-lookup.c"), "-lrt"]);
  const rate = (name, clients) => {
    const { bucketMask, versions, buckets, records, details } = geometryOf(clients + 1);
    const shm = SharedMemory.open(name, { readOnly: true });
    const header = new Uint32Array(shm.read(0, 256).buffer);
    shm.close();
    const seed = [header[HEADER.seed], header[HEADER.seed + 1]];
    const numbers = [bucketMask, versions, buckets, records, details, ...seed, NAMES, 1, clients, PART, PARTS];
    return 1e9 / Number(execFileSync(program, [name, ...numbers.map(String)]).toString());
  };
  return { rate, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
