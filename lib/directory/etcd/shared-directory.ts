// The directory that many servers share, as one server takes part in it. It decides and writes; what it knows goes into a table of this
// host, where all readers look. A registration, step by step:
//
//   1. The rules decide by what this server knows of the name (claim-rules.ts, replica.ts). They never refuse before the engine was asked.
//   2. The write compares everything that they have decided by (transactions.ts), and leaves with others (session.ts).
//   3. When a compare fails, its answer says what is there now, and the rules decide again. So no decision rests on a read.
//   4. Confirmed, it is applied at once, ahead of the watch: to the copy, and to the table.
//
// Registrations whose clients are on here are `held`. Whatever the watch says of their rows is settled: a row that is gone is claimed again,
// one of an old incarnation is written again, and the client of one that has moved hears `replaced`.
import { foldForLookup, foldName } from "../../base/names.ts";
import {
  changedEntry,
  checkedName,
  checkedRequest,
  checkKey,
  checkRight,
  decide,
  kindOfChange,
} from "../claim-rules.ts";
import type {
  Claim,
  ConnectionPlace,
  DirectoryEvent,
  DirectoryLog,
  DirectoryRow,
  EntryChanges,
  Registered,
  RegisterRequest,
} from "../directory.ts";
import { ELSEWHERE } from "../directory.ts";
import { DirectoryError } from "../directory-error.ts";
import { DirectoryEntry, type PackedEntry } from "../entry.ts";
import { type NameHolderIds, type NameLine, today } from "../name-ownership.ts";
import { type NameRight, NO_RIGHT } from "../name-right.ts";
import type { SharedTable, TableChange } from "../shared-table.ts";
import type { Clock } from "./clock.ts";
import { type Engine, EngineError, type KeyValue, type Revision } from "./engine.ts";
import { Follower } from "./follower.ts";
import { decodeFacts, encodeOwner, encodeRow, type Keys, type SharedRow } from "./keys.ts";
import { endOf, Replica, type ReplicaChange } from "./replica.ts";
import { PAST_IS_OVER, RETRY_MS, Session, type SessionState, type WriteOutcome } from "./session.ts";
import {
  type KnownOwner,
  type KnownRow,
  type RowWrite,
  readName,
  removeRow,
  stateOnce,
  writeOwner,
  writeRow,
} from "./transactions.ts";

export interface SharedOptions {
  readonly engine: Engine;
  readonly keys: Keys;
  /** Name of this server, without "/". */
  readonly server: string;
  /** What others may know of it: the value of its key. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** The directory's, if no other server has stated one before. */
  readonly id: string;
  /** One word for all hosts whose uids mean the same people; empty: none is stated. */
  readonly realm: string;
  readonly nameLimit: number;
  readonly clock: Clock;
  readonly log: DirectoryLog;
  readonly table: SharedTable;
  newIncarnation(): string;
  /** What has come from elsewhere. */
  onEvents(events: readonly DirectoryEvent[]): void;
  /** The client there has lost its row to another registration. */
  onReplaced(place: ConnectionPlace, claimId: string): void;
  /** The engine cannot be asked, or can again. */
  onAway(isAway: boolean): void;
}

/** Decisions about one request, at most: each follows a change of the name by another writer. */
const MAX_DECISIONS = 8;
/** Names that are asked for at the same time, at most. */
const MAX_ASKED = 256;
/** Ms for which "no client has that name" counts. */
const NOBODY_MS = 1_000;
const MAX_NOBODIES = 10_000;
/** Ms until the rows of a dead server are removed: the server may come back with another incarnation, and many may remove them. */
const JANITOR_MS = 1_000;
/** Ms between two changes of one client from "here" to "idle", or back. */
const IDLE_MS = 60_000;
/** Rows that the janitor removes at a time. */
const JANITOR_ROWS = 64;

interface Value {
  readonly key: string;
  readonly value: KeyValue | null;
}

/** As of when something is known. */
type Moment = Pick<WriteOutcome, "revision" | "past">;

/** What a write has put into the engine: the row last. */
interface Made {
  readonly values: readonly Value[];
  readonly at: Moment;
}

interface Unwritten {
  readonly changes: readonly TableChange[];
  readonly resolve: (events: readonly (DirectoryEvent | null)[]) => void;
  readonly reject: (error: unknown) => void;
}

interface Registration {
  readonly packed: PackedEntry;
  readonly claimId: string;
  readonly place: ConnectionPlace;
}

interface Held extends Registration {
  /** As whose the name was claimed: with the row, a restored backup may have lost it. Null: it was not claimed here. */
  readonly owner: { readonly key: string; readonly holder: NameHolderIds } | null;
  /** When a change from "here" to "idle", or back, was last written. */
  readonly idledAt?: number | undefined;
}

/** @property event null: it was done before */
export interface Done {
  readonly claim: Claim;
  readonly replaced: Registered["replaced"];
  readonly event: DirectoryEvent | null;
}

export class RealmError extends Error {
  override readonly name = "RealmError";
  /** The one that the directory has. */
  readonly realm: string;

