// Bounded waiting: with a signal, with a time limit, in the order of the calls, one at a time for each subject, a few at once.
// A promise that is no longer waited for goes on, and its failure is dropped.

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
export async function withTimeout<T, L>(ms: number, promise: Promise<T>, late: L): Promise<T | L> {
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
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return abortable(over, signal).finally(() => clearTimeout(timer));
}

/** Jobs with the same key one after the other, in the order of the calls: as many wait as their callers do. */
export class KeyedQueue {
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

export interface Flight<T> {
  readonly answer: Promise<T>;
  /** Fulfilled with the answer, or with undefined when the request failed or the time limit has passed. */
  readonly inTime: Promise<T | undefined>;
}

/**
 * Coalesces concurrent identical requests (Go's singleflight). The time limit starts with the first caller, so that ten who
 * ask wait no longer than one.
 */
export class SingleFlight<T> {
  readonly #timeoutMs: number;
  readonly #inFlight = new Map<string, Flight<T>>();

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** Bounded by what `request` allows to be under way. */
  run(subject: string, request: () => Promise<T>): Flight<T> {
    const open = this.#inFlight.get(subject);
    if (open) return open;
    const answer = request();
    const unlessItFails = answer.catch(() => undefined);
    const flight = { answer, inTime: withTimeout(this.#timeoutMs, unlessItFails, undefined) };
    this.#inFlight.set(subject, flight);
    void unlessItFails.then(() => this.#inFlight.delete(subject));
    return flight;
  }
}

/** Lets at most `slots` tasks run at the same time; the others wait in the order they came. */
export class ConcurrencyLimit {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(slots: number) {
    this.#free = slots;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

/** Bounds of {@link backoffMs}. */
export interface BackoffLimits {
  /** Milliseconds: ceiling of the first wait. */
  readonly firstMs: number;
  /** Milliseconds: ceiling of every wait. */
  readonly maxMs: number;
}

/**
 * How long to wait before the next try: exponential, capped, with full jitter, so that a thousand clients whose server has
 * restarted do not come back in the same millisecond. Pure: the random source is the caller's.
 * @param attempt 0 for the first wait
 * @returns milliseconds, at least a tenth of the ceiling so that no wait is a busy loop
 */
export function backoffMs(
  attempt: number,
  { firstMs, maxMs }: BackoffLimits,
  random: () => number = Math.random,
): number {
  const ceiling = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 30));
  return Math.round(ceiling * (0.1 + 0.9 * random()));
}
