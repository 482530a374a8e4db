// What a server costs: CPU time of all its processes, its workers and the one that asks the user database among them.
import { readFileSync } from "node:fs";
import { cpuSeconds, pause } from "../server/programs.js";

const MS = 1000;
/** Between two looks at how many are on. */
const POLL_MS = 10;
const PATIENCE_MS = 60_000;

export function serverPids(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim();
  return [pid, ...children.split(" ").filter(Boolean).map(Number)];
}

/** @returns what `work` took: {ms, cpuMs}. The clock of CPU time ticks a hundred times a second */
export async function measured(pid, work) {
  const pids = serverPids(pid);
  const cpu = () => pids.reduce((sum, one) => sum + cpuSeconds(one), 0);
  const [at, before] = [performance.now(), cpu()];
  await work();
  return { ms: performance.now() - at, cpuMs: (cpu() - before) * MS };
}

/** @param asker a client that may ask COUNT */
export async function untilOn(asker, clients, patienceMs = PATIENCE_MS) {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const on = await asker.ask("COUNT");
    if (on === clients) return;
    if (performance.now() > deadline) throw new Error(`${on} clients are on instead of ${clients}`);
    await pause(POLL_MS);
  }
}

/** Runs `task(i)` for 0 to count - 1, so many at once. */
export async function inParallel(count, atOnce, task) {
  let next = 0;
  const results = [];
  const lane = async () => {
    while (next < count) {
      const i = next++;
      results[i] = await task(i);
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, atOnce) }, lane));
  return results;
}
