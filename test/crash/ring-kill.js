// Kills writers and readers of a ring at random instants: node test/crash/ring-kill.js [--kills 1000] [--writers 3] [--readers 2]
// Ends with one line of counts, and exits 1 unless torn, disordered, doubled, lost, errors, stuck and leftovers are 0.
// lost: messages that were pushed and never taken, but for at most one that each killed reader may have taken along; doubled: taken more
// often than pushed.
import { fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { RingBuffer, SharedMemory } from "../../dist/ipc/index.js";

/** No message taken for this long is a hang. */
const STUCK_MS = 10_000;
const PAUSE_MAX_MS = 8;
/** Processes of each role beyond those asked for: starting one should not be what the run consists of. */
const AHEAD = 1;

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "1000" },
    writers: { type: "string", default: "3" },
    readers: { type: "string", default: "2" },
  },
});
const wanted = Number(values.kills);
const name = `/test-ptalk-ring-${process.pid}-${randomBytes(4).toString("hex")}`;
const numbers = Number(values.writers) + AHEAD + wanted;
const ledger = SharedMemory.create(`${name}-ledger`, { size: 4 * (8 + 2 * numbers) });
const words = new Int32Array(ledger.buffer);
// Taken part in here, so that neither side counts as deserted.
const [reader, writer] = ["reader", "writer"].map((role) => RingBuffer.openOrCreate(name, { size: 16_384, role }));
const victims = new Set();
let nextNumber = 0;

function spawnVictim(role) {
  const number = role === "writer" ? nextNumber++ : 0;
  const child = fork(
    join(import.meta.dirname, "../fixtures/ipc/ring-victim.js"),
    [name, ledger.name, role, String(number)],
    {
      stdio: ["pipe", "inherit", "inherit", "ipc"],
    },
  );
  const victim = { role, child, ready: false };
  child.stdin.on("error", () => {});
  child.once("message", () => (victim.ready = true));
  child.once("exit", () => victims.delete(victim));
  victims.add(victim);
}

const sum = (first) => {
  let total = 0;
  for (let number = 0; number < numbers; number++) total += Atomics.load(words, first + 2 * number);
  return total;
};
const kills = { writer: 0, reader: 0 };
let stuck = 0;
let before = { taken: 0, at: performance.now() };
for (const role of ["writer", "reader"]) for (let i = 0; i < Number(values[`${role}s`]) + AHEAD; i++) spawnVictim(role);
while (kills.writer + kills.reader < wanted && stuck === 0) {
  await sleep(Math.random() * PAUSE_MAX_MS);
  const taken = sum(9);
  if (taken !== before.taken) before = { taken, at: performance.now() };
  else if (performance.now() - before.at > STUCK_MS) stuck++;
  const role = Math.random() < 0.5 ? "writer" : "reader";
  const ready = [...victims].filter((victim) => victim.ready && victim.role === role);
  if (ready.length < 2) continue;
  const victim = ready[Math.floor(Math.random() * ready.length)];
  victim.ready = false;
  victim.child.kill("SIGKILL");
  kills[role]++;
  spawnVictim(role);
}
// The writers end first; then the readers take all that is left.
const endAll = async (role) => {
  const ends = [...victims]
    .filter((victim) => victim.role === role)
    .map(({ child }) => {
      const end = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      return end;
    });
  await Promise.all(ends);
  return ends.length;
};
const lastWriters = await endAll("writer");
for (const start = performance.now(); reader.stats().bytes > 0; await sleep(5)) {
  if (performance.now() - start < STUCK_MS) continue;
  stuck++;
  break;
}
await sleep(100); // counts the messages taken last
const lastReaders = await endAll("reader");
const [pushed, taken] = [sum(8), sum(9)];
// A writer may have died between its push and its note, a reader between its pop and its.
const lost = Math.max(0, pushed - taken - kills.reader - lastReaders);
const doubled = Math.max(0, taken - pushed - kills.writer - lastWriters);
for (const each of [reader, writer]) each.close();
RingBuffer.unlink(name);
ledger.unlink();
const leftovers = readdirSync("/dev/shm").filter((file) => file.includes(name.slice(1))).length;
const [torn, disordered, errors] = words;
const result = { kills, pushed, taken, torn, disordered, lost, doubled, errors, stuck, leftovers };
const bad = torn + disordered + lost + doubled + errors + stuck + leftovers;
console.log(`${JSON.stringify(result)} ${bad === 0 ? "ok" : "FAILED"}`);
process.exitCode = bad === 0 ? 0 : 1;
