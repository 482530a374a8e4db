// A server that begins with a large directory: how long until it serves, what it holds in memory then, and what it costs when nothing
// happens. As many names as PTALK_BENCH_NAMES says, each with a row and an owner.
import { readFileSync } from "node:fs";
import { Identity } from "../../dist/crypto/identity.js";
import { packEntry } from "../../dist/directory/entry.js";
import { encodeOwner, encodeRow, Keys } from "../../dist/directory/etcd/keys.js";
import { today } from "../../dist/directory/name-ownership.js";
import { inParallel, serverPids } from "../growth/server-load.js";
import { Client } from "../server/client.js";
import { cpuSeconds, pause, startPtalk } from "../server/programs.js";
import { keyOf, requestOf } from "./claims.js";

const DEFAULT_NAMES = 20_000;
/** Two keys each: etcd takes 128 operations in one transaction. */
const NAMES_A_WRITE = 64;
const WRITES_AT_ONCE = 4;
const REQUEST_MS = 30_000;
const INCARNATION = "123456789012";
const LEASE_SECONDS = 3_600;
const ROOM = 1.1;
const IDLE_MS = 10_000;
const MIB = 2 ** 20;
const KIB = 1024;

/** @returns how many names to build; a whole number */
function namesAsked() {
  const asked = Number(process.env.PTALK_BENCH_NAMES ?? DEFAULT_NAMES);
  if (!Number.isInteger(asked) || asked < 1) throw new Error("PTALK_BENCH_NAMES: how many names, a whole number");
  return asked;
}

/** As a server writes them that goes on living. */
async function fill(nodes, prefix, count) {
  const engine = nodes.engine(prefix);
  const keys = new Keys(prefix);
  const lease = await engine.grantLease(LEASE_SECONDS, REQUEST_MS);
  const write = (then) => engine.transact({ when: [], then, otherwise: [] }, REQUEST_MS);
  await write([{ put: keys.server("filler", INCARNATION), value: Buffer.from("{}"), lease }]);
  await inParallel(Math.ceil(count / NAMES_A_WRITE), WRITES_AT_ONCE, (part) => {
    const puts = [];
    for (let i = part * NAMES_A_WRITE; i < Math.min(count, (part + 1) * NAMES_A_WRITE); i++) {
      const name = `name${i}`;
      const key = keyOf();
      const { entry, claimId, place } = requestOf(name, key);
      const row = { packed: packEntry(entry), claimId, server: "filler", incarnation: INCARNATION, place };
      puts.push({ put: keys.row(name), value: encodeRow(row) });
      puts.push({ put: keys.owner(name), value: encodeOwner({ folded: name, key, day: today() }) });
    }
    return write(puts);
  });
  engine.close();
}

/** In MiB: what only the process has, and what it shares (the table). */
function memoryOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const field = (name) => (Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) * KIB) / MIB;
  return { own: field("RssAnon"), shared: field("RssShmem"), most: field("VmHWM") };
}

export async function names(report, nodes) {
  const count = namesAsked();
  const many = count.toLocaleString("en-US");
  await fill(nodes, "/names", count);
  const at = performance.now();
  const words = ["--directory", nodes.address("names")];
  const server = await startPtalk(1, Math.ceil(count * ROOM), false, { words });
  report.row({ name: `${many} names: until the server serves`, value: (performance.now() - at) / 1000, unit: "s" });
  const client = new Client(server.port);
  await client.register("bob", Identity.generate());
  const there = await client.ask("COUNT");
  if (there !== count + 1) throw new Error(`the server shows ${there} clients instead of ${count + 1}`);
  const memory = memoryOf(server.pid);
  report.row({ name: `${many} names: memory of the primary, its own`, value: memory.own, unit: "MiB" });
  report.row({ name: `${many} names: table in shared memory`, value: memory.shared, unit: "MiB" });
  report.row({ name: `${many} names: the most that the primary had`, value: memory.most, unit: "MiB" });
  const ptalk = serverPids(server.pid);
  const cpu = (pids) => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  await pause(2_000); // what the start has left over
  const before = { ptalk: cpu(ptalk), etcd: cpu(nodes.pids) };
  await pause(IDLE_MS);
  const load = (now, then) => ((now - then) / (IDLE_MS / 1000)) * 100;
  report.row({ name: "idle: CPU of the server", value: load(cpu(ptalk), before.ptalk), unit: "% of a core" });
  report.row({
    name: `idle: CPU of ${nodes.pids.length} etcd`,
    value: load(cpu(nodes.pids), before.etcd),
    unit: "% of a core",
  });
  client.socket.destroy();
  await server.stop();
}
