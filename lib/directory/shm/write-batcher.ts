// A process's changes to the table, one after the other under the write lock. A process may wait for the lock only once at a
// time, and a lock costs the same for one change as for many: so changes queue, and are made in batches.
import { DirectoryError } from "../directory-error.ts";
import { WRITES_PER_LOCK } from "./shm-limits.ts";

/** The part of the readers-writers lock that is needed here. */
export interface WriteLock {
  withWrite<T>(change: () => T): Promise<T>;
}

interface Job {
  /** Makes the change, and keeps its outcome. */
  run(): void;
  /** Gives the outcome to the caller, after the lock was given back. @param error why the change was not made, if it was not */
  settle(error: unknown): void;
}

/** Its callers bound the queue: a connection has at most one change in it. */
export class WriteBatcher {
  readonly #lock: WriteLock;
  #jobs: Job[] = [];
  #running = false;

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

  /** Resolves when the queue is empty. */
  async idle(): Promise<void> {
    while (this.#running) await new Promise((resolve) => setImmediate(resolve));
  }

  async #drain(): Promise<void> {
    this.#running = true;
    while (this.#jobs.length > 0) {
      const batch = this.#jobs.slice(0, WRITES_PER_LOCK);
      this.#jobs = this.#jobs.slice(WRITES_PER_LOCK);
      let failure: unknown = null;
      try {
        await this.#lock.withWrite(() => {
          for (const job of batch) job.run();
        });
      } catch (error) {
        failure = error; // of entering: nothing was run; or of leaving: everything was, and has its outcome
      }
      for (const job of batch) job.settle(failure);
    }
    this.#running = false;
  }
}
