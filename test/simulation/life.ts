// A life of many people and several servers, by a seed: they talk, come and go while programs are killed and stopped, machines are cut off, the
// network loses and doubles, servers die, and the engine of their directory is away. Then everything is mended, and it has to become quiet:
// everybody sees everybody where they are, and what is said gets there.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { TalkError } from "../../lib/base/errors.ts";
import type { RegisterRequest } from "../../lib/directory/directory.ts";
import { DirectoryEntry } from "../../lib/directory/entry.ts";
import type { KeyValue } from "../../lib/directory/etcd/engine.ts";
import { decodeOwner, decodeRow, Keys, type SharedRow } from "../../lib/directory/etcd/keys.ts";
import { type Commit, MemoryStore } from "../directory/etcd/support/memory-engine.ts";
import { Journal } from "./journal.ts";
import { FAIR, Network, type Weather } from "./network.ts";
import { type Person, Program, type ProgramOptions } from "./program.ts";
import { SERVER_PORT, Server, type ServerSabotage } from "./server.ts";
import { enter } from "./stand-ins.ts";
import { World } from "./world.ts";

export interface LifeOptions {
  readonly seed: number;
  readonly people: number;
  readonly servers: number;
  /** Ms until everything is mended. */
  readonly ms: number;
  /** Folder that files may be made in. */
  readonly folder: string;
  readonly sabotage?: ServerSabotage;
  /** Told of what happens, for a person who looks at one seed. */
  readonly trace?: (line: string) => void;
}

/** Ms in which everybody has to be on at the beginning. */
const BEGIN_MS = 60_000;
/** Ms until everything is as before once it is mended: leases end, clients come back, janitors finish. */
const QUIET_MS = 60_000;
/** Ms in which what is said at the end gets there. */
const ROLL_CALL_MS = 25_000;
const ROLL_CALLS = 2;
/** How long programs are started again while nothing else happens, and the weather meanwhile. */
const GENTLE_MS = 20_000;
const MILD: Weather = { loss: 0.05, doubled: 0.1, delayMs: 2, jitterMs: 20 };
/** Ms after which a person starts a program again that could not begin. */
const RETRY_MS = 1_500;
/** Why a program ends: no server answers, or its name is, or has become, that of another program of the same person. */
const EXPECTED: ReadonlySet<string> = new Set(["unreachable", "name-taken", "try-again"]);
/** Ms from one time that somebody talks to the next; from one fault to the next. The first two of one person. */
const TALK_MS = 2_000;
const PERSON_FAULT_MS = 60_000;
const WORLD_FAULT_MS = 1_500;
/** Of the programs at a server: those that die with it. */
const GOES_WITH_SERVER = 0.2;
/** Of those who begin again: how many begin two programs at once, of which one gets the name. */
const TWO_AT_ONCE = 0.15;

export class Life {
  readonly violations: string[] = [];
  readonly done = {
    kills: 0,
    moves: 0,
    stops: 0,
    leaves: 0,
    takeovers: 0,
    cuts: 0,
    storms: 0,
    engine: 0,
    servers: 0,
    rivals: 0,
  };
  readonly world: World;
  readonly network: Network;
  readonly journal: Journal;
  readonly #options: LifeOptions;
  /** Of the servers. */
  readonly #names: readonly string[];
  readonly #store: MemoryStore;
  readonly #keys = new Keys("/t");
  readonly #people: Person[] = [];
  /** The last of each person. */
  readonly #programs = new Map<Person, Program>();
  readonly #servers = new Map<string, Server>();
  /** Machines that are cut off from the others, by their island. */
  readonly #islands = new Map<string, number>();
  /** By claim id: the one whose row it may take over; "any" where a person asks. */
  readonly #mayReplace = new Map<string, string>();
  #isMended = false;

  constructor(options: LifeOptions) {
    this.#options = options;
    this.#names = Array.from({ length: options.servers }, (_, i) => `s${i + 1}`);
    this.world = new World(options.seed);
    this.network = new Network(this.world);
    this.network.passes = (from, to) => this.#islands.get(from) === this.#islands.get(to);
    this.journal = new Journal(
      () => this.world.now,
      (what) => this.#violated(what),
    );
    this.world.onFailure = (what) => this.#violated(`nothing catches an error of ${what}`);
    this.#store = new MemoryStore(this.world.clockOf(null));
    this.#store.onCommit = (commit) => this.#checkCommit(commit);
  }

