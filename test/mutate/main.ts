// `npm run mutate -- [--seed N] [--count M] [--only PREFIX,…] [--limit SECONDS] [--report FILE] [--keep]`: changes the sources of
// lib/ and native/, one small change at a time, drawn at random, and asks the tests whether they notice. All of it happens in a
// copy with a build of its own, and where there are namespaces the tests run in some of their own, so that nothing of a broken
// program is left. Prints each change with what noticed it, and those that nothing noticed with their lines.
//
// For each change the tests that are about its module run first, then those with its name, then all others that can reach it, until one fails or the time
// is over: the limit is printed, and "survived" means within it. How long a test takes is measured first, or read from the JSON
// report of an earlier run (PTALK_VITEST_JSON).
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Random } from "../helpers/random.ts";
import { applied, difference, type Mutant, mutantsOf } from "./mutants.ts";
import { Relevance } from "./relevant.ts";

const ROOT = join(import.meta.dirname, "../..");
/** Nothing of these is looked at: what is built, and what belongs to git. */
const LEFT_OUT = new Set([
  ".git",
  "dist",
  "coverage",
  "build-asan",
  "build-valgrind",
  "build-editor",
  "build-prebuild",
]);
/** A group of tests that takes so many times as long as it should hangs. */
const PATIENCE = 4;
const LEAST_SECONDS = 90;
const USAGE = 64;
/** What "noticed" when the tests did not end. */
const TIME = "time";

interface Options {
  readonly seed: number;
  readonly count: number;
  readonly only: readonly string[];
  readonly limitSeconds: number;
  readonly report: string | undefined;
  readonly keep: boolean;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: String(Date.now() % 2 ** 31) },
      count: { type: "string", default: "20" },
      only: { type: "string", default: "lib,native" },
      limit: { type: "string", default: "600" },
      report: { type: "string" },
      keep: { type: "boolean", default: false },
    },
  });
  const [seed, count, limitSeconds] = [Number(values.seed), Number(values.count), Number(values.limit)];
  if (!Number.isInteger(seed)) throw new Error("--seed: a whole number");
  if (!(Number.isInteger(count) && count > 0)) throw new Error("--count: a whole number above 0");
  if (!(limitSeconds > 0)) throw new Error("--limit: seconds, above 0");
  if (values.report !== undefined && !existsSync(values.report))
    throw new Error(`--report: there is no ${values.report}`);
  return { seed, count, only: values.only.split(","), limitSeconds, report: values.report, keep: values.keep };
}

interface Finished {
  readonly status: number | null;
  readonly timedOut: boolean;
  readonly output: string;
}

/** A copy of the checkout, in which everything may be broken. */
class Scratch {
  readonly root: string;

  constructor() {
    const folder = mkdtempSync(join(tmpdir(), "ptalk-mutate-"));
    // Tests become other users, who have to get there.
    chmodSync(folder, 0o755);
    this.root = join(folder, "ptalk");
    cpSync(ROOT, this.root, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (source) => !LEFT_OUT.has(source.slice(ROOT.length + 1)) && source !== join(ROOT, "node_modules"),
    });
    // A copy of its own: the test runner keeps files there.
    spawnSync("cp", ["-a", "--reflink=auto", `${join(ROOT, "node_modules")}/.`, join(this.root, "node_modules")]);
  }

  remove(): void {
    rmSync(join(this.root, ".."), { recursive: true, force: true });
  }
  read(file: string): string {
    return readFileSync(join(this.root, file), "utf8");
  }
  write(file: string, text: string): void {
    writeFileSync(join(this.root, file), text);
  }

  /** @returns what went wrong, or null */
  async build(file: string): Promise<string | null> {
    if (file.startsWith("native/")) {
      const { status, output } = await this.run(["make", "-s", "-C", "build", "BUILDTYPE=Release"], 600);
      return status === 0 ? null : output;
    }
    // A change may be no right TypeScript and still a program: types are not asked for.
    const { status, output } = await this.run(
      ["npx", "tsc", "-p", "tsconfig.build.json", "--noCheck", "--declaration", "false"],
      600,
    );
    const bundled = status === 0 ? await this.run([process.execPath, "scripts/bundle.js"], 600) : { status, output };
    return bundled.status === 0 ? null : bundled.output;
  }

  /** @returns the first test that failed, "time" if they did not end, null if all passed */
  async test(files: readonly string[], seconds: number): Promise<string | null> {
    if (files.length === 0) return null;
    const report = join(this.root, "report.json");
    rmSync(report, { force: true });
    const command = ["npx", "vitest", "run", "--bail", "1", "--reporter", "json", "--outputFile", report, ...files];
    const { status, timedOut, output } = await this.run(command, seconds);
    if (timedOut) return TIME;
    if (status === 0) return null;
    return existsSync(report) ? failureIn(report, this.root) : output.trim().split("\n").slice(-3).join(" ");
  }

  run(command: readonly string[], seconds: number): Promise<Finished> {
    const [program = "", ...args] = [...namespaces, ...command];
    const child = spawn(program, args, {
      cwd: this.root,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: environment(),
    });
    running.add(child.pid ?? 0);
    let output = "";
    const hear = (chunk: Buffer) => (output = (output + chunk).slice(-20_000));
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child.pid ?? 0);
    }, seconds * 1000);
    return new Promise((resolve) => {
      child.once("close", (status) => {
        clearTimeout(timer);
        killGroup(child.pid ?? 0);
        running.delete(child.pid ?? 0);
        resolve({ status, timedOut, output });
      });
    });
  }
}

