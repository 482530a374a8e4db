// Ways to wait for a promise not for ever. What is no longer waited for goes on; its failure is nobody's then.

/** The promise's outcome, or a rejection with the signal's reason as soon as that is aborted. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    const settled = (settle: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      settle();
    };
    promise.then(
      (value) => settled(() => resolve(value)),
      (error) => settled(() => reject(error)),
    );
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** The promise's outcome, or `late` when there is none after so many milliseconds. */
export async function within<T, L>(ms: number, promise: Promise<T>, late: L): Promise<T | L> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<L>((resolve) => {
    timer = setTimeout(resolve, ms, late);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** @throws the signal's reason */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return abortable(over, signal).finally(() => clearTimeout(timer));
}

/** Jobs with the same key one after the other, in the order of the calls: as many wait as their callers do. */
export class InTurn {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs the job when every earlier one of its key has ended, and by then `signal` is not aborted. */
  run<T>(key: string, job: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const before = this.#last.get(key);
    const own = abortable(before === undefined ? job() : before.then(job), signal);
    // Given up early, it still stands for those before it.
    const turn = Promise.allSettled([before, own]);
    this.#last.set(key, turn);
    void turn.then(() => {
      if (this.#last.get(key) === turn) this.#last.delete(key);
    });
    return own;
  }
}
