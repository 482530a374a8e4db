// Bounded waiting: with a signal, with a time limit, one question for all who ask it, a few tasks at once.
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
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return abortable(over, signal).finally(() => clearTimeout(timer));
}

/** A promise and what settles it (Promise.withResolvers, which Node 20 lacks). Its rejection may go unheard. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (reason: unknown) => void;

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.promise.catch(() => {});
  }
}

/** Coalesces concurrent identical requests (Go's singleflight). */
export class SingleFlight<T> {
  readonly #inFlight = new Map<string, Promise<T>>();

  /** Bounded by what `request` allows to be under way. Nobody has to wait for the answer. */
  run(subject: string, request: () => Promise<T>): Promise<T> {
    const open = this.#inFlight.get(subject);
    if (open) return open;
    const answer = request();
    this.#inFlight.set(subject, answer);
    const done = (): boolean => this.#inFlight.delete(subject);
    answer.then(done, done);
    return answer;
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
