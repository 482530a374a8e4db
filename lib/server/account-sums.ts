// What the users and addresses have at one worker, as sums: rooms, and bytes that wait for them. Root has no bound.
import { boundKey, type Origin } from "./origin.ts";

const ROOT = 0;

export class AccountSums {
  readonly #most: number;
  readonly #sums = new Map<string, number>();

  /** @param most of one user or address */
  constructor(most: number) {
    this.#most = most;
  }

  /** Counts it, whatever the bound. @returns whether the user or address has no more than it may have */
  add(origin: Origin, amount: number): boolean {
    const key = boundKey(origin);
    const sum = (this.#sums.get(key) ?? 0) + amount;
    if (sum > 0) this.#sums.set(key, sum);
    else this.#sums.delete(key);
    return sum <= this.#most || origin.uid === ROOT;
  }
}
