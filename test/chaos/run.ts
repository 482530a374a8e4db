// One run, minute by minute: a storm, in which everything that can break is broken while everybody talks, and a calm, in which all
// is mended, everybody has to be back, and the processes' sizes and idleness are taken down. Knows what to do to whom; what came
// of it is in the journal.
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { cpuMs, descriptorsOf, residentBytes } from "../helpers/processes.ts";
import { Random } from "../helpers/random.ts";
import { SETTLE_MS } from "./check.ts";
import { Journal } from "./journal.ts";
import { CUTS, DatagramFilter, Link, type Loss } from "./links.ts";
import { Member, type Running, ServerDriver, type Stage, sendOnce } from "./programs.ts";
import { type Act, type Cast, type FaultAct, type Kind, type MessageAct, storm } from "./schedule.ts";

const PTALK = join(import.meta.dirname, "../../bin/ptalk.js");
/** Nobody orders anything for so long while CPU time is taken. */
const REST_MS = 4_000;
const STORM_MIN_MS = 5_000;
/** Part of the killed clients that stand still for so long before. */
const STUNNED_SHARE = 0.5;
const STUNNED_MS = 700;
/** Processes of `ptalk send` at once. */
const SENDERS_MAX = 3;
/** A message's time: over before a long fault is, or long enough to outlive it. */
const LONG_MS = 30_000;
const SHORT_MS = 5_000;
/** A calm is over when all messages of the roll call have their outcome, or after this. */
const ROLL_CALL_MS = SETTLE_MS + 5_000;
/** Messages that a planted fault is sure to meet. */
const PLANT_BURST = 12;

const ANN = { name: "ann", program: "talk" } as const;
const BEN = { name: "ben", program: "lib" } as const;
const MEMBERS = [
  ANN,
  BEN,
  { name: "cat", program: "talk" },
  { name: "dan", program: "lib" },
  { name: "eve", program: "recv" },
] as const;
/** Is never on. */
const FAY = "fay";
const CAST: Cast = {
  talkers: MEMBERS.filter(({ program }) => program !== "recv").map(({ name }) => name),
  members: MEMBERS.map(({ name }) => name),
  elders: [ANN.name, BEN.name],
  senders: [FAY, "cat"],
};

export const PLANTS = ["loss", "double", "swap", "unverified", "leak"] as const;
export type Plant = (typeof PLANTS)[number];

export interface RunOptions {
  readonly dir: string;
  readonly seed: number;
  readonly minutes: number;
  readonly kinds: readonly Kind[];
  readonly plants: readonly Plant[];
  /** Options for `ptalk serve`. */
  readonly serve: readonly string[];
  /** This network namespace and /dev/shm are the run's own: datagrams can be filtered, and every object is ours. */
  readonly isolated: boolean;
  readonly signal: AbortSignal;
  /** Called about every ten seconds. */
  readonly onProgress: (text: string) => void;
}

/** Runs it and leaves the journals in `dir`. Whatever happens, no process is left. */
export async function run(options: RunOptions): Promise<void> {
  const world = new World(options);
  options.signal.addEventListener("abort", () => world.end(), { once: true });
  try {
    await world.live();
  } finally {
    await world.end();
  }
}

class World implements Stage {
  readonly journal: Journal;
  readonly dir: string;
  readonly running = new Set<Running>();
  over = false;
  hinderedAt = 0;
  readonly #options: RunOptions;
  readonly #random: Random;
  readonly #server: ServerDriver;
  readonly #members = new Map<string, Member>();
  readonly #links = new Map<string, Link>();
  readonly #filter = new DatagramFilter();
  readonly #underWay = new Set<Promise<void>>();
  /** Members that a fault has ended and will start again. */
  readonly #restarting = new Set<Member>();
  #failure: Error | undefined;
  #runs = 0;
  #faults = 0;
  #senders = 0;

  constructor(options: RunOptions) {
    this.#options = options;
    this.dir = options.dir;
    this.journal = new Journal(options.dir);
    this.#random = new Random(options.seed);
    this.#server = new ServerDriver(this, options.serve);
    mkdirSync(join(this.dir, "home"), { recursive: true });
  }

