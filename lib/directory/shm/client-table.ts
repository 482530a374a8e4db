// The table of registered clients in shared memory: the segment, its readers' and its writers' side in one object.
import { fchmodSync } from "node:fs";
import { isCode } from "../../ipc/error.ts";
import { LivenessLocks } from "../../ipc/liveness-locks.ts";
import { fdOf, SharedMemory, wordsOf } from "../../ipc/shared-memory.ts";
import { checkPage } from "../claim-rules.ts";
import { MAX_PAGE_ROWS } from "../directory.ts";
import { SERVER_SEAT } from "../live-server.ts";
import type { NewRow, RepairResult, RowHandle, StoredEntry, StoredPage } from "./stored-entry.ts";
import { TableError } from "./table-error.ts";
import { type Geometry, HEADER, MAGIC, READY } from "./table-layout.ts";
import { NO_SLOT, type Stamp, TableReader } from "./table-reader.ts";
import { repairTable } from "./table-repair.ts";
import { createTableSegment, openTableSegment, type TableSegment } from "./table-segment.ts";
import { TableWriter } from "./table-writer.ts";

const DEFAULT_MODE = 0o644;

/** Slots looked at for one page: a table of a million that has emptied costs many small steps instead of a long one. */
const MAX_PAGE_SLOTS = 8 * MAX_PAGE_ROWS;

export interface TableOptions {
  /** Clients that it has room for: 1 to 1,048,576. */
  readonly capacity: number;
  /** Permission bits, exactly. Default 0o644: every user of this host may read. */
  readonly mode?: number;
  /** Inode of the socket that the server listens on. */
  readonly listener?: number;
}

/**
 * The client table. `find`, `page` and `touch` need no lock; `insert`, `replace`, `remove` and `repair` are for the holder of
 * the write lock. One object serves one thread.
 */
export class ClientTable implements Disposable {
  /** The segment's name: "/ptalk-server-5518-1000.0123456789abcdef". */
  readonly name: string;
  readonly capacity: number;
  readonly #shm: SharedMemory;
  readonly #words: Int32Array;
  readonly #geometry: Geometry;
  readonly #reader: TableReader;
  readonly #writer: TableWriter;
  #closed = false;

  private constructor({ shm, words, geometry }: TableSegment) {
    this.name = shm.name;
    this.capacity = geometry.capacity;
    this.#shm = shm;
    this.#words = words;
    this.#geometry = geometry;
    this.#reader = new TableReader(words, geometry, shm.name);
    this.#writer = new TableWriter(words, geometry, shm.name);
  }

  /** Creates an empty table. @throws IpcError EEXIST, ENOSPC, EACCES; RangeError for a capacity out of bounds */
  static create(name: string, { capacity, mode = DEFAULT_MODE, listener = 0 }: TableOptions): ClientTable {
    return new ClientTable(createTableSegment(name, { capacity, mode, listener }));
  }

