// A sender's burst: which of its messages are too many for a screen, and how many were folded away. Pure; the clock is the caller's.

/** Messages of one sender that are shown at once, and each second after that: more than a person reads. */
const SHOWN = { atOnce: 20, perSecond: 2 };
/** Milliseconds in which what was folded is told of once. */
export const TELL_EVERY_MS = 1_000;
/** Senders that are remembered; the one that was silent longest makes room. */
const MAX_SENDERS = 1_024;

interface Flow {
  /** Messages that may be shown now. */
  credit: number;
  at: number;
}

export class Bursts {
  /** By key; the one that wrote last is the last. */
  readonly #flows = new Map<string, Flow>();
  /** By the name of the sender. */
  readonly #folded = new Map<string, number>();

  /** Whether one more message of this sender is too many. @param now monotonic milliseconds */
  isTooMany(key: string, now: number): boolean {
    const { credit, at } = this.#flows.get(key) ?? { credit: SHOWN.atOnce, at: now };
    const left = Math.min(SHOWN.atOnce, credit + ((now - at) * SHOWN.perSecond) / 1000);
    const isTooMany = left < 1;
    this.#flows.delete(key);
    this.#flows.set(key, { credit: isTooMany ? left : left - 1, at: now });
    const [oldest] = this.#flows.keys();
    if (this.#flows.size > MAX_SENDERS && oldest !== undefined) this.#flows.delete(oldest);
    return isTooMany;
  }

  fold(from: string): void {
    this.#folded.set(from, (this.#folded.get(from) ?? 0) + 1);
  }

  /** What was folded since the last call. */
  take(): { readonly from: string; readonly count: number }[] {
    const folded = [...this.#folded].map(([from, count]) => ({ from, count }));
    this.#folded.clear();
    return folded;
  }
}
