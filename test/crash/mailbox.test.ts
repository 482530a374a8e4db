// The mailbox with a kill of the server after every write, sync, link, rename and unlink, and of sender and recipient between their steps:
// each message is shown exactly once, unless it is marked "again", in its sender's order, and an answered one is never lost. A kill
// is a step that never goes on: the next server finds the folder as it is then.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { setStoreFailpoint } from "../../lib/store/failpoint.ts";
import { Mailbox } from "../../lib/store/mailbox.ts";
import { Random } from "../helpers/random.ts";

const LIMITS = { bytes: 64 * 2 ** 20, ageMs: 3_600_000 };
const MESSAGES = 4;
const RUNS = Number(process.env["PTALK_KILL_RUNS"] ?? 200);
/** How many steps, of anybody, a run has between two kills at most. */
const MAX_STEPS = 24;

type Plant = "forgets before output" | "no log" | "never marked" | "answers before the link" | "newest first";

afterEach(() => setStoreFailpoint(() => {}));

class Killed extends Error {}

class Run {
  readonly #folder = mkdtempSync(join("/dev/shm", "ptalk-mailbox-"));
  readonly #random: () => number;
  readonly #plant: Plant | undefined;
  /** What the sender was told is kept. */
  readonly kept: string[] = [];
  readonly outputs: { readonly id: string; readonly again: boolean }[] = [];
  /** The recipient's log of ids, on its disk; and what should be in it. */
  readonly #logged = new Set<string>();
  readonly #shouldBeLogged = new Set<string>();
  #stepsLeft = 0;
  kills = 0;
  #isKilled: (() => void) | undefined;
  #lease = 0;

  constructor(random: () => number, plant: Plant | undefined) {
    this.#random = random;
    this.#plant = plant;
  }

  async play(): Promise<void> {
    try {
      this.#rest();
      let mailbox = await this.#open();
      for (let sent = 0, round = 0; sent < MESSAGES || round < 200; round++) {
        if (round >= 190) this.#stepsLeft = Number.POSITIVE_INFINITY; // at last no process is killed any more
        const lives = await this.#untilKilled(async () => {
          if (sent < MESSAGES && this.#random() < 0.6) {
            await this.#leave(mailbox, `m${sent}`);
            sent++;
          } else {
            await this.#receive(mailbox);
          }
        });
        if (lives) {
          if (sent === MESSAGES && (await this.#isEmpty(mailbox))) break;
          continue;
        }
        this.kills++;
        if (this.kept.includes(`m${sent}`)) sent++; // the sender has had its answer, and does not repeat
        this.#rest();
        mailbox = await this.#open(); // the next server; the sender repeats, the recipient asks again
      }
      while (!(await this.#isEmpty(mailbox))) {
        this.#stepsLeft = Number.POSITIVE_INFINITY;
        await this.#untilKilled(() => this.#receive(mailbox));
      }
      await mailbox.close();
      this.#judge();
    } finally {
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }

  #rest(): void {
    this.#stepsLeft = Math.floor(this.#random() * MAX_STEPS);
  }

  /** One more step has been done, by whomever. */
  #step = (): Promise<void> | void => {
    if (this.#stepsLeft-- > 0) return;
    this.#isKilled?.();
    return new Promise(() => {});
  };

  /** False: a kill came. Nothing of the killed goes on. */
  async #untilKilled(act: () => Promise<void>): Promise<boolean> {
    setStoreFailpoint(this.#step);
    const killed = new Promise<never>((_, reject) => {
      this.#isKilled = () => reject(new Killed());
    });
    try {
      await Promise.race([act(), killed]);
      return true;
    } catch (error) {
      if (error instanceof Killed) return false;
      throw error;
    } finally {
      this.#isKilled = undefined;
      setStoreFailpoint(() => {});
    }
  }

  async #open(): Promise<Mailbox> {
    setStoreFailpoint(() => {});
    return await Mailbox.open(this.#folder, { limits: LIMITS });
  }

  async #isEmpty(mailbox: Mailbox): Promise<boolean> {
    mailbox.release(() => true);
    return mailbox.waiting("bob") === 0;
  }

