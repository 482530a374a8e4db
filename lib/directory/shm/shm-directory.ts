// The directory in shared memory, as one worker process sees it. A registration, step by step:
//   1. The entry is checked and packed (entry.ts).
//   2. The change waits for the write lock, with others of this process (write-batcher.ts).
//   3. Under the lock: the name log is read on, the owner is checked, the row under the name decides (claim-rules.ts).
//   4. The row is written (table-writer.ts): from one atomic store on, every process of the host finds it.
//   5. The name is bound to the key (name-log.ts). A name that cannot be bound leaves no row behind.
//   6. The lock is given back; watchers here and in other workers get the event (event-feed.ts).
import { foldIfValid } from "../../base/names.ts";
import type { ReadersWriterLock } from "../../ipc/readers-writers-lock.ts";
import { checkedEntry, checkedName, checkOwner, decide } from "../claim-rules.ts";
import type {
  Claim,
  ConnectionPlace,
  Directory,
  DirectoryEvent,
  DirectoryPage,
  DirectoryRow,
  EntryChanges,
  Interest,
  OpenOptions,
  Registered,
  RegisterRequest,
} from "../directory.ts";
import { DirectoryError } from "../directory-error.ts";
import { EventFeed } from "../event-feed.ts";
import type { ClientTable } from "./client-table.ts";
import { LookupReplyCache } from "./lookup-reply-cache.ts";
import type { NameLog } from "./name-log.ts";
import { REMOVAL_RETRY_MS } from "./shm-limits.ts";
import type { NewRow, RowHandle, StoredEntry } from "./stored-entry.ts";
import type { WriteBatcher } from "./write-batcher.ts";

/** A claim of this directory knows its slot. */
interface ShmClaim extends Claim, RowHandle {}

export interface ShmParts {
  readonly table: ClientTable;
  readonly writes: WriteBatcher;
  readonly names: NameLog;
  /** What close() gives back beside the table and the name log; null where another directory of this process has it. */
  readonly lock: ReadersWriterLock | null;
}

export class ShmDirectory implements Directory {
  readonly replies: LookupReplyCache;
  readonly #table: ClientTable;
  readonly #writes: WriteBatcher;
  readonly #names: NameLog;
  readonly #lock: ReadersWriterLock | null;
  readonly #log: OpenOptions["log"];
  readonly #feed: EventFeed;
  #liveWorkers: ReadonlySet<number> = new Set();

  constructor({ table, writes, names, lock }: ShmParts, { log, publish }: OpenOptions) {
    this.#table = table;
    this.#writes = writes;
    this.#names = names;
    this.#lock = lock;
    this.#log = log;
    this.#feed = new EventFeed(publish);
    this.replies = new LookupReplyCache(table);
  }

  get count(): number {
    return this.#table.count;
  }
  get capacity(): number {
    return this.#table.capacity;
  }

  async register(request: RegisterRequest): Promise<Registered> {
    const entry = checkedEntry(request.entry);
    const folded = checkedName(entry.name);
    const row: NewRow = { entry, claimId: request.claimId, place: request.place };
    const { handle, before, isNew } = await this.#writes.run(() => this.#write(row, request, folded));
    const { name } = entry;
    const claim: ShmClaim = { name, id: request.claimId, ...handle };
    if (isNew) this.#feed.emit({ kind: "on", name, version: handle.version, entry });
    const replaced = before !== null && isNew && this.isLive(before.place);
    return { claim, replaced: replaced ? { place: before.place, claimId: before.claimId } : null };
  }

