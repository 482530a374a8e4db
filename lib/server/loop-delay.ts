// How late the event loop is. Measuring wakes the process up fifty times a second, so it is done only while somebody asks.
import { monitorEventLoopDelay } from "node:perf_hooks";

const RESOLUTION_MS = 20;
const INTEREST_MS = 60_000; // after the last question
const NANOSECONDS_PER_MS = 1e6;

export class LoopDelay {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #interest: NodeJS.Timeout | null = null;

  /** 99th percentile in ms of how late timers were since the last question; 0 at the first one. */
  p99(): number {
    if (this.#interest === null) this.#histogram.enable();
    else clearTimeout(this.#interest);
    this.#interest = setTimeout(() => this.stop(), INTEREST_MS).unref();
    const late = Math.max(0, this.#histogram.percentile(99) / NANOSECONDS_PER_MS - RESOLUTION_MS);
    this.#histogram.reset();
    return Math.round(late * 100) / 100;
  }

  stop(): void {
    if (this.#interest !== null) clearTimeout(this.#interest);
    this.#interest = null;
    this.#histogram.disable();
  }
}
