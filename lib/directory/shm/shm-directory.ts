// The directory in shared memory, as one worker process sees it. A registration, step by step:
//   1. The request is checked, and the entry packed (entry.ts).
//   2. The change waits for the write lock, with others of this process (write-batcher.ts).
//   3. Under the lock: the name log is read on; the name's owner and the row under the name decide (claim-rules.ts).
//   4. The row is written (table-writer.ts): from one atomic store on, every process of the host finds it.
//   5. The name is bound to the key (name-log.ts). If that fails, the row goes again.
//   6. The lock is given back; watchers here and in other workers get the event (event-feed.ts).
import { setImmediate as nextTurn } from "node:timers/promises";
import { foldForLookup } from "../../base/names.ts";
import type { ReadersWriterLock } from "../../ipc/readers-writers-lock.ts";
import {
  bindingOf,
  changedEntry,
  checkedName,
  checkedRequest,
  checkKey,
  checkNames,
  checkRight,
  decide,
  kindOfChange,
} from "../claim-rules.ts";
import type {
  Claim,
  ConnectionPlace,
  Directory,
  DirectoryConfig,
  DirectoryEvent,
  DirectoryPage,
  EntryChanges,
  Interest,
  NameBinding,
  OpenOptions,
  Registered,
  RegisterRequest,
} from "../directory.ts";
import { DirectoryError } from "../directory-error.ts";
import { DirectoryEntry, type PackedEntry } from "../entry.ts";
import { leftRooms } from "../entry-index.ts";
import { EventFeed } from "../event-feed.ts";
import type { NameLine } from "../name-ownership.ts";
import type { NameRight } from "../name-right.ts";
import type { SharedTable, TableChange } from "../shared-table.ts";
import type { ClientTable } from "./client-table.ts";
import type { HeldNames } from "./held-names.ts";
import { LookupReplyCache } from "./lookup-reply-cache.ts";
import type { NameLog } from "./name-log.ts";
import { WRITES_PER_LOCK } from "./shm-limits.ts";
import type { RowHandle, StoredEntry } from "./stored-entry.ts";
import { TableError } from "./table-error.ts";
import { TableFollower } from "./table-follower.ts";
import type { WriteBatcher } from "./write-batcher.ts";

/** Entries into the lock after which the rest of the program gets its turn, of many changes. */
const LOCKS_PER_TURN = 16;

/** A claim that register() or update() gave knows its row's slot: a row keeps it for life. */
interface ShmClaim extends Claim {
  readonly slot?: number;
}

/** What the host makes anew when another program has removed it. */
export interface SharedObjects {
  readonly table: ClientTable;
  /** Given back by close(), like the table; null where another directory of this process has it. */
  readonly lock: ReadersWriterLock | null;
}

export interface ShmParts extends SharedObjects {
  readonly writes: WriteBatcher;
  readonly names: NameLog;
  readonly held: HeldNames | null;
  readonly open: (config: DirectoryConfig) => SharedObjects;
}

export class ShmDirectory implements Directory, SharedTable {
  #replies: LookupReplyCache;
  #table: ClientTable;
  #follower: TableFollower;
  readonly #writes: WriteBatcher;
  readonly #names: NameLog;
  readonly #held: HeldNames | null;
  #lock: ReadersWriterLock | null;
  readonly #open: (config: DirectoryConfig) => SharedObjects;
  readonly #feed: EventFeed;
  #liveWorkers: ReadonlySet<number> = new Set();
  readonly #warn: OpenOptions["log"]["warn"];
  #hasWarned = false;
  #closed = false;

  constructor({ table, writes, names, held, lock, open }: ShmParts, { publish, log }: OpenOptions) {
    this.#warn = (event, fields) => log.warn(event, fields);
    this.#table = table;
    this.#writes = writes;
    this.#names = names;
    this.#held = held;
    this.#lock = lock;
    this.#open = open;
    this.#feed = new EventFeed(publish);
    this.#replies = new LookupReplyCache(table);
    this.#follower = new TableFollower(table);
  }

  get replies(): LookupReplyCache {
    return this.#replies;
  }

  get count(): number {
    return this.#table.count;
  }
  get capacity(): number {
    return this.#table.capacity;
  }

  async register(request: RegisterRequest): Promise<Registered> {
    const entry = checkedRequest(request);
    const folded = checkedName(entry.name);
    const { handle, before, isNew } = await this.#change(() => this.#write(request, entry, folded));
    const { slot, version } = handle;
    const claim: ShmClaim = { name: entry.name, id: request.claimId, slot, version };
    const old = before?.entry ?? null;
    if (isNew) {
      const left = leftRooms(old, new DirectoryEntry(entry));
      this.#feed.emit({ kind: kindOfChange(old, entry), name: entry.name, version, entry, ...left });
    }
    const replaced = isNew && before !== null && this.isLive(before.place);
    return { claim, replaced: replaced ? { place: before.place, claimId: before.claimId } : null };
  }

