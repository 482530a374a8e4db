// The directory in the memory of one process: for servers that are embedded in a program, and for tests of the server's rules.
// It leaves nothing in /dev/shm, and ends with the process.
import { foldForLookup, foldName } from "../base/names.ts";
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
  VERSION_MASK,
} from "./claim-rules.ts";
import type {
  Claim,
  ConnectionPlace,
  Directory,
  DirectoryEvent,
  DirectoryHost,
  DirectoryPage,
  DirectoryRow,
  EntryChanges,
  Interest,
  NameBinding,
  OpenOptions,
  Registered,
  RegisterRequest,
} from "./directory.ts";
import { DirectoryError } from "./directory-error.ts";
import { DirectoryEntry, type PackedEntry } from "./entry.ts";
import { EntryIndex, leftRooms } from "./entry-index.ts";
import { EventFeed } from "./event-feed.ts";
import { NameOwnership } from "./name-ownership.ts";
import type { NameRight } from "./name-right.ts";

interface MemoryRow {
  readonly packed: PackedEntry;
  readonly claimId: string;
  readonly version: number;
  readonly place: ConnectionPlace;
  /** Where page() meets it. A row keeps its slot when it is changed or replaced. */
  readonly slot: number;
  lastLookupAt: number | null;
}

/** The rows, shared by all directories that one host has opened. */
export class MemoryHost implements DirectoryHost {
  readonly config = null;
  readonly capacity: number;
  /** By folded name. */
  readonly rows = new Map<string, MemoryRow>();
  readonly slots: (MemoryRow | null)[] = [];
  readonly names: NameOwnership;
  readonly index = new EntryIndex();
  readonly #free: number[] = [];
  #version = 0;

  constructor({ capacity, nameLimit }: { readonly capacity: number; readonly nameLimit: number }) {
    this.capacity = capacity;
    this.names = new NameOwnership(nameLimit);
  }

  get count(): number {
    return this.rows.size;
  }

  /** @param before the row that is replaced */
  put(folded: string, row: Omit<MemoryRow, "version" | "slot">, before: MemoryRow | undefined): MemoryRow {
    this.#version = (this.#version + 1) & VERSION_MASK;
    const stored = { ...row, version: this.#version, slot: before?.slot ?? this.#free.pop() ?? this.slots.length };
    this.rows.set(folded, stored);
    this.slots[stored.slot] = stored;
    this.index.set(folded, new DirectoryEntry(row.packed));
    return stored;
  }

  delete(folded: string, { slot }: MemoryRow): void {
    this.rows.delete(folded);
    this.index.delete(folded);
    this.slots[slot] = null;
    this.#free.push(slot);
  }

  open(options: OpenOptions): MemoryDirectory {
    return new MemoryDirectory(this, options);
  }

  observe(): void {}
  /** The process that holds the rows is the only worker: with it the rows are gone. */
  workerDied(): void {}

  stats(): Readonly<Record<string, number>> {
    return {};
  }

  async close(): Promise<void> {
    this.rows.clear();
    this.slots.length = 0;
  }
}

export class MemoryDirectory implements Directory {
  readonly replies = null;
  readonly #host: MemoryHost;
  readonly #feed: EventFeed;
  #liveWorkers: ReadonlySet<number> = new Set();

  constructor(host: MemoryHost, { publish }: OpenOptions) {
    this.#host = host;
    this.#feed = new EventFeed(publish);
  }

  get count(): number {
    return this.#host.count;
  }
  get capacity(): number {
    return this.#host.capacity;
  }