  async update(claim: Claim, changes: EntryChanges): Promise<Claim> {
    const { slot, handle, entry, kept } = await this.#writes.run(() => {
      const row = this.own(claim);
      if (row === null) throw DirectoryError.replaced(claim.name);
      const { name, key, startedAt, endpoints, host, protocol, server, user, uid, attested, status, rooms } = row.entry;
      const fields = { name, key, startedAt, endpoints, host, protocol, server, user, uid, attested, status, rooms };
      const packed = checkedEntry({ ...fields, ...changes });
      const replacement = this.#table.replace(row.slot, { entry: packed, claimId: row.claimId, place: row.place });
      return { slot: row.slot, handle: replacement, entry: packed, kept: row.entry.lastLookupAt };
    });
    if (kept !== null) this.#table.touch(slot, handle.version, kept);
    const changed: ShmClaim = { name: claim.name, id: claim.id, ...handle };
    this.#feed.emit({ kind: "changed", name: claim.name, version: handle.version, entry });
    return changed;
  }

  /** Goes on until it is done, while the lock cannot be had. */
  async remove(claim: Claim): Promise<boolean> {
    const { slot, version, name } = claim as ShmClaim;
    for (;;) {
      try {
        const removed = await this.#writes.run(() => this.#table.remove(slot, version));
        if (removed) this.#feed.emit({ kind: "off", name, version });
        return removed;
      } catch (error) {
        this.#log.warn("row not removed yet", { name, error });
        await new Promise((resolve) => setTimeout(resolve, REMOVAL_RETRY_MS));
      }
    }
  }

  find(name: string): StoredEntry | null {
    return this.#table.find(name);
  }

  own(claim: Claim): StoredEntry | null {
    const row = this.#table.at((claim as ShmClaim).slot);
    return row !== null && row.version === claim.version && row.claimId === claim.id ? row : null;
  }

  page(cursor: number, limit: number): DirectoryPage {
    return this.#table.page(cursor, limit);
  }

  ownerOf(name: string): string | null | Promise<string | null> {
    const folded = foldIfValid(name);
    if (folded === null) return null;
    const known = this.#names.keyOf(folded);
    if (known !== undefined || !this.#names.isBehind) return known ?? null;
    return this.#writes.run(() => this.#names.refresh()).then(() => this.#names.keyOf(folded) ?? null);
  }

  bind(name: string, key: string): void | Promise<void> {
    const folded = checkedName(name);
    // What is bound stays bound: no need to look again under the lock.
    if (this.#names.isFresh(folded, key)) return;
    return this.#writes.run(() => {
      this.#names.refresh();
      checkOwner(this.#names.keyOf(folded), key, this.#table.find(name));
      this.#names.checkRoom(folded, key);
      this.#names.bind(folded, key);
    });
  }

  watch(interest: Interest, listener: (events: readonly DirectoryEvent[]) => void): Disposable {
    return this.#feed.watch(interest, listener);
  }

  lookedUp(claim: Claim, at: number): void {
    const { slot, version } = claim as ShmClaim;
    this.#table.touch(slot, version, at);
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

  close(): void {
    this.#feed.close();
    this.#names.close();
    this.#table.close();
    this.#lock?.close();
  }

  /** Caller holds the write lock. */
  #write(
    row: NewRow,
    request: RegisterRequest,
    folded: string,
  ): { handle: RowHandle; before: StoredEntry | null; isNew: boolean } {
    const { name, key } = row.entry;
    this.#names.refresh();
    const before = this.#table.find(name);
    checkOwner(this.#names.keyOf(folded), key, before);
    const decision = decide(request, before as DirectoryRow | null, before !== null && this.isLive(before.place));
    if (decision === "done" && before !== null) return { handle: before, before, isNew: false };
    if (decision === "insert" && this.#table.count >= this.#table.capacity) throw noRoom(this.#table.capacity);
    this.#names.checkRoom(folded, key);
    if (before !== null) {
      this.#names.bind(folded, key); // first: if that fails, the older row stays
      return { handle: this.#table.replace(before.slot, row), before, isNew: true };
    }
    const handle = this.#table.insert(row);
    // Only now: what the table refuses binds no name.
    try {
      this.#names.bind(folded, key);
    } catch (error) {
      this.#table.remove(handle.slot, handle.version);
      throw error;
    }
    return { handle, before, isNew: true };
  }
}

export function noRoom(capacity: number): DirectoryError {
  return DirectoryError.full(`there is room for ${capacity} clients: try again when somebody has left`);
}