  async update(claim: Claim, changes: EntryChanges): Promise<Claim> {
    const { handle, entry, before } = await this.#change(() => {
      const row = this.own(claim);
      if (row === null) throw DirectoryError.replaced(claim.name);
      const { slot, claimId, place } = row;
      const changed = changedEntry(row.entry, changes);
      const { lastLookupAt } = row.entry;
      const handle = this.#table.replace(slot, { entry: changed, claimId, place, lastLookupAt });
      return { handle, entry: changed, before: row.entry };
    });
    const { slot, version } = handle;
    const changed: ShmClaim = { name: claim.name, id: claim.id, slot, version };
    const left = leftRooms(before, new DirectoryEntry(entry));
    this.#feed.emit({ kind: "changed", name: entry.name, version, entry, ...left });
    return changed;
  }

  async remove(claim: Claim): Promise<boolean> {
    const removed = await this.#change(() => {
      const row = this.own(claim);
      return row !== null && this.#table.remove(row.slot, row.version) ? row : null;
    });
    if (removed === null) return false;
    const { entry, version } = removed;
    this.#feed.emit({ kind: "off", name: entry.name, version, ...leftRooms(entry, null) });
    return true;
  }

  find(name: string): StoredEntry | null {
    return this.#table.find(name);
  }

  own({ name, id, slot }: ShmClaim): StoredEntry | null {
    const there = slot === undefined ? null : this.#table.at(slot);
    const row = there?.claimId === id ? there : this.#table.find(name);
    return row?.claimId === id ? row : null;
  }

  page(cursor: number, limit: number): DirectoryPage {
    return this.#table.page(cursor, limit);
  }

  members(room: string): readonly StoredEntry[] {
    return this.#rows(this.#follower.index.members(room));
  }

  names(prefix: string, limit: number): readonly string[] {
    checkNames(limit);
    return this.#rows(this.#follower.index.names(prefix, limit)).map(({ entry }) => entry.name);
  }

  // A binding that is known here may have given way in another process: the log tells.
  ownerOf(name: string): string | null | Promise<string | null> {
    const folded = foldForLookup(name);
    if (folded === null) return null;
    if (!this.#names.isBehind) return this.#names.keyOf(folded) ?? null;
    return this.#change(() => this.#names.refresh()).then(() => this.#names.keyOf(folded) ?? null);
  }

  bindingOf(name: string): NameBinding | null | Promise<NameBinding | null> {
    const folded = foldForLookup(name);
    if (folded === null) return null;
    if (!this.#names.isBehind) return bindingOf(this.#names.get(folded));
    return this.#change(() => this.#names.refresh()).then(() => bindingOf(this.#names.get(folded)));
  }

  bind(name: string, key: string, right?: NameRight): void | Promise<void> {
    const folded = checkedName(name);
    checkKey(key);
    if (!this.#names.isBehind && this.#isBound(folded, key, right)) return;
    return this.#change(() => {
      this.#names.refresh();
      const grant = checkRight(this.#lineOf(folded), key, this.#table.find(name), right);
      this.#names.checkRoom(folded, grant.key, grant.holder);
      this.#names.bind(folded, grant.key, grant.holder);
    });
  }

  release(name: string): Promise<boolean> {
    const folded = checkedName(name);
    return this.#change(() => {
      this.#names.refresh();
      return this.#names.release(folded);
    });
  }

  /** See SharedTable: what was decided elsewhere. */
  async apply(changes: readonly TableChange[]): Promise<readonly (DirectoryEvent | null)[]> {
    const events: (DirectoryEvent | null)[] = [];
    for (let i = 0; i < changes.length; i += WRITES_PER_LOCK) {
      const some = changes.slice(i, i + WRITES_PER_LOCK);
      const made = await this.#change(() => {
        this.#names.refresh();
        return some.map((change) => this.#applyOne(change));
      });
      events.push(...made);
      if ((i / WRITES_PER_LOCK) % LOCKS_PER_TURN === LOCKS_PER_TURN - 1) await nextTurn();
    }
    return events;
  }

  /** Tells watchers, here and at other workers, of a change that the host has made for this worker. */
  emit(event: DirectoryEvent): void {
    if (!this.#closed) this.#feed.emit(event);
  }

  watch(interest: Interest, listener: (events: readonly DirectoryEvent[]) => void): Disposable {
    return this.#feed.watch(interest, listener);
  }

  lookedUp(claim: ShmClaim, at: number): void {
    if (this.#closed) return;
    if (claim.slot !== undefined && this.#table.touch(claim.slot, claim.version, at)) return;
    // The claim has an older version while its update() is on its way.
    try {
      const row = this.own(claim);
      if (row !== null) this.#table.touch(row.slot, row.version, at);
    } catch {
      // Only a hostile writer keeps the table changing for so long: one note less.
    }
  }

  deliver(events: readonly DirectoryEvent[]): void {
    this.#feed.deliver(events, (name) => this.#table.find(name));
  }

  setLiveWorkers(ids: Iterable<number>): void {
    this.#liveWorkers = new Set(ids);
  }

  isLive({ worker }: ConnectionPlace): boolean {
    return this.#liveWorkers.has(worker);
  }

  /** The host holds the old lock meanwhile: no change is half made, and a claim's slot is the same in both tables. */
  async reopen(config: DirectoryConfig): Promise<void> {
    if (this.#closed) return;
    const [oldTable, oldLock] = [this.#table, this.#lock];
    const { table, lock } = this.#open(config);
    this.#names.moveTo(config.names);
    this.#table = table;
    this.#lock = lock;
    this.#replies = new LookupReplyCache(table);
    this.#follower = new TableFollower(table);
    oldTable.close();
    if (lock === null) return;
    await this.#writes.moveTo(lock);
    oldLock?.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#feed.close();
    this.#names.close();
    this.#held?.close();
    this.#table.close();
    // A change that waits for the lock fails with the table; only then the lock may be closed.
    const lock = this.#lock;
    if (lock !== null) void this.#writes.idle().then(() => lock.close());
  }

  #rows(names: readonly string[]): StoredEntry[] {
    return names.map((name) => this.#table.find(name)).filter((row) => row !== null);
  }

  /** Nothing would change. */
  #isBound(folded: string, key: string, right: NameRight | undefined): boolean {
    const line = this.#names.get(folded);
    if (line?.key !== key) return false;
    try {
      return this.#names.isFresh(folded, key, checkRight(line, key, null, right).holder);
    } catch {
      return false; // refused: under the lock, where all are
    }
  }

  /** The name's holder as far as known: from the log, or from the server before this one. */
  #lineOf(folded: string): NameLine | undefined {
    const line = this.#names.get(folded);
    const key = line === undefined ? this.#held?.keyOf(folded) : undefined;
    return key === undefined ? line : { folded, key, day: 0 };
  }

  #change<T>(change: () => T): Promise<T> {
    const closed = () => TableError.closed(this.#table.name);
    if (this.#closed) return Promise.reject(closed());
    return this.#writes.run(() => {
      if (this.#closed) throw closed();
      return change();
    });
  }

  /** Caller holds the write lock, and has called refresh() under it. */
  #applyOne(change: TableChange): DirectoryEvent | null {
    if (change.kind === "owner") {
      this.#names.take(change.line);
      return null;
    }
    const before = this.#table.find(change.kind === "gone" ? change.name : change.entry.name);
    if (change.kind === "gone") {
      if (before === null || !this.#table.remove(before.slot, before.version)) return null;
      const { entry, version } = before;
      return { kind: "off", name: entry.name, version, ...leftRooms(entry, null) };
    }
    const { entry, claimId, place } = change;
    if (before !== null && isSame(before, change)) return null;
    const lastLookupAt = before?.claimId === claimId ? before.entry.lastLookupAt : null;
    try {
      const row = { entry, claimId, place, lastLookupAt };
      const { version } = before === null ? this.#table.insert(row) : this.#table.replace(before.slot, row);
      const old = before?.entry ?? null;
      return {
        kind: kindOfChange(old, entry),
        name: entry.name,
        version,
        entry,
        ...leftRooms(old, new DirectoryEntry(entry)),
      };
    } catch (error) {
      if (!(error instanceof DirectoryError)) throw error;
      this.#warnOfRoom();
      return null;
    }
  }

  #warnOfRoom(): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const { capacity } = this.#table;
    this.#warn("the table has no room for all clients of the directory: those beyond it are not shown here", {
      capacity,
    });
  }

  /** Caller holds the write lock. */
  #write(
    request: RegisterRequest,
    entry: PackedEntry,
    folded: string,
  ): { handle: RowHandle; before: StoredEntry | null; isNew: boolean } {
    const { claimId, place } = request;
    this.#names.refresh();
    const before = this.#table.find(entry.name);
    const { isOwn, key, holder } = checkRight(this.#lineOf(folded), entry.key, before, request.right);
    const decision = decide(request, before, before !== null && this.isLive(before.place), isOwn);
    if (decision === "done" && before !== null) return { handle: before, before, isNew: false };
    this.#names.checkRoom(folded, key, holder);
    if (before !== null) {
      this.#names.bind(folded, key, holder); // first: if that fails, the older row stays
      return { handle: this.#table.replace(before.slot, { entry, claimId, place }), before, isNew: true };
    }
    const handle = this.#table.insert({ entry, claimId, place });
    // Only now: what the table refuses binds no name.
    try {
      this.#names.bind(folded, key, holder);
    } catch (error) {
      this.#table.remove(handle.slot, handle.version);
      throw error;
    }
    return { handle, before, isNew: true };
  }
}

/** Nothing that is shown would change. */
function isSame(
  { entry, claimId, place }: StoredEntry,
  { entry: next, ...row }: TableChange & { kind: "row" },
): boolean {
  const { name, key, startedAt, details } = entry.packed;
  const isSameEntry =
    name === next.name && key === next.key && startedAt === next.startedAt && details === next.details;
  const isSamePlace = place.worker === row.place.worker && place.connection === row.place.connection;
  return isSameEntry && isSamePlace && claimId === row.claimId;
}
