// The time beside what was said, and the day once when it is another one. Knows no output.
import { day, strftime } from "../times.ts";

/** No times and no days. */
export const NO_TIMES = "off";

export class DayClock {
  readonly #format: string;
  #day: string;

  /** @param startedAt ms since the epoch: that day is not told */
  constructor(format: string, startedAt: number) {
    this.#format = format;
    this.#day = day(startedAt);
  }

  /** "14:05 ", what stands before a message; empty where no times are wanted. */
  stamp(at: number): string {
    return this.#format === NO_TIMES ? "" : `${strftime(this.#format, at)} `;
  }

  /** "Sunday, 2026-11-29" if what is shown next is of another day than what was shown last, else null. */
  turn(at: number): string | null {
    const today = day(at);
    if (today === this.#day || this.#format === NO_TIMES) return null;
    this.#day = today;
    return today;
  }
}
