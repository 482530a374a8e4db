// A map from numbers that are near each other, in a ring of slots. With one entry coming and going for each message a Map
// allocates a new table every few of them, and dead old tables keep younger ones alive through garbage collections
// (measured: a third of the time of a round trip).

const FIRST_SLOTS = 16;

/** Grows to hold the span of the numbers in it, rounded up to a power of two: the owner bounds that span. */
export class Ring<T extends { readonly number: number }> {
  size = 0;
  #slots: (T | undefined)[] = new Array<T | undefined>(FIRST_SLOTS).fill(undefined);

  get(number: number): T | undefined {
    const item = this.#slots[number & (this.#slots.length - 1)];
    return item !== undefined && item.number === number ? item : undefined;
  }

  /** In place of the one with the same number, if there is any. */
  set(item: T): void {
    for (;;) {
      const slot = item.number & (this.#slots.length - 1);
      const present = this.#slots[slot];
      if (present === undefined || present.number === item.number) {
        if (present === undefined) this.size++;
        this.#slots[slot] = item;
        return;
      }
      this.#grow();
    }
  }

  delete(number: number): T | undefined {
    const item = this.get(number);
    if (item === undefined) return undefined;
    this.#slots[number & (this.#slots.length - 1)] = undefined;
    this.size--;
    return item;
  }

  /** In no order; deleting the present one is allowed. */
  forEach(visit: (item: T) => void): void {
    if (this.size === 0) return;
    for (const item of this.#slots) if (item !== undefined) visit(item);
  }

  // Two numbers that met in one slot are at least the ring's size apart; in twice the size all others still fit.
  #grow(): void {
    const old = this.#slots;
    this.#slots = new Array<T | undefined>(old.length * 2).fill(undefined);
    for (const item of old) if (item !== undefined) this.#slots[item.number & (this.#slots.length - 1)] = item;
  }
}
