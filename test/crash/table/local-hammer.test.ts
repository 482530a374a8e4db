// Hundreds of processes of one user join and leave thousands of times, some are killed: no member ever sits in a dying segment,
// and in the end nothing is left.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { filesOf, freshUid, isRoot, NEEDS_ROOT, sweepUsers } from "../../directory/shm/support/users.ts";
import { times } from "../../helpers/volume.ts";

const FIXTURE = join(import.meta.dirname, "../../fixtures/table/local-hammer.js");
const PROCESSES = times(30);
const AT_ONCE = 10;
const CYCLES = 60;
const WATCHDOG_MS = 30_000;

afterAll(sweepUsers);

interface End {
  joins: number;
  killed: boolean;
  stderr: string;
}

/** One process; with a number, it is killed after so many ms. */
function run(uid: number, seed: number, killAfterMs: number | null): Promise<End> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [FIXTURE, `${uid}`, `${CYCLES}`, `${seed}`], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    let stderr = "";
    child.stdout.on("data", (data) => {
      out += data;
    });
    child.stderr.on("data", (data) => {
      stderr += data;
    });
    const killer = killAfterMs === null ? null : setTimeout(() => child.kill("SIGKILL"), killAfterMs);
    const watchdog = setTimeout(() => reject(new Error(`hangs: ${out}${stderr}`)), WATCHDOG_MS);
    child.on("close", (code, signal) => {
      if (killer) clearTimeout(killer);
      clearTimeout(watchdog);
      if (code !== 0 && signal !== "SIGKILL") reject(new Error(`exit ${code} ${signal}: ${stderr}`));
      else resolve({ joins: Number(/joins (\d+)/.exec(out)?.[1] ?? 0), killed: signal === "SIGKILL", stderr });
    });
  });
}

describe.skipIf(!isRoot)(`the local table under a crowd (${NEEDS_ROOT})`, () => {
  it("never has two live members on different objects, and nothing is left", { timeout: 600_000 }, async () => {
    const uid = freshUid();
    let started = 0;
    const ends: End[] = [];
    const lane = async () => {
      while (started < PROCESSES) {
        const seed = ++started;
        ends.push(await run(uid, seed, seed % 3 === 0 ? 40 + ((seed * 37) % 160) : null));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    const killed = ends.filter((end) => end.killed).length;
    const joins = ends.reduce((sum, end) => sum + end.joins, 0);
    expect(ends.length).toBe(PROCESSES);
    expect(killed).toBeGreaterThan(PROCESSES / 10);
    expect(joins).toBeGreaterThan(PROCESSES * 10);
    console.log(`${PROCESSES} processes, ${killed} killed, more than ${joins} joins`);
    await run(uid, 1, null); // the last one leaves alive
    expect(filesOf(uid)).toEqual([]);
  });
});
