// What the users and addresses have at this server, over all connections of all workers: so that no one of them fills it. The primary counts; a
// worker asks it before each registration, together with the question whose the name is.
import type { Limits } from "./limits.ts";
import { boundKey, isLoopbackTcp, type Origin } from "./origin.ts";

/** Part of its bound that a user may exceed it by with clients that come back: their connections before may not have ended yet. */
const RETURNING_SHARE = 1 / 4;

export class Accounts {
  readonly #limits: Limits;
  /** Clients that are on, by worker and by account. */
  readonly #clients = new Map<number, Map<string, number>>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** Counters for INFO. */
  get stats(): Readonly<Record<string, number>> {
    const sums = new Map<string, number>();
    for (const accounts of this.#clients.values()) {
      for (const [key, count] of accounts) sums.set(key, (sums.get(key) ?? 0) + count);
    }
    let largest = 0;
    for (const sum of sums.values()) largest = Math.max(largest, sum); // too many for the arguments of one call
    return { accounts: sums.size, largest_account: largest };
  }

  /**
   * Counts one more client of that user or address.
   * @param isBack it says that it was on before
   * @returns false: it has all that it may have
   */
  takeClient(worker: number, origin: Origin, isBack: boolean): boolean {
    const key = boundKey(origin);
    const { clientsPerUid, clientsOverLoopback } = this.#limits;
    const most = isLoopbackTcp(origin) ? clientsOverLoopback : clientsPerUid;
    let sum = 0;
    for (const accounts of this.#clients.values()) sum += accounts.get(key) ?? 0;
    if (sum >= (isBack ? Math.ceil(most * (1 + RETURNING_SHARE)) : most)) return false;
    const own = this.#clients.get(worker) ?? new Map<string, number>();
    this.#clients.set(worker, own);
    own.set(key, (own.get(key) ?? 0) + 1);
    return true;
  }

  /** One of them has gone, or did not come to be on. */
  giveBackClient(worker: number, key: string): void {
    const own = this.#clients.get(worker);
    const count = own?.get(key) ?? 0;
    if (count > 1) own?.set(key, count - 1);
    else own?.delete(key);
  }

  workerDied(worker: number): void {
    this.#clients.delete(worker);
  }
}
