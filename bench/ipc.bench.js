// Semaphores and signals through ptalk/ipc beside the same in C, compiled here and run in the same minute.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Semaphore, SharedMemory, sigaction, sigqueue } from "../dist/ipc/index.js";
import { queues, roundTrips } from "./queues.js";

// Each figure is the best of many short rounds: what else the machine does only ever makes a round slower, and a round
// shorter than the scheduler's slice can escape it.
const ROUNDS = 40;
const PAIRS = 50_000;
const WAITS = 10_000;
const TRIPS = 300;
const MAPS = 50;
const SIGNAL = "SIGRTMIN+1";

/** Nanoseconds for one of `count`, at best. With a reference, its rounds alternate with ours: [ours, the reference's]. */
async function best(count, measure, reference = () => 0) {
  let least = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let i = 0; i < ROUNDS; i++) {
    const other = reference(count);
    const start = process.hrtime.bigint();
    await measure(count);
    const ours = Number(process.hrtime.bigint() - start) / count;
    least = [Math.min(least[0], ours), Math.min(least[1], other)];
  }
  return least;
}

function compileReference() {
  const folder = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  const program = join(folder, "ipc");
  execFileSync("cc", ["-O2", "-o", program, join(import.meta.dirname, "ipc.c"), "-pthread", "-lrt"]);
  const run =
    (what, ...rest) =>
    (count) =>
      Number(execFileSync(program, [what, String(count), ...rest.map(String)], { timeout: 60_000 }));
  const messages = (size, count) => run("messages", size)(count);
  return {
    pairs: run("pairs"),
    signals: run("signals"),
    trips: run("trips"),
    messages,
    remove: () => rmSync(folder, { recursive: true }),
  };
}

function pairs(sem) {
  return (count) => {
    for (let i = 0; i < count; i++) {
      sem.wait();
      sem.post();
    }
  };
}

function asyncWaits(sem) {
  return async (count) => {
    for (let i = 0; i < count; i++) {
      await sem.waitAsync();
      sem.post();
    }
  };
}

/** The other process: answers each signal. */
const echo = () => `
  import { sigaction, sigqueue } from ${JSON.stringify(new URL("../dist/ipc/index.js", import.meta.url).href)};
  sigaction(${JSON.stringify(SIGNAL)}, ({ pid, value }) => sigqueue(pid, ${JSON.stringify(SIGNAL)}, value));
  process.stdin.on("end", () => process.exit()).resume();
  console.log("ready");`;

async function withOther(action) {
  const other = spawn(process.execPath, ["--input-type=module", "-e", echo()], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(other.stdout, "data");
  try {
    await action(other.pid);
  } finally {
    other.stdin.end();
    await once(other, "exit");
  }
}

function signalTrips(pid) {
  return (count) =>
    new Promise((resolve) => {
      let left = count;
      const claim = sigaction(SIGNAL, () => {
        if (--left > 0) return sigqueue(pid, SIGNAL, left);
        claim[Symbol.dispose]?.();
        resolve();
      });
      sigqueue(pid, SIGNAL, left);
    });
}

function createAndUnlink(name) {
  return (count) => {
    for (let i = 0; i < count; i++) {
      const shm = SharedMemory.create(name, { size: 4096 });
      shm.close();
      shm.unlink();
    }
  };
}

export async function run(report) {
  const name = `/ptalk-bench-${process.pid}`;
  const reference = compileReference();
  const sem = Semaphore.create(name, { value: 1 });
  try {
    const [js, c] = await best(PAIRS, pairs(sem), reference.pairs);
    report.row({ name: "sem_wait + sem_post in C", value: c, unit: "ns" });
    const ratio = js / c;
    report.row({ name: "wait + post", value: js, unit: "ns", ratio, target: "at most 8x C", met: ratio <= 8 });

    const waited = (await best(WAITS, asyncWaits(sem)))[0] / 1000;
    const met = waited < 50;
    report.row({ name: "uncontended waitAsync + post", value: waited, unit: "us", target: "under 50 us", met });

    await withOther(async (pid) => {
      const [trip, cTrip] = await best(TRIPS, signalTrips(pid), reference.signals);
      report.row({ name: "signal round trip in C", value: cTrip / 1000, unit: "us" });
      report.row({ name: "sigqueue to callback and back", value: trip / 1000, unit: "us", ratio: trip / cTrip });
    });

    const [made] = await best(MAPS, createAndUnlink(name));
    report.row({ name: "create, map, close, unlink 4 KiB", value: made / 1000, unit: "us" });

    await roundTrips(report, reference);
    await queues(report, reference);
  } finally {
    sem.close();
    sem.unlink();
    reference.remove();
  }
}
