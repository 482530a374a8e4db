// Which key a name belongs to, in memory: what the lines of the log (bindings.ts) say, one after the other. Which name gives
// way to another is decided by the lines alone, so that whoever reads the same log knows the same.

/** Names that belong to one key. Further ones are its own while it is on, and then anybody's: nobody can take them all. */
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

export class NameBook {
  readonly #limit: number;
  /** The name that was not registered for the longest time first. */
  readonly #lines = new Map<string, NameLine>();
  readonly #namesOf = new Map<string, number>();

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

  /** Names that belong to the key. */
  namesOf(key: string): number {
    return this.#namesOf.get(key) ?? 0;
  }

  /** Whether there is room for one more name on that day. */
  hasRoom(day: number): boolean {
    return this.#lines.size < this.#limit || this.#unused(day) !== null;
  }

  take(line: NameLine): void {
    this.#forget(line.folded);
    const unused = this.#lines.size < this.#limit ? null : this.#unused(line.day);
    if (unused !== null) this.#forget(unused);
    this.#lines.set(line.folded, line);
    this.#namesOf.set(line.key, this.namesOf(line.key) + 1);
  }

  #unused(day: number): string | null {
    const [oldest] = this.#lines.values();
    return oldest !== undefined && day - oldest.day >= UNUSED_DAYS ? oldest.folded : null;
  }

  #forget(folded: string): void {
    const line = this.#lines.get(folded);
    if (line === undefined) return;
    this.#lines.delete(folded);
    const left = this.namesOf(line.key) - 1;
    if (left === 0) this.#namesOf.delete(line.key);
    else this.#namesOf.set(line.key, left);
  }
}
