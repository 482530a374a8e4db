// ReadersWriterLock: what a section costs, what readers get together, how soon survivors go on after a writer is killed inside.
// The reference (reference/lock.c) is the same algorithm, and pthread_rwlock, in C without a thought of crashes.
import { execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ReadersWriterLock } from "../dist/ipc/index.js";

const here = join(import.meta.dirname, "reference");
const MEASURE_MS = 2000;
const COST_ROUNDS = 5;
const COST_SECTIONS = 200_000;
/** Kills of a writer inside its section; PTALK_BENCH_KILLS=1000 for the figure of the closing note. */
const KILLS = Number(process.env.PTALK_BENCH_KILLS ?? 100);
/** Victims made ready ahead of their kill, so that starting Node is not what the run consists of. */
const AHEAD = 3;
const PROMISE_MS = 1000;

export async function run(report) {
  const reference = compileReference();
  const name = `/ptalk-bench-lock-${process.pid}`;
  const lock = ReadersWriterLock.create(name, { repair: () => {} });
  try {
    for (const kind of ["read", "write"]) await cost(report, lock, kind, reference);
    for (const kind of ["read", "write"]) await throughput(report, name, kind, reference);
    await beside(report, name);
    await recovery(report, lock);
  } finally {
    lock.unlink();
    reference.remove();
  }
}

function compileReference() {
  const folder = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  const program = join(folder, "lock");
  execFileSync("cc", ["-std=gnu11", "-O2", "-o", program, join(here, "lock.c"), "-lrt", "-pthread"]);
  const rate = (what, kind, processes) =>
    Number(execFileSync(program, [what, kind, String(MEASURE_MS / 1000), String(processes)]).toString());
  return { rate, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

async function cost(report, lock, kind, reference) {
  const method = kind === "read" ? "withRead" : "withWrite";
  const nothing = () => {};
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < COST_ROUNDS; round++) {
    const start = performance.now();
    for (let i = 0; i < COST_SECTIONS; i++) await lock[method](nothing);
    best = Math.min(best, ((performance.now() - start) * 1000) / COST_SECTIONS);
  }
  const c = 1e6 / reference.rate("classical", kind, 1);
  report.row({
    name: `${kind} section alone, best of ${COST_ROUNDS} (ratio: the algorithm in C, not crash-safe)`,
    value: best,
    unit: "us",
    ratio: best / c,
  });
}

async function throughput(report, name, kind, reference) {
  const one = await together(name, [kind]);
  const two = await together(name, [kind, kind]);
  const each = (processes) => reference.rate("rwlock", kind, processes);
  report.row({
    name: `${kind}s, 1 process (ratio: pthread_rwlock in C)`,
    value: one[0],
    unit: "/s",
    ratio: one[0] / each(1),
  });
  const sum = two[0] + two[1];
  report.row({
    name: `${kind}s, 2 processes (ratio: pthread_rwlock in C)`,
    value: sum,
    unit: "/s",
    ratio: sum / each(2),
  });
  report.row({
    name: `${kind}s, 2 processes: the slower one's part`,
    value: Math.min(...two),
    unit: "/s",
    ratio: Math.min(...two) / sum,
  });
}

async function beside(report, name) {
  const [reads, writes] = await together(name, ["read", "write"]);
  report.row({ name: "reads beside a hammering writer", value: reads, unit: "/s" });
  report.row({ name: "writes beside a hammering reader", value: writes, unit: "/s" });
}

/** Sections per second of each process, running at once. */
async function together(name, kinds) {
  const workers = kinds.map((kind) => fork(join(here, "lock-worker.js"), [name, kind, String(MEASURE_MS)]));
  const ended = workers.map((worker) => once(worker, "exit")); // one may be gone before the other has its figure
  await Promise.all(workers.map((worker) => once(worker, "message")));
  const rates = workers.map((worker) => once(worker, "message").then(([rate]) => rate));
  for (const worker of workers) worker.send("go");
  const result = await Promise.all(rates);
  await Promise.all(ended);
  return result;
}

async function recovery(report, lock) {
  const times = [];
  const ready = [];
  for (let kill = 0; kill < KILLS; kill++) {
    while (ready.length < Math.min(AHEAD, KILLS - kill)) ready.push(victim(lock.name));
    times.push(await killedInside(lock, await ready.shift()));
  }
  times.sort((a, b) => a - b);
  const target = `< ${PROMISE_MS} ms`;
  const row = (what, value) =>
    report.row({
      name: `SIGKILL of a writer inside to the next one's section, ${what} of ${KILLS}`,
      value,
      unit: "ms",
      target,
      met: value < PROMISE_MS,
    });
  row("median", times[Math.floor(times.length / 2)]);
  row("worst", times.at(-1));
}

/** A process that has been started, and enters when told. */
async function victim(name) {
  const child = fork(join(here, "lock-worker.js"), [name, "hold"]);
  await once(child, "message");
  return child;
}

/** Milliseconds from the kill of the writer inside to the section of one who has been waiting for some time. */
async function killedInside(lock, child) {
  child.send("go");
  await once(child, "message");
  const entered = lock.withWrite(() => performance.now());
  await sleep(Math.random() * 150);
  const killed = performance.now();
  child.kill("SIGKILL");
  return (await entered) - killed;
}
