// A directory that stands for a distributed one. An engine holds the rows; each worker has a copy that follows the engine's
// changes some time later, and asks the engine for what the copy does not have. Requests take their time, answers come in
// another order than the questions, and some writes end as unknown: the request was lost, or its answer, or the request is only
// late and changes the engine after the caller has given up. Requests about one name arrive in the order of the calls.

import { foldForLookup, foldName } from "../../../lib/base/names.ts";
import {
  bindingOf,
  changedEntry,
  checkedName,
  checkedRequest,
  checkKey,
  checkNames,
  checkPage,
  checkRight,
  decide,
  kindOfChange,
} from "../../../lib/directory/claim-rules.ts";
import type {
  Claim,
  ConnectionPlace,
  Directory,
  DirectoryEvent,
  DirectoryPage,
  DirectoryRow,
  EntryChanges,
  Interest,
  NameBinding,
  Registered,
  RegisterRequest,
} from "../../../lib/directory/directory.ts";
import { DirectoryError } from "../../../lib/directory/directory-error.ts";
import { DirectoryEntry, type PackedEntry } from "../../../lib/directory/entry.ts";
import { EntryIndex, leftRooms } from "../../../lib/directory/entry-index.ts";
import { EventFeed } from "../../../lib/directory/event-feed.ts";
import { NameOwnership } from "../../../lib/directory/name-ownership.ts";
import type { NameRight } from "../../../lib/directory/name-right.ts";
import type { Random } from "./random.ts";

/** A row as the engine keeps it, and as it travels. */
interface EngineRow {
  readonly packed: PackedEntry;
  readonly claimId: string;
  readonly version: number;
  readonly place: ConnectionPlace;
}

/** One committed change. Revisions count all changes of the engine. */
interface Change {
  readonly revision: number;
  readonly event: DirectoryEvent;
  readonly row: EngineRow | null;
}

export class Engine {
  readonly capacity: number;
  readonly rows = new Map<string, EngineRow>();
  readonly names: NameOwnership;
  readonly #followers = new Set<(change: Change) => void>();
  #revision = 0;

  constructor({ capacity, nameLimit }: { readonly capacity: number; readonly nameLimit: number }) {
    this.capacity = capacity;
    this.names = new NameOwnership(nameLimit);
  }

  follow(follower: (change: Change) => void): void {
    this.#followers.add(follower);
  }

  /** Makes one change, and says it to all followers. */
  put(folded: string, kind: "on" | "changed", row: Omit<EngineRow, "version">): Change {
    const version = ++this.#revision;
    const stored = { ...row, version };
    const before = this.rows.get(folded);
    this.rows.set(folded, stored);
    const { packed } = row;
    const left = leftRooms(before === undefined ? null : new DirectoryEntry(before.packed), new DirectoryEntry(packed));
    return this.#committed({
      revision: version,
      row: stored,
      event: { kind, name: packed.name, version, entry: packed, ...left },
    });
  }

  delete(folded: string, { packed, version }: EngineRow): Change {
    this.rows.delete(folded);
    return this.#committed({
      revision: ++this.#revision,
      row: null,
      event: { kind: "off", name: packed.name, version, ...leftRooms(new DirectoryEntry(packed), null) },
    });
  }

  #committed(change: Change): Change {
    for (const follower of this.#followers) follower(change);
    return change;
  }
}

/** How often what goes wrong. */
const UNKNOWN_WRITES = 0.3;
const UNKNOWN_READS = 0.1;

export class UncertainDirectory implements Directory {
  readonly replies = null;
  /** Writes whose outcome the caller did not learn, and those of them that the engine made. */
  unknown = 0;
  unknownButMade = 0;
  readonly #engine: Engine;
  readonly #random: Random;
  readonly #feed = new EventFeed(() => {});
  /** The copy; a slot keeps its name. */
  readonly #slots: (EngineRow | null)[] = [];
  readonly #slotOf = new Map<string, number>();
  /** The revision that the copy has of each name. */
  readonly #seen = new Map<string, number>();
  readonly #lookups = new Map<string, number>();
  /** By folded name: settles when the last request about it has arrived. */
  readonly #arrivals = new Map<string, Promise<unknown>>();
  #changes: Promise<void> = Promise.resolve();
  #underWay = 0;
  #live: ReadonlySet<number> = new Set();

