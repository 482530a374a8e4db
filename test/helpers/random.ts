// A random source that gives the same numbers for the same seed.

export class Random {
  #state: number;

  /** @param seed a whole number; its low 32 bits count */
  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** From 0 to just under 1. Mulberry32. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 to n - 1. */
  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  /** @throws RangeError for an empty list */
  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new RangeError("nothing to pick from");
    return list[this.below(list.length)] as T;
  }

  /** The wait until the next event of a Poisson process with that mean. */
  wait(mean: number): number {
    return -Math.log(1 - this.next()) * mean;
  }
}
