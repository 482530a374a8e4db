// What one server knows of the engine's keys: a copy in memory that follows the watch. Pure: no engine, no time.
//
// A key is known at a revision. Whatever says something later about it is taken, wherever it comes from: the watch, the server's own
// confirmed writes (ahead of the watch), reads, and lists. So the copy never goes back, but for rewind().
import { type NameLine, NameOwnership, NO_KEY } from "../name-ownership.ts";
import type { EngineEvent, KeyValue, Revision } from "./engine.ts";
import { decodeOwner, decodeRow, type Keys, type SharedRow } from "./keys.ts";
import type { KnownOwner, KnownRow } from "./transactions.ts";

export type ReplicaChange =
  | {
      readonly kind: "row";
      readonly folded: string;
      readonly before: KnownRow | null;
      readonly after: KnownRow | null;
    }
  | { readonly kind: "owner"; readonly folded: string; readonly line: NameLine | null }
  | { readonly kind: "server"; readonly key: string; readonly value: Uint8Array | null };

/** Keys that a list's end takes at a time. */
const PART_KEYS = 2_000;

export class Replica {
  readonly #keys: Keys;
  readonly rows = new Map<string, KnownRow>();
  /** As the engine has them. */
  readonly owners = new Map<string, KnownOwner>();
  /** Whose names are, by the rules (name-ownership.ts). */
  readonly names: NameOwnership;
  /** Keys of servers that are alive. */
  readonly servers = new Map<string, { readonly mod: Revision; readonly value: Uint8Array }>();
  /** Keys that are known at a later revision than the watch has reached, or that are gone: at which. */
  readonly #known = new Map<string, Revision>();
  /** Keys of rows and owners that hold something else: nothing is written over them. */
  readonly #unreadable = new Set<string>();
  #isListing = false;
  #lastRow: SharedRow | null = null;
  /** The watch has told everything up to here. */
  revision: Revision = 0;

  constructor(keys: Keys, nameLimit: number) {
    this.#keys = keys;
    this.names = new NameOwnership(nameLimit);
  }

  /** Whole revisions of the watch. */
  apply(events: readonly EngineEvent[]): ReplicaChange[] {
    const changes: ReplicaChange[] = [];
    let reached = this.revision;
    for (const event of events) {
      if (event.revision <= this.revision) continue; // a list has said it
      const [key, value] = "put" in event ? [event.put.key, event.put] : [event.delete, null];
      const change = this.#take(key, value, event.revision);
      if (change !== null) changes.push(change);
      reached = Math.max(reached, event.revision);
    }
    this.reached(reached);
    return changes;
  }

