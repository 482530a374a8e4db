// How long to wait before the next try: exponential, capped, with full jitter, so that a thousand clients whose server
// has restarted do not come back in the same millisecond. Pure: the random source is the caller's.

export interface BackoffLimits {
  /** Milliseconds: ceiling of the first wait. */
  readonly firstMs: number;
  /** Milliseconds: ceiling of every wait. */
  readonly maxMs: number;
}

/** @param attempt 0 for the first wait. @returns milliseconds, at least a tenth of the ceiling so that no wait is a busy loop */
export function backoffMs(
  attempt: number,
  { firstMs, maxMs }: BackoffLimits,
  random: () => number = Math.random,
): number {
  const ceiling = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 30));
  return Math.round(ceiling * (0.1 + 0.9 * random()));
}