  nextRun(): number {
    return ++this.#runs;
  }

  async live(): Promise<void> {
    await this.#begin();
    const { minutes } = this.#options;
    const cycles = Math.max(1, Math.round(minutes));
    const cycleMs = (minutes * 60_000) / cycles;
    const stormMs = Math.max(STORM_MIN_MS, cycleMs - SETTLE_MS - REST_MS);
    for (let cycle = 1; cycle <= cycles && !this.over; cycle++) {
      const acts = storm(this.#random, CAST, this.#options.kinds, stormMs);
      // What took longer to mend than it should have is taken off the end of the next storm, not off its plan.
      const left = cycleMs * cycle - this.journal.now - SETTLE_MS - REST_MS;
      await this.#storm(acts, Math.max(STORM_MIN_MS, left));
      await this.#calm();
    }
    await this.#leave();
    if (this.#failure) throw this.#failure;
  }

  /** Kills what runs. */
  async end(): Promise<void> {
    this.over = true;
    const running = [...this.running];
    for (const each of running) each.kill();
    await Promise.all(running.map(({ ended }) => ended));
    for (const link of this.#links.values()) link.close();
    rmSync(this.#leftover, { force: true });
  }

  /** What the planted leak leaves in shared memory. */
  get #leftover(): string {
    return `/dev/shm/ptalk-server-${this.#server.port}-0.planted`;
  }

  async #begin(): Promise<void> {
    await this.#server.start();
    for (const name of [...CAST.members, FAY]) this.#links.set(name, await Link.open(() => this.#server.port));
    for (const { name, program } of MEMBERS) {
      this.#members.set(name, new Member(this, name, program, () => this.#serverFor(name), [LONG_MS, SHORT_MS]));
    }
    await Promise.all(this.#all.map((member) => member.start()));
    // Everybody meets everybody: keys are pinned from here on, and what is loaded late is loaded.
    await this.#rollCall();
    this.#sample();
  }

  /** Faults and messages as the seed has them, for so long. */
  async #storm(acts: readonly Act[], forMs: number): Promise<void> {
    const startedAt = performance.now();
    const planting = this.#plantAll(forMs / 2);
    let reportedAt = startedAt;
    for (const act of acts) {
      const wait = startedAt + act.at - performance.now();
      if (wait > 0) await this.#pause(wait);
      if (this.over || act.at > forMs) break;
      this.#perform(act);
      if (performance.now() - reportedAt < 10_000) continue;
      reportedAt = performance.now();
      this.#options.onProgress(this.#progress());
    }
    await planting;
    await Promise.all(this.#underWay);
  }

  /** All is mended, everybody is back; the processes are counted and have nothing to do. */
  async #calm(): Promise<void> {
    await this.#pause(SETTLE_MS);
    if (this.over) return;
    await this.#rollCall();
    await this.#people();
    this.#sample();
    await this.#rest();
    this.#options.onProgress(this.#progress());
  }

  async #leave(): Promise<void> {
    await Promise.all(this.#all.map((member) => member.leave()));
    await this.#server.stop();
    if (this.over) return;
    const files = readdirSync("/dev/shm").filter((file) => this.#options.isolated || this.#isOurs(file));
    this.journal.write("world", { type: "left-behind", files });
  }

  #isOurs(file: string): boolean {
    return file.includes(`ptalk-server-${this.#server.port}-`);
  }

  get #all(): Member[] {
    return [...this.#members.values()];
  }
  #member(name: string): Member {
    const member = this.#members.get(name);
    if (member === undefined) throw new Error(`no member ${name}`);
    return member;
  }
  #serverFor(name: string): string {
    return `127.0.0.1:${this.#links.get(name)?.port}`;
  }
  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#options.signal }).catch(() => {});
  }

  #progress(): string {
    const count = (type: string) => this.journal.entries.filter((entry) => entry.type === type).length;
    const seconds = Math.round(this.journal.now / 1000);
    return `${seconds} s: ${count("fault")} faults, ${count("order")} messages, ${count("got")} shown`;
  }

  #perform(act: Act): void {
    const done = (act.type === "fault" ? this.#fault(act) : this.#message(act)).catch((error: Error) => {
      // A driver that fails has no result to give.
      this.#failure ??= error;
      this.over = true;
    });
    this.#underWay.add(done);
    void done.then(() => this.#underWay.delete(done));
  }

  async #message({ by, from, to, bytes, patient }: MessageAct): Promise<void> {
    if (by === "program") return this.#member(from).send(to, bytes);
    if (this.#senders >= SENDERS_MAX) return;
    this.#senders++;
    const timeoutMs = patient ? LONG_MS : SHORT_MS;
    const message = { from, to, bytes, server: this.#serverFor(from), timeoutMs };
    await sendOnce(this, message).finally(() => this.#senders--);
  }

  async #fault(act: FaultAct): Promise<void> {
    switch (act.kind) {
      case "primary":
      case "restart":
        return this.#restartServer(act);
      case "worker":
        return this.#killWorker(act);
      case "client":
      case "leave":
        return this.#restartMember(act);
      case "link":
        return this.#cutLinks(act);
      case "datagrams":
        return this.#loseDatagrams(act);
      case "stop":
        return this.#stop(act);
    }
  }

  /** Writes the fault down, from when it begins until all is as it was. */
  async #during({ kind, target }: FaultAct, whom: string, work: () => Promise<void>): Promise<void> {
    const fault = ++this.#faults;
    this.journal.write("world", { type: "fault", fault, kind, target: whom || target });
    await work();
    this.journal.write("world", { type: "mended", fault });
  }

  async #restartServer(act: FaultAct): Promise<void> {
    const { up, starting } = this.#server;
    if (up === undefined && starting && act.kind === "primary") {
      return this.#during(act, "server", async () => starting.kill());
    }
    if (up === undefined) return;
    await this.#during(act, "server", async () => {
      await (act.kind === "primary" ? this.#server.kill() : this.#server.stop());
      await this.#pause(act.forMs / 2);
      await this.#server.start();
    });
  }

  async #killWorker(act: FaultAct): Promise<void> {
    const pid = this.#worker(act);
    if (pid !== undefined) await this.#during(act, "server", async () => signal(pid, "SIGKILL"));
  }

  #worker({ choice }: FaultAct): number | undefined {
    const workers = this.#server.workers;
    return workers[Math.floor(choice * workers.length)];
  }

  async #restartMember(act: FaultAct): Promise<void> {
    const member = this.#member(act.target);
    const { on, starting } = member;
    if (this.#restarting.has(member)) {
      // One that is just starting is killed as well; whoever starts it tries again.
      if (on === undefined && starting && act.kind === "client") {
        await this.#during(act, member.name, async () => starting.kill());
      }
      return;
    }
    if (on === undefined || (on.stopped && act.kind === "leave")) return;
    this.#restarting.add(member);
    await this.#during(act, member.name, async () => {
      if (act.kind === "client") await this.#kill(member, on, act.choice);
      else await member.leave();
      await this.#pause(act.forMs / 2);
      await member.start();
    });
    this.#restarting.delete(member);
  }

  /** At once, or stunned for a moment before: then messages are under way to it when it dies. */
  async #kill(member: Member, running: Running, choice: number): Promise<void> {
    if (choice < STUNNED_SHARE) {
      signal(running.pid, "SIGSTOP");
      await this.#pause(STUNNED_MS);
    }
    await member.kill();
  }

  async #cutLinks(act: FaultAct): Promise<void> {
    const cut = CUTS[Math.floor(act.choice * CUTS.length)] as (typeof CUTS)[number];
    const links = act.target === "*" ? [...this.#links.values()] : [this.#links.get(act.target)];
    await this.#during(act, act.target, async () => {
      for (const link of links) link?.cut(cut);
      await this.#pause(act.forMs);
      for (const link of links) link?.mend(cut);
    });
  }

  async #loseDatagrams(act: FaultAct): Promise<void> {
    if (!this.#options.isolated) return;
    const losses = act.target === "*" ? [{ percent: 10 + Math.floor(act.choice * 40) }] : this.#cutOff(act);
    if (losses.length === 0) return;
    await this.#during(act, act.target, async () => {
      await Promise.all(losses.map((loss) => this.#filter.lose(loss)));
      await this.#pause(act.forMs);
      await Promise.all(losses.map((loss) => this.#filter.mend(loss)));
    });
  }

  /** What a member sends, what it is sent, or both. */
  #cutOff({ target, choice }: FaultAct): Loss[] {
    const member = this.#member(target);
    if (member.on === undefined) return [];
    const [from, to] = [{ from: member.port }, { to: member.port }];
    return choice < 1 / 3 ? [from] : choice < 2 / 3 ? [to] : [from, to];
  }

  async #stop(act: FaultAct): Promise<void> {
    const member = this.#members.get(act.target);
    const running = member ? member.on : this.#server.up;
    const pid = act.target === "worker" ? this.#worker(act) : running?.pid;
    if (pid === undefined || running === undefined || running.stopped) return;
    await this.#during(act, member ? member.name : "server", async () => {
      if (act.target !== "worker") running.stopped = true;
      signal(pid, "SIGSTOP");
      await this.#pause(act.forMs);
      signal(pid, "SIGCONT");
      if (act.target !== "worker") running.stopped = false;
    });
  }

  /** Everybody sends to everybody else. */
  async #rollCall(): Promise<void> {
    const senders = this.#all.filter(({ sends }) => sends);
    for (const { name: to } of this.#all) {
      for (const from of senders) if (from.name !== to) from.send(to, 50, true);
    }
    const deadline = performance.now() + ROLL_CALL_MS;
    while (senders.some(({ underWay }) => underWay > 0) && performance.now() < deadline && !this.over) {
      await this.#pause(50);
    }
  }

  /** Whom the server lists, beside whoever is on. */
  async #people(): Promise<void> {
    const expected = this.#all.filter(({ on }) => on !== undefined).map(({ name }) => name);
    const listed = await peopleOf(`127.0.0.1:${this.#server.port}`);
    this.journal.write("world", { type: "people", expected, listed });
  }

  #sample(): void {
    for (const [role, pids] of this.#roles()) {
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
    const roles = this.#roles().flatMap(([role, pids]) => pids.map((pid) => ({ role, pid, before: cpuMs(pid) })));
    const startedAt = performance.now();
    await this.#pause(REST_MS);
    const wallMs = performance.now() - startedAt;
    for (const { role, pid, before } of roles) {
      this.journal.write("world", { type: "rest", role, pid, cpuMs: cpuMs(pid) - before, wallMs });
    }
  }

  /** The processes that should be there for good, by what they are. */
  #roles(): [string, number[]][] {
    const primary = this.#server.up;
    return [
      ...this.#all.flatMap(({ name, on }): [string, number[]][] => (on ? [[name, [on.pid]]] : [])),
      ...(primary ? ([["primary", [primary.pid]]] as [string, number[]][]) : []),
      ["workers", this.#server.workers],
    ];
  }

  /** In the middle of a storm, one after the other, in ben's program: the checker has to find each. */
  async #plantAll(afterMs: number): Promise<void> {
    const { plants } = this.#options;
    if (plants.length === 0) return;
    await this.#pause(afterMs);
    const [sender, victim] = [this.#member(ANN.name), this.#member(BEN.name)];
    for (const plant of plants) {
      this.journal.write("world", { type: "planted", plant });
      if (plant === "leak") writeFileSync(this.#leftover, "");
      victim.plant(plant);
      for (let i = 0; i < PLANT_BURST; i++) sender.send(BEN.name, 30);
      await this.#pause(1_000);
    }
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
  }
}

/** The names that `ptalk all` prints; none if it fails. */
async function peopleOf(server: string): Promise<string[]> {
  const child = spawn(process.execPath, [PTALK, "all", "--json", "--server", server], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return code === 0 ? (JSON.parse(output) as { name: string }[]).map(({ name }) => name) : [];
}