  async run(): Promise<void> {
    enter(this.network);
    const onRejection = (error: unknown) =>
      this.#violated(`nothing catches an error: ${error instanceof Error ? error.stack : error}`);
    process.on("unhandledRejection", onRejection);
    const folder = mkdtempSync(join(this.#options.folder, "life-"));
    try {
      await this.#live(folder);
    } finally {
      process.off("unhandledRejection", onRejection);
      rmSync(folder, { recursive: true, force: true });
    }
  }

  async #live(folder: string): Promise<void> {
    const { ms } = this.#options;
    const { world } = this;
    const isOver = () => this.violations.length > 0;
    const expiry = () => {
      this.#store.expire();
      world.after(500, null, expiry);
    };
    expiry();
    for (const name of this.#names) this.#startServer(name);
    await world.run(BEGIN_MS, () => [...this.#servers.values()].every(({ isUp }) => isUp));
    this.#beginAll(folder);
    const areOn = () => [...this.#programs.values()].every(({ isOn }) => isOn);
    await world.run(BEGIN_MS, () => areOn() || isOver());
    if (!areOn())
      this.#violated(`not everybody is on: ${[...this.#programs.values()].find(({ isOn }) => !isOn)?.name}`);
    const end = world.now + ms;
    const { length } = this.#people;
    this.#again(TALK_MS / length, end, () => this.#talk());
    this.#again(PERSON_FAULT_MS / length, end, () => this.#troublePerson());
    this.#again(WORLD_FAULT_MS, end, () => this.#troubleWorld());
    await world.run(ms, isOver);
    if (isOver()) return;
    this.#mend();
    await world.run(QUIET_MS, isOver);
    if (isOver()) return;
    this.journal.checkSettled();
    await this.#checkQuiet();
    if (isOver()) return;
    await this.#liveGently();
    if (isOver()) return;
    await world.run(ROLL_CALL_MS, isOver);
    this.journal.checkSettled();
    const texts = this.#programsOn().flatMap((program) => this.#callRoll(program));
    await world.run(ROLL_CALL_MS, isOver);
    for (const text of this.journal.undelivered(texts)) this.#violated(`${text} did not get there at the roll call`);
  }

  /** Programs are killed and begin again at once, and datagrams get lost: what is said to them gets there. */
  async #liveGently(): Promise<void> {
    this.#trace("gently");
    this.#isMended = false;
    this.network.weather = MILD;
    this.journal.isGentle = true;
    const end = this.world.now + GENTLE_MS;
    const { length } = this.#people;
    this.#again(TALK_MS / length, end, () => this.#talk(10_000));
    this.#again(PERSON_FAULT_MS / length / 3, end, () => {
      const program = this.#programs.get(this.world.random.pick(this.#people)) as Program;
      if (!program.isOn) return;
      this.#trace(`${program.process.name}: kill`);
      program.kill();
      this.world.after(this.world.random.below(1_000), null, () => this.#startAgain(program.person));
    });
    await this.world.run(GENTLE_MS, () => this.violations.length > 0);
    this.network.weather = FAIR;
  }

  /** Acts at random times, with that pause between two of them. */
  #again(pauseMs: number, end: number, act: () => void): void {
    if (this.world.now > end) return;
    act();
    this.world.after(this.world.random.next() * 2 * pauseMs, null, () => this.#again(pauseMs, end, act));
  }

  #beginAll(folder: string): void {
    const addresses = this.#names.map((name) => `${addressOf(name)}:${SERVER_PORT}`);
    for (let i = 0; i < this.#options.people; i++) {
      const first = this.world.random.below(addresses.length);
      const person = {
        name: `p${i}`,
        stateDir: join(folder, String(i)),
        servers: [...addresses.slice(first), ...addresses.slice(0, first)],
        address: `10.0.${i >> 8}.${i & 255}`,
        runs: 0,
      };
      this.#people.push(person);
      this.#start(person);
    }
  }

  #startServer(name: string): void {
    const { network } = this;
    const { sabotage = {} } = this.#options;
    const parts = { network, store: this.#store, keys: this.#keys, name, address: addressOf(name), sabotage };
    const onRegister = ({ claimId, takeover, replace }: RegisterRequest) =>
      void this.#mayReplace.set(claimId, replace ? "any" : (takeover ?? ""));
    this.#servers.set(name, new Server({ ...parts, onRegister }));
  }

  #start(person: Person, options: ProgramOptions = {}): Program {
    const program = new Program(person, this.network, this.journal, options);
    program.onBegun = (fingerprint) => this.journal.met(person.name, fingerprint);
    program.onEnded = (error) => this.#onEnded(program, error);
    this.#programs.set(person, program);
    return program;
  }

  /** Its person tries again: until a server answers, and no longer has the program before. */
  #onEnded(program: Program, error: Error): void {
    const { person, process } = program;
    this.#trace(`${process.name} has ended: ${error.message}`);
    const code = error instanceof TalkError ? error.code : "";
    if (!EXPECTED.has(code)) this.#violated(`${process.name} has ended: ${error.message}`);
    if (this.#programs.get(person) !== program) return;
    const { before } = program;
    // Nothing has become of taking the name over from it.
    if (before?.isOn) {
      this.#programs.set(person, before);
      return;
    }
    this.world.after(RETRY_MS, null, () => {
      if (this.#programs.get(person) === program) this.#startAgain(person);
    });
  }

  #programsOn(): Program[] {
    return [...this.#programs.values()].filter(({ isOn }) => isOn);
  }

  /** Some texts to one person: their order counts. */
  #talk(patienceMs?: number): void {
    const { random } = this.world;
    const on = this.#programsOn().filter(({ process }) => !process.isStopped);
    if (on.length === 0) return;
    const program = random.pick(on);
    // Most talk with the same few.
    const at = this.#people.indexOf(program.person);
    const near = this.#people[(at + 1 + random.below(4)) % this.#people.length] as Person;
    const to = random.chance(0.7) ? near : random.pick(this.#people);
    if (to === program.person) return;
    const timeoutMs = patienceMs ?? (random.chance(0.3) ? 300 + random.below(3_000) : 10_000);
    for (let n = 1 + random.below(3); n > 0; n--) program.say(to.name, timeoutMs);
  }

  #troublePerson(): void {
    const { random } = this.world;
    const program = this.#programs.get(random.pick(this.#people)) as Program;
    const what = random.below(10);
    if (program.process.isDead) return;
    if (what < 5) this.#end(program, "kill");
    else if (what < 7) this.#end(program, "leave");
    else if (what < 9) this.#stop(program);
    else this.#takeOver(program);
  }

  #troubleWorld(): void {
    const what = this.world.random.below(10);
    if (what < 2) this.#cut();
    else if (what < 4) this.#storm();
    else if (what < 8) this.#troubleEngine();
    else this.#troubleServer();
  }