  constructor(realm: string) {
    super(`the servers of this directory state the realm ${JSON.stringify(realm)}`);
    this.realm = realm;
  }
}

export class SharedDirectory {
  readonly #options: SharedOptions;
  readonly #keys: Keys;
  readonly #replica: Replica;
  readonly #session: Session;
  readonly #follower: Follower;
  /** Registrations of clients that are on here, by folded name. */
  readonly #held = new Map<string, Held>();
  /** By folded name: settles when the last request about it has. */
  readonly #turns = new Map<string, Promise<unknown>>();
  /** Names that are being settled; true: once more. */
  readonly #settling = new Map<string, boolean>();
  /** Events of names that are being changed for a worker, by folded name. */
  readonly #overhearing = new Map<string, DirectoryEvent[]>();
  /** Changes that wait for the table. */
  readonly #unwritten: Unwritten[] = [];
  #isWriting = false;
  /** By folded name: until when the answer "no client has it" counts. */
  readonly #nobodies = new Map<string, number>();
  readonly #asked = new Map<string, Promise<void>>();
  #janitor: Disposable | null = null;
  #incarnation = "";
  /** Changes from "here" to "idle", or back, that come too early to be written, by folded name. */
  readonly #idleLater = new Map<
    string,
    { readonly claimId: string; changes: EntryChanges; readonly timer: Disposable }
  >();
  /** Of the directory. */
  id: string;
  #isFollowing = false;
  #closed = false;

