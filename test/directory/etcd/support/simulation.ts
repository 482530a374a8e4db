// Several servers, with the classes that are shipped, on one engine in memory, in virtual time: they register, move, change and remove
// clients while leases are lost, answers fail to come, processes stop, connections break, and the engine compacts or goes back to a
// backup. The checker looks at every transaction as it is committed, and at everything once it is quiet.

import { foldName } from "../../../../lib/base/names.ts";
import type { Claim, DirectoryEvent, DirectoryRow } from "../../../../lib/directory/directory.ts";
import { DirectoryError } from "../../../../lib/directory/directory-error.ts";
import { DirectoryEntry } from "../../../../lib/directory/entry.ts";
import type { Engine, KeyValue } from "../../../../lib/directory/etcd/engine.ts";
import { decodeOwner, decodeRow, Keys, type SharedRow } from "../../../../lib/directory/etcd/keys.ts";
import { SharedDirectory } from "../../../../lib/directory/etcd/shared-directory.ts";
import type { SharedTable, TableChange } from "../../../../lib/directory/shared-table.ts";
import { claimIdOf, fieldsOf, KEYS } from "../../support/entries.ts";
import { Random } from "../../support/random.ts";
import { type Commit, MemoryConnection, MemoryStore } from "./memory-engine.ts";
import { ProcessClock, VirtualClock } from "./virtual-clock.ts";

/** The table of one simulated host. */
class PlainTable implements SharedTable {
  readonly capacity = 1_000;
  readonly rows = new Map<string, DirectoryRow>();
  #version = 0;

  get count(): number {
    return this.rows.size;
  }
  async apply(changes: readonly TableChange[]): Promise<(DirectoryEvent | null)[]> {
    return changes.map((change) => {
      if (change.kind === "owner") return null;
      const version = ++this.#version;
      if (change.kind === "gone") {
        const before = this.rows.get(foldName(change.name));
        if (before === undefined) return null;
        this.rows.delete(foldName(change.name));
        return { kind: "off", name: change.name, version: before.version };
      }
      const { entry, claimId, place } = change;
      this.rows.set(foldName(entry.name), { entry: new DirectoryEntry(entry), claimId, place, version });
      return { kind: "on", name: entry.name, version, entry };
    });
  }
  find(name: string): DirectoryRow | null {
    return this.rows.get(foldName(name)) ?? null;
  }
}

/** Makes a server's engine faulty, for a checker that has to notice. */
export type Sabotage = (engine: Engine, store: MemoryStore) => Engine;

export interface SimulationOptions {
  readonly seed: number;
  readonly servers?: number;
  readonly sabotage?: Sabotage;
  /** Whether backups are restored. Default: true. */
  readonly restores?: boolean;
  /** Ms of life before everything is mended. */
  readonly ms?: number;
}

class Host {
  readonly name: string;
  readonly clock: ProcessClock;
  readonly connection: MemoryConnection;
  readonly table = new PlainTable();
  readonly directory: SharedDirectory;
  /** Clients that are on here, by claim id: their claims have been confirmed, and they have not been told to go. */
  readonly clients = new Map<string, Claim>();
  /** Those that were told to go, perhaps before they had heard that they are on. */
  readonly replaced = new Set<string>();
  isDead = false;

  constructor(name: string, world: Simulation, sabotage: Sabotage) {
    this.name = name;
    this.clock = new ProcessClock(world.clock);
    const { random, store, keys, faults } = world;
    this.connection = new MemoryConnection(store, world.clock, this.clock, random, name, faults);
    this.directory = new SharedDirectory({
      engine: sabotage(this.connection, store),
      keys,
      server: name,
      facts: {},
      realm: "",
      id: name,
      nameLimit: 10_000,
      clock: this.clock,
      log: { warn() {} },
      table: this.table,
      newIncarnation: () => String(random.below(2 ** 30)),
      onEvents() {},
      onReplaced: (_place, claimId) => {
        this.clients.delete(claimId);
        this.replaced.add(claimId);
      },
      onAway() {},
    });
  }

  kill(): void {
    this.isDead = true;
    this.clock.isDead = true;
    this.connection.isCut = true;
    this.connection.close();
    this.clients.clear();
  }
}

