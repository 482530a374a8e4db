// One time for the whole of a command: finding the server counts as much as what is done there.

export class Deadline {
  readonly totalMs: number | undefined;
  readonly #startedAt = performance.now();
  readonly #signal: AbortSignal | undefined;

  /** @param totalMs whole milliseconds; undefined: as long as it takes */
  constructor(totalMs: number | undefined) {
    this.totalMs = totalMs;
    this.#signal = totalMs === undefined ? undefined : AbortSignal.timeout(totalMs);
  }

  get over(): boolean {
    return this.#signal?.aborted ?? false;
  }

  /** What is left of it, as options that take a `timeoutMs` want it: at least a millisecond. */
  get left(): { timeoutMs?: number } {
    if (this.totalMs === undefined) return {};
    return { timeoutMs: Math.max(1, Math.ceil(this.totalMs - (performance.now() - this.#startedAt))) };
  }

  /** Aborts with `signal`, or when the time is over. */
  with(signal: AbortSignal): AbortSignal {
    return this.#signal === undefined ? signal : AbortSignal.any([signal, this.#signal]);
  }
}