  constructor(options: SharedOptions) {
    const { engine, keys, clock, log, nameLimit } = options;
    this.#options = options;
    this.#keys = keys;
    this.id = options.id;
    this.#replica = new Replica(keys, nameLimit);
    this.#session = new Session(engine, {
      keys,
      clock,
      server: options.server,
      value: () =>
        Buffer.from(JSON.stringify({ ...options.facts, realm: options.realm, beat: options.newIncarnation() })),
      newIncarnation: () => options.newIncarnation(),
      opened: (own) => this.#opened(own),
      lost: (reason) => {
        if (this.#closed) return;
        log.warn("registrations wait: the server has lost its place in the directory", { reason });
        this.#replica.rewind();
        this.#follower.startAnew();
      },
      reachable: (is) => options.onAway(!is),
      refused: (reason) => {
        if (reason === null) log.warn("the directory's engine takes changes again");
        else log.warn("registrations wait: the directory's engine takes no changes", { reason });
      },
    });
    this.#follower = new Follower(engine, this.#session, this.#replica, {
      keys,
      clock,
      log,
      changed: (changes) => void this.#takeFrom(changes),
      listed: () => {
        this.#settleAll();
        this.#sweepLater();
      },
    });
  }

  /**
   * Resolves when the table shows the whole directory, and clients may register. After a failure it may be called again.
   * @throws EngineError; RealmError
   */
  async start(): Promise<void> {
    const { realm, id } = this.#options;
    const stated = await this.#stated(this.#keys.realm, realm);
    if (stated !== realm) throw new RealmError(stated);
    this.id = await this.#stated(this.#keys.id, id);
    if (!this.#isFollowing) await this.#follower.start();
    this.#isFollowing = true;
    await this.#session.start();
    await this.#write([]);
  }

  /** What stands under a key: this, if it is the first. */
  async #stated(key: string, text: string): Promise<string> {
    const { succeeded, results } = await this.#session.read(stateOnce(key, text));
    const [there] = results;
    if (succeeded || there?.kind !== "get" || there.value === null) return text;
    return Buffer.from(there.value.value).toString("utf8");
  }

  get isAway(): boolean {
    return !this.#session.isReachable;
  }

  /** @param live workers of this server that are alive */
  async register(request: RegisterRequest, live: readonly number[]): Promise<Done> {
    const packed = checkedRequest(request);
    const folded = checkedName(packed.name);
    const { claimId, place } = request;
    return this.#makeChange(folded, () =>
      this.#decideAnew(folded, async () => {
        const before = this.#replica.rows.get(folded) ?? null;
        const held = this.#held.get(folded);
        // A row that is gone although its client is on here is about to be claimed again.
        const view = before === null ? (held === undefined ? null : viewOf(held)) : viewOf(before.row);
        const isLive =
          before === null ? held !== undefined && live.includes(held.place.worker) : this.#isLive(before.row, live);
        this.#checkRealm(folded, request.right);
        const grant = checkRight(this.#replica.names.get(folded), packed.key, view, request.right);
        const decision = decide(request, view, isLive, grant.isOwn);
        const isHere = before !== null && this.#isHere(folded, before.row);
        if (decision === "done" && before !== null && isHere) {
          const { packed: there, place: at } = before.row;
          const replaced = replacedBy(claimId, held, live);
          this.#held.set(folded, { packed: there, claimId, place: at, owner: grant });
          await this.#write([]);
          return this.#done(there, claimId, replaced, null);
        }
        if (before === null) this.#checkRoom();
        this.#replica.names.checkRoom(folded, grant.key, grant.holder);
        const isAllowed = request.replace || request.takeover === before?.row.claimId || grant.isOwn || isHere;
        const deadServer = before === null || isAllowed || isLive ? null : this.#serverOf(before.row);
        const owner = this.#ownerWrite(folded, grant.key, grant.holder);
        const write = { folded, before, deadServer, ...owner };
        const made = await this.#writeRow(write, { packed, claimId, place });
        if (made === null) return null;
        this.#held.set(folded, { packed, claimId, place, owner: grant });
        const event = await this.#taken(folded, made);
        const replaced = replacedBy(claimId, isHere ? before.row : held, live);
        // One whose successor was answered "unknown" has not heard of it yet.
        if (held !== undefined && ![claimId, replaced?.claimId].includes(held.claimId))
          this.#options.onReplaced(held.place, held.claimId);
        return this.#done(packed, claimId, replaced, event ?? this.#overheard(folded) ?? this.#eventOf(before, packed));
      }),
    );
  }

  async update(claim: Claim, changes: EntryChanges): Promise<Done> {
    const folded = foldName(claim.name);
    return this.#makeChange(folded, () =>
      this.#decideAnew(folded, async () => {
        const held = this.#held.get(folded);
        const before = this.#replica.rows.get(folded) ?? null;
        const known = [held, before?.row].filter((one) => one !== undefined);
        // A row that is gone although its client is on is claimed again, with the change.
        const base = before?.row ?? held;
        const isIts = base !== undefined && known.every(({ claimId }) => claimId === claim.id);
        if (!isIts || (before === null && !this.#mayHave(folded, base.packed.key)))
          throw DirectoryError.replaced(claim.name);
        // Of a client that is gone: a restored backup has brought it back.
        if (held === undefined && before !== null && !this.#isOwn(before.row))
          throw DirectoryError.replaced(claim.name);
        const entry = new DirectoryEntry(base.packed);
        const packed = changedEntry(entry, changes);
        const isIdling = isIdleAlone(entry, changes);
        if (isIdling && this.#idlesLater(folded, claim, changes)) return this.#done(base.packed, claim.id, null, null);
        if (changes.status !== undefined) {
          this.#idleLater.get(folded)?.timer[Symbol.dispose]();
          this.#idleLater.delete(folded);
        }
        const { claimId, place } = base;
        const owner = { owner: { known: this.#ownerOf(folded), line: null }, givesWay: null };
        const made = await this.#writeRow({ folded, before, deadServer: null, ...owner }, { packed, claimId, place });
        if (made === null) return null;
        const idledAt = isIdling ? this.#options.clock.now() : held?.idledAt;
        this.#held.set(folded, { packed, claimId, place, owner: held?.owner ?? null, idledAt });
        const event = await this.#taken(folded, made);
        return this.#done(packed, claimId, null, event ?? this.#overheard(folded) ?? this.#eventOf(before, packed));
      }),
    );
  }

  /**
   * Idle is written at most once a minute: every server hears of it, with all who watch the name. What comes earlier waits, and the last counts.
   * @returns whether it waits
   */
  #idlesLater(folded: string, claim: Claim, changes: EntryChanges): boolean {
    const waiting = this.#idleLater.get(folded);
    if (waiting?.claimId === claim.id) {
      waiting.changes = changes;
      return true;
    }
    const { clock } = this.#options;
    const left = (this.#held.get(folded)?.idledAt ?? Number.NEGATIVE_INFINITY) + IDLE_MS - clock.now();
    if (left <= 0) return false;
    waiting?.timer[Symbol.dispose]();
    const timer = clock.after(left, () => void this.#idle(folded, claim));
    this.#idleLater.set(folded, { claimId: claim.id, changes, timer });
    return true;
  }

  async #idle(folded: string, claim: Claim): Promise<void> {
    const waiting = this.#idleLater.get(folded);
    if (waiting?.claimId !== claim.id || this.#closed) return;
    this.#idleLater.delete(folded);
    try {
      const { event } = await this.update(claim, waiting.changes);
      if (event !== null) this.#announce([event]);
    } catch (error) {
      // It is gone, or the engine is away: the client's next change says it.
      if (!(error instanceof DirectoryError)) throw error;
    }
  }

  /** @returns the event; "gone": it was told already; "none": the claim has no row (any more) */
  async remove(claim: Claim): Promise<DirectoryEvent | "gone" | "none"> {
    const folded = foldName(claim.name);
    if (this.#held.get(folded)?.claimId === claim.id) this.#held.delete(folded); // nothing claims it again
    let wasThere = false;
    return this.#makeChange(folded, () =>
      this.#decideAnew(folded, async (isSure) => {
        if (this.#held.get(folded)?.claimId === claim.id) this.#held.delete(folded);
        const before = this.#replica.rows.get(folded);
        if (before?.row.claimId !== claim.id) {
          if (!isSure) throw NOT_SURE;
          const event = await this.#clear(folded, claim.id);
          return event ?? (wasThere ? (this.#overheard(folded) ?? "gone") : "none");
        }
        wasThere = true;
        const build = () => removeRow(this.#keys, folded, before, null);
        const outcome = await this.#session.write({ folded, needsSession: false, build });
        if (!outcome.succeeded) return this.#learn(outcome);
        const [event] = await this.#take([{ key: this.#keys.row(folded), value: null }], outcome);
        return event ?? this.#overheard(folded) ?? "gone";
      }),
    );
  }

  async bind(name: string, key: string, right?: NameRight): Promise<void> {
    const folded = checkedName(name);
    checkKey(key);
    await this.#inTurn(folded, () =>
      this.#decideAnew(folded, async () => {
        this.#checkRealm(folded, right);
        const { names } = this.#replica;
        const row = this.#replica.rows.get(folded);
        const grant = checkRight(names.get(folded), key, row === undefined ? null : viewOf(row.row), right);
        names.checkRoom(folded, grant.key, grant.holder);
        const { owner, givesWay } = this.#ownerWrite(folded, grant.key, grant.holder);
        if (owner.line === null) return true;
        return this.#writeOwner(folded, owner.line, givesWay);
      }),
    );
  }

  /**
   * Binds a name as a server knows it from the time before it shared this directory.
   * @returns "bound": by this, or the same before; "other": it belongs to another key here; "full": for it another one would have to give way
   */
  async adopt(line: NameLine): Promise<"bound" | "other" | "full"> {
    const { folded } = line;
    return this.#inTurn(folded, () =>
      this.#decideAnew(folded, async () => {
        const { names } = this.#replica;
        const there = names.get(folded);
        if (there !== undefined) return there.key === line.key ? "bound" : "other";
        if (names.givesWayTo(line) !== null) return "full";
        return (await this.#writeOwner(folded, line, null)) === null ? null : "bound";
      }),
    );
  }

  async release(name: string): Promise<boolean> {
    const folded = checkedName(name);
    let wasBound = false;
    return this.#inTurn(folded, () =>
      this.#decideAnew(folded, async (isSure) => {
        if (!this.#replica.owners.has(folded)) {
          if (!isSure) throw NOT_SURE;
          return wasBound;
        }
        wasBound = true;
        return this.#writeOwner(folded, null, null);
      }),
    );
  }

  /**
   * Asks the engine for a name that the table does not have. When it resolves, the table shows what the engine has said.
   * @throws DirectoryError `try-again` while the engine cannot be asked
   */
  async ask(name: string): Promise<void> {
    const folded = foldForLookup(name);
    if (folded === null) return;
    if (this.#replica.rows.has(folded)) {
      await this.#write([]);
      return;
    }
    if ((this.#nobodies.get(folded) ?? 0) > this.#options.clock.now()) return;
    const asked = this.#asked.get(folded);
    if (asked !== undefined) return asked;
    if (this.isAway || this.#asked.size >= MAX_ASKED) throw cannotAsk();
    const answer = this.#ask(folded).finally(() => this.#asked.delete(folded));
    this.#asked.set(folded, answer);
    return answer;
  }

  /** Clients of a worker that is dead. */
  heldBy(worker: number): Claim[] {
    const rows = [...this.#replica.rows.values()].map(({ row }) => row).filter((row) => this.#isOwn(row));
    const ofWorker = [...this.#held.values(), ...rows].filter(({ place }) => place.worker === worker);
    const claims = ofWorker.map(({ packed, claimId }) => ({ name: packed.name, id: claimId, version: 0 }));
    return [...new Map(claims.map((claim) => [claim.id, claim])).values()];
  }

  /** Where the client of a registration is at this server; null: not here. */
  placeOf(name: string, claimId: string): ConnectionPlace | null {
    const folded = foldForLookup(name);
    const held = folded === null ? undefined : this.#held.get(folded);
    return held?.claimId === claimId ? held.place : null;
  }

  /** The other server that a client of this folded name is on at; null: none, or what is known may be out of date. */
  serverOf(folded: string): string | null {
    if (this.isAway) return null;
    const row = this.#replica.rows.get(folded)?.row;
    if (row === undefined || row.server === this.#options.server) return null;
    return this.#isHere(folded, row) || !this.#isServerAlive(row) ? null : row.server;
  }

  /** What the other servers that are alive say of themselves, by their names. */
  others(): ReadonlyMap<string, Readonly<Record<string, unknown>>> {
    const found = new Map<string, Readonly<Record<string, unknown>>>();
    for (const [key, { value }] of this.#replica.servers) {
      const meaning = this.#keys.meaningOf(key);
      if (meaning?.kind !== "server" || meaning.server === this.#options.server) continue;
      found.set(meaning.server, decodeFacts(value));
    }
    return found;
  }

  stats(): Readonly<Record<string, number>> {
    const { counters } = this.#session;
    return {
      engine_reachable: this.isAway ? 0 : 1,
      engine_claiming: this.#session.state === null ? 0 : 1,
      engine_revision: this.#replica.revision,
      engine_servers: this.#replica.servers.size,
      engine_rows: this.#replica.rows.size,
      engine_names: this.#replica.owners.size,
      engine_incarnations: counters.incarnations,
      engine_writes: counters.writes,
      engine_batches: counters.batches,
      engine_unknown_writes: counters.unknown,
      engine_fences: counters.fences,
      engine_lists: this.#follower.counters.lists,
      engine_watches: this.#follower.counters.watches,
      engine_repaired: this.#follower.counters.repaired,
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#janitor?.[Symbol.dispose]();
    for (const { timer } of this.#idleLater.values()) timer[Symbol.dispose]();
    this.#follower.close();
    await this.#session.close();
    await this.#write([]);
  }

  /** A change of a row for a worker, which tells the watchers of it itself. */
  async #makeChange<T>(folded: string, change: () => Promise<T>): Promise<T> {
    return this.#inTurn(folded, async () => {
      const overheard: DirectoryEvent[] = [];
      this.#overhearing.set(folded, overheard);
      try {
        return await change();
      } finally {
        this.#overhearing.delete(folded);
        if (overheard.length > 0) this.#options.onEvents(overheard);
      }
    });
  }

  /** The event of a change that the watch has brought before its answer came. */
  #overheard(folded: string): DirectoryEvent | null {
    return this.#overhearing.get(folded)?.pop() ?? null;
  }

  /** Tells everybody, but of names that are being changed for a worker. */
  #announce(events: readonly (DirectoryEvent | null)[]): void {
    const others: DirectoryEvent[] = [];
    for (const event of events) if (event !== null) (this.#overhearing.get(foldName(event.name)) ?? others).push(event);
    if (others.length > 0 && !this.#closed) this.#options.onEvents(others);
  }

  /** Requests about one name are made one after the other. */
  #inTurn<T>(folded: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(folded);
    const turn = before === undefined ? work() : before.then(work, work);
    this.#turns.set(folded, turn);
    const end = () => {
      if (this.#turns.get(folded) === turn) this.#turns.delete(folded);
    };
    turn.then(end, end);
    return turn;
  }

  /**
   * Decides until a decision holds: `decision` gives null when the engine has shown that it was wrong. A refusal counts only when the
   * engine was asked for it.
   */
  async #decideAnew<T>(folded: string, decision: (isSure: boolean) => Promise<T | null>): Promise<T> {
    let isSure = false;
    for (let n = 0; n < MAX_DECISIONS; n++) {
      try {
        const result = await decision(isSure);
        if (result !== null) return result;
        isSure = true; // what it has shown is of this moment
      } catch (error) {
        const isRefusal = error instanceof DirectoryError && error.code !== "try-again";
        if (error !== NOT_SURE && error !== PAST_IS_OVER && (isSure || !isRefusal)) throw error;
        await this.#refresh(folded);
        isSure = true;
      }
    }
    const unreadable = this.#replica.unreadableOf(folded);
    throw DirectoryError.cannotTell(
      unreadable === null
        ? "others keep changing the name"
        : `this server cannot read what the shared directory has at ${unreadable}: upgrade it, or have that key deleted`,
    );
  }

  async #refresh(folded: string): Promise<void> {
    try {
      const { past } = this.#session;
      const { results, revision } = await this.#session.read(readName(this.#keys, folded));
      const keys = [this.#keys.row(folded), this.#keys.owner(folded)];
      const values = results.map((result, i) => {
        const value = result.kind === "get" ? result.value : null;
        return { key: keys[i] as string, value };
      });
      await this.#takeAndTell(values, { revision, past });
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      throw DirectoryError.cannotTell("the directory's engine cannot be asked");
    }
  }

  async #ask(folded: string): Promise<void> {
    await this.#refresh(folded);
    if (this.#replica.rows.has(folded)) return;
    if (this.#nobodies.size >= MAX_NOBODIES) this.#nobodies.clear();
    this.#nobodies.set(folded, this.#options.clock.now() + NOBODY_MS);
  }

  /** @returns the state in the engine now; null: another value was there */
  async #writeRow(write: Omit<RowWrite, "row">, { packed, claimId, place }: Registration): Promise<Made | null> {
    const { folded, owner, givesWay } = write;
    const { server } = this.#options;
    let row: SharedRow | null = null;
    const build = (own: SessionState) => {
      row = { packed, claimId, place, server, incarnation: own.incarnation };
      return writeRow(this.#keys, own, { ...write, row });
    };
    const outcome = await this.#session.write({ folded, needsSession: true, build });
    if (!outcome.succeeded || row === null) return this.#learn(outcome);
    const key = this.#keys.row(folded);
    const values = this.#ownerValues(folded, owner.line, givesWay, outcome.revision);
    return { values: [...values, { key, value: written(key, encodeRow(row), outcome.revision) }], at: outcome };
  }

  async #writeOwner(folded: string, line: NameLine | null, givesWay: RowWrite["givesWay"]): Promise<true | null> {
    const known = this.#ownerOf(folded);
    const row = this.#replica.rows.get(folded) ?? null;
    const build = (own: SessionState) => writeOwner(this.#keys, own, { folded, known, line, row, givesWay });
    const outcome = await this.#session.write({ folded, needsSession: true, build });
    if (!outcome.succeeded) return this.#learn(outcome);
    if (line === null) await this.#take([{ key: this.#keys.owner(folded), value: null }], outcome);
    else await this.#take(this.#ownerValues(folded, line, givesWay, outcome.revision), outcome);
    return true;
  }

  /** What a write has put where the owners of names are. */
  #ownerValues(folded: string, line: NameLine | null, givesWay: RowWrite["givesWay"], revision: Revision): Value[] {
    if (line === null) return [];
    const key = this.#keys.owner(folded);
    const gone = givesWay === null ? [] : [{ key: this.#keys.owner(givesWay.folded), value: null }];
    return [...gone, { key, value: written(key, encodeOwner(line), revision) }];
  }

  /** What is to stand as the name's owner, and which name of its key gives way. */
  #ownerWrite(folded: string, key: string, holder: NameHolderIds): Pick<RowWrite, "owner" | "givesWay"> {
    const { names } = this.#replica;
    const known = this.#ownerOf(folded);
    if (names.isFresh(folded, key, holder) || !names.canBind(folded, key, holder)) {
      return { owner: { known, line: null }, givesWay: null };
    }
    const line: NameLine = { folded, key, day: today(), ...holder };
    const other = names.givesWayTo(line);
    const givesWay = other === null ? null : { folded: other, known: this.#ownerOf(other) };
    return { owner: { known, line }, givesWay };
  }

  #ownerOf(folded: string): KnownOwner | null {
    return this.#replica.owners.get(folded) ?? null;
  }

  /** What a write has read instead of being made. */
  async #learn({ values, ...at }: WriteOutcome): Promise<null> {
    await this.#takeAndTell(
      [...values].map(([key, value]) => ({ key, value })),
      at,
    );
    return null;
  }

  /** Takes changes of keys, and tells the watchers. */
  async #takeAndTell(values: readonly Value[], at: Moment): Promise<void> {
    this.#announce(await this.#take(values, at));
  }

  /** Takes a row that this server has written. @returns its event */
  async #taken(folded: string, { values, at }: Made): Promise<DirectoryEvent | null> {
    const held = this.#held.get(folded);
    const isOfNow = at.past === this.#session.past;
    const events = await (isOfNow || held === undefined ? this.#take(values, at) : this.#write([rowIn(held)]));
    // It may be of a past that is gone, or the watch has brought its successor before this answer came.
    const known = this.#replica.rows.get(folded)?.row.claimId;
    if (!isOfNow || known !== this.#held.get(folded)?.claimId) this.#settleLater(folded);
    return events.at(-1) ?? null;
  }

  /** @returns the events of rows that have changed. When it resolves, the table has them. */
  #take(values: readonly Value[], { revision, past }: Moment): Promise<readonly (DirectoryEvent | null)[]> {
    if (past !== this.#session.past) return this.#apply([]);
    const changes = values.map(({ key, value }) => this.#replica.take(key, value, revision));
    return this.#apply(changes.filter((change) => change !== null));
  }

  async #takeFrom(changes: readonly ReplicaChange[]): Promise<void> {
    try {
      this.#announce(await this.#apply(changes));
    } catch (error) {
      if (!this.#closed) this.#options.log.warn("the table could not be brought up to date", { error });
    }
  }

  #apply(changes: readonly ReplicaChange[]): Promise<readonly (DirectoryEvent | null)[]> {
    return this.#write(changes.map((change) => this.#inTable(change)).filter((change) => change !== null));
  }

  /** Into the table, in the order of the calls. */
  #write(changes: readonly TableChange[]): Promise<readonly (DirectoryEvent | null)[]> {
    return new Promise((resolve, reject) => {
      this.#unwritten.push({ changes, resolve, reject });
      if (!this.#isWriting) void this.#writeAll();
    });
  }

  /** One entry into the table's lock for all that has come meanwhile. */
  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    while (this.#unwritten.length > 0) {
      const some = this.#unwritten.splice(0);
      const all = some.flatMap(({ changes }) => changes);
      try {
        const events = all.length === 0 ? [] : await this.#options.table.apply(all);
        let at = 0;
        for (const { changes, resolve } of some) {
          resolve(events.slice(at, at + changes.length));
          at += changes.length;
        }
      } catch (error) {
        for (const { reject } of some) reject(error);
      }
    }
    this.#isWriting = false;
  }

  /** What a change of the engine's keys is in the table of this host. */
  #inTable(change: ReplicaChange): TableChange | null {
    if (change.kind === "server") {
      if (change.value !== null) return null;
      if (change.key === this.#keys.server(this.#options.server, this.#incarnation)) {
        this.#session.lose("the server's key is gone");
      }
      this.#sweepLater();
      return null;
    }
    const { folded } = change;
    if (change.kind === "owner") return { kind: "owner", line: change.line ?? endOf(folded) };
    const { before, after } = change;
    const held = this.#held.get(folded);
    if (after !== null) this.#nobodies.delete(folded);
    if (held !== undefined && (after === null || after.row.claimId !== held.claimId || !this.#isOwn(after.row))) {
      this.#settleLater(folded);
      // Until it is settled, the row of a client that is on here stays.
      if (after === null && before?.row.claimId === held.claimId) return null;
    }
    if (after === null) return before === null ? null : { kind: "gone", name: before.row.packed.name };
    return rowIn(after.row, this.#isHere(folded, after.row) ? after.row.place : ELSEWHERE);
  }

  /** Takes the row of a claim out of the table that is in the engine no more. */
  async #clear(folded: string, claimId: string): Promise<DirectoryEvent | null> {
    await this.#write([]);
    const row = this.#options.table.find(folded);
    if (row?.claimId !== claimId || this.#replica.rows.has(folded)) return null;
    return (await this.#write([{ kind: "gone", name: row.entry.name }]))[0] ?? null;
  }

  #opened({ incarnation }: SessionState): void {
    this.#incarnation = incarnation;
    this.#settleAll();
  }

  /** Once a new incarnation has begun, and everything is listed. */
  #settleAll(): void {
    if (!this.#session.isOpen || !this.#follower.isCurrent) return;
    for (const folded of this.#held.keys()) this.#settleLater(folded);
  }

  #settleLater(folded: string): void {
    if (this.#closed) return;
    const isWaiting = this.#settling.has(folded);
    this.#settling.set(folded, true);
    if (isWaiting) return;
    void this.#inTurn(folded, async () => {
      let isSettled = true;
      // Once more if something has come in between.
      try {
        while (this.#settling.get(folded) && isSettled) {
          this.#settling.set(folded, false);
          isSettled = await this.#settle(folded);
        }
        return isSettled;
      } finally {
        this.#settling.delete(folded);
      }
    })
      .catch((error: unknown) => {
        if (!isForNow(error) && !this.#closed) throw error;
        return false;
      })
      .then((isSettled) => {
        if (!isSettled && this.#held.has(folded)) this.#options.clock.after(RETRY_MS, () => this.#settleLater(folded));
      });
  }

  /** Makes the engine show a client that is on here, or gives the client up. @returns whether that is done */
  async #settle(folded: string): Promise<boolean> {
    const held = this.#held.get(folded);
    if (held === undefined) return true;
    if (!this.#session.isOpen || !this.#follower.isCurrent) return true; // settleAll() comes back to it
    const known = this.#replica.rows.get(folded) ?? null;
    if (known !== null && known.row.claimId !== held.claimId) return this.#giveUp(folded, held);
    if (known !== null && this.#isOwn(known.row)) return true;
    if (known === null && !this.#mayHave(folded, held.packed.key)) return this.#giveUp(folded, held);
    const ownership = this.#ownerOf(folded);
    const owner =
      known === null && ownership === null && held.owner !== null
        ? this.#ownerWrite(folded, held.owner.key, held.owner.holder)
        : { owner: { known: ownership, line: null }, givesWay: null };
    const made = await this.#writeRow({ folded, before: known, deadServer: null, ...owner }, held);
    if (made === null) return false;
    await this.#takeAndTell(made.values, made.at);
    return made.at.past === this.#session.past;
  }

  /** The name belongs to no other key. */
  #mayHave(folded: string, key: string): boolean {
    const line = this.#replica.names.get(folded);
    return line === undefined || line.key === key || (line.also ?? "").split(",").includes(key);
  }

  /** Another registration has the name. */
  async #giveUp(folded: string, held: Held): Promise<true> {
    this.#held.delete(folded);
    const known = this.#replica.rows.get(folded);
    const inTable =
      known === undefined ? null : [rowIn(known.row, this.#isHere(folded, known.row) ? known.row.place : ELSEWHERE)];
    const event = inTable === null ? await this.#clear(folded, held.claimId) : (await this.#write(inTable))[0];
    this.#announce([event ?? null]);
    // One of this server's own, whose register() was answered "unknown", has not told it.
    this.#options.onReplaced(held.place, held.claimId);
    if (known !== undefined && this.#isOwn(known.row)) {
      const { packed, claimId, place } = known.row;
      this.#held.set(folded, { packed, claimId, place, owner: null });
    }
    return true;
  }

  /** Removes the rows of servers that are gone, a while from now. */
  #sweepLater(): void {
    if (this.#closed || this.#janitor !== null) return;
    const { clock } = this.#options;
    this.#janitor = clock.after(JANITOR_MS * (1 + clock.random()), () => {
      void this.#sweep().then((isDone) => {
        this.#janitor = null;
        if (!isDone) this.#sweepLater();
      });
    });
  }

  /** Of a server that is gone; or of this one, which knows of no such client: a restored backup has brought it back. */
  #isLeftOver(folded: string, row: SharedRow): boolean {
    if (this.#held.get(folded)?.claimId === row.claimId || this.#turns.has(folded)) return false;
    return this.#isOwn(row) || !this.#isServerAlive(row);
  }

  /** @returns false if rows are left */
  async #sweep(): Promise<boolean> {
    const dead = [...this.#replica.rows].filter(([folded, { row }]) => this.#isLeftOver(folded, row));
    for (let i = 0; i < dead.length && !this.#closed; i += JANITOR_ROWS) {
      const removals = dead.slice(i, i + JANITOR_ROWS).map(([folded, known]) => this.#removeDead(folded, known));
      if ((await Promise.all(removals)).includes(false)) return false;
    }
    return true;
  }

  async #removeDead(folded: string, known: KnownRow): Promise<boolean> {
    const deadServer = this.#isOwn(known.row) ? null : this.#serverOf(known.row);
    const build = () => removeRow(this.#keys, folded, known, deadServer);
    try {
      const outcome = await this.#session.write({ folded, needsSession: false, build });
      if (!outcome.succeeded) await this.#learn(outcome);
      else await this.#takeAndTell([{ key: this.#keys.row(folded), value: null }], outcome);
      return true;
    } catch (error) {
      if (isForNow(error)) return false;
      throw error;
    }
  }

  /** @throws DirectoryError `reserved`: in one realm a uid means one person everywhere */
  #checkRealm(folded: string, { owner, uid }: NameRight = NO_RIGHT): void {
    if (this.#options.realm === "" || typeof owner !== "object") return;
    const line = this.#replica.names.get(folded);
    if (line?.login === undefined || line.uid === undefined || line.login !== owner.login) return;
    if (line.uid === owner.uid || uid === line.uid) return;
    throw DirectoryError.reserved(
      `it is the login name of uid ${line.uid} in the realm ${this.#options.realm}, and this host gives it to uid ${owner.uid}`,
    );
  }

  #checkRoom(): void {
    const { count, capacity } = this.#options.table;
    if (count >= capacity) throw DirectoryError.full(capacity);
  }

  #done(packed: PackedEntry, claimId: string, replaced: Done["replaced"], event: DirectoryEvent | null): Done {
    const version = event?.version ?? this.#options.table.find(packed.name)?.version ?? 0;
    return { claim: { name: packed.name, id: claimId, version }, replaced, event };
  }

  /** The event of a change that the watch has brought first: hearing it twice does no harm. */
  #eventOf(before: KnownRow | null, packed: PackedEntry): DirectoryEvent {
    const kind = kindOfChange(before === null ? null : new DirectoryEntry(before.row.packed), packed);
    const version = this.#options.table.find(packed.name)?.version ?? 0;
    return { kind, name: packed.name, version, entry: packed };
  }

  #serverOf({ server, incarnation }: SharedRow): string {
    return this.#keys.server(server, incarnation);
  }

  #isServerAlive(row: SharedRow): boolean {
    return this.#isOwn(row) || this.#replica.servers.has(this.#serverOf(row));
  }

  /** Of the current incarnation. */
  #isOwn({ server, incarnation }: SharedRow): boolean {
    return server === this.#options.server && incarnation === this.#incarnation;
  }

  /** The client is at this server, whatever incarnation has written the row. */
  #isHere(folded: string, row: SharedRow): boolean {
    return this.#isOwn(row) || this.#held.get(folded)?.claimId === row.claimId;
  }

  #isLive(row: SharedRow, live: readonly number[]): boolean {
    const isHere = this.#isHere(foldName(row.packed.name), row);
    return isHere ? live.includes(row.place.worker) : this.#isServerAlive(row);
  }
}

