// `npm run simulate -- [--minutes M | --steps N] [--seed S] [--lives N] [--people N] [--ms MS] [--trace] [--planted]`: lives of many people
// and several servers (life.ts), one after the other, until the time is over or so many steps are done. Prints the seed of each life in
// which something was that must not be. Exit status 0: nothing was.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { standIn } from "./stand-ins.ts";

/** Before the world's is in its place. */
const realTime = performance.now.bind(performance);
const [FAILED, USAGE] = [1, 64];
/** Lives in which a planted fault has to show. */
const UNTIL_FOUND = 40;
/** Numbers of people: small worlds meet more, large ones meet other things. */
const SIZES = [6, 12, 24, 60, 200];
const SERVERS = 3;
const LIFE_MS = 40_000;
/** Violations of one life that are shown. */
const SHOWN = 5;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string" },
    steps: { type: "string" },
    seed: { type: "string" },
    lives: { type: "string" },
    people: { type: "string" },
    ms: { type: "string", default: String(LIFE_MS) },
    trace: { type: "boolean", default: false },
    planted: { type: "boolean", default: false },
    twice: { type: "boolean", default: false },
  },
});

function count(text: string | undefined, otherwise: number): number {
  const number = text === undefined ? otherwise : Number(text);
  if (number > 0) return number;
  console.error(`a number of that option is more than 0, not ${text}`);
  process.exit(USAGE);
}

const [{ native }, { IpcError }] = await Promise.all([import("../../lib/native.ts"), import("../../lib/ipc/error.ts")]);
const [{ Life }, { FAULTS }] = await Promise.all([import("./life.ts"), import("./faults.ts")]);
// A client loads it when it is on: from a world's disk it would come in no time.
await import("../../lib/client/left-messages.ts");
standIn(native, (errno, call) => new IpcError(errno, call));

const folder = mkdtempSync(join(tmpdir(), "ptalk-simulation-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

const ms = count(values.ms, LIFE_MS);
const peopleOf = (seed: number): number => count(values.people, SIZES[seed % SIZES.length] ?? 1);
const trace = values.trace ? (line: string) => console.log(line) : undefined;

async function live(seed: number, people: number, sabotage = {}): Promise<InstanceType<typeof Life>> {
  const life = new Life({ seed, people, servers: SERVERS, ms, folder, sabotage, ...(trace ? { trace } : {}) });
  await life.run();
  return life;
}

async function liveMany(): Promise<boolean> {
  const first = count(values.seed, 1);
  const lives =
    values.lives ??
    (values.seed !== undefined && values.minutes === undefined && values.steps === undefined ? "1" : undefined);
  const [most, steps] = [count(lives, Number.POSITIVE_INFINITY), count(values.steps, Number.POSITIVE_INFINITY)];
  const end =
    realTime() +
    (lives === undefined && values.steps === undefined
      ? count(values.minutes, 1)
      : count(values.minutes, Number.POSITIVE_INFINITY)) *
      60_000;
  const began = realTime();
  const sums = new Map<string, number>();
  const add = (what: string, number: number) => sums.set(what, (sums.get(what) ?? 0) + number);
  let isWell = true;
  for (let seed = first; seed < first + most && realTime() < end && (sums.get("steps") ?? 0) < steps; seed++) {
    const { violations, world, network, journal, done } = await live(seed, peopleOf(seed));
    add("lives", 1);
    add("steps", world.steps);
    add("seconds", Math.round(world.age / 1000));
    add("datagrams", network.datagrams);
    for (const [what, number] of Object.entries({ ...journal.sums, ...done })) add(what, number);
    if (violations.length === 0) continue;
    isWell = false;
    console.log(`seed ${seed} (--people ${peopleOf(seed)} --ms ${ms}):`);
    for (const violation of violations.slice(0, SHOWN)) console.log(`  ${violation}`);
  }
  const seconds = (realTime() - began) / 1000;
  console.log([...sums].map(([what, number]) => `${number} ${what}`).join(", "));
  console.log(`${Math.round((sums.get("steps") ?? 0) / seconds)} steps a second`);
  return isWell;
}

/** @returns whether each of them was found */
async function findPlanted(): Promise<boolean> {
  let areFound = true;
  for (const [name, plant] of Object.entries(FAULTS)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    const { undo, sabotage } = plant();
    let found: string | null = null;
    const first = count(values.seed, 1);
    for (let seed = first; seed < first + UNTIL_FOUND && found === null; seed++) {
      const [violation] = (await live(seed, SIZES[seed % 2] ?? 1, sabotage)).violations;
      if (violation !== undefined) found = `seed ${seed}: ${violation}`;
    }
    undo();
    console.log(`${name}: ${found ?? "NOT FOUND"}`);
    areFound &&= found !== null;
  }
  return areFound;
}

process.exitCode = (await (values.planted ? findPlanted() : liveMany())) ? 0 : FAILED;
