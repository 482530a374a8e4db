// One run, cycle by cycle: a storm, in which everything that can break is broken while everybody talks, and a calm, in which all
// is mended, everybody has to be back, and the processes' sizes and idleness are taken down. What there is and what may happen to
// it is its subclasses' matter; what came of it is in the journal.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { cpuMs, descriptorsOf, residentBytes } from "../helpers/processes.ts";
import { Random } from "../helpers/random.ts";
import { SETTLE_MS } from "./check.ts";
import { Journal } from "./journal.ts";
import { type Member, type Running, type Stage, sendOnce } from "./programs.ts";
import { type Act, type Cast, type FaultAct, type Faults, type MessageAct, storm } from "./schedule.ts";

/** Nobody orders anything for so long while CPU time is taken. */
const REST_MS = 4_000;
const STORM_MIN_MS = 5_000;
/** Part of the killed clients that stand still for so long before. */
const STUNNED_SHARE = 0.5;
const STUNNED_MS = 700;
/** Processes of `ptalk send` at once. */
const SENDERS_MAX = 3;
/** A calm is over when all messages of the roll call have their outcome, or after this. */
const ROLL_CALL_MS = SETTLE_MS + 5_000;

export interface WorldOptions {
  readonly dir: string;
  readonly seed: number;
  readonly minutes: number;
  readonly plants: readonly string[];
  /** Options for `ptalk serve`. */
  readonly serve: readonly string[];
  readonly signal: AbortSignal;
  /** Called about every ten seconds. */
  readonly onProgress: (text: string) => void;
}

/** What the subclass fixes. */
interface Terms<K extends string> {
  readonly cast: Cast;
  readonly faults: Faults<K>;
  /** Milliseconds after which everything has to be as before. */
  readonly settleMs: number;
  readonly cycleMinutes: number;
  /** Patience of messages: over before a long fault is, or long enough to outlive it. */
  readonly timeouts: readonly [longMs: number, shortMs: number];
}

export abstract class World<K extends string> implements Stage {
  readonly journal: Journal;
  readonly dir: string;
  readonly running = new Set<Running>();
  over = false;
  hinderedAt = 0;
  protected readonly options: WorldOptions;
  protected readonly random: Random;
  protected readonly members = new Map<string, Member>();
  readonly #terms: Terms<K>;
  readonly #underWay = new Set<Promise<void>>();
  /** Members that a fault has ended and will start again. */
  readonly #restarting = new Set<Member>();
  #failure: Error | undefined;
  #runs = 0;
  #faults = 0;
  #senders = 0;

  constructor(options: WorldOptions, terms: Terms<K>) {
    this.options = options;
    this.#terms = terms;
    this.dir = options.dir;
    this.journal = new Journal(options.dir);
    this.random = new Random(options.seed);
    mkdirSync(join(this.dir, "home"), { recursive: true });
  }

  nextRun(): number {
    return ++this.#runs;
  }

  /** Starts everything; puts the members into `members`. */
  protected abstract begin(): Promise<void>;
  protected abstract fault(act: FaultAct<K>): Promise<void>;
  /** In the middle of a storm, one after the other: the checker has to find each. */
  protected abstract plantAll(): Promise<void>;
  /** When nothing happens any more, and again when everybody is back. */
  protected async plantInCalm(_isSettled: boolean): Promise<void> {}
  /** Takes down whom the servers list. */
  protected abstract people(): Promise<void>;
  /** Something that is done to those who have nothing else to do, at the end of a calm. */
  protected async deed(): Promise<void> {}
  /** The servers' processes that should be there for good, by what they are. */
  protected abstract roles(): [string, number[]][];
  /** Everybody has left: shuts the servers down, and takes down what they have left. */
  protected abstract finish(): Promise<void>;
  /** From where that name reaches its servers. */
  protected abstract placeOf(name: string): { readonly server: string; readonly inside: readonly string[] };