const running = new Set<number>();
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // All of them have ended.
  }
}

/** The tester's own settings are not the tests'. */
function environment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(PTALK|XDG)_|^CI$/.test(name));
  return { ...Object.fromEntries(kept), NO_COLOR: "1" };
}

/** What runs a command in namespaces of its own, whose processes and objects end with it; nothing where there are none. */
const namespaces: readonly string[] = isolation();
function isolation(): string[] {
  if (process.getuid?.() !== 0) return [];
  const setUp = "ip link set lo up && mount -t tmpfs -o mode=1777 tmpfs /dev/shm";
  const command = ["unshare", "-n", "-m", "-i", "-p", "--fork", "--kill-child", "--mount-proc", "sh", "-c"];
  const there = spawnSync(command[0] as string, [...command.slice(1), setUp]).status === 0;
  return there ? [...command, `${setUp} && exec "$@"`, "sh"] : [];
}

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly startTime: number;
    readonly endTime: number;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

function failureIn(report: string, root: string): string {
  const { testResults } = JSON.parse(readFileSync(report, "utf8")) as Report;
  const file = testResults.find(({ status }) => status === "failed");
  if (file === undefined) return "the test run itself failed";
  const test = file.assertionResults.find(({ status }) => status === "failed");
  return `${file.name.slice(root.length + 1)} > ${test?.fullName ?? file.message.split("\n")[0]}`;
}

/** How long each test file takes, without any change; those that fail even so are asked nothing. */
async function baseline(scratch: Scratch): Promise<Map<string, number>> {
  const report = join(scratch.root, "baseline.json");
  console.error("mutate: the tests run once without a change, for how long each takes");
  await scratch.run(["npx", "vitest", "run", "--reporter", "json", "--outputFile", report], 3600);
  return durationsIn(report);
}

function durationsIn(report: string): Map<string, number> {
  const { testResults } = JSON.parse(readFileSync(report, "utf8")) as Report;
  const seconds = new Map<string, number>();
  for (const { name, status, startTime, endTime } of testResults) {
    const file = name.slice(name.lastIndexOf("/test/") + 1);
    if (status === "passed") seconds.set(file, (endTime - startTime) / 1000);
    else console.error(`mutate: ${file} fails by itself and is left out`);
  }
  return seconds;
}

interface Verdict {
  readonly mutant: Mutant;
  /** The test that noticed; null: none did. */
  readonly by: string | null;
}

/** What is known of the tests. */
interface Tests {
  readonly relevance: Relevance;
  /** How long each of them takes. */
  readonly seconds: ReadonlyMap<string, number>;
}

/** @returns null when the changed source is no program: another one is drawn */
async function judge(scratch: Scratch, mutant: Mutant, tests: Tests, limitSeconds: number): Promise<Verdict | null> {
  const source = scratch.read(mutant.file);
  scratch.write(mutant.file, applied(source, mutant));
  try {
    if ((await scratch.build(mutant.file)) !== null) return null;
    const deadline = performance.now() + limitSeconds * 1000;
    for (const group of tests.relevance.of(mutant.file)) {
      const by = await noticedBy(scratch, group, tests, deadline);
      if (by !== null) return { mutant, by };
    }
    return { mutant, by: null };
  } finally {
    scratch.write(mutant.file, source);
  }
}

