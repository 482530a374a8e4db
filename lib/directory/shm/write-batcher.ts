// A process's changes to the table, one after the other under the write lock. A process may wait for the lock only once at a
// time, and a lock costs the same for one change as for many: so changes queue, and are made in batches.
import { DirectoryError } from "../directory-error.ts";
import { WRITES_PER_LOCK } from "./shm-limits.ts";

/** The part of the readers-writers lock that is needed here. */
export interface WriteLock {
  withWrite<T>(change: () => T | Promise<T>, options?: { readonly signal?: AbortSignal }): Promise<T>;
}

interface Job {
  /** Makes the change, and keeps its outcome. */
  run(): void;
  /** Gives the outcome to the caller, after the lock was given back. @param error why the change was not made, if it was not */
  settle(error: unknown): void;
}

/** Its callers bound the queue: a connection has at most one change in it. */
export class WriteBatcher {
  #lock: WriteLock;
  #jobs: Job[] = [];
  #running = false;
  /** Of the entry into the lock that is under way. */
  #entry: Promise<void> = Promise.resolve();
  #moved = new AbortController();
  /** Runs under the lock before any other change. */
  #first: (() => Promise<void>) | null = null;

  constructor(lock: WriteLock) {
    this.#lock = lock;
  }

  /**
   * Runs a synchronous change while no other process reads or writes under the lock.
   * Rejects with what the change throws, or with DirectoryError `try-again` if the lock could not be had; nothing has changed then.
   */
  run<T>(change: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let settle = (error: unknown) => reject(DirectoryError.tryAgain("the table's lock could not be had", error));
      this.#jobs.push({
        run() {
          try {
            const result = change();
            settle = () => resolve(result);
          } catch (error) {
            settle = () => reject(error);
          }
        },
        settle: (error) => settle(error),
      });
      if (!this.#running) void this.#drain();
    });
  }

  /** As {@link run}, for a section that takes its time: the lock is held, and no change of this process is made, until it settles. */
  runAlone(section: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#first = async () => {
        try {
          await this.#lock.withWrite(section);
          resolve();
        } catch (error) {
          reject(error);
        }
      };
      if (!this.#running) void this.#drain();
    });
  }

  /**
   * From now on changes are made under this lock; those that wait for the old one wait for this one instead.
   * @returns a promise for when the old one is not waited for any more
   */
  moveTo(lock: WriteLock): Promise<void> {
    this.#lock = lock;
    this.#moved.abort();
    this.#moved = new AbortController();
    return this.#entry;
  }

  /** Resolves when the queue is empty. */
  async idle(): Promise<void> {
    while (this.#running) await new Promise((resolve) => setImmediate(resolve));
  }

  async #drain(): Promise<void> {
    this.#running = true;
    while (this.#first !== null || this.#jobs.length > 0) {
      const first = this.#first;
      if (first !== null) {
        this.#first = null;
        await first();
        continue;
      }
      const batch = this.#jobs.slice(0, WRITES_PER_LOCK);
      this.#jobs = this.#jobs.slice(WRITES_PER_LOCK);
      const { signal } = this.#moved;
      let failure: unknown = null;
      let isEntered = false;
      const section = () => {
        isEntered = true;
        for (const job of batch) job.run();
      };
      // In a function of its own: a lock that throws at once is one that could not be had.
      const entry = (async () => this.#lock.withWrite(section, { signal }))();
      this.#entry = entry.catch(() => {});
      try {
        await entry;
      } catch (error) {
        failure = error; // of entering: nothing was run; or of leaving: everything was, and has its outcome
      }
      if (signal.aborted && !isEntered) this.#jobs = [...batch, ...this.#jobs];
      else for (const job of batch) job.settle(failure);
    }
    this.#running = false;
  }
}