  register(request: RegisterRequest): Registered {
    const packed = checkedRequest(request);
    const folded = checkedName(packed.name);
    const { rows } = this.#host;
    const before = rows.get(folded);
    const current = before === undefined ? null : rowOf(before);
    const { isOwn, key, holder } = checkRight(this.#host.names.get(folded), packed.key, current, request.right);
    const isLive = before !== undefined && this.isLive(before.place);
    const decision = decide(request, current, isLive, isOwn);
    if (decision === "done" && before !== undefined) return { claim: claimOf(before), replaced: null };
    if (decision === "insert" && rows.size >= this.capacity) {
      throw DirectoryError.full(this.capacity);
    }
    this.#host.names.bind(folded, key, holder);
    const { claimId, place } = request;
    const row = this.#host.put(folded, { packed, claimId, place, lastLookupAt: null }, before);
    const old = current?.entry ?? null;
    const left = leftRooms(old, new DirectoryEntry(packed));
    const kind = kindOfChange(old, packed);
    this.#feed.emit({ kind, name: packed.name, version: row.version, entry: packed, ...left });
    return { claim: claimOf(row), replaced: isLive ? { place: before.place, claimId: before.claimId } : null };
  }

  update(claim: Claim, changes: EntryChanges): Claim {
    const before = this.#rowOf(claim);
    if (before === undefined) throw DirectoryError.replaced(claim.name);
    const entry = new DirectoryEntry(before.packed);
    const packed = changedEntry(entry, changes);
    const row = this.#host.put(foldName(packed.name), { ...before, packed }, before);
    const left = leftRooms(entry, new DirectoryEntry(packed));
    this.#feed.emit({ kind: "changed", name: packed.name, version: row.version, entry: packed, ...left });
    return claimOf(row);
  }

  remove(claim: Claim): boolean {
    const row = this.#rowOf(claim);
    if (row === undefined) return false;
    const { packed, version } = row;
    this.#host.delete(foldName(packed.name), row);
    this.#feed.emit({ kind: "off", name: packed.name, version, ...leftRooms(new DirectoryEntry(packed), null) });
    return true;
  }

  find(name: string): DirectoryRow | null {
    const folded = foldForLookup(name);
    const row = folded === null ? undefined : this.#host.rows.get(folded);
    return row === undefined ? null : rowOf(row);
  }

  own(claim: Claim): DirectoryRow | null {
    const row = this.#rowOf(claim);
    return row === undefined ? null : rowOf(row);
  }

  page(cursor: number, limit: number): DirectoryPage {
    checkPage(cursor, limit);
    const { slots } = this.#host;
    const rows: DirectoryRow[] = [];
    let slot = cursor;
    for (; slot < slots.length && rows.length < limit; slot++) {
      const row = slots[slot];
      if (row) rows.push(rowOf(row));
    }
    return { cursor: slot < slots.length ? slot : 0, rows };
  }

  members(room: string): readonly DirectoryRow[] {
    return this.#rows(this.#host.index.members(room)).map(rowOf);
  }

  names(prefix: string, limit: number): readonly string[] {
    checkNames(limit);
    return this.#rows(this.#host.index.names(prefix, limit)).map(({ packed }) => packed.name);
  }

  ownerOf(name: string): string | null {
    const folded = foldForLookup(name);
    return folded === null ? null : (this.#host.names.get(folded)?.key ?? null);
  }

  bindingOf(name: string): NameBinding | null {
    const folded = foldForLookup(name);
    return folded === null ? null : bindingOf(this.#host.names.get(folded));
  }

  bind(name: string, key: string, right?: NameRight): void {
    const folded = checkedName(name);
    checkKey(key);
    const grant = checkRight(this.#host.names.get(folded), key, this.find(name), right);
    this.#host.names.bind(folded, grant.key, grant.holder);
  }

  release(name: string): boolean {
    return this.#host.names.release(checkedName(name));
  }

  watch(interest: Interest, listener: (events: readonly DirectoryEvent[]) => void): Disposable {
    return this.#feed.watch(interest, listener);
  }

  lookedUp(claim: Claim, at: number): void {
    const row = this.#rowOf(claim);
    if (row !== undefined) row.lastLookupAt = at;
  }

  deliver(events: readonly DirectoryEvent[]): void {
    this.#feed.deliver(events, (name) => this.find(name));
  }

  setLiveWorkers(ids: Iterable<number>): void {
    this.#liveWorkers = new Set(ids);
  }

  isLive({ worker }: ConnectionPlace): boolean {
    return this.#liveWorkers.has(worker);
  }

  reopen(): void {} // no other process has it

  close(): void {
    this.#feed.close();
  }

  #rows(names: readonly string[]): MemoryRow[] {
    return names.map((folded) => this.#host.rows.get(folded)).filter((row) => row !== undefined);
  }

  #rowOf({ name, id }: Claim): MemoryRow | undefined {
    const row = this.#host.rows.get(foldName(name));
    return row?.claimId === id ? row : undefined;
  }
}

function rowOf({ packed, claimId, version, place, lastLookupAt }: MemoryRow): DirectoryRow {
  return { entry: new DirectoryEntry(packed, lastLookupAt), claimId, version, place };
}

function claimOf({ packed, claimId, version }: MemoryRow): Claim {
  return { name: packed.name, id: claimId, version };
}
