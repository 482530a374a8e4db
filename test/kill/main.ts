// `npm run test:mailbox -- [--minutes M] [--seed S] [--parallel N] [--plant all|NAME]`: SIGKILL to server, sender and recipient of messages
// that are left, at every named point and at any moment (run.ts); the journals are read by check.ts. A line for each kind of kill at the end.
// Exit status 0: no violation, or, with --plant, that each planted one was found.
import { parseArgs } from "node:util";
import { Random } from "../helpers/random.ts";
import { PLANTS, type Plant, type RunResult, run } from "./run.ts";

/** Messages of one run, and kills. */
const MESSAGES = 30;
const KILLS = 40;
/** Runs in which a planted fault has to show itself. */
const PLANT_RUNS = 12;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
    parallel: { type: "string", default: "2" },
    plant: { type: "string" },
  },
});
const seed = Number(values.seed);
const end = performance.now() + Number(values.minutes) * 60_000;
console.log(`seed ${seed}`);
process.exitCode = values.plant === undefined ? await search() : await plants(values.plant);

/** @returns the exit status */
async function search(): Promise<number> {
  const kills = new Map<string, number>();
  const sums = { runs: 0, kills: 0, messages: 0, shown: 0, again: 0, receipts: 0, violations: 0 };
  const add = (result: RunResult): void => {
    sums.runs++;
    sums.messages += MESSAGES;
    for (const key of ["shown", "again", "receipts"] as const) sums[key] += result[key];
    for (const [where, count] of result.kills) {
      sums.kills += count;
      kills.set(where, (kills.get(where) ?? 0) + count);
    }
    sums.violations += result.violations.length;
    for (const { rule, text } of result.violations) console.log(`VIOLATION ${rule}: ${text}`);
    if (result.violations.length > 0) console.log(result.journal);
  };
  const lane = async (number: number): Promise<void> => {
    for (let i = 0; performance.now() < end; i++) {
      add(await run({ random: new Random(seed + number + 1000 * i), messages: MESSAGES, kills: KILLS }));
    }
  };
  await Promise.all(Array.from({ length: Number(values.parallel) }, (_, number) => lane(number)));
  for (const [where, count] of [...kills].sort()) console.log(`${String(count).padStart(7)}  ${where}`);
  console.log(`${JSON.stringify(sums)} ${sums.violations === 0 ? "ok" : "FAILED"}`);
  return sums.violations === 0 ? 0 : 1;
}

/** @returns the exit status */
async function plants(wanted: string): Promise<number> {
  const names = Object.keys(PLANTS).filter((name) => wanted === "all" || name === wanted) as Plant[];
  if (names.length === 0) throw new Error(`--plant: all, or one of ${Object.keys(PLANTS).join(", ")}`);
  let missed = 0;
  for (const plant of names) if (!(await isFound(plant))) missed++;
  return missed === 0 ? 0 : 1;
}

async function isFound(plant: Plant): Promise<boolean> {
  let kills = 0;
  for (let i = 0; i < PLANT_RUNS; i++) {
    const result = await run({ random: new Random(seed + i), messages: MESSAGES, kills: KILLS, plant });
    for (const count of result.kills.values()) kills += count;
    const hit = result.violations.find(({ rule }) => PLANTS[plant].some((wanted) => wanted === rule));
    if (hit === undefined) continue;
    console.log(`planted "${plant}": found after ${kills} kills: ${hit.rule}: ${hit.text}`);
    return true;
  }
  console.log(`planted "${plant}": NOT FOUND in ${kills} kills`);
  return false;
}
