// Kills processes that use a Mutex at random instants: node test/crash/mutex-kill.js [--kills 1000] [--processes 4]
// Ends with one line of counts, and exits 1 unless violations, errors, stuck and leftovers are 0 and every process still gets in.
import { fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Mutex, SharedMemory } from "../../dist/ipc/index.js";

/** No entry at all for this long is a hang. */
const STUCK_MS = 10_000;
const PAUSE_MAX_MS = 6;
/** Processes that wait for their turn, so that starting one is not what the run consists of. */
const AHEAD = 2;

const { values } = parseArgs({
  options: { kills: { type: "string", default: "1000" }, processes: { type: "string", default: "4" } },
});
const wanted = Number(values.kills);
const processes = Number(values.processes);
const name = `/test-ptalk-mutex-${process.pid}-${randomBytes(4).toString("hex")}`;
const data = SharedMemory.create(`${name}-data`, { size: 4 * 64 });
const words = new Int32Array(data.buffer);
const sections = () => words.subarray(8).reduce((sum, count) => sum + count, 0);
const victims = new Set();

function spawnVictim(number) {
  const child = fork(join(import.meta.dirname, "../fixtures/ipc/mutex-victim.js"), [name, data.name, String(number)], {
    stdio: ["pipe", "inherit", "inherit", "ipc"],
  });
  const victim = { number, child, ready: false };
  child.stdin.on("error", () => {});
  child.once("message", () => (victim.ready = true));
  child.once("exit", () => victims.delete(victim));
  victims.add(victim);
}

for (let number = 0; number < processes + AHEAD; number++) spawnVictim(number);
let kills = 0;
let stuck = 0;
let before = { sections: 0, at: performance.now() };
while (kills < wanted && stuck === 0) {
  await sleep(Math.random() * PAUSE_MAX_MS);
  const now = sections();
  if (now !== before.sections) before = { sections: now, at: performance.now() };
  else if (performance.now() - before.at > STUCK_MS) stuck++;
  const ready = [...victims].filter((victim) => victim.ready);
  if (ready.length < processes / 2) continue;
  const victim = ready[Math.floor(Math.random() * ready.length)];
  victim.ready = false;
  victim.child.kill("SIGKILL");
  kills++;
  spawnVictim(victim.number);
}
const last = Array.from(words.subarray(8, 8 + processes));
for (const start = performance.now(); last.some((count, i) => words[8 + i] === count); await sleep(10)) {
  if (performance.now() - start < STUCK_MS) continue;
  stuck++;
  break;
}
const ends = [...victims].map(({ child }) => new Promise((resolve) => child.once("exit", resolve)));
for (const { child } of victims) child.kill("SIGKILL");
await Promise.all(ends);
Mutex.unlink(name);
data.unlink();
const leftovers = readdirSync("/dev/shm").filter((file) => file.includes(name.slice(1))).length;
const result = {
  kills,
  sections: sections(),
  abandoned: words[4],
  violations: words[3],
  errors: words[5],
  stuck,
  leftovers,
};
const bad = result.violations + result.errors + stuck + leftovers;
console.log(`${JSON.stringify(result)} ${bad === 0 ? "ok" : "FAILED"}`);
process.exitCode = bad === 0 ? 0 : 1;
