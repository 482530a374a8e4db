// `npm run fuzz -- [--minutes M] [--seed S] [--target NAME]`: throws inputs that are nearly right at what reads from others: each
// target of test/fuzz/targets.ts for so long, in a process of its own, as many at once as there are cores. What breaks one is
// made smaller, shown, and kept in test/corpus, which the tests try again. Exit status 0: nothing broke.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import fc from "fast-check";
import { keep } from "./corpus.ts";
import { PRIVATE_SHM, TARGETS } from "./targets.ts";

const LOADER = join(import.meta.dirname, "../../scripts/typescript.js");
/** A process that tries one input for so long hangs. */
const HANG_MS = 30_000;
const LOOK_MS = 500;
const USAGE = 64;
/** Characters of an input, and of an error, that are shown. */
const SHOWN = 2_000;

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly targets: readonly string[];
  /** In the process of one target: where the input that is being tried stands. */
  readonly current: string | undefined;
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: "string", default: "1" },
      seed: { type: "string", default: String(Date.now() % 2 ** 31) },
      target: { type: "string" },
      current: { type: "string" },
    },
  });
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  if (!(minutes > 0)) throw new Error("--minutes: more than 0");
  if (!Number.isInteger(seed)) throw new Error("--seed: a whole number");
  if (values.target !== undefined && TARGETS[values.target] === undefined) {
    throw new Error(`--target: no ${values.target}; there are ${Object.keys(TARGETS).join(", ")}`);
  }
  const targets = values.target === undefined ? Object.keys(TARGETS) : [values.target];
  return { minutes, seed, targets, current: values.current };
}

/** The process of one target: tries inputs until its time is over. Prints one line of JSON. */
async function tryInputs({ minutes, seed, targets: [name = ""] }: Options, current: string): Promise<void> {
  const target = TARGETS[name];
  if (target === undefined) throw new Error(`no target ${name}`);
  const subject = await target.open();
  const fd = openSync(current, "w");
  const property = fc.asyncProperty(target.inputs, async (input) => {
    // Before it is tried: if it takes the process along, or for ever, it is not lost.
    ftruncateSync(fd);
    writeSync(fd, JSON.stringify(input), 0);
    await subject.run(input);
  });
  const limits = { interruptAfterTimeLimit: minutes * 60_000, markInterruptAsFailure: false };
  const { failed, counterexample, errorInstance, numRuns } = await fc.check(property, {
    seed,
    numRuns: Number.MAX_SAFE_INTEGER,
    ...limits,
  });
  if (failed && counterexample !== null) {
    const broke =
      errorInstance instanceof Error ? (errorInstance.stack ?? errorInstance.message) : String(errorInstance);
    console.log(JSON.stringify({ runs: numRuns, found: { input: counterexample[0], broke } }));
    process.exit(1);
  }
  await subject.close?.();
  console.log(JSON.stringify({ runs: numRuns }));
}

interface Outcome {
  readonly target: string;
  readonly runs: number;
  readonly found?: { readonly input: unknown; readonly broke: string };
}

/** Runs one target in a process of its own, with a /dev/shm of its own where that can be had. */
async function fuzz(target: string, { minutes, seed }: Options, children: Set<ChildProcess>): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), "ptalk-fuzz-"));
  const current = join(folder, "current");
  const own = ["--target", target, "--minutes", String(minutes), "--seed", String(seed), "--current", current];
  const node = [process.execPath, "--import", LOADER, import.meta.filename, ...own];
  const [command = "", ...args] = namespaces === null ? node : [...namespaces, ...node];
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...(namespaces === null ? {} : { [PRIVATE_SHM]: "1" }) },
  });
  children.add(child);
  let output = "";
  let said = "";
  child.stdout?.on("data", (chunk) => (output += chunk));
  child.stderr?.on("data", (chunk) => (said = (said + chunk).slice(-SHOWN)));
  let hangs = false;
  const watch = setInterval(() => {
    if (Date.now() - modified(current, startedAt) < HANG_MS) return;
    hangs = true;
    child.kill("SIGKILL");
  }, LOOK_MS);
  const startedAt = Date.now();
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.once("close", (...end) => resolve(end));
  });
  clearInterval(watch);
  children.delete(child);
  try {
    const result = output.trim() === "" ? undefined : (JSON.parse(output) as Omit<Outcome, "target">);
    if (code === 0 && result) return { target, ...result };
    if (result?.found) return { target, ...result };
    const broke = hangs ? `hung for ${HANG_MS / 1000} s` : `ended with ${signal ?? code}: ${said}`;
    return { target, runs: result?.runs ?? 0, found: { input: inputIn(current), broke } };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** When the file was written last; that long ago at least is the start of who writes it. */
function modified(file: string, otherwise: number): number {
  return Math.max(otherwise, statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0);
}

function inputIn(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return null; // it ended before it tried anything
  }
}

/** What gives a command a /dev/shm of its own; null where there is no such thing. */
const namespaces: readonly string[] | null = privateShm();
function privateShm(): string[] | null {
  const user = process.getuid?.() === 0 ? [] : ["-r"];
  const command = ["unshare", "-m", ...user, "sh", "-c", `mount -t tmpfs tmpfs /dev/shm && exec "$@"`, "sh"];
  return spawnSync(command[0] as string, [...command.slice(1), "true"]).status === 0 ? command : null;
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = readOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`fuzz: ${error instanceof Error ? error.message : error}`);
    for (const [name, { about }] of Object.entries(TARGETS)) console.error(`  ${name.padEnd(12)} ${about}`);
    return USAGE;
  }
  if (options.current !== undefined) {
    await tryInputs(options, options.current);
    return 0;
  }
  const children = new Set<ChildProcess>();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      for (const child of children) child.kill("SIGKILL");
      process.exit(1);
    });
  }
  console.error(`fuzz: seed ${options.seed}, ${options.minutes} min a target`);
  const left = [...options.targets];
  let broken = 0;
  const lane = async () => {
    for (let target = left.shift(); target !== undefined; target = left.shift()) {
      const outcome = await fuzz(target, options, children);
      broken += report(outcome) ? 0 : 1;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, lane));
  console.log(`seed ${options.seed}: ${broken === 0 ? "nothing broke" : `${broken} targets broke`}`);
  return broken === 0 ? 0 : 1;
}

function report({ target, runs, found }: Outcome): boolean {
  console.log(`${target}: ${runs} inputs${found ? ", and this one broke it" : ""}`);
  if (found === undefined) return true;
  console.log(found.broke.slice(0, SHOWN).replace(/^/gm, "  "));
  console.log(`  ${JSON.stringify(found.input).slice(0, SHOWN)}\n  kept in ${keep(target, found)}`);
  return false;
}

process.exitCode = await main();
