// `npm run simulate -- [--minutes M | --steps N | --lives N] [--seed S] [--people N] [--ms MS] [--trace]`: lives of many people and several
// servers (life.ts), one seed after the other, until the time is over or so much is done. Prints the seed of each life in which something
// was that must not be; with nothing but a seed, that life alone. `--twice` lives each again, and it has to be the same. `--planted [NAME...]`
// plants the faults of faults.ts, one after the other: each has to be found. Exit status 0: all is as it has to be.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { standIn } from "./stand-ins.ts";

/** Before the world's is in its place. */
const realTime = performance.now.bind(performance);
const [FAILED, USAGE] = [1, 64];
/** Lives in which a planted fault has to show. */
const UNTIL_FOUND = 100;
/** Numbers of people: small worlds meet more, large ones meet other things. */
const SIZES = [6, 12, 24, 60, 200];
/** In which faults on purpose are looked for. */
const PLANTED_SIZE = 12;
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
// A client loads it when it is on. Node finds what is loaded at once, and in the same turn.
await import("../../lib/client/left-messages.ts");
standIn(native, (errno, call) => new IpcError(errno, call));

const folder = mkdtempSync(join(tmpdir(), "ptalk-simulation-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(FAILED));

const ms = count(values.ms, LIFE_MS);
const peopleOf = (seed: number): number => count(values.people, SIZES[seed % SIZES.length] ?? 1);
const trace = values.trace ? (line: string) => console.log(line) : undefined;

async function live(seed: number, people: number, sabotage = {}): Promise<InstanceType<typeof Life>> {
  const life = new Life({ seed, people, servers: SERVERS, ms, folder, sabotage, ...(trace ? { trace } : {}) });
  await life.run();
  return life;
}

/** What one life was: the same for the same seed. */
const storyOf = ({ world, network, journal, done, violations }: InstanceType<typeof Life>) => ({
  ...{ steps: world.steps, seconds: Math.round(world.age / 1000), datagrams: network.datagrams },
  ...{ ...journal.sums, ...done, violations: violations.length },
});

/** @returns whether nothing was that must not be */
async function liveMany(): Promise<boolean> {
  const isOne = values.seed !== undefined && !values.minutes && !values.steps;
  const lives = count(values.lives, isOne ? 1 : Number.POSITIVE_INFINITY);
  const steps = count(values.steps, Number.POSITIVE_INFINITY);
  const isBounded = Number.isFinite(lives) || Number.isFinite(steps);
  const minutes = count(values.minutes, isBounded ? Number.POSITIVE_INFINITY : 1);
  const began = realTime();
  const sums: Record<string, number> = { lives: 0, steps: 0 };
  const isOver = (): boolean =>
    (sums["lives"] ?? 0) >= lives || (sums["steps"] ?? 0) >= steps || realTime() - began >= minutes * 60_000;
  for (let seed = count(values.seed, 1); !isOver(); seed++) {
    const people = peopleOf(seed);
    const life = await live(seed, people);
    const story = storyOf(life);
    for (const [what, number] of Object.entries({ lives: 1, ...story })) sums[what] = (sums[what] ?? 0) + number;
    if (values.twice && JSON.stringify(storyOf(await live(seed, people))) !== JSON.stringify(story)) {
      life.violations.push("the same seed has lived another life");
      sums["violations"] = (sums["violations"] ?? 0) + 1;
    }
    if (life.violations.length === 0) continue;
    console.log(`seed ${seed} (--people ${people} --ms ${ms}):`);
    for (const violation of life.violations.slice(0, SHOWN)) console.log(`  ${violation}`);
  }
  const told = Object.entries(sums).map(([what, number]) => `${number} ${what}`);
  console.log(told.join(", "));
  console.log(`${Math.round((sums["steps"] ?? 0) / ((realTime() - began) / 1000))} steps a second`);
  return sums["violations"] === 0;
}

/** @returns whether each of them was found */
async function findPlanted(): Promise<boolean> {
  const unknown = positionals.filter((name) => !(name in FAULTS));
  if (unknown.length > 0) {
    console.error(`no such fault: ${unknown.join(", ")}; there are: ${Object.keys(FAULTS).join(", ")}`);
    process.exit(USAGE);
  }
  const first = count(values.seed, 1);
  let areFound = true;
  for (const name of positionals.length > 0 ? positionals : Object.keys(FAULTS)) {
    const { undo, sabotage } = (FAULTS[name] as (typeof FAULTS)[string])();
    let found: string | null = null;
    for (let seed = first; seed < first + UNTIL_FOUND && found === null; seed++) {
      const people = count(values.people, PLANTED_SIZE);
      const [violation] = (await live(seed, people, sabotage)).violations;
      if (violation !== undefined) found = `seed ${seed} (--people ${people} --ms ${ms}): ${violation}`;
    }
    undo();
    console.log(`${name}: ${found ?? "NOT FOUND"}`);
    areFound &&= found !== null;
  }
  return areFound;
}

process.exitCode = (await (values.planted ? findPlanted() : liveMany())) ? 0 : FAILED;