  /** The watch has told everything up to that revision. */
  reached(revision: Revision): void {
    if (revision <= this.revision) return;
    this.revision = revision;
    for (const [key, known] of this.#known) if (known <= revision && !this.#isListing) this.#known.delete(key);
  }

  /**
   * The value under a key as of a revision, from the watch or an answer.
   * @returns null when nothing has changed, or something later is known
   */
  take(key: string, value: KeyValue | null, revision: Revision): ReplicaChange | null {
    return revision < this.revision ? null : this.#take(key, value, revision);
  }

  /** @param isListed by a list: the next one says it again */
  #take(key: string, value: KeyValue | null, revision: Revision, isListed = false): ReplicaChange | null {
    const meaning = this.#keys.meaningOf(key);
    if (meaning === null || (this.#known.get(key) ?? 0) >= revision) return null;
    const known = this.#modOf(key);
    if (known !== null && known >= revision) return null;
    if (!isListed && (revision > this.revision || this.#isListing)) this.#known.set(key, revision);
    if ((value?.modRevision ?? null) === known) return null;
    switch (meaning.kind) {
      case "row":
        return this.#takeRow(meaning.folded, value);
      case "owner":
        return this.#takeOwner(meaning.folded, value);
      case "server":
        if (value === null) this.servers.delete(key);
        else this.servers.set(key, { mod: value.modRevision, value: value.value });
        return { kind: "server", key, value: value?.value ?? null };
    }
  }

  /** A list begins: the copy remembers changes of keys until it ends. */
  beginList(): void {
    this.#isListing = true;
  }

  cancelList(): void {
    this.#isListing = false;
  }

  /**
   * Takes a whole list of all keys as of a revision, in parts: other things may be taken between two.
   * @returns what was otherwise: after a break all that has happened meanwhile, else what the watch has lost
   */
  *endList(values: readonly KeyValue[], revision: Revision): Generator<ReplicaChange[], void> {
    let part: ReplicaChange[] = [];
    const there = new Set<string>();
    const owners: KeyValue[] = [];
    for (const value of values) {
      there.add(value.key);
      if (this.#keys.meaningOf(value.key)?.kind === "owner") owners.push(value);
    }
    // In the order in which they were written: the rules of names go by it.
    owners.sort((one, other) => one.modRevision - other.modRevision);
    let taken = 0;
    for (const value of chain(owners, values)) {
      const change = this.#take(value.key, value, revision, true);
      if (change !== null) part.push(change);
      if (++taken % PART_KEYS !== 0) continue;
      yield part;
      part = [];
    }
    const known = [
      ...[...this.rows.keys()].map((folded) => this.#keys.row(folded)),
      ...[...this.owners.keys()].map((folded) => this.#keys.owner(folded)),
      ...this.servers.keys(),
      ...this.#unreadable,
    ];
    for (const key of known) {
      const change = there.has(key) ? null : this.#take(key, null, revision, true);
      if (change !== null) part.push(change);
    }
    this.#isListing = false;
    this.revision = Math.max(this.revision, revision);
    for (const [key, at] of this.#known) if (at <= this.revision) this.#known.delete(key);
    yield part;
  }

  /** The engine has gone back, to a backup: nothing that was known counts any more, and the next list says all. */
  rewind(): void {
    this.revision = 0;
    this.#known.clear();
    for (const [folded, { row }] of this.rows) this.rows.set(folded, { mod: 0, row });
    for (const [folded, { line }] of this.owners) this.owners.set(folded, { mod: 0, line });
    for (const [key, { value }] of this.servers) this.servers.set(key, { mod: 0, value });
  }

  /** Null: it is not there. */
  #modOf(key: string): Revision | null {
    const meaning = this.#keys.meaningOf(key);
    if (meaning?.kind === "row") return this.rows.get(meaning.folded)?.mod ?? null;
    if (meaning?.kind === "owner") return this.owners.get(meaning.folded)?.mod ?? null;
    return this.servers.get(key)?.mod ?? null;
  }

  /** The key of a name that holds what this server cannot read, as one of a newer version writes, or a person; null: there is none. */
  unreadableOf(folded: string): string | null {
    return [this.#keys.row(folded), this.#keys.owner(folded)].find((key) => this.#unreadable.has(key)) ?? null;
  }

  #noteUnreadable(key: string, is: boolean): void {
    if (is) this.#unreadable.add(key);
    else this.#unreadable.delete(key);
  }

  #takeRow(folded: string, value: KeyValue | null): ReplicaChange | null {
    const before = this.rows.get(folded) ?? null;
    const read = value === null ? null : decodeRow(value.value);
    const row = read === null ? null : this.#sharing(read, folded);
    const after = value === null || row === null ? null : { mod: value.modRevision, row };
    this.#noteUnreadable(this.#keys.row(folded), value !== null && row === null);
    if (after === null) this.rows.delete(folded);
    else this.rows.set(folded, after);
    return { kind: "row", folded, before, after };
  }

  /** With texts that are in memory already: each row has its own key and server, hundreds of thousands have the same. */
  #sharing(row: SharedRow, folded: string): SharedRow {
    const { server, incarnation } = row;
    const last = this.#lastRow;
    const place = last?.server === server && last.incarnation === incarnation ? last : row;
    const key = this.owners.get(folded)?.line.key;
    const packed = key === row.packed.key ? { ...row.packed, key } : row.packed;
    const shared = { ...row, packed, server: place.server, incarnation: place.incarnation };
    this.#lastRow = shared;
    return shared;
  }

  #takeOwner(folded: string, value: KeyValue | null): ReplicaChange | null {
    const line = value === null ? null : decodeOwner(folded, value.value);
    this.#noteUnreadable(this.#keys.owner(folded), value !== null && line === null);
    if (value === null || line === null) {
      this.owners.delete(folded);
      this.names.release(folded);
    } else {
      this.owners.set(folded, { mod: value.modRevision, line });
      this.names.apply(line);
    }
    return { kind: "owner", folded, line };
  }
}

function* chain<T>(...all: readonly (readonly T[])[]): Generator<T> {
  for (const some of all) yield* some;
}

/** The line that ends a binding, where others read lines. */
export function endOf(folded: string): NameLine {
  return { folded, key: NO_KEY, day: 0 };
}
