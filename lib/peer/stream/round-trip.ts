// The measured round trip and the timeout that follows from it (RFC 6298, with the floor and cap of limits.ts).
import {
  FAST_BACKOFF_LIMIT,
  FAST_PROBES,
  GRANULARITY,
  INITIAL_TIMEOUT,
  MAX_TIMEOUT,
  MIN_TIMEOUT,
  TIME_THRESHOLD,
} from "./stream-limits.ts";

export class RoundTrip {
  #smoothed = 0; // 0: no sample yet
  #variation = 0;
  #latest = 0;

  /** @param sample milliseconds; never of a datagram that was sent twice (each has its own counter, so none is) */
  update(sample: number): void {
    this.#latest = sample;
    if (this.#smoothed === 0) {
      this.#smoothed = Math.max(sample, Number.MIN_VALUE);
      this.#variation = sample / 2;
      return;
    }
    this.#variation += (Math.abs(this.#smoothed - sample) - this.#variation) / 4;
    this.#smoothed += (sample - this.#smoothed) / 8;
  }

  /** Smoothed, in milliseconds; 0 before the first sample. */
  get smoothed(): number {
    return this.#smoothed;
  }

  /** How long to wait for an acknowledgement before probe number `probes` + 1. */
  timeout(probes: number): number {
    const measured = this.#smoothed + Math.max(4 * this.#variation, GRANULARITY);
    const first = this.#smoothed === 0 ? INITIAL_TIMEOUT : Math.max(measured, MIN_TIMEOUT);
    const doublings = Math.min(probes, FAST_BACKOFF_LIMIT) + Math.max(0, probes - FAST_PROBES);
    return Math.min(first * 2 ** Math.min(doublings, 30), Math.max(first, MAX_TIMEOUT));
  }

  /** How long a datagram may be overtaken before it counts as lost. */
  lossDelay(): number {
    return Math.max(TIME_THRESHOLD * Math.max(this.#smoothed, this.#latest), GRANULARITY);
  }
}
