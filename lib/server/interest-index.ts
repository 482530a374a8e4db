// Which workers have clients that an event concerns. Runs in the primary.
import type { DirectoryEvent } from "../directory/directory.ts";
import { keysOf } from "../directory/event-feed.ts";
import { EVERYBODY, type InterestChange } from "./interest-report.ts";

export class InterestIndex {
  /** Workers by what somebody there watches; no set is empty. */
  readonly #workers = new Map<string, Set<number>>();
  /** What somebody watches, by worker. */
  readonly #interests = new Map<number, Set<string>>();

  /** Somebody watches something. */
  get isWatched(): boolean {
    return this.#workers.size > 0;
  }

  change(worker: number, { added, removed }: InterestChange): void {
    const interests = this.#interests.get(worker) ?? new Set();
    this.#interests.set(worker, interests);
    for (const interest of added) {
      interests.add(interest);
      const workers = this.#workers.get(interest);
      if (workers === undefined) this.#workers.set(interest, new Set([worker]));
      else workers.add(worker);
    }
    for (const interest of removed) {
      interests.delete(interest);
      this.#lose(worker, interest);
    }
  }

  /** The worker is gone. */
  forget(worker: number): void {
    for (const interest of this.#interests.get(worker) ?? []) this.#lose(worker, interest);
    this.#interests.delete(worker);
  }

  /** Shares events out: by worker those that concern somebody there, in order. @param except a worker that knows of them */
  shares(events: readonly DirectoryEvent[], except?: number): ReadonlyMap<number, readonly DirectoryEvent[]> {
    const shares = new Map<number, DirectoryEvent[]>();
    if (!this.isWatched) return shares;
    for (const event of events) {
      for (const worker of this.#concerned(event)) {
        if (worker === except) continue;
        const share = shares.get(worker);
        if (share === undefined) shares.set(worker, [event]);
        else share.push(event);
      }
    }
    return shares;
  }

  #concerned(event: DirectoryEvent): ReadonlySet<number> {
    const workers = new Set(this.#workers.get(EVERYBODY));
    for (const key of keysOf(event)) for (const worker of this.#workers.get(key) ?? []) workers.add(worker);
    return workers;
  }

  #lose(worker: number, interest: string): void {
    const workers = this.#workers.get(interest);
    workers?.delete(worker);
    if (workers?.size === 0) this.#workers.delete(interest);
  }
}