/** Only between "here" and "idle": what a program finds out, not what a person says. */
function isIdleAlone({ status }: DirectoryEntry, changes: EntryChanges): boolean {
  const { status: next, ...others } = changes;
  if (next === undefined || Object.values(others).some((change) => change !== undefined)) return false;
  return ![next.state, status.state].includes("away") && next.text === status.text;
}

/** A decision that may not be made by what this server knows. */
const NOT_SURE = new Error("the engine has to be asked");

const isForNow = (error: unknown): boolean => error === PAST_IS_OVER || error instanceof DirectoryError;

function cannotAsk(): DirectoryError {
  return DirectoryError.cannotTell("the directory's engine cannot be asked now");
}

/** The registration of this server, whose client is to hear of it. */
function replacedBy(claimId: string, old: Registration | undefined, live: readonly number[]): Registered["replaced"] {
  if (old === undefined || old.claimId === claimId || !live.includes(old.place.worker)) return null;
  return { place: old.place, claimId: old.claimId };
}

function viewOf({ packed, claimId, place }: Registration): DirectoryRow {
  return { entry: new DirectoryEntry(packed), claimId, place, version: 0 };
}

function rowIn({ packed, claimId, place }: Registration, at: ConnectionPlace = place): TableChange {
  return { kind: "row", entry: packed, claimId, place: at };
}

/** As the engine keeps what was just written. */
function written(key: string, value: Uint8Array, revision: Revision): KeyValue {
  return { key, value, createRevision: revision, modRevision: revision, lease: "0" };
}