/** Ms in which a server learns of a restored backup, once it can reach the engine. */
const NOTICE_MS = 5_000;
const NAMES = ["ann", "bob", "carol", "dave", "eve", "frank"];

export class Simulation {
  readonly random: Random;
  readonly clock: VirtualClock;
  readonly store: MemoryStore;
  readonly keys = new Keys("/t");
  readonly faults = { unknown: 0.06, delayMs: 20 };
  readonly violations: string[] = [];
  /** Confirmed claims, requests, faults: a run that does nothing has shown nothing. */
  readonly done = { claims: 0, refused: 0, unknown: 0, takeovers: 0, updates: 0, removals: 0, faults: 0, steps: 0 };
  readonly #hosts: Host[] = [];
  /** With those that are starting. */
  readonly #all: Host[] = [];
  readonly #sabotage: Sabotage;
  readonly #ms: number;
  readonly #restores: boolean;
  readonly #count: number;
  /** By claim id: the claim id of the row that it may replace while that one's server is alive; "any" where a person asks. */
  readonly #mayReplaceWhat = new Map<string, string>();
  #lastClaim = 0;
  #lastServer = 0;
  #restoredAt = Number.NEGATIVE_INFINITY;

  constructor({ seed, servers = 3, sabotage = (engine) => engine, ms = 40_000, restores = true }: SimulationOptions) {
    this.random = new Random(seed);
    this.clock = new VirtualClock(this.random);
    this.store = new MemoryStore(this.clock);
    this.store.onCommit = (commit) => this.#checkCommit(commit);
    this.#sabotage = sabotage;
    this.#ms = ms;
    this.#restores = restores;
    this.#count = servers;
  }

  async run(): Promise<void> {
    const expiry = () => {
      this.store.expire();
      this.clock.after(500, expiry);
    };
    expiry();
    for (let i = 0; i < this.#count; i++) await this.#addHost();
    const end = this.clock.now() + this.#ms;
    const step = () => this.done.steps++;
    while (this.clock.now() < end && this.violations.length === 0) {
      this.#act();
      await this.clock.run(this.random.below(400), step);
    }
    if (this.violations.length > 0) return;
    for (const host of this.#all) {
      if (host.isDead) continue;
      host.connection.isCut = false;
      host.connection.faults = { unknown: 0, delayMs: 5 };
      host.clock.go();
    }
    // Leases end, servers come back, rows are claimed again, the janitors finish.
    await this.clock.run(60_000, step);
    this.#checkQuiet();
    for (const host of this.#hosts) {
      void host.directory.close();
      host.connection.close();
    }
    await this.clock.run(5_000);
  }

  async #addHost(): Promise<void> {
    const host = new Host(`s${++this.#lastServer}`, this, this.#sabotage);
    this.#all.push(host);
    let isUp = false;
    const start = (): Promise<void> =>
      host.directory.start().then(
        () => {
          isUp = true;
        },
        () => (host.isDead ? undefined : start()),
      );
    void start();
    for (let n = 0; n < 400 && !isUp; n++) await this.clock.run(100, () => this.done.steps++);
    this.#hosts.push(host);
  }

  #act(): void {
    const alive = this.#hosts.filter(({ isDead }) => !isDead);
    const host = this.random.pick(alive);
    const what = this.random.below(100);
    if (what < 40) void this.#register(host);
    else if (what < 60) void this.#update(host);
    else if (what < 72) void this.#remove(host);
    else if (what < 75) void this.#ask(host);
    else if (what < 82) void this.#bind(host);
    else this.#fault(host, alive);
  }

  #fault(host: Host, alive: readonly Host[]): void {
    this.done.faults++;
    const { random, store, clock } = this;
    const some = () => 500 + random.below(16_000);
    switch (random.below(9)) {
      case 0:
        host.clock.stop();
        clock.after(some(), () => host.clock.go());
        break;
      case 1:
      case 2:
        host.connection.isCut = true;
        clock.after(some(), () => {
          if (!host.isDead) host.connection.isCut = false;
        });
        break;
      case 3:
        if (store.leases.length > 0) store.revoke(random.pick(store.leases));
        break;
      case 4:
        store.compact();
        break;
      case 5:
        host.connection.breakWatches();
        break;
      case 6:
        store.backUp();
        break;
      case 7:
        if (!this.#restores || !random.chance(0.2)) break;
        this.#restoredAt = this.clock.now();
        store.restore(0);
        break;
      case 8:
        if (alive.length < 2 || !random.chance(0.3)) break;
        host.kill();
        void this.#addHost();
        break;
    }
  }

