// Keeps the copy of the engine's keys up to date:
//
//   1. A list of everything, page by page at one revision; from there on a watch.
//   2. A revision is taken whole, and only then becomes the one to go on from: by the revisions of the events, or a progress notice.
//   3. A watch that was lost begins again with the last change that was told: if the engine tells another one there, a backup was restored while
//      this server was cut off, and nothing that it knows counts. One that the engine cannot go on with (compacted), or an engine that has gone back: list again.
//   4. Every few minutes everything is listed beside the watch: engines have lost DELETEs (etcd#18475, #19251). What differs is taken, and said.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { DirectoryLog } from "../directory.ts";
import type { Clock } from "./clock.ts";
import { type Engine, EngineError, type EngineEvent, type KeyValue, type Revision } from "./engine.ts";
import type { Keys } from "./keys.ts";
import type { Replica, ReplicaChange } from "./replica.ts";
import { RETRY_MS, type Session } from "./session.ts";

/** Keys of one page: some megabytes. For each page etcd 3.4 counts all keys that begin so, so small pages of many keys take minutes. */
const PAGE_KEYS = 10_000;
/** A list of more is taken with pauses. */
const MANY_KEYS = 2_000;
/** Ms that one page may take. */
const PAGE_MS = 15_000;
/** Changes that are kept to know the past by; servers write their keys every two seconds. */
const MAX_WITNESSES = 10_000;
/** Ms between two lists beside the watch. */
const RELIST_MS = 300_000;

export interface FollowerOwner {
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log: DirectoryLog;
  /** In the order in which they happened; those of one call belong together. */
  changed(changes: readonly ReplicaChange[]): void;
  /** The changes of a whole list have been told: everything is known now. */
  listed(): void;
}

/** Tells an engine that has gone back. */
type Past = Pick<Session, "seenRevision" | "checkPast" | "goneBack">;

export class Follower {
  readonly #engine: Engine;
  readonly #session: Past;
  readonly #replica: Replica;
  readonly #owner: FollowerOwner;
  #watch: Disposable | null = null;
  #listing: Promise<void> | null = null;
  #isGoingOn = false;
  /** The watch that counts; an older one may still say something. */
  #current: object | null = null;
  /** It has to begin with a list: there was none, or the engine does not know what came after it. */
  #isBlind = true;
  /** The copy was whole, and has been followed since. */
  isCurrent = false;
  /** The last changes that a watch has told, from the last put on: the next watch has to begin with the same, or it is of another past. */
  #witnesses: readonly EngineEvent[] = [];
  /** A watch has told everything up to here. */
  #told: Revision = 0;
  #closed = false;
  #timer: Disposable | null = null;
  readonly counters = { lists: 0, repaired: 0, watches: 0 };

  constructor(engine: Engine, session: Past, replica: Replica, owner: FollowerOwner) {
    this.#engine = engine;
    this.#session = session;
    this.#replica = replica;
    this.#owner = owner;
  }

  /** Resolves when the copy is there. @throws EngineError */
  async start(): Promise<void> {
    await this.#list();
    this.#follow();
    this.#relistLater();
  }

