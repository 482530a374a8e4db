// etcd's semantics in memory, on a virtual clock: revisions, nested transactions whose compares see the state before them, leases, watches,
// compaction, a backup that is restored. Each server has a connection of its own, with delays and faults by a seed.
import type { Clock } from "../../../../lib/directory/etcd/clock.ts";
import type {
  Compare,
  Engine,
  EngineEvent,
  EngineState,
  KeyValue,
  LeaseId,
  OperationResult,
  Page,
  Revision,
  Transaction,
  TransactionResult,
  WatchListener,
} from "../../../../lib/directory/etcd/engine.ts";
import { EngineError } from "../../../../lib/directory/etcd/engine.ts";
import type { Random } from "../../support/random.ts";

/** What one transaction has changed. */
export interface Commit {
  readonly by: string;
  readonly revision: Revision;
  readonly changes: readonly {
    readonly key: string;
    readonly before: KeyValue | null;
    readonly after: KeyValue | null;
  }[];
}

interface Lease {
  readonly seconds: number;
  expiresAt: number;
}

interface Watcher {
  readonly prefix: string;
  from: Revision;
  readonly tell: (events: readonly EngineEvent[]) => void;
}

export class MemoryStore {
  readonly #clock: Clock;
  #revision: Revision = 1;
  #keys = new Map<string, KeyValue>();
  #leases = new Map<LeaseId, Lease>();
  #history: EngineEvent[][] = [];
  #compacted: Revision = 0;
  #watchers = new Set<Watcher>();
  readonly #backups: { readonly at: number; readonly restore: () => void }[] = [];
  #lastLease = 0;
  readonly connections = new Set<MemoryConnection>();
  /** How often a backup was restored: the engine stops for that, and what is on its way then is lost. */
  past = 0;
  /** Sees each change before anybody else. */
  onCommit: (commit: Commit) => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get state(): EngineState {
    return { cluster: "1", revision: this.#revision };
  }
  get(key: string): KeyValue | null {
    return this.#keys.get(key) ?? null;
  }
  entries(prefix: string): KeyValue[] {
    return [...this.#keys.values()]
      .filter(({ key }) => key.startsWith(prefix))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  transact(transaction: Transaction, by: string): TransactionResult {
    const before = new Map(this.#keys);
    const written = new Map<string, "put" | "delete">();
    const draft = new Map(this.#keys);
    const revision = this.#revision + 1;
    const run = ({ when, then, otherwise }: Transaction): { succeeded: boolean; results: OperationResult[] } => {
      const succeeded = when.every((compare) => holds(compare, before));
      const results = (succeeded ? then : otherwise).map((operation): OperationResult => {
        if ("transaction" in operation) return { kind: "transaction", ...run(operation.transaction) };
        if ("get" in operation) return { kind: "get", value: draft.get(operation.get) ?? null };
        if ("put" in operation) {
          const { put: key, value, lease = "0" } = operation;
          if (written.has(key)) throw new EngineError("refused", `duplicate key given in txn request: ${key}`);
          if (lease !== "0" && !this.#leases.has(lease)) throw new EngineError("no-lease", "requested lease not found");
          written.set(key, "put");
          const createRevision = draft.get(key)?.createRevision ?? revision;
          draft.set(key, { key, value, createRevision, modRevision: revision, lease });
          return { kind: "put" };
        }
        const key = operation.delete;
        if (written.get(key) === "put") throw new EngineError("refused", `duplicate key given in txn request: ${key}`);
        written.set(key, "delete");
        return { kind: "delete", deleted: draft.delete(key) };
      });
      return { succeeded, results };
    };
    const result = run(transaction);
    const changes = [...written.keys()]
      .map((key) => ({ key, before: before.get(key) ?? null, after: draft.get(key) ?? null }))
      .filter(({ before: old, after }) => old !== null || after !== null);
    if (changes.length > 0) this.#commit(draft, changes, by);
    return { ...result, ...this.state };
  }

  list(prefix: string, after: string, limit: number, revision: Revision): Page {
    if (revision !== 0 && revision < this.#compacted)
      throw new EngineError("refused", "required revision has been compacted");
    if (revision > this.#revision) throw new EngineError("refused", "required revision is a future revision");
    const all = (
      revision === 0 || revision === this.#revision ? this.entries(prefix) : this.#asOf(prefix, revision)
    ).filter(({ key }) => key > after);
    return { ...this.state, values: all.slice(0, limit), more: all.length > limit };
  }

  grant(seconds: number): LeaseId {
    const id = String(++this.#lastLease);
    this.#leases.set(id, { seconds, expiresAt: this.#clock.now() + seconds * 1000 });
    return id;
  }
  renew(id: LeaseId): number {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw new EngineError("no-lease", "requested lease not found");
    lease.expiresAt = this.#clock.now() + lease.seconds * 1000;
    return lease.seconds;
  }
  revoke(id: LeaseId): void {
    if (!this.#leases.delete(id)) return;
    const draft = new Map(this.#keys);
    const owned = [...draft.values()].filter(({ lease }) => lease === id);
    for (const { key } of owned) draft.delete(key);
    if (owned.length > 0)
      this.#commit(
        draft,
        owned.map((before) => ({ key: before.key, before, after: null })),
        "etcd",
      );
  }
  get leases(): LeaseId[] {
    return [...this.#leases.keys()];
  }
  /** Ends the leases whose time is over. */
  expire(): void {
    const now = this.#clock.now();
    for (const [id, { expiresAt }] of [...this.#leases]) if (expiresAt <= now) this.revoke(id);
  }

  compact(): void {
    this.#compacted = this.#revision;
    this.#history = [];
  }

  backUp(): void {
    const [keys, revision, leases] = [this.#keys, this.#revision, [...this.#leases]];
    const restore = () => {
      this.#keys = keys;
      this.#revision = revision;
      this.#leases = new Map(
        leases.map(([id, { seconds }]) => [id, { seconds, expiresAt: this.#clock.now() + seconds * 1000 }]),
      );
      this.#history = [];
      this.#compacted = revision;
    };
    this.#backups.push({ at: this.#clock.now(), restore });
  }
  /** Goes back to the last backup of at least that age, ms. */
  restore(age: number): void {
    const backup = this.#backups.findLast(({ at }) => at <= this.#clock.now() - age);
    if (backup === undefined) return;
    backup.restore();
    this.past++;
    this.#watchers.clear();
    for (const connection of this.connections) connection.breakWatches();
  }

  /** @returns null: compacted */
  watch(prefix: string, from: Revision, tell: Watcher["tell"]): Disposable | null {
    if (from <= this.#compacted) return null;
    const watcher = { prefix, from, tell };
    this.#watchers.add(watcher);
    for (const events of this.#history) this.#tell(watcher, events);
    return { [Symbol.dispose]: () => this.#watchers.delete(watcher) };
  }

  #tell({ prefix, from, tell }: Watcher, events: readonly EngineEvent[]): void {
    const concerned = events.filter((event) => event.revision >= from && keyOf(event).startsWith(prefix));
    if (concerned.length > 0) tell(concerned);
  }

  #commit(draft: Map<string, KeyValue>, changes: Commit["changes"], by: string): void {
    this.#revision++;
    this.onCommit({ by, revision: this.#revision, changes });
    this.#keys = draft;
    const revision = this.#revision;
    const events = changes.map(({ key, after }) =>
      after === null ? { delete: key, revision } : { put: after, revision },
    );
    this.#history.push(events);
    for (const watcher of [...this.#watchers]) this.#tell(watcher, events);
  }

  #asOf(prefix: string, revision: Revision): KeyValue[] {
    // Backwards from now: what a key was before each later change stands in the events before it.
    const keys = new Map<string, KeyValue>();
    for (const [key, value] of this.#keys) if (value.modRevision <= revision) keys.set(key, value);
    const changed = new Set<string>();
    for (const events of this.#history) {
      for (const event of events) if (event.revision > revision) changed.add(keyOf(event));
    }
    for (const events of this.#history) {
      for (const event of events) {
        if (event.revision > revision || !changed.has(keyOf(event))) continue;
        if ("put" in event) keys.set(event.put.key, event.put);
        else keys.delete(event.delete);
      }
    }
    if (this.#compacted > 0 && changed.size > 0)
      throw new EngineError("refused", "required revision has been compacted");
    return [...keys.values()].filter(({ key }) => key.startsWith(prefix)).sort((a, b) => (a.key < b.key ? -1 : 1));
  }
}

function holds(compare: Compare, keys: ReadonlyMap<string, KeyValue>): boolean {
  const value = keys.get(compare.key);
  if (compare.what === "value") return value !== undefined && Buffer.from(value.value).equals(compare.value);
  const there = (compare.what === "create" ? value?.createRevision : value?.modRevision) ?? 0;
  return compare.is === "=" ? there === compare.revision : there > compare.revision;
}

const keyOf = (event: EngineEvent): string => ("put" in event ? event.put.key : event.delete);

/** Of the requests of one connection: how many end as unknown, and ms that a message takes at most. */
export interface Faults {
  readonly unknown: number;
  readonly delayMs: number;
  /** Ms that a request takes at most, in the place of its deadline; and ms that a late one arrives after it, at most. */
  readonly patienceMs?: number;
  readonly lateMs?: number;
}

/** One server's way to the engine. */
export class MemoryConnection implements Engine {
  readonly #store: MemoryStore;
  /** Of the network, and of the process. */
  readonly #clock: Clock;
  readonly #process: Clock;
  readonly #random: Random;
  readonly #server: string;
  readonly #watches = new Set<{ readonly listener: WatchListener; readonly stop: () => void }>();
  faults: Faults;
  #isCut = false;

  constructor(store: MemoryStore, clock: Clock, process: Clock, random: Random, server: string, faults: Faults) {
    this.#store = store;
    this.#clock = clock;
    this.#process = process;
    this.#random = random;
    this.#server = server;
    this.faults = faults;
    store.connections.add(this);
  }

  /** Nothing gets through. */
  get isCut(): boolean {
    return this.#isCut;
  }
  set isCut(is: boolean) {
    this.#isCut = is;
    if (is) this.breakWatches();
  }

  transact(transaction: Transaction, deadline: number): Promise<TransactionResult> {
    return this.#call(() => this.#store.transact(transaction, this.#server), deadline);
  }
  list(prefix: string, { after = "", limit, revision, deadline }: Parameters<Engine["list"]>[1]): Promise<Page> {
    return this.#call(() => this.#store.list(prefix, after, limit, revision), deadline);
  }
  grantLease(seconds: number, deadline: number): Promise<LeaseId> {
    return this.#call(() => this.#store.grant(seconds), deadline);
  }
  keepAlive(lease: LeaseId, deadline: number): Promise<number> {
    return this.#call(() => this.#store.renew(lease), deadline);
  }
  revokeLease(lease: LeaseId, deadline: number): Promise<void> {
    return this.#call(() => this.#store.revoke(lease), deadline);
  }

  /** Events arrive late, in order; a cut ends the watch. */
  watch(prefix: string, from: Revision, listener: WatchListener): Disposable {
    let last = Promise.resolve();
    let isOver = false;
    const { past } = this.#store;
    const late = (deliver: () => void) => {
      const arrival = this.#delay(this.#process);
      last = last
        .then(() => arrival)
        .then(() => {
          if (!isOver && this.#store.past === past) deliver();
        });
    };
    const end = (why: "compacted" | "lost") => {
      stop();
      this.#process.after(this.#random.below(50), () => {
        if (isOver) return;
        isOver = true;
        listener.ended(why, new Error(why));
      });
    };
    let watch: Disposable | null = null;
    const entry = { listener, stop: () => end("lost") };
    const stop = () => {
      watch?.[Symbol.dispose]();
      this.#watches.delete(entry);
    };
    if (this.isCut) end("lost");
    else {
      watch = this.#store.watch(prefix, from, (events) => late(() => listener.events(events, this.#store.state)));
      if (watch === null) end("compacted");
      else this.#watches.add(entry);
    }
    return {
      [Symbol.dispose]: () => {
        isOver = true;
        stop();
      },
    };
  }

  breakWatches(): void {
    for (const { stop } of [...this.#watches]) stop();
  }

  close(): void {
    this.breakWatches();
    this.#store.connections.delete(this);
  }

  #delay(clock: Clock = this.#clock): Promise<void> {
    const ms = this.#random.chance(0.05) ? this.faults.delayMs * 10 : this.#random.below(this.faults.delayMs + 1);
    return new Promise((resolve) => clock.after(ms, resolve));
  }

  async #call<T>(request: () => T, limit: number): Promise<T> {
    const { patienceMs: deadline = limit, lateMs = 8_000 } = this.faults;
    const { past } = this.#store;
    const isLost = () => this.isCut || this.#store.past !== past;
    const fate =
      this.isCut || this.#random.chance(this.faults.unknown)
        ? this.#random.pick(["lost", "unheard", "late"] as const)
        : "known";
    const sleep = (ms: number) => new Promise<void>((resolve) => this.#process.after(ms, resolve));
    if (this.isCut && fate !== "lost" && this.#random.chance(0.5)) {
      await this.#delay();
      throw new EngineError("refused", "no connection");
    }
    await this.#delay();
    if (isLost() || fate === "lost") {
      await sleep(deadline);
      throw new EngineError("unknown", "deadline exceeded");
    }
    if (fate === "late") {
      // It changes the engine after its caller has given up.
      this.#clock.after(deadline + this.#random.below(lateMs), () => {
        if (this.#store.past !== past) return;
        try {
          request();
        } catch {}
      });
      await sleep(deadline);
      throw new EngineError("unknown", "deadline exceeded");
    }
    const answer = request();
    if (fate === "unheard") {
      await sleep(deadline);
      throw new EngineError("unknown", "deadline exceeded");
    }
    await this.#delay(this.#process);
    if (isLost()) {
      await sleep(deadline);
      throw new EngineError("unknown", "deadline exceeded");
    }
    return answer;
  }
}