  async #register(host: Host): Promise<void> {
    const name = this.random.pick(NAMES);
    // Now and then a second key wants it.
    const key = this.#keyOf(name, 0.15);
    const claimId = claimIdOf(++this.#lastClaim);
    const there = decodedRow(this.store.get(this.keys.row(name)));
    const takeover = there !== null && this.random.chance(0.5) ? there.claimId : null;
    const rooms = ["#a", "#b"].filter(() => this.random.chance(0.5));
    const entry = { ...fieldsOf(name, this.#lastClaim, { key }), rooms };
    const place = { worker: 1, connection: this.#lastClaim };
    const request = { entry, claimId, place, takeover, replace: this.random.chance(0.1) };
    this.#mayReplaceWhat.set(claimId, request.replace ? "any" : (takeover ?? ""));
    await this.#until(
      host,
      async () => {
        const { replaced } = await host.directory.register(request, [1]);
        this.done.claims++;
        if (takeover !== null) this.done.takeovers++;
        if (replaced !== null) host.clients.delete(replaced.claimId);
        if (!host.isDead && !host.replaced.has(claimId)) host.clients.set(claimId, { name, id: claimId, version: 0 });
        const row = host.table.find(name);
        const isOfNow = this.clock.now() - this.#restoredAt > NOTICE_MS;
        if (isOfNow && row?.claimId !== claimId && this.#rowIn(name)?.claimId === claimId) {
          this.#violated(`${host.name} has confirmed ${name} and does not show it`);
        }
      },
      () => host.directory.remove({ name, id: claimId, version: 0 }),
    );
  }

  async #update(host: Host): Promise<void> {
    if (host.clients.size === 0) return;
    const claim = this.random.pick([...host.clients.values()]);
    const rooms = ["#a", "#b", "#c"].filter(() => this.random.chance(0.5));
    await this.#until(host, async () => {
      await host.directory.update(claim, { rooms });
      this.done.updates++;
    });
  }

  async #remove(host: Host): Promise<void> {
    if (host.clients.size === 0) return;
    const claim = this.random.pick([...host.clients.values()]);
    host.clients.delete(claim.id);
    await this.#until(host, async () => {
      await host.directory.remove(claim);
      this.done.removals++;
    });
  }

  async #ask(host: Host): Promise<void> {
    await host.directory.ask(this.random.pick(NAMES)).catch((error: unknown) => {
      if (!(error instanceof DirectoryError)) throw error;
    });
  }

  /** Another key gets the name, once it is nobody's. */
  async #bind(host: Host): Promise<void> {
    const name = this.random.pick(NAMES);
    const key = this.#keyOf(name, 0.5);
    if (this.random.chance(0.6)) await this.#until(host, () => host.directory.release(name));
    await this.#until(host, () => host.directory.bind(name, key));
  }

  #keyOf(name: string, others: number): string {
    return KEYS[NAMES.indexOf(name) + (this.random.chance(others) ? 7 : 0)] as string;
  }

  /** Repeats what has ended as unknown, as the server's workers do. */
  async #until(host: Host, attempt: () => Promise<unknown>, giveUp = attempt): Promise<void> {
    let next = attempt;
    for (let n = 0; !host.isDead; n++) {
      try {
        await next();
        return;
      } catch (error) {
        if (!(error instanceof DirectoryError)) throw error;
        if (error.code !== "try-again") {
          this.done.refused++;
          return;
        }
        this.done.unknown++;
        if (n === 0) next = giveUp; // a client that has heard "try again" is gone
        await new Promise<void>((resolve) => host.clock.after(300, resolve));
      }
    }
  }

  #rowIn(name: string): SharedRow | null {
    return decodedRow(this.store.get(this.keys.row(name)));
  }

  #violated(what: string): void {
    this.violations.push(`${(this.clock.now() / 1000).toFixed(1)} s: ${what}`);
  }

  /** Invariants 1 to 3 of transactions.ts, at the instant of each change. */
  #checkCommit({ by, changes }: Commit): void {
    const after = (key: string): KeyValue | null => {
      const change = changes.find((one) => one.key === key);
      return change === undefined ? this.store.get(key) : change.after;
    };
    const isAlive = ({ server, incarnation }: SharedRow) =>
      this.store.get(this.keys.server(server, incarnation)) !== null;
    for (const change of changes) {
      const meaning = this.keys.meaningOf(change.key);
      if (meaning?.kind !== "row") continue;
      const { folded } = meaning;
      const [old, now] = [decodedRow(change.before), decodedRow(change.after)];
      if (now === null && old !== null) {
        if (old.server !== by && isAlive(old)) this.#violated(`${by} removes ${folded}, the row of ${old.server}`);
        const isHeld = this.#hosts.some(({ clients, isDead }) => !isDead && clients.has(old.claimId));
        if (isHeld && isAlive(old)) this.#violated(`${by} removes ${folded}, whose client is on at ${old.server}`);
        continue;
      }
      if (now === null) continue;
      if (now.server !== by) this.#violated(`${by} writes ${folded} for ${now.server}`);
      if (!isAlive(now)) this.#violated(`${by} writes ${folded} without a lease`);
      const ownerValue = after(this.keys.owner(folded));
      const owner = ownerValue === null ? null : decodeOwner(folded, ownerValue.value);
      // A change of a row goes on under the key that it has.
      if (old?.claimId !== now.claimId && owner !== null && owner.key !== now.packed.key)
        this.#violated(`${by} gives ${folded} to a key that does not own it`);
      if (old !== null && old.packed.key !== now.packed.key)
        this.#violated(`${by} gives ${folded}, which another key has, away`);
      if (old !== null && old.claimId !== now.claimId && isAlive(old) && !this.#mayReplace(now, old)) {
        this.#violated(`${by} replaces ${folded}, which is on at ${old.server}`);
      }
    }
  }

  #mayReplace(now: SharedRow, old: SharedRow): boolean {
    const allowed = this.#mayReplaceWhat.get(now.claimId);
    return allowed === "any" || allowed === old.claimId;
  }

  /** Invariants 3 and 4, once nothing is under way. */
  #checkQuiet(): void {
    const alive = this.#hosts.filter(({ isDead }) => !isDead);
    const rows = new Map<string, SharedRow>();
    for (const value of this.store.entries(`${this.keys.prefix}n/`)) {
      const row = decodeRow(value.value);
      if (row === null) continue;
      const name = value.key.slice(this.keys.prefix.length + 2);
      rows.set(name, row);
      if (this.store.get(this.keys.server(row.server, row.incarnation)) === null) {
        this.#violated(`${name} stays, though ${row.server} is gone`);
      }
    }
    const on = new Set(alive.flatMap(({ clients }) => [...clients.keys()]));
    for (const [name, { claimId }] of rows)
      if (!on.has(claimId)) this.#violated(`${name} stays, though its client has gone`);
    for (const host of alive) {
      for (const { name, id } of host.clients.values()) {
        if (rows.get(name)?.claimId !== id) this.#violated(`${name} (${id}) is on at ${host.name} and nobody sees it`);
      }
      for (const name of new Set([...rows.keys(), ...host.table.rows.keys()])) {
        const [shared, local] = [rows.get(name), host.table.find(name)];
        if (shared?.claimId !== local?.claimId || shared?.packed.details !== local?.entry.packed.details) {
          this.#violated(`${host.name} shows another row of ${name} than there is`);
        }
      }
    }
    const rooms = this.store.entries(`${this.keys.prefix}r/`).map(({ key }) => key);
    const wanted = [...rows].flatMap(([name, { packed }]) => this.keys.roomsOf(packed, name)).sort();
    if (this.#restoredAt < 0 && JSON.stringify(rooms) !== JSON.stringify(wanted)) {
      this.#violated(`rooms are ${rooms.join(" ")} instead of ${wanted.join(" ")}`);
    }
  }
}

function decodedRow(value: KeyValue | null): SharedRow | null {
  return value === null ? null : decodeRow(value.value);
}