  /** This server's copy is from another past. */
  startAnew(): void {
    if (this.#closed) return;
    this.#beBlind();
    this.isCurrent = false;
    this.#unwatch();
    void this.#goOn();
  }

  close(): void {
    this.#closed = true;
    this.#unwatch();
    this.#timer?.[Symbol.dispose]();
  }

  /** Lists if that is needed, and watches again. */
  async #goOn(): Promise<void> {
    if (this.#isGoingOn) return;
    this.#isGoingOn = true;
    while (!this.#closed && this.#isBlind) {
      try {
        await this.#list();
      } catch (error) {
        if (!(error instanceof EngineError)) throw error;
        await new Promise<void>((resolve) => this.#owner.clock.after(RETRY_MS, resolve));
      }
    }
    this.#isGoingOn = false;
    if (!this.#closed && this.#current === null) this.#follow();
  }

  /** One after the other. */
  async #list(): Promise<void> {
    while (this.#listing !== null) await this.#listing.catch(() => {});
    this.#listing = this.#listOnce();
    try {
      await this.#listing;
    } finally {
      this.#listing = null;
    }
  }

  async #listOnce(): Promise<void> {
    const isBeside = !this.#isBlind;
    this.#isBlind = false;
    this.#replica.beginList();
    try {
      const { values, revision } = await this.#pages();
      if (this.#closed || this.#isBlind) return;
      const isLate = this.#replica.revision < revision; // the watch has not told yet what the list shows
      let changes = 0;
      for (const part of this.#replica.endList(values, revision)) {
        changes += part.length;
        if (part.length > 0) this.#owner.changed(part);
        if (values.length > MANY_KEYS) await nextTurn(); // leases are kept meanwhile, and requests answered
        if (this.#closed || this.#isBlind) return;
      }
      this.isCurrent = true;
      this.counters.lists++;
      if (isBeside && !isLate && changes > 0) {
        this.counters.repaired += changes;
        this.#owner.log.warn("the engine's watch had lost changes, which a list has shown", { changes });
      }
      this.#owner.listed();
    } catch (error) {
      if (!isBeside) this.#isBlind = true;
      throw error;
    } finally {
      this.#replica.cancelList();
    }
  }

  async #pages(): Promise<{ values: KeyValue[]; revision: Revision }> {
    const values: KeyValue[] = [];
    let revision = 0;
    for (const prefix of this.#owner.keys.followed) {
      let after: string | undefined;
      for (;;) {
        const options = { limit: PAGE_KEYS, revision, deadline: PAGE_MS, ...(after === undefined ? {} : { after }) };
        const since = this.#session.seenRevision;
        const page = await this.#engine.list(prefix, options);
        this.#session.checkPast(page, since);
        if (revision === 0) revision = page.revision;
        for (const value of page.values) values.push(value);
        after = page.values.at(-1)?.key;
        if (!page.more) break;
      }
    }
    return { values, revision };
  }

  #follow(): void {
    this.counters.watches++;
    const current = {};
    this.#current = current;
    const isOver = () => this.#closed || this.#current !== current;
    const expected = [...this.#witnesses];
    const from = expected[0]?.revision ?? this.#replica.revision + 1;
    const watch = this.#engine.watch(this.#owner.keys.prefix, from, {
      events: (events) => {
        if (isOver()) return;
        for (const event of events) {
          const isAgain = event.revision <= this.#told;
          const witness = expected.shift();
          if (isAgain ? witness !== undefined && isSame(event, witness) : witness === undefined) continue;
          this.#session.goneBack();
          return;
        }
        this.#witness(events);
        const changes = this.#replica.apply(events);
        if (changes.length > 0) this.#owner.changed(changes);
      },
      progress: ({ revision }) => {
        if (isOver()) return;
        if (expected.length > 0) {
          this.#session.goneBack();
          return;
        }
        this.#told = Math.max(this.#told, revision);
        this.#replica.reached(revision);
      },
      ended: (why) => {
        if (isOver()) return;
        this.#current = null;
        this.#watch = null;
        if (why === "rewound") {
          this.#session.goneBack();
          return;
        }
        if (why === "compacted") this.#beBlind();
        this.#owner.clock.after(RETRY_MS, () => void this.#goOn());
      },
    });
    if (isOver()) watch[Symbol.dispose]();
    else this.#watch = watch;
  }

  #beBlind(): void {
    this.#isBlind = true;
    this.#witnesses = [];
    this.#told = 0;
  }

  #witness(events: readonly EngineEvent[]): void {
    const told = this.#told;
    const fresh = events.filter(({ revision }) => revision > told);
    const put = fresh.findLastIndex((event) => "put" in event);
    if (put >= 0) this.#witnesses = fresh.filter(({ revision }) => revision >= (fresh[put]?.revision ?? 0));
    else if (this.#witnesses.length + fresh.length <= MAX_WITNESSES) this.#witnesses = [...this.#witnesses, ...fresh];
    else this.#witnesses = fresh.filter(({ revision }) => revision === fresh.at(-1)?.revision);
    this.#told = Math.max(told, fresh.at(-1)?.revision ?? 0);
  }

  #unwatch(): void {
    this.#current = null;
    this.#watch?.[Symbol.dispose]();
    this.#watch = null;
  }

  #relistLater(): void {
    // Not all servers at once.
    const ms = RELIST_MS * (0.75 + 0.5 * this.#owner.clock.random());
    this.#timer = this.#owner.clock.after(ms, () => {
      // While it is blind it lists anyway; when the engine cannot be asked, it does the next time.
      const done = this.#isBlind ? Promise.resolve() : this.#list().catch(() => {});
      void done.then(() => this.#closed || this.#relistLater());
    });
  }
}

/** Two puts differ in what their writers have made up: claim ids, incarnations, the beats of servers. */
function isSame(one: EngineEvent, other: EngineEvent): boolean {
  if (one.revision !== other.revision) return false;
  if ("delete" in one || "delete" in other) return "delete" in one && "delete" in other && one.delete === other.delete;
  return one.put.key === other.put.key && Buffer.from(one.put.value).equals(other.put.value);
}