  /**
   * Creates another table with the same contents. Caller holds the write lock.
   * @throws IpcError EEXIST, ENOSPC, EACCES
   */
  copy(name: string, mode: number): ClientTable {
    this.#check();
    return new ClientTable(createTableSegment(name, { capacity: this.capacity, mode, original: this.#words }));
  }

  /**
   * Makes this process the table's server, for as long as it has the table open. The table must not be open to others yet: a reader's
   * lock would be in the way.
   * @returns false if another process has taken the table for a dead server's, and its name away
   */
  claim(): boolean {
    this.#check();
    const locks = new LivenessLocks(fdOf(this.#shm), 1);
    return locks.tryClaim(SERVER_SEAT) && locks.isLinked();
  }

  /** Lets others open it. @param mode permission bits */
  openTo(mode: number): void {
    this.#check();
    fchmodSync(fdOf(this.#shm), mode);
  }

  /** False once another program has removed the name. */
  get isLinked(): boolean {
    this.#check();
    return new LivenessLocks(fdOf(this.#shm), 1).isLinked();
  }

  /**
   * Opens a table for reading and writing.
   * @throws IpcError ENOENT, EACCES; TalkError `protocol` for another layout or no table at all, `unreachable` if it is not
   * ready within a second or was closed
   */
  static open(name: string): ClientTable {
    return new ClientTable(openTableSegment(name, false));
  }

  /**
   * Removes the table of that name, whatever state it is in, and marks it as closed for programs that have it mapped.
   * @returns false if there is none
   */
  static discard(name: string): boolean {
    try {
      using shm = SharedMemory.open(name);
      const words = wordsOf(shm);
      if (words.length > HEADER.ready && Atomics.load(words, HEADER.magic) === MAGIC) {
        Atomics.store(words, HEADER.ready, READY.closed);
      }
    } catch {
      // It has no size, or there is no permission: the mark is a courtesy, the caller asked for the removal.
    }
    try {
      SharedMemory.unlink(name);
    } catch (error) {
      if (isCode(error, "ENOENT")) return false;
      throw error;
    }
    return true;
  }

  /** Clients in the table. */
  get count(): number {
    this.#check();
    return this.#reader.count;
  }

  /**
   * Finds a client by its name, folded as names are (base/names.ts). Null if there is none, and for a text that is no name.
   * @throws TalkError `internal` if the table kept changing: only a hostile writer manages that
   */
  find(name: string): StoredEntry | null {
    this.#check();
    const slot = this.#reader.find(name, true);
    return slot === NO_SLOT ? null : this.#reader.snapshot.stored(slot);
  }

  /**
   * What a slot's record says now; null if the slot holds none, or the record is just being replaced. With {@link isUnchanged}:
   * for answers that are kept ready.
   */
  stamp(slot: number): Stamp | null {
    this.#check();
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.#geometry.slots) return null;
    return this.#reader.stamp(slot);
  }

  /** Whether the record is still there and shows the same as when the stamp was taken. Needs no lock. */
  isUnchanged(stamp: Stamp): boolean {
    return !this.#closed && this.#reader.isUnchanged(stamp);
  }

  /** The record of a slot, null if it holds none. */
  at(slot: number): StoredEntry | null {
    this.#check();
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.#geometry.slots) return null;
    return this.#reader.readSlot(slot, true) ? this.#reader.snapshot.stored(slot) : null;
  }

  /** Changes so far, and repairs; see table-follower.ts. */
  get changes(): number {
    this.#check();
    return this.#reader.changes;
  }
  get repairs(): number {
    this.#check();
    return this.#reader.repairs;
  }

  /** Slots that changed between two counts of changes; null if that is not known (any more). */
  changedSince(from: number, to: number): number[] | null {
    this.#check();
    return this.#reader.changedSince(from, to);
  }

  /** Slots that may hold records, from 0. */
  get usedSlots(): number {
    this.#check();
    return this.#reader.usedSlots;
  }

  /**
   * Some of the records, as SCAN gives them in Redis, see `page` of the directory. A repair during a walk can show a record twice.
   * @param limit records, 1 to {@link MAX_PAGE_ROWS}
   */
  page(cursor: number, limit: number): StoredPage {
    this.#check();
    checkPage(cursor, limit);
    const rows: StoredEntry[] = [];
    const used = this.#reader.usedSlots;
    const end = Math.min(used, cursor + MAX_PAGE_SLOTS);
    let slot = cursor;
    for (; slot < end && rows.length < limit; slot++) {
      if (this.#reader.readSlot(slot, true)) rows.push(this.#reader.snapshot.stored(slot));
    }
    return { cursor: slot < used ? slot : 0, rows };
  }

  /**
   * Caller holds the write lock.
   * @param row its entry as packEntry() made it
   * @throws TalkError `name-taken`; DirectoryError `full`; nothing has changed then
   */
  insert(row: NewRow): RowHandle {
    this.#check();
    return this.#writer.insert(row);
  }

  /**
   * Gives the record in this slot new contents under the same folded name. The slot stays, the version changes. Readers find
   * the old or the new one at every moment. Caller holds the write lock.
   * @throws TalkError `no-such-user` if the slot does not hold that name
   */
  replace(slot: number, row: NewRow): RowHandle {
    this.#check();
    return this.#writer.replace(slot, row);
  }

  /** Caller holds the write lock. @returns false if the slot holds no record of this version (any more) */
  remove(slot: number, version: number): boolean {
    this.#check();
    return this.#writer.remove(slot, version);
  }

  /**
   * Notes when this client last looked another one up. Needs no lock; only for the worker that the client is at.
   * @param nowMs ms since the epoch
   * @returns false if the slot holds no record of this version (any more)
   */
  touch(slot: number, version: number, nowMs: number): boolean {
    this.#check();
    return this.#writer.touch(slot, version, nowMs);
  }

  /**
   * Makes the table whole after a writer died. Caller holds the write lock or is its repair callback. Takes time in proportion
   * to the most clients there ever were at once (about half a second for a million).
   */
  repair(): RepairResult {
    this.#check();
    return repairTable(this.#words, this.#geometry);
  }

  /** Unmaps it. The table stays. */
  close(): void {
    this.#closed = true;
    this.#shm.close();
  }

  /** Marks the table as closed for programs that have it mapped (`Directory.stale`). */
  retire(): void {
    if (!this.#closed) Atomics.store(this.#words, HEADER.ready, READY.closed);
  }

  /** Retires the table, and removes its name. */
  unlink(): void {
    this.retire();
    this.#shm.unlink();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #check(): void {
    if (this.#closed) throw TableError.closed(this.name);
  }
}

export type { Stamp };