  #end(program: Program, how: "kill" | "leave"): void {
    const { random } = this.world;
    this.#trace(`${program.process.name}: ${how}`);
    if (how === "kill") this.done.kills++;
    else this.done.leaves++;
    program[how]();
    this.#restart(program.person, random.chance(0.5) ? random.below(2_000) : 1_000 + random.below(20_000));
  }

  /** Its person starts it again; now and then on another machine. */
  #restart(person: Person, ms: number): void {
    this.world.after(ms, null, () => {
      const last = this.#programs.get(person) as Program;
      if (!last.process.isDead || this.#isMended) return;
      this.#startAgain(person);
    });
  }

  #startAgain(person: Person): void {
    // A program that has not heard that its name was taken over may still be there.
    for (let one = this.#programs.get(person); one; one = one.before ?? undefined) one.kill();
    if (this.world.random.chance(0.3)) {
      this.done.moves++;
      person.address = this.#otherAddress(person);
    }
    this.#trace(`${person.name} begins at ${person.address}`);
    if (this.#isMended || !this.world.random.chance(TWO_AT_ONCE)) {
      this.#start(person);
      return;
    }
    this.done.rivals++;
    const rival = this.#start(person, { servers: person.servers.toReversed() });
    this.#start(person).before = rival;
  }

  #otherAddress(person: Person): string {
    const at = this.#people.indexOf(person);
    return `10.${1 + this.world.random.below(200)}.${at >> 8}.${at & 255}`;
  }

  #stop(program: Program): void {
    this.#trace(`${program.process.name}: stop`);
    this.done.stops++;
    program.process.stop();
    this.world.after(this.world.random.below(25_000), null, () => this.world.resume(program.process));
  }

  /** The person starts a second program, which takes the name over. */
  #takeOver(program: Program): void {
    if (!program.isOn) return;
    this.#trace(`${program.process.name}: taken over`);
    this.done.takeovers++;
    const { person } = program;
    person.address = this.#otherAddress(person);
    const next = this.#start(person, { replace: true });
    next.before = program;
    const begun = next.onBegun;
    next.onBegun = (fingerprint) => {
      begun(fingerprint);
      program.process.endedAt = Math.min(program.process.endedAt, this.world.now);
    };
  }

  #cut(): void {
    const { random } = this.world;
    const island = this.world.steps;
    const machines = [...this.#people.map(({ address }) => address), ...[...this.#servers.keys()].map(addressOf)];
    const share = random.pick([0.02, 0.1, 0.5]);
    const cut = machines.filter(() => random.chance(share));
    this.#trace(`cut off: ${cut.join(" ")}`);
    this.done.cuts++;
    for (const address of cut) this.#islands.set(address, island);
    this.world.after(random.below(25_000), null, () => {
      for (const address of cut) if (this.#islands.get(address) === island) this.#islands.delete(address);
      this.network.retry();
    });
  }

  #storm(): void {
    const { random } = this.world;
    this.done.storms++;
    const weather = {
      loss: random.pick([0, 0.05, 0.3]),
      doubled: random.pick([0, 0.1, 0.5]),
      delayMs: random.pick([0.3, 20, 150]),
      jitterMs: random.pick([0.4, 10, 200]),
    };
    this.#trace(`weather: ${JSON.stringify(weather)}`);
    this.network.weather = weather;
    this.world.after(random.below(15_000), null, () => {
      this.network.weather = FAIR;
    });
  }

  #troubleEngine(): void {
    const { random } = this.world;
    const server = random.pick([...this.#servers.values()]);
    const what = random.below(5);
    this.done.engine++;
    this.#trace(`engine: ${what}, ${server.process.name}`);
    if (what === 0) this.#store.compact();
    else if (what === 1) server.connection.breakWatches();
    else if (what === 2 && this.#store.leases.length > 0) this.#store.revoke(random.pick(this.#store.leases));
    else if (!server.process.isDead) {
      server.connection.isCut = true;
      this.world.after(random.below(16_000), null, () => {
        if (!server.process.isDead) server.connection.isCut = false;
      });
    }
  }

  #troubleServer(): void {
    const { random } = this.world;
    const name = random.pick([...this.#servers.keys()]);
    const server = this.#servers.get(name) as Server;
    if (server.process.isDead) return;
    this.done.servers++;
    if (random.chance(0.3)) {
      this.#trace(`${name}: stop`);
      server.process.stop();
      this.world.after(random.below(16_000), null, () => this.world.resume(server.process));
      return;
    }
    this.#trace(`${name}: kill`);
    server.kill();
    // Some of those who were on there go with it: nobody but the other servers can take them out.
    const there = this.#programsOn().filter(({ client }) => client?.server === `${addressOf(name)}:${SERVER_PORT}`);
    for (const program of there) if (random.chance(GOES_WITH_SERVER)) this.#end(program, "kill");
    this.world.after(random.below(20_000), null, () => this.#startServer(name));
  }

  #mend(): void {
    this.#trace("mended");
    this.#isMended = true;
    this.#islands.clear();
    this.network.weather = FAIR;
    this.network.retry();
    for (const server of this.#servers.values()) {
      server.connection.isCut = server.process.isDead;
      server.connection.faults = { unknown: 0, delayMs: 4 };
      this.world.resume(server.process);
    }
    for (const [person, program] of this.#programs) {
      this.world.resume(program.process);
      if (program.process.isDead) this.#startAgain(person);
      else if (program.process.endedAt !== Number.POSITIVE_INFINITY) {
        program.kill();
        this.#startAgain(person);
      }
    }
  }

  #callRoll(program: Program): string[] {
    const at = this.#people.indexOf(program.person);
    return Array.from({ length: ROLL_CALLS }, (_, i) => {
      const step = 1 + ((i * 7) % Math.max(1, this.#people.length - 1));
      return program.say((this.#people[(at + step) % this.#people.length] as Person).name, 10_000);
    });
  }

  #trace(line: string): void {
    this.#options.trace?.(`${(this.world.age / 1000).toFixed(3)} s: ${line}`);
  }

  #violated(what: string): void {
    this.violations.push(`${(this.world.age / 1000).toFixed(3)} s: ${what}`);
  }

  /** What lib/directory/etcd/transactions.ts keeps true, at the instant of each change. */
  #checkCommit({ by, changes }: Commit): void {
    const after = (key: string): KeyValue | null => {
      const change = changes.find((one) => one.key === key);
      return change === undefined ? this.#store.get(key) : change.after;
    };
    const isAlive = ({ server, incarnation }: SharedRow) =>
      this.#store.get(this.#keys.server(server, incarnation)) !== null;
    for (const change of changes) {
      const meaning = this.#keys.meaningOf(change.key);
      if (meaning?.kind !== "row") continue;
      const { folded } = meaning;
      const [old, now] = [rowOf(change.before), rowOf(change.after)];
      if (now === null) {
        if (old !== null && old.server !== by && isAlive(old)) {
          this.#violated(`${by} removes ${folded}, the row of ${old.server}`);
        }
        continue;
      }
      if (now.server !== by) this.#violated(`${by} writes ${folded} for ${now.server}`);
      if (!isAlive(now)) this.#violated(`${by} writes ${folded} without a lease`);
      const ownerValue = after(this.#keys.owner(folded));
      const owner = ownerValue === null ? null : decodeOwner(folded, ownerValue.value);
      if (owner !== null && owner.key !== now.packed.key) {
        this.#violated(`${by} gives ${folded} to a key that does not own it`);
      }
      if (old === null || old.claimId === now.claimId || !isAlive(old)) continue;
      const allowed = this.#mayReplace.get(now.claimId);
      if (allowed !== "any" && allowed !== old.claimId) {
        this.#violated(`${by} replaces ${folded}, which is on at ${old.server}`);
      }
    }
  }

  /** Once nothing is under way: what the engine has, what servers show and what clients know are the same. */
  async #checkQuiet(): Promise<void> {
    const rows = new Map<string, SharedRow>();
    for (const value of this.#store.entries(`${this.#keys.prefix}n/`)) {
      const row = rowOf(value);
      if (row !== null) rows.set(value.key.slice(this.#keys.prefix.length + 2), row);
    }
    for (const program of this.#programs.values()) {
      const { name, client, isOn, error } = program;
      if (client === null || !isOn) this.#violated(`${name} is not on: ${error?.message}`);
      for (let { before } = program; before !== null; before = before.before) {
        if (before.isRunning) this.#violated(`${before.process.name} is on, and so is ${program.process.name}`);
      }
      if (client !== null && isOn && portOf(rows.get(name)) !== client.port)
        this.#violated(`${name} is on, and its row is another program's`);
    }
    for (const name of rows.keys()) {
      if (!this.#people.some((person) => person.name === name)) this.#violated(`${name} is on, and nobody is that`);
    }
    for (const [server, { table, isUp }] of this.#servers) {
      if (!isUp) this.#violated(`${server} does not come up`);
      for (const name of new Set([...rows.keys(), ...table.rows.keys()])) {
        const [shared, local] = [rows.get(name), table.rows.get(name)];
        if (shared?.claimId !== local?.claimId || shared?.packed.details !== local?.packed.details) {
          this.#violated(`${server} shows another row of ${name} than there is`);
        }
      }
    }
    if (this.violations.length > 0) return;
    await this.#checkKnown(rows);
  }

  /** Where clients would send to. */
  async #checkKnown(rows: ReadonlyMap<string, SharedRow>): Promise<void> {
    const { world } = this;
    for (const { client, process, name, gone } of this.#programs.values()) {
      for (const other of gone) if (rows.has(other)) this.#violated(`${name} has heard that ${other} left, who is on`);
      const others = Array.from({ length: 4 }, () => world.random.pick(this.#people).name).filter(
        (one) => one !== name,
      );
      for (const other of others) {
        world.after(0, process, () => {
          client?.lookup(other).then(
            (entry) => {
              if (entry?.endpoints[0]?.port === portOf(rows.get(other))) return;
              this.#violated(`${name} takes ${other} to be where it is not`);
            },
            (error) => this.#violated(`${name} cannot look ${other} up: ${error}`),
          );
        });
      }
    }
    await world.run(5_000);
  }
}

const addressOf = (server: string): string => `10.250.0.${server.slice(1)}`;

function rowOf(value: KeyValue | null): SharedRow | null {
  return value === null ? null : decodeRow(value.value);
}

function portOf(row: SharedRow | undefined): number | undefined {
  return row === undefined ? undefined : new DirectoryEntry(row.packed).endpoints[0]?.port;
}
