// SIGKILL (and now and then SIGSTOP) at random moments to processes that hammer one lock, for as many kills as asked:
//
//   npm run test:kill -- [--kills 10000] [--processes 6]
//
// Ends with one line of counts and exits 1 unless all of violations, torn, hangs, errors, lost, stuck, failures and
// leftovers are 0.
// violations: someone inside beside a writer, as the kernel saw it; torn: a half-written record seen inside; hangs: a wait that
// timed out; stuck: nobody entering for STUCK_MS; lost: records acknowledged and gone; failures: processes that ended by
// themselves; leftovers: files in /dev/shm at the end.
import { fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { ReadersWriterLock, SharedMemory } from "../../dist/ipc/index.js";
import { ARENA_BYTES, Arena, NUMBERS } from "../fixtures/lock/arena.js";

/** Nobody at all entering for this long is a hang. */
const STUCK_MS = 10_000;
/** Longest pause between two attacks, and longest stop, in milliseconds. */
const PAUSE_MAX_MS = 8;
const STOP_MAX_MS = 30;
/** Part of the attacks that hit several processes at once, so that recoverers die, too; and that stop one instead. */
const BURST_SHARE = 0.2;
const STOP_SHARE = 0.1;
/** As many processes that end by themselves end the run. */
const FAILURES_MAX = 10;
const REPORT_EVERY_MS = 30_000;

const { values } = parseArgs({
  options: { kills: { type: "string", default: "10000" }, processes: { type: "string", default: "6" } },
});
const wantedKills = Number(values.kills);
const processes = Math.min(Number(values.processes), NUMBERS);
// Not "/ptalk-…": those are for `ptalk ipc --clean` to take away, whoever runs it meanwhile.
const name = `/test-ptalk-kill-${process.pid}-${randomBytes(4).toString("hex")}`;
const arenaShm = SharedMemory.create(`${name}-arena`, { size: ARENA_BYTES });
const arena = new Arena(arenaShm.buffer);
const victims = new Map();
let kills = 0;
let stuck = 0;
/** Processes that ended by themselves. */
let failures = 0;
let over = false;

function spawnVictim(number) {
  const child = fork(join(import.meta.dirname, "../fixtures/lock/victim.js"), [name, arenaShm.name, String(number)], {
    stdio: ["pipe", "inherit", "inherit", "ipc"],
  });
  const victim = { number, child, ready: false };
  victims.set(number, victim);
  child.stdin.on("error", () => {});
  child.on("message", () => {
    victim.ready = true;
  });
  child.on("close", (code) => {
    if (victims.get(number) === victim) victims.delete(number);
    if (code !== null && !over) failures++;
    if (!over && failures < FAILURES_MAX) spawnVictim(number);
  });
}

const readyVictims = () => [...victims.values()].filter((victim) => victim.ready);

function anyOf(list) {
  return list[Math.floor(Math.random() * list.length)];
}

function kill(victim) {
  victim.ready = false;
  victim.child.kill("SIGKILL");
  kills++;
}

async function stop(victim) {
  victim.ready = false;
  victim.child.kill("SIGSTOP");
  await sleep(Math.random() * STOP_MAX_MS);
  victim.child.kill("SIGCONT");
  victim.ready = true;
}

async function attack() {
  const ready = readyVictims();
  // Somebody has to be left to recover.
  if (ready.length <= processes / 2) return;
  const victim = anyOf(ready);
  if (Math.random() < STOP_SHARE) return stop(victim);
  kill(victim);
  if (Math.random() >= BURST_SHARE) return;
  for (let more = Math.random() * 3; more > 0; more--) {
    await sleep(Math.random() * 3);
    const next = anyOf(readyVictims());
    if (next !== undefined) kill(next);
  }
}

function counts() {
  const stats = openStats();
  return { kills, sections: arena.sections, recoveries: stats?.recoveries, ...arena.findings, stuck, failures };
}

function openStats() {
  try {
    const lock = ReadersWriterLock.open(name);
    const stats = lock.stats();
    lock.close();
    return stats;
  } catch {
    return undefined;
  }
}

function watchProgress() {
  let sections = -1;
  let since = performance.now();
  let reported = since;
  return setInterval(() => {
    const now = performance.now();
    if (arena.sections !== sections) since = now;
    else if (now - since > STUCK_MS) {
      stuck++;
      since = now;
      console.error("nobody enters:", JSON.stringify(openStats()));
    }
    sections = arena.sections;
    if (now - reported < REPORT_EVERY_MS) return;
    reported = now;
    console.log(JSON.stringify(counts()));
  }, 100);
}

/** Every process number must still get in after the last kill. */
async function everyoneGoesOn() {
  const before = [...Array(processes).keys()].map((number) => arena.sectionsOf(number));
  for (const start = performance.now(); performance.now() - start < STUCK_MS; await sleep(10))
    if (before.every((sections, number) => arena.sectionsOf(number) > sections)) return;
  stuck++;
}

for (let number = 0; number < processes; number++) spawnVictim(number);
const watch = watchProgress();
while (kills < wantedKills && failures < FAILURES_MAX) {
  await sleep(Math.random() * PAUSE_MAX_MS);
  await attack();
}
await everyoneGoesOn();
const result = counts();
over = true;
clearInterval(watch);
await Promise.all(
  [...victims.values()].map(({ child }) => new Promise((resolve) => child.on("close", resolve).kill("SIGKILL"))),
);
ReadersWriterLock.unlink(name);
arenaShm.unlink();
result.leftovers = readdirSync("/dev/shm").filter((file) => file.includes(name.slice(1))).length;
const { violations, torn, hangs, errors, lost, leftovers } = result;
const bad = violations + torn + hangs + errors + lost + leftovers + stuck + failures;
console.log(`${JSON.stringify(result)} ${bad === 0 ? "ok" : "FAILED"}`);
process.exitCode = bad === 0 ? 0 : 1;
