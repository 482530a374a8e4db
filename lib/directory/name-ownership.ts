// Which key a name belongs to, in memory: what the lines of the log (shm/name-log.ts) say, one after the other. Which name gives
// way to another is decided by the lines alone, so that all who read the same log know the same.

/**
 * Names that belong to one key: nobody can take them all. For a further one the key gives up the one that it has not used for
 * longest, but none of this day's, or the log would grow with every visit. Beyond that names are its own only while it is on.
 */
export const NAMES_PER_KEY = 64;

/** Days without a registration after which a name gives way to a new one, if there is no room otherwise. */
export const UNUSED_DAYS = 90;

export interface NameLine {
  readonly folded: string;
  /** base64 */
  readonly key: string;
  /** Of the registration, in days since the epoch. */
  readonly day: number;
}

export class NameOwnership {
  readonly #limit: number;
  /** The name that was not registered for the longest time first. */
  readonly #lines = new Map<string, NameLine>();
  /** By key, in the same order. */
  readonly #namesOf = new Map<string, Set<string>>();

  /** @param limit names that there is room for */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#lines.size;
  }

  get(folded: string): NameLine | undefined {
    return this.#lines.get(folded);
  }

  /** All, in the order in which they are to be taken again. */
  lines(): Iterable<NameLine> {
    return this.#lines.values();
  }

  /** Whether the key has all the names that it may have on that day. */
  isAtLimit(key: string, day: number): boolean {
    const given = this.#givenUp(key);
    return given !== null && given.day >= day;
  }

  /** Whether there is room for one more name of the key on that day. */
  hasRoom(key: string, day: number): boolean {
    return this.#lines.size < this.#limit || this.#givenUp(key) !== null || this.#unused(day) !== null;
  }

  apply(line: NameLine): void {
    this.#forget(line.folded);
    const way = this.#givenUp(line.key)?.folded ?? (this.#lines.size < this.#limit ? null : this.#unused(line.day));
    if (way !== null) this.#forget(way);
    this.#lines.set(line.folded, line);
    const names = this.#namesOf.get(line.key);
    if (names === undefined) this.#namesOf.set(line.key, new Set([line.folded]));
    else names.add(line.folded);
  }

  /** What the key would give up for one more name; null while it may have more. */
  #givenUp(key: string): NameLine | null {
    const names = this.#namesOf.get(key);
    if (names === undefined || names.size < NAMES_PER_KEY) return null;
    const [oldest] = names;
    return this.#lines.get(oldest as string) ?? null;
  }

  #unused(day: number): string | null {
    const [oldest] = this.#lines.values();
    return oldest !== undefined && day - oldest.day >= UNUSED_DAYS ? oldest.folded : null;
  }

  #forget(folded: string): void {
    const line = this.#lines.get(folded);
    if (line === undefined) return;
    this.#lines.delete(folded);
    const names = this.#namesOf.get(line.key);
    names?.delete(folded);
    if (names?.size === 0) this.#namesOf.delete(line.key);
  }
}