  async live(): Promise<void> {
    await this.begin();
    await Promise.all(this.all.map((member) => member.start()));
    // Everybody meets everybody: keys are pinned from here on, and what is loaded late is loaded.
    await this.#rollCall();
    this.#sample();
    const { minutes } = this.options;
    const { cast, faults, settleMs, cycleMinutes } = this.#terms;
    const cycles = Math.max(1, Math.round(minutes / cycleMinutes));
    const cycleMs = (minutes * 60_000) / cycles;
    const stormMs = Math.max(STORM_MIN_MS, cycleMs - settleMs - REST_MS);
    for (let cycle = 1; cycle <= cycles && !this.over; cycle++) {
      const acts = storm(this.random, cast, faults, stormMs);
      // What took longer to mend than it should have is taken off the end of the next storm, not off its plan.
      const left = cycleMs * cycle - this.journal.now - settleMs - REST_MS;
      await this.#storm(acts, Math.max(STORM_MIN_MS, left));
      await this.#calm();
    }
    await Promise.all(this.all.map((member) => member.leave()));
    if (!this.over) await this.finish();
    if (this.#failure) throw this.#failure;
  }

  /** Kills what runs. */
  async end(): Promise<void> {
    this.over = true;
    const running = [...this.running];
    for (const each of running) each.kill();
    await Promise.all(running.map(({ ended }) => ended));
  }

  /** Faults and messages as the seed has them, for so long. */
  async #storm(acts: readonly Act<K>[], forMs: number): Promise<void> {
    const startedAt = performance.now();
    const planting = this.#plantAll(forMs / 2);
    let reportedAt = startedAt;
    for (const act of acts) {
      const wait = startedAt + act.at - performance.now();
      if (wait > 0) await this.pause(wait);
      if (this.over || act.at > forMs) break;
      this.#perform(act);
      if (performance.now() - reportedAt < 10_000) continue;
      reportedAt = performance.now();
      this.options.onProgress(this.#progress());
    }
    await planting;
    await Promise.all(this.#underWay);
  }

  /** All is mended, everybody is back; the processes are counted and have nothing to do. */
  async #calm(): Promise<void> {
    await this.plantInCalm(false);
    await this.pause(this.#terms.settleMs);
    if (this.over) return;
    await this.#rollCall();
    await this.people();
    this.#sample();
    await this.plantInCalm(true);
    await this.#rest();
    if (!this.over) await this.deed();
    this.options.onProgress(this.#progress());
  }

  protected get all(): Member[] {
    return [...this.members.values()];
  }
  /** Names of those who are on. */
  protected get present(): string[] {
    return this.all.filter(({ on }) => on !== undefined).map(({ name }) => name);
  }
  protected member(name: string): Member {
    const member = this.members.get(name);
    if (member === undefined) throw new Error(`no member ${name}`);
    return member;
  }
  protected async pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.options.signal }).catch(() => {});
  }

