// `npm run chaos -- [--directory] [--minutes M] [--seed S] [--kinds primary,worker,…] [--plant loss,…] [--serve "OPTIONS"] [--check DIR]`: a
// server and its clients under load, killed, stopped, cut off and started again at random; then the journals are read, and anything that
// must not be is told with the seed and the lines that show it. With --directory three servers, and three etcd members that hold their
// directory. Exit status 0: nothing. With --plant 0 means that each planted fault was found.
//
// As root, or where user namespaces are allowed, all of it runs in namespaces of its own: a loopback on which datagrams can be
// lost, a /dev/shm in which every object is the run's. Elsewhere no datagrams are lost, and it says so; --directory is skipped.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { etcdMissing } from "../helpers/etcd.ts";
import { check, SETTLE_MS } from "./check.ts";
import { type Entry, readJournals } from "./journal.ts";
import { ALL_DIRECTORY_KINDS, DIRECTORY_KINDS, type DirectoryKind } from "./many-cast.ts";
import { DIRECTORY_PLANTS, DIRECTORY_SETTLE_MS, ManyServers } from "./many-servers.ts";
import { OneServer, PLANTS, type Plant } from "./one-server.ts";
import { ALL_KINDS, KINDS, type Kind } from "./schedule.ts";
import type { Rule, Violation } from "./story.ts";
import { runWorld } from "./world.ts";

const PTALK = join(import.meta.dirname, "../../bin/ptalk.js");
const LOADER = join(import.meta.dirname, "../../scripts/typescript.js");
/** Set for the process inside the namespaces: the folder that the one outside has made and will remove. */
const INSIDE = "PTALK_CHAOS_INSIDE";
/** Violations of one rule that are shown with their lines. */
const SHOWN = 3;
const LINES_SHOWN = 20;
/** Exit statuses: something was found; the command line is wrong; a signal has ended it. */
const FOUND = 1;
const USAGE = 64;
const BROKEN_OFF = 130;

type DirectoryPlant = (typeof DIRECTORY_PLANTS)[number];

/** Which rule has to find which planted faults. */
const FINDS: Readonly<Record<Plant | DirectoryPlant, readonly Rule[]>> = {
  loss: ["lost"],
  double: ["twice"],
  swap: ["order"],
  unverified: ["unverified"],
  leak: ["descriptors", "left-behind"],
  "two-keys": ["owner"],
  late: ["late"],
  unbacked: ["unbacked"],
  ghost: ["ghost"],
  removed: ["removed"],
  hidden: ["hidden"],
  "foreign-row": ["people"],
};

interface Options {
  readonly minutes: number;
  readonly seed: number;
  /** Of one server, or of many. */
  readonly isDirectory: boolean;
  readonly kinds: readonly Kind[];
  readonly directoryKinds: readonly DirectoryKind[];
  readonly plants: readonly Plant[];
  readonly directoryPlants: readonly DirectoryPlant[];
  readonly serve: readonly string[];
  readonly journals: string | undefined;
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: "string", default: "1" },
      seed: { type: "string", default: String(Date.now() % 2 ** 31) },
      directory: { type: "boolean", default: false },
      kinds: { type: "string", default: "all" },
      plant: { type: "string", default: "" },
      serve: { type: "string", default: "" },
      check: { type: "string" },
    },
  });
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  if (!(minutes > 0 && minutes <= 24 * 60)) throw new Error("--minutes: more than 0, at most a day");
  if (!Number.isInteger(seed)) throw new Error("--seed: a whole number");
  return {
    minutes,
    seed,
    isDirectory: values.directory,
    kinds: values.directory ? [] : words(values.kinds, ALL_KINDS, "--kinds"),
    directoryKinds: values.directory ? words(values.kinds, ALL_DIRECTORY_KINDS, "--kinds") : [],
    plants: values.directory ? [] : words(values.plant, PLANTS, "--plant"),
    directoryPlants: values.directory ? words(values.plant, DIRECTORY_PLANTS, "--plant") : [],
    serve: values.serve.split(" ").filter((word) => word !== ""),
    journals: values.check,
  };
}

function words<T extends string>(text: string, known: readonly T[], option: string): readonly T[] {
  if (text === "all") return known;
  const asked = text.split(",").filter((word) => word !== "" && word !== "none");
  const wrong = asked.find((word) => !known.some((each) => each === word));
  if (wrong !== undefined) throw new Error(`${option}: no ${wrong}; there are ${known.join(", ")}, all, or none`);
  return known.filter((each) => asked.includes(each));
}

/** Runs this program again, in namespaces of its own. Null where there are none. */
async function isolated(dir: string): Promise<number | null> {
  const flags = [
    "-n",
    "-m",
    "-p",
    "--fork",
    "--kill-child",
    "--mount-proc",
    ...(process.getuid?.() === 0 ? [] : ["-r"]),
  ];
  const setUp = "ip link set lo up && mount -t tmpfs tmpfs /dev/shm && nft list ruleset >/dev/null";
  if (spawnSync("unshare", [...flags, "sh", "-c", setUp], { stdio: "ignore" }).status !== 0) return null;
  const again = [process.execPath, "--import", LOADER, ...process.argv.slice(1)];
  const child = spawn("unshare", [...flags, "sh", "-c", `${setUp} && "$@"; exit $?`, "sh", ...again], {
    // The shell is the namespace's first process, and waits for whoever loses its parent.
    // The end of its input tells it to end: signals do not reach into the namespace.
    stdio: ["pipe", "inherit", "inherit"],
    env: { ...process.env, [INSIDE]: dir, TMPDIR: dir },
  });
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => child.stdin.end());
  const [code] = await once(child, "close");
  return code ?? FOUND;
}

