// One run: a server, a sender and a recipient, each in a process of its own, each killed by SIGKILL again and again, at a named point or at
// any moment, and started again at once. In the end they are left in peace; then the journal is read.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Random } from "../helpers/random.ts";
import { check, type Line, type Violation } from "./check.ts";

/** What a run's checker has to find, and by which rule. */
export const PLANTS = {
  "answers before the disk": ["lost"],
  "forgets at its end": ["lost"],
  "is done before it shows": ["lost"],
  "never marks": ["twice"],
  "logs nothing": ["shown though logged"],
  "another id": ["twice"],
  "newest first": ["order"],
} as const;
export type Plant = keyof typeof PLANTS;

const WHO = ["server", "sender", "recipient"] as const;
type Who = (typeof WHO)[number];

/** Points that a process passes before it dies, at most: about those of a few messages. */
const MAX_POINTS: Readonly<Record<Who, number>> = { server: 60, sender: 12, recipient: 40 };
/** Share of the kills that come at any moment, and within which time of the start. */
const ANY_MOMENT_SHARE = 0.25;
const ANY_MOMENT_MS = 600;
/** Milliseconds that a run may go on in peace: far beyond what it takes, and shorter than anybody's patience. */
const PEACE_MS = 60_000;
const LOOK_EVERY_MS = 20;

export interface RunOptions {
  readonly random: Random;
  readonly messages: number;
  /** Kills until the run is left in peace. */
  readonly kills: number;
  readonly plant?: Plant | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RunResult {
  readonly violations: readonly Violation[];
  /** By "WHO at POINT". */
  readonly kills: ReadonlyMap<string, number>;
  readonly shown: number;
  readonly again: number;
  readonly receipts: number;
  readonly journal: string;
}

export async function run(options: RunOptions): Promise<RunResult> {
  const folder = mkdtempSync(join("/dev/shm", "ptalk-kill-"));
  const journal = join(folder, "journal");
  writeFileSync(journal, "");
  const world = new World(options, folder, journal, await freePort());
  try {
    const isOver = await world.play();
    const lines = linesOf(journal);
    const violations = check(lines, isOver ? world.remains() : null);
    const died = lines.filter(({ did }) => did === "dies" || did === "is killed");
    const kills = new Map<string, number>();
    for (const { who, at } of died) kills.set(`${who} at ${at}`, (kills.get(`${who} at ${at}`) ?? 0) + 1);
    const shown = lines.filter(({ did }) => did === "shows");
    return {
      ...{ violations, kills, shown: shown.length, again: shown.filter(({ again }) => again).length },
      receipts: lines.filter(({ did }) => did === "receipt").length,
      journal: readFileSync(journal, "utf8"),
    };
  } finally {
    await world.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

class World {
  readonly #options: RunOptions;
  readonly #folder: string;
  readonly #journal: string;
  readonly #port: number;
  readonly #children = new Map<Who, ChildProcess>();
  #kills = 0;
  #isEnding = false;
  #failure: Error | undefined;

  constructor(options: RunOptions, folder: string, journal: string, port: number) {
    this.#options = options;
    this.#folder = folder;
    this.#journal = journal;
    this.#port = port;
  }

  /** @returns false: it was not over in time @throws when a process ends otherwise than by SIGKILL */
  async play(): Promise<boolean> {
    for (const who of WHO) this.#start(who);
    let peaceSince: number | undefined;
    for (;;) {
      this.#options.signal?.throwIfAborted();
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#isOver()) return true;
      if (this.#kills >= this.#options.kills) peaceSince ??= performance.now();
      if (peaceSince !== undefined && performance.now() - peaceSince > PEACE_MS) return false;
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }

  /** What the mailbox holds that it should not hold at the end. */
  remains(): string[] {
    return ["tmp", "new"].flatMap((folder) => {
      const path = join(this.#folder, "server", "mailbox", folder);
      return existsSync(path) ? readdirSync(path).map((file) => `${folder}/${file}`) : [];
    });
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    const children = [...this.#children.values()];
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(children.map((child) => (isGone(child) ? undefined : once(child, "exit"))));
  }

  /** All is sent and shown, and the mailbox empty: of receipts too. */
  #isOver(): boolean {
    const lines = linesOf(this.#journal);
    if (!lines.some(({ did }) => did === "has sent all")) return false;
    const shown = new Set(lines.flatMap(({ did, n }) => (did === "shows" ? [n] : [])));
    // With a planted loss it never comes to that: the end is where nothing is left to be shown.
    return (shown.size === this.#options.messages || this.#options.plant !== undefined) && this.remains().length === 0;
  }

  #start(who: Who): void {
    const { random, messages, plant, kills } = this.#options;
    const inPeace = this.#kills >= kills;
    const atAnyMoment = !inPeace && random.chance(ANY_MOMENT_SHARE);
    const killAt = inPeace || atAnyMoment ? 0 : 1 + random.below(MAX_POINTS[who]);
    const address = `127.0.0.1:${this.#port}`;
    const env = {
      ...{
        HOME: this.#folder,
        STATE: join(this.#folder, who),
        JOURNAL: this.#journal,
        WHO: who,
        KILL_AT: String(killAt),
      },
      ...{ SERVER: address, LISTEN: address, COUNT: String(messages), PLANT: plant ?? "" },
    };
    const program = join(import.meta.dirname, `../fixtures/kill/${who}.js`);
    const child = spawn(process.execPath, [program], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "inherit"],
    });
    this.#children.set(who, child);
    const timer = atAnyMoment ? setTimeout(() => this.#kill(who, child), random.below(ANY_MOMENT_MS)) : undefined;
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      if (this.#isEnding) return;
      if (signal === "SIGKILL") this.#kills++;
      else this.#failure ??= new Error(`the ${who} has ended by itself: ${code ?? signal}`);
      this.#start(who);
    });
  }

  #kill(who: Who, child: ChildProcess): void {
    if (isGone(child) || !child.kill("SIGKILL")) return;
    writeFileSync(this.#journal, `${JSON.stringify({ did: "is killed", who, at: "any moment" })}\n`, { flag: "a" });
  }
}

const isGone = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

/** A process that is killed while it writes leaves no half line: a short write at the end of a file is whole or not there. */
function linesOf(path: string): Line[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Line);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}