  #progress(): string {
    const count = (type: string) => this.journal.entries.filter((entry) => entry.type === type).length;
    const seconds = Math.round(this.journal.now / 1000);
    return `${seconds} s: ${count("fault")} faults, ${count("order")} messages, ${count("got")} shown`;
  }

  #perform(act: Act<K>): void {
    const done = (act.type === "fault" ? this.fault(act) : this.#message(act)).catch((error: Error) => {
      // A driver that fails has no result to give.
      this.#failure ??= error;
      this.over = true;
    });
    this.#underWay.add(done);
    void done.then(() => this.#underWay.delete(done));
  }

  async #message({ by, from, to, bytes, patient }: MessageAct): Promise<void> {
    if (by === "program") return this.member(from).send(to, bytes);
    if (this.#senders >= SENDERS_MAX) return;
    this.#senders++;
    const timeoutMs = this.#terms.timeouts[patient ? 0 : 1];
    await sendOnce(this, { from, to, bytes, timeoutMs, ...this.placeOf(from) }).finally(() => this.#senders--);
  }

  /** Writes the fault down, from when it begins until all is as it was. @param hits whom it may hinder beside the target */
  protected async during(
    { kind }: FaultAct<K>,
    target: string,
    work: () => Promise<void>,
    hits: readonly string[] = [],
  ): Promise<void> {
    const fault = ++this.#faults;
    this.journal.write("world", { type: "fault", fault, kind, target, ...(hits.length > 0 ? { hits } : {}) });
    await work();
    this.journal.write("world", { type: "mended", fault });
  }

  protected async restartMember(act: FaultAct<K>, how: "killed" | "left"): Promise<void> {
    const member = this.member(act.target);
    const { on, starting } = member;
    if (this.#restarting.has(member)) {
      // One that is just starting is killed as well; whoever starts it tries again.
      if (on === undefined && starting && how === "killed") {
        await this.during(act, member.name, async () => starting.kill());
      }
      return;
    }
    if (on === undefined || (on.stopped && how === "left")) return;
    await this.#alone(member, () =>
      this.during(act, member.name, async () => {
        if (how === "killed") await this.#kill(member, on, act.choice);
        else await member.leave();
        await this.pause(act.forMs / 2);
        await member.start();
      }),
    );
  }

  protected async takeOver(act: FaultAct<K>): Promise<void> {
    const member = this.member(act.target);
    if (this.#restarting.has(member) || member.on === undefined || member.on.stopped) return;
    await this.#alone(member, () => this.during(act, member.name, () => member.takeOver()));
  }

  async #alone(member: Member, work: () => Promise<void>): Promise<void> {
    this.#restarting.add(member);
    await work();
    this.#restarting.delete(member);
  }

  /** At once, or stunned for a moment before: then messages are under way to it when it dies. */
  async #kill(member: Member, running: Running, choice: number): Promise<void> {
    if (choice < STUNNED_SHARE) {
      signal(running.pid, "SIGSTOP");
      await this.pause(STUNNED_MS);
    }
    await member.kill();
  }

  /** Everybody sends to everybody else. */
  async #rollCall(): Promise<void> {
    const senders = this.all.filter(({ sends }) => sends);
    for (const { name: to } of this.all) {
      for (const from of senders) if (from.name !== to) from.send(to, 50, true);
    }
    const deadline = performance.now() + ROLL_CALL_MS;
    while (senders.some(({ underWay }) => underWay > 0) && performance.now() < deadline && !this.over) {
      await this.pause(50);
    }
  }

  #sample(): void {
    for (const [role, pids] of this.#allRoles()) {
      const descriptors = sum(pids.map(descriptorsOf));
      this.journal.write("world", {
        type: "sample",
        role,
        pids,
        descriptors,
        residentBytes: sum(pids.map(residentBytes)),
      });
    }
  }

  async #rest(): Promise<void> {
    const roles = this.#allRoles().flatMap(([role, pids]) => pids.map((pid) => ({ role, pid, before: cpuMs(pid) })));
    const startedAt = performance.now();
    await this.pause(REST_MS);
    const wallMs = performance.now() - startedAt;
    for (const { role, pid, before } of roles) {
      this.journal.write("world", { type: "rest", role, pid, cpuMs: cpuMs(pid) - before, wallMs });
    }
  }

  #allRoles(): [string, number[]][] {
    return [
      ...this.all.flatMap(({ name, on }): [string, number[]][] => (on ? [[name, [on.pid]]] : [])),
      ...this.roles(),
    ];
  }

  async #plantAll(afterMs: number): Promise<void> {
    if (this.options.plants.length === 0) return;
    await this.pause(afterMs);
    await this.plantAll();
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
  }
}

export async function stopProcess(pid: number, pause: () => Promise<void>): Promise<void> {
  signal(pid, "SIGSTOP");
  await pause();
  signal(pid, "SIGCONT");
}

/** As stopProcess(), and it is marked as such meanwhile. */
export async function stopFor(running: Running, pause: () => Promise<void>): Promise<void> {
  running.stopped = true;
  await stopProcess(running.pid, pause);
  running.stopped = false;
}

/** Messages that a planted fault is sure to meet. */
const PLANT_BURST = 12;

/** Has a client of the library misbehave (test/fixtures/chaos/client.js) while it is spoken to. */
export async function plantIn(
  plant: string,
  victim: Member,
  sender: Member,
  pause: () => Promise<void>,
): Promise<void> {
  victim.plant(plant);
  for (let i = 0; i < PLANT_BURST; i++) sender.send(victim.name, 30);
  await pause();
}

/** Whatever happens, no process is left. The journals are in the world's folder. */
export async function runWorld<K extends string>(world: World<K>, signal: AbortSignal): Promise<void> {
  signal.addEventListener("abort", () => world.end(), { once: true });
  try {
    await world.live();
  } finally {
    await world.end();
  }
}