async function chaos(options: Options, dir: string, inside: boolean): Promise<number> {
  const broken = new AbortController();
  if (inside) process.stdin.on("end", () => broken.abort()).resume();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => broken.abort());
  const { minutes, seed, kinds, plants, serve, isDirectory, directoryKinds, directoryPlants } = options;
  if (!inside) console.error("chaos: no namespaces here (unshare, ip, nft): no datagrams are lost");
  console.error(`chaos: seed ${seed}, ${minutes} min, kinds ${[...kinds, ...directoryKinds].join(",") || "none"}`);
  const onProgress = (text: string) => console.error(`chaos: ${text}`);
  const common = { dir, seed, minutes, serve, signal: broken.signal, onProgress };
  await (isDirectory
    ? runWorld(new ManyServers({ ...common, kinds: directoryKinds, plants: directoryPlants }), broken.signal)
    : runWorld(new OneServer({ ...common, kinds, plants, isolated: inside }), broken.signal));
  process.stdin.destroy();
  if (broken.signal.aborted) {
    console.error("chaos: broken off");
    return BROKEN_OFF;
  }
  return report(readJournals(dir), options, dir);
}

function report(entries: readonly Entry[], options: Options, dir: string): number {
  const { seed, isDirectory } = options;
  const plants = [...options.plants, ...options.directoryPlants];
  const settleMs = isDirectory ? DIRECTORY_SETTLE_MS : SETTLE_MS;
  const violations = check(entries, { knowsUnconfirmed: knowsUnconfirmed(), settleMs });
  const byRule = new Map<Rule, Violation[]>();
  for (const violation of violations) byRule.set(violation.rule, [...(byRule.get(violation.rule) ?? []), violation]);
  for (const [rule, of] of byRule) {
    console.log(`\n${rule}: ${of.length}`);
    for (const { text, lines } of of.slice(0, SHOWN)) {
      console.log(`  ${text}`);
      for (const line of lines.slice(0, LINES_SHOWN)) console.log(`    ${JSON.stringify(line)}`);
    }
  }
  console.log(`\n${summary(entries)}`);
  const missed = plants.flatMap((plant) =>
    FINDS[plant].filter((rule) => !byRule.has(rule)).map((rule) => `${plant} (${rule})`),
  );
  if (plants.length > 0)
    console.log(
      `planted: ${plants.join(", ")}; ${missed.length > 0 ? `NOT FOUND: ${missed.join(", ")}` : "all found"}`,
    );
  const counts = [...byRule].map(([rule, of]) => `${rule} ${of.length}`).join(", ");
  console.log(
    `seed ${seed}: ${violations.length === 0 ? "no violation" : `${violations.length} violations: ${counts}`}`,
  );
  const good = plants.length > 0 ? missed.length === 0 : violations.length === 0;
  if (!good) console.log(`journals: ${dir}`);
  return good ? 0 : FOUND;
}

function summary(entries: readonly Entry[]): string {
  const tally = (of: (entry: Entry) => string | undefined): string => {
    const counts = new Map<string, number>();
    for (const entry of entries) {
      const word = of(entry);
      if (word !== undefined) counts.set(word, (counts.get(word) ?? 0) + 1);
    }
    return [...counts].map(([word, count]) => `${word} ${count}`).join(", ") || "none";
  };
  const outcome = (entry: Entry) => (entry.type === "outcome" ? (entry.code ?? entry.state) : undefined);
  const shown = new Set(
    entries.flatMap((entry) => (entry.type === "got" && entry.token !== null ? [entry.token] : [])),
  );
  const failedAndShown = entries.filter(
    (e) => e.type === "outcome" && e.state === "failed" && shown.has(e.token),
  ).length;
  const backs = entries.flatMap((entry) =>
    entry.type === "back" ? [`${entry.clients} in ${Math.round(entry.ms)} ms (${entry.how})`] : [],
  );
  return [
    ...(backs.length > 0 ? [`clients back from a server that was gone: ${backs.join(", ")}`] : []),
    `faults: ${tally((entry) => (entry.type === "fault" ? entry.kind : undefined))}`,
    `messages: ${tally((entry) => (entry.type === "order" ? "ordered" : outcome(entry)))}; shown ${shown.size}, of them failed ${failedAndShown}`,
  ].join("\n");
}

/** Whether this ptalk tells 76 (it may have been shown) from 75 (it has not been, and will not be). */
function knowsUnconfirmed(): boolean {
  return /\b76\b/.test(spawnSync(process.execPath, [PTALK, "--help"], { encoding: "utf8" }).stdout);
}

function skipped(why: string): number {
  console.error(`chaos: skipped: ${why}`);
  return 0;
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = readOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`chaos: ${error instanceof Error ? error.message : error}`);
    for (const [kind, what] of Object.entries(KINDS)) console.error(`  ${kind.padEnd(10)} ${what}`);
    console.error("  with --directory:");
    for (const [kind, what] of Object.entries(DIRECTORY_KINDS)) console.error(`  ${kind.padEnd(10)} ${what}`);
    return USAGE;
  }
  if (options.journals !== undefined) return report(readJournals(options.journals), options, options.journals);
  const inside = process.env[INSIDE];
  if (inside !== undefined) return chaos(options, inside, true);
  if (options.isDirectory && etcdMissing !== null) return skipped(etcdMissing);
  const dir = mkdtempSync(join(tmpdir(), "ptalk-chaos-"));
  const status =
    (await isolated(dir)) ??
    (options.isDirectory ? skipped("no namespaces here (unshare, ip, nft)") : await chaos(options, dir, false));
  // The journals of a run that found something are worth reading.
  if (status !== FOUND || process.env["CI"]) rmSync(dir, { recursive: true, force: true });
  return status;
}

// Whatever a broken link has left open is no reason to stay.
process.exit(await main());