  async #leave(mailbox: Mailbox, id: string): Promise<void> {
    if (this.#plant === "answers before the link" && !this.kept.includes(id)) this.kept.push(id);
    const who = { to: "bob", from: "alice's key", sender: "alice", account: "uid 1" };
    const message = { ...who, id, attested: true, receipt: false };
    const at = await mailbox.leave({ ...message, bytes: Buffer.from(id) });
    if (at === null) throw new Error("no room");
    await this.#step(); // the answer is lost, or the sender is killed before it has it
    if (!this.kept.includes(id)) this.kept.push(id);
  }

  async #receive(mailbox: Mailbox): Promise<void> {
    mailbox.release(() => true); // another connection
    const lease = `1:${++this.#lease}`;
    const batch = this.#plant === "newest first" ? (await mailbox.take("bob", lease, 64)).reverse() : undefined;
    const [taken] = batch ?? (await mailbox.take("bob", lease, 1));
    if (taken === undefined) return;
    await this.#step();
    const id = taken.bytes.toString();
    if (this.#plant === "forgets before output") await mailbox.done(lease, [taken.name]);
    if (!this.#logged.has(id)) {
      if (this.#shouldBeLogged.has(id)) throw new Error(`${id}: shown though it was logged`);
      this.outputs.push({ id, again: taken.again && this.#plant !== "never marked" });
      await this.#step();
      this.#shouldBeLogged.add(id);
      if (this.#plant !== "no log") this.#logged.add(id);
      await this.#step();
    }
    await mailbox.done(lease, [taken.name]);
    await this.#step();
  }

  #judge(): void {
    const shown = this.outputs.map(({ id }) => id);
    for (const id of this.kept) if (!shown.includes(id)) throw new Error(`${id}: kept, and lost`);
    const unmarked = this.outputs.filter(({ again }) => !again).map(({ id }) => id);
    for (const id of new Set(unmarked)) {
      if (unmarked.filter((other) => other === id).length > 1) throw new Error(`${id}: twice, unmarked`);
    }
    const first = [...new Set(shown)];
    if (first.join() !== [...first].sort().join()) throw new Error(`out of order: ${first.join()}`);
  }
}

async function runs(count: number, plant?: Plant): Promise<{ kills: number; again: number; failure: unknown }> {
  const source = new Random(plant === undefined ? 1 : 2);
  const random = () => source.next();
  let [kills, again] = [0, 0];
  for (let i = 0; i < count; i++) {
    const run = new Run(random, plant);
    try {
      await run.play();
    } catch (failure) {
      return { kills, again, failure };
    }
    kills += run.kills;
    again += run.outputs.filter((output) => output.again).length;
  }
  return { kills, again, failure: undefined };
}

it("loses nothing, doubles nothing unmarked, and keeps the order, through thousands of kills", async () => {
  const { kills, again, failure } = await runs(RUNS);
  expect(failure).toBeUndefined();
  expect(kills).toBeGreaterThan(RUNS);
  expect(again).toBeGreaterThan(0);
});

it.skipIf(!hasStrace())("answers once the file is synced, linked, and the folder synced, in this order", () => {
  const folder = mkdtempSync("/dev/shm/ptalk-mailbox-");
  try {
    const trace = join(folder, "trace");
    const calls = "trace=fsync,fdatasync,link,linkat,write,openat";
    const program = join(import.meta.dirname, "../fixtures/store/leave.js");
    const args = ["-f", "-y", "-o", trace, "-e", calls, process.execPath, program, join(folder, "mailbox")];
    expect(spawnSync("strace", args, { encoding: "utf8" }).stdout).toBe("answered\n");
    const lines = readFileSync(trace, "utf8").split("\n");
    const at = (pattern: RegExp): number => lines.findIndex((line) => pattern.test(line));
    const steps = [
      at(/fsync\(\d+<[^>]*\/mailbox\/tmp\//),
      at(/link(at)?\(.*\/mailbox\/tmp\/.*\/mailbox\/new\//),
      at(/fsync\(\d+<[^>]*\/mailbox\/new>/),
      at(/write\(1<.*answered/),
    ];
    expect(steps).not.toContain(-1);
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

function hasStrace(): boolean {
  return spawnSync("strace", ["-V"]).status === 0;
}

it.each([
  ["forgets before output", "lost"],
  ["no log", "shown though it was logged"],
  ["never marked", "twice, unmarked"],
  ["answers before the link", "lost"],
  ["newest first", "out of order"],
] as const)("a planted fault is found: %s", async (plant, found) => {
  const { failure } = await runs(RUNS, plant);
  expect(String(failure)).toContain(found);
});
