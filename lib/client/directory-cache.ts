// Where others are, as far as is known: two bounded maps, so that strangers who write to us, and everybody who comes on, do
// not push out those we write to. In each, the one used longest ago makes room. Knows no server.
import type { DirectoryEntry } from "../directory/entry.ts";

/** People we write to: one conversation each, for as long as the server is away. */
const MAX_PARTNERS = 1024;
/** People who wrote to us, or of whom the server told. */
const MAX_OTHERS = 1024;
/** Milliseconds after which a record is asked for again, should a push about it have been missed. */
const FRESH_MS = 2_000;

interface Entry {
  readonly record: DirectoryEntry;
  /** Milliseconds of performance.now(). */
  readonly learnedAt: number;
}

/** By folded name. */
export class DirectoryCache {
  readonly #contacts = new Map<string, Entry>();
  readonly #others = new Map<string, Entry>();
  #doubtedAt = 0;

  get(name: string): DirectoryEntry | undefined {
    return this.#find(name)?.record;
  }

  isFresh(name: string): boolean {
    const entry = this.#find(name);
    return entry !== undefined && entry.learnedAt > Math.max(this.#doubtedAt, performance.now() - FRESH_MS);
  }

  /** The server has told this just now. */
  keep(name: string, record: DirectoryEntry): void {
    const entry = { record, learnedAt: performance.now() };
    if (this.#contacts.has(name)) put(this.#contacts, name, entry, MAX_PARTNERS);
    else put(this.#others, name, entry, MAX_OTHERS);
  }

  /** We write to this one. */
  use(name: string): void {
    const entry = this.#find(name);
    if (entry === undefined) return;
    this.#others.delete(name);
    put(this.#contacts, name, entry, MAX_PARTNERS);
  }

  forget(name: string): void {
    this.#contacts.delete(name);
    this.#others.delete(name);
  }

  /** Something may have happened that nobody told us of: everything is to be asked again, and serves meanwhile. */
  invalidate(): void {
    this.#doubtedAt = performance.now();
  }

  #find(name: string): Entry | undefined {
    return this.#contacts.get(name) ?? this.#others.get(name);
  }
}

function put(entries: Map<string, Entry>, name: string, entry: Entry, most: number): void {
  entries.delete(name); // to the end: a Map keeps the order of insertion
  entries.set(name, entry);
  const [oldest] = entries.keys();
  if (entries.size > most && oldest !== undefined) entries.delete(oldest);
}