  constructor(engine: Engine, random: Random) {
    this.#engine = engine;
    this.#random = random;
    engine.follow((change) => {
      this.#underWay++;
      // In the order of the engine, some time later.
      this.#changes = this.#changes.then(async () => {
        await this.#random.delay();
        this.#apply(change);
        this.#underWay--;
      });
    });
  }

  get count(): number {
    return this.#slotOf.size;
  }
  get capacity(): number {
    return this.#engine.capacity;
  }
  /** Nothing is under way, and the copy has everything. */
  get isIdle(): boolean {
    return this.#underWay === 0;
  }

  async register(request: RegisterRequest): Promise<Registered> {
    const packed = checkedRequest(request);
    const folded = checkedName(packed.name);
    const { row, change, replaced } = await this.#write(folded, () => this.#commit(request, packed, folded));
    if (change !== null) this.#apply(change);
    return { claim: claimOf(row), replaced };
  }

  async update(claim: Claim, changes: EntryChanges): Promise<Claim> {
    const folded = foldName(claim.name);
    const { row, change } = await this.#write(folded, () => {
      const before = this.#heldBy(claim);
      if (before === null) throw DirectoryError.replaced(claim.name);
      const packed = changedEntry(new DirectoryEntry(before.packed), changes);
      const made = this.#engine.put(folded, "changed", { ...before, packed });
      return { row: made.row as EngineRow, change: made };
    });
    this.#apply(change);
    return claimOf(row);
  }

  async remove(claim: Claim): Promise<boolean> {
    const folded = foldName(claim.name);
    const change = await this.#write(folded, () => {
      const row = this.#heldBy(claim);
      return row === null ? null : this.#engine.delete(folded, row);
    });
    if (change !== null) this.#apply(change);
    return change !== null;
  }

  /** At once from the copy, otherwise from the engine. */
  find(name: string): DirectoryRow | null | Promise<DirectoryRow | null> {
    const folded = foldForLookup(name);
    if (folded === null) return null;
    const copied = this.#copied(folded);
    if (copied !== null) return this.#shown(copied);
    return this.#read(() => this.#shown(this.#engine.rows.get(folded) ?? null));
  }

  own(claim: Claim): Promise<DirectoryRow | null> {
    return this.#read(() => this.#shown(this.#heldBy(claim)));
  }

  page(cursor: number, limit: number): DirectoryPage {
    checkPage(cursor, limit);
    const rows: DirectoryRow[] = [];
    let slot = cursor;
    for (; slot < this.#slots.length && rows.length < limit; slot++) {
      const row = this.#shown(this.#slots[slot] ?? null);
      if (row !== null) rows.push(row);
    }
    return { cursor: slot < this.#slots.length ? slot : 0, rows };
  }

  members(room: string): Promise<DirectoryRow[]> {
    return this.#read(() =>
      this.#indexed()
        .members(room)
        .map((folded) => this.#rowIn(folded)),
    );
  }

  names(prefix: string, limit: number): Promise<string[]> {
    checkNames(limit);
    return this.#read(() =>
      this.#indexed()
        .names(prefix, limit)
        .map((folded) => this.#rowIn(folded).entry.name),
    );
  }

  ownerOf(name: string): null | Promise<string | null> {
    const folded = foldForLookup(name);
    return folded === null ? null : this.#read(() => this.#engine.names.get(folded)?.key ?? null);
  }

  bindingOf(name: string): null | Promise<NameBinding | null> {
    const folded = foldForLookup(name);
    return folded === null ? null : this.#read(() => bindingOf(this.#engine.names.get(folded)));
  }

  async bind(name: string, key: string, right?: NameRight): Promise<void> {
    const folded = checkedName(name);
    checkKey(key);
    await this.#write(folded, () => {
      const { names, rows } = this.#engine;
      const grant = checkRight(names.get(folded), key, this.#shown(rows.get(folded) ?? null), right);
      names.bind(folded, grant.key, grant.holder);
    });
  }

  async release(name: string): Promise<boolean> {
    const folded = checkedName(name);
    return await this.#write(folded, () => this.#engine.names.release(folded));
  }

  watch(interest: Interest, listener: (events: readonly DirectoryEvent[]) => void): Disposable {
    return this.#feed.watch(interest, listener);
  }

  /** Stays with this worker. */
  lookedUp({ id }: Claim, at: number): void {
    this.#lookups.set(id, at);
  }

  /** Events come from the engine. */
  deliver(): void {}

  setLiveWorkers(ids: Iterable<number>): void {
    this.#live = new Set(ids);
  }

  isLive({ worker }: ConnectionPlace): boolean {
    return this.#live.has(worker);
  }

  reopen(): void {} // nothing of it is in this host's memory

  close(): void {
    this.#feed.close();
  }

  /** What the engine does with a registration. */
  #commit(
    request: RegisterRequest,
    packed: PackedEntry,
    folded: string,
  ): { row: EngineRow; change: Change | null; replaced: Registered["replaced"] } {
    const { rows, names } = this.#engine;
    const before = rows.get(folded) ?? null;
    const { isOwn, key, holder } = checkRight(names.get(folded), packed.key, this.#shown(before), request.right);
    const isLive = before !== null && this.isLive(before.place);
    const decision = decide(request, this.#shown(before), isLive, isOwn);
    if (decision === "done" && before !== null) return { row: before, change: null, replaced: null };
    if (decision === "insert" && rows.size >= this.capacity) throw DirectoryError.full(this.capacity);
    names.bind(folded, key, holder);
    const { claimId, place } = request;
    const kind = kindOfChange(before === null ? null : new DirectoryEntry(before.packed), packed);
    const change = this.#engine.put(folded, kind, { packed, claimId, place });
    const replaced = isLive && before !== null ? { place: before.place, claimId: before.claimId } : null;
    return { row: change.row as EngineRow, change, replaced };
  }

  #heldBy({ name, id }: Claim): EngineRow | null {
    const row = this.#engine.rows.get(foldName(name));
    return row?.claimId === id ? row : null;
  }

  /** Brings the copy up to a change, unless it has a later one of the name. */
  #apply({ revision, event, row }: Change): void {
    const folded = foldName(event.name);
    if ((this.#seen.get(folded) ?? 0) >= revision) return;
    this.#seen.set(folded, revision);
    const slot = this.#slotOf.get(folded) ?? this.#slots.length;
    this.#slots[slot] = row;
    if (row === null) this.#slotOf.delete(folded);
    else this.#slotOf.set(folded, slot);
    this.#feed.emit(event);
  }

  #copied(folded: string): EngineRow | null {
    const slot = this.#slotOf.get(folded);
    return slot === undefined ? null : (this.#slots[slot] ?? null);
  }

  /** Of the engine's rows as they are now. */
  #indexed(): EntryIndex {
    const index = new EntryIndex();
    for (const [folded, { packed }] of this.#engine.rows) index.set(folded, new DirectoryEntry(packed));
    return index;
  }

  #rowIn(folded: string): DirectoryRow {
    return this.#shown(this.#engine.rows.get(folded) ?? null) as DirectoryRow;
  }

  #shown(row: EngineRow | null): DirectoryRow | null {
    if (row === null) return null;
    const { packed, claimId, version, place } = row;
    return { entry: new DirectoryEntry(packed, this.#lookups.get(claimId) ?? null), claimId, version, place };
  }

  /** Sends a change to the engine. @throws what the engine refuses; DirectoryError `try-again` */
  async #write<T>(folded: string, change: () => T): Promise<T> {
    const random = this.#random;
    const fate = random.chance(UNKNOWN_WRITES)
      ? random.pick(["request lost", "answer lost", "late"] as const)
      : "known";
    this.#underWay++;
    const arrival = (this.#arrivals.get(folded) ?? Promise.resolve()).then(async () => {
      await random.delay();
      this.#underWay--;
      return fate === "request lost" ? null : outcomeOf(change);
    });
    this.#arrivals.set(folded, arrival);
    if (fate === "late") {
      void arrival.then((outcome) => this.#countUnknown(outcome));
      await random.delay();
      throw noAnswer();
    }
    const outcome = await arrival;
    await random.delay();
    if (fate === "known" && outcome !== null) return resultOf(outcome);
    this.#countUnknown(outcome);
    throw noAnswer();
  }

  #countUnknown(outcome: Outcome<unknown> | null): void {
    this.unknown++;
    if (outcome !== null && "result" in outcome) this.unknownButMade++;
  }

  async #read<T>(look: () => T): Promise<T> {
    await this.#random.delay();
    if (this.#random.chance(UNKNOWN_READS)) throw noAnswer();
    const seen = look();
    await this.#random.delay();
    return seen;
  }
}

type Outcome<T> = { readonly result: T } | { readonly error: unknown };

function outcomeOf<T>(change: () => T): Outcome<T> {
  try {
    return { result: change() };
  } catch (error) {
    return { error };
  }
}

function resultOf<T>(outcome: Outcome<T>): T {
  if ("error" in outcome) throw outcome.error;
  return outcome.result;
}

function noAnswer(): DirectoryError {
  return DirectoryError.tryAgain("the engine did not answer in time");
}

function claimOf({ packed, claimId, version }: EngineRow): Claim {
  return { name: packed.name, id: claimId, version };
}