/** The first of these tests that fails, and fails again: one that fails only now and then has noticed nothing. */
async function noticedBy(
  scratch: Scratch,
  group: string[],
  { seconds }: Tests,
  deadline: number,
): Promise<string | null> {
  const usual = (file: string): number => seconds.get(file) ?? 0;
  const files = group.filter((file) => seconds.has(file)).sort((a, b) => usual(a) - usual(b));
  while (files.length > 0 && performance.now() < deadline) {
    const sum = files.reduce((total, file) => total + usual(file), 0);
    const left = (deadline - performance.now()) / 1000;
    const patience = Math.max(LEAST_SECONDS, PATIENCE * sum);
    const failure = await scratch.test(files, Math.min(left, patience));
    if (failure === null || (failure === TIME && left < patience)) return null;
    const [file = ""] = failure.split(" > ");
    if (!files.includes(file)) return failure;
    if ((await scratch.test([file], Math.max(LEAST_SECONDS, PATIENCE * usual(file)))) !== null) return failure;
    console.error(`mutate: ${file} failed once and passed then`);
    files.splice(files.indexOf(file), 1);
  }
  return null;
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = readOptions();
  } catch (error) {
    console.error(`mutate: ${error instanceof Error ? error.message : error}`);
    return USAGE;
  }
  const { seed, count, only, limitSeconds } = options;
  const scratch = new Scratch();
  const end = (): void => {
    for (const pid of running) killGroup(pid);
    if (!options.keep) scratch.remove();
  };
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      end();
      process.exit(1);
    });
  }
  try {
    console.error(`mutate: seed ${seed}, ${count} changes, at most ${limitSeconds} s each, in ${scratch.root}`);
    // From nothing: what is copied of a build has the paths of where it was made.
    const built = await scratch.run(["npm", "run", "--silent", "build:native"], 600);
    const compiled = await scratch.build("lib");
    if (built.status !== 0 || compiled !== null)
      throw new Error(`the copy cannot be built: ${compiled ?? built.output}`);
    const relevance = new Relevance(scratch.root);
    const all = sources(scratch).filter((file) => only.some((prefix) => file.startsWith(prefix)));
    const mutants = all.flatMap((file) => mutantsOf(file, scratch.read(file)));
    const seconds = options.report === undefined ? await baseline(scratch) : durationsIn(options.report);
    console.error(`mutate: ${mutants.length} changes are possible; ${seconds.size} test files`);
    const verdicts = await draw(scratch, mutants, { relevance, seconds }, options);
    return summary(scratch, verdicts, seed);
  } finally {
    end();
  }
}

function sources(scratch: Scratch): string[] {
  const list = spawnSync("find", ["lib", "native", "-name", "*.ts", "-o", "-name", "*.cc"], {
    cwd: scratch.root,
    encoding: "utf8",
  });
  return list.stdout
    .trim()
    .split("\n")
    .filter((file) => !file.endsWith(".d.ts"))
    .sort();
}

async function draw(
  scratch: Scratch,
  mutants: Mutant[],
  tests: Tests,
  { seed, count, limitSeconds }: Options,
): Promise<Verdict[]> {
  const random = new Random(seed);
  const verdicts: Verdict[] = [];
  let built = "";
  while (verdicts.length < count && mutants.length > 0) {
    const [mutant] = mutants.splice(random.below(mutants.length), 1);
    if (mutant === undefined) break;
    const source = scratch.read(mutant.file);
    // The last change's build is still there where this one does not build the same part.
    if (built !== "" && built.startsWith("native/") !== mutant.file.startsWith("native/")) await scratch.build(built);
    built = mutant.file;
    const verdict = await judge(scratch, mutant, tests, limitSeconds);
    if (verdict === null) continue;
    verdicts.push(verdict);
    const what = `${mutant.file}:${mutant.line} ${mutant.kind}`;
    if (verdict.by !== null) console.log(`killed    ${what}, by ${verdict.by}`);
    else console.log(`SURVIVED  ${what}\n${difference(source, mutant).replace(/^/gm, "    ")}`);
  }
  return verdicts;
}

function summary(scratch: Scratch, verdicts: readonly Verdict[], seed: number): number {
  const survivors = verdicts.filter(({ by }) => by === null);
  const killed = verdicts.length - survivors.length;
  console.log(
    `\nseed ${seed}: ${killed} of ${verdicts.length} noticed (${Math.round((100 * killed) / verdicts.length)} %)`,
  );
  for (const { mutant } of survivors) {
    console.log(
      `${mutant.file}:${mutant.line} ${mutant.kind}\n${difference(scratch.read(mutant.file), mutant).replace(/^/gm, "    ")}`,
    );
  }
  return 0;
}

process.exitCode = await main();
