// The directory in the memory of one process: for servers that are embedded in a program, and for tests of the server's rules.
// Nothing is in /dev/shm and nothing outlives the process.
import { foldIfValid, foldName } from "../base/names.ts";
import { checkedEntry, checkedName, checkOwner, decide, VERSION_MASK } from "./claim-rules.ts";
import {
  type Claim,
  type ConnectionPlace,
  type Directory,
  type DirectoryEvent,
  type DirectoryHost,
  type DirectoryPage,
  type DirectoryRow,
  type EntryChanges,
  type Interest,
  MAX_PAGE_ROWS,
  type OpenOptions,
  type Registered,
  type RegisterRequest,
} from "./directory.ts";
import { DirectoryError } from "./directory-error.ts";
import { DirectoryEntry, type PackedEntry } from "./entry.ts";
import { EventFeed } from "./event-feed.ts";
import { NameOwnership } from "./name-ownership.ts";

const DAY_MS = 86_400_000;

interface MemoryRow {
  readonly packed: PackedEntry;
  readonly claimId: string;
  readonly version: number;
  readonly place: ConnectionPlace;
  /** Where page() meets it. */
  readonly order: number;
  lastLookupAt: number | null;
}

/** The rows, shared by all directories that one host has opened. */
export class MemoryHost implements DirectoryHost {
  readonly config = null;
  readonly capacity: number;
  /** By folded name. */
  readonly rows = new Map<string, MemoryRow>();
  readonly names: NameOwnership;
  #version = 0;
  #order = 0;

  constructor({ capacity, nameLimit }: { readonly capacity: number; readonly nameLimit: number }) {
    this.capacity = capacity;
    this.names = new NameOwnership(nameLimit);
  }

  get count(): number {
    return this.rows.size;
  }

  nextVersion(): number {
    this.#version = (this.#version + 1) & VERSION_MASK;
    return this.#version;
  }

  nextOrder(): number {
    return ++this.#order;
  }

  open(options: OpenOptions): MemoryDirectory {
    return new MemoryDirectory(this, options);
  }

  observe(): void {}
  /** The process that holds the rows is the only worker there can be. */
  workerDied(): void {}

  stats(): Readonly<Record<string, number>> {
    return {};
  }

  async close(): Promise<void> {
    this.rows.clear();
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
    const packed = checkedEntry(request.entry);
    const folded = checkedName(packed.name);
    const { rows } = this.#host;
    const before = rows.get(folded);
    const current = before === undefined ? null : rowOf(before);
    checkOwner(this.#host.names.get(folded)?.key, packed.key, current);
    const decision = decide(request, current, before !== undefined && this.isLive(before.place));
    if (decision === "done" && before !== undefined) return { claim: claimOf(before), replaced: null };
    if (decision === "insert" && rows.size >= this.capacity) {
      throw DirectoryError.full(`there is room for ${this.capacity} clients: try again when somebody has left`);
    }
    this.#bind(folded, packed.key);
    const row: MemoryRow = {
      packed,
      claimId: request.claimId,
      version: this.#host.nextVersion(),
      place: request.place,
      order: before?.order ?? this.#host.nextOrder(),
      lastLookupAt: null,
    };
    rows.set(folded, row);
    this.#feed.emit({ kind: "on", name: packed.name, version: row.version, entry: packed });
    const replaced = before !== undefined && this.isLive(before.place);
    return { claim: claimOf(row), replaced: replaced ? { place: before.place, claimId: before.claimId } : null };
  }

  update(claim: Claim, changes: EntryChanges): Claim {
    const before = this.#holding(claim);
    if (before === undefined) throw DirectoryError.replaced(claim.name);
    const { name, key, startedAt, endpoints, host, protocol, server, user, uid, attested, status, rooms } =
      new DirectoryEntry(before.packed);
    const fields = { name, key, startedAt, endpoints, host, protocol, server, user, uid, attested, status, rooms };
    const packed = checkedEntry({ ...fields, ...changes });
    const row = { ...before, packed, version: this.#host.nextVersion() };
    this.#host.rows.set(foldName(name), row);
    this.#feed.emit({ kind: "changed", name, version: row.version, entry: packed });
    return claimOf(row);
  }

  remove(claim: Claim): boolean {
    const row = this.#holding(claim);
    if (row === undefined) return false;
    this.#host.rows.delete(foldName(claim.name));
    this.#feed.emit({ kind: "off", name: claim.name, version: row.version });
    return true;
  }

  find(name: string): DirectoryRow | null {
    const folded = foldIfValid(name);
    const row = folded === null ? undefined : this.#host.rows.get(folded);
    return row === undefined ? null : rowOf(row);
  }

  own(claim: Claim): DirectoryRow | null {
    const row = this.#holding(claim);
    return row === undefined ? null : rowOf(row);
  }

  page(cursor: number, limit: number): DirectoryPage {
    if (!Number.isInteger(cursor) || cursor < 0) throw new RangeError(`cursor must be a whole number, not ${cursor}`);
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE_ROWS) {
      throw new RangeError(`limit must be a whole number from 1 to ${MAX_PAGE_ROWS}, not ${limit}`);
    }
    const rows = [...this.#host.rows.values()].filter(({ order }) => order > cursor).sort((a, b) => a.order - b.order);
    const page = rows.slice(0, limit);
    return { cursor: rows.length > limit ? (page.at(-1)?.order ?? 0) : 0, rows: page.map(rowOf) };
  }

  ownerOf(name: string): string | null {
    const folded = foldIfValid(name);
    return folded === null ? null : (this.#host.names.get(folded)?.key ?? null);
  }

  bind(name: string, key: string): void {
    const folded = checkedName(name);
    checkOwner(this.#host.names.get(folded)?.key, key, this.find(name));
    this.#bind(folded, key);
  }

  watch(interest: Interest, listener: (events: readonly DirectoryEvent[]) => void): Disposable {
    return this.#feed.watch(interest, listener);
  }

  lookedUp(claim: Claim, at: number): void {
    const row = this.#holding(claim);
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

  close(): void {
    this.#feed.close();
  }

  #holding(claim: Claim): MemoryRow | undefined {
    const row = this.#host.rows.get(foldName(claim.name));
    return row?.claimId === claim.id && row.version === claim.version ? row : undefined;
  }

  #bind(folded: string, key: string): void {
    const { names } = this.#host;
    const day = Math.floor(Date.now() / DAY_MS);
    const known = names.get(folded);
    if (known === undefined && !names.hasRoom(key, day)) {
      throw DirectoryError.full("the server remembers no more names: take one that you had before");
    }
    if (known === undefined && names.isAtLimit(key, day)) return;
    names.apply({ folded, key, day });
  }
}

function rowOf({ packed, claimId, version, place, lastLookupAt }: MemoryRow): DirectoryRow {
  return { entry: new DirectoryEntry(packed, lastLookupAt), claimId, version, place };
}

function claimOf({ packed, claimId, version }: MemoryRow): Claim {
  return { name: packed.name, id: claimId, version };
}
