// Which counters of a session have been seen: refuses replays, and is what acknowledgements report.
// The sliding window of RFC 6479: a ring of words of which whole ones are cleared as the window moves on.

const WORD_BITS = 32;
const WORDS = 32; // 1,024 bits
/** Counters this far behind the largest are refused unseen; reordering within it is harmless. */
export const REPLAY_WINDOW = (WORDS - 1) * WORD_BITS;

export class ReplayWindow {
  /** The largest counter marked so far, -1 before the first. */
  largest = -1;
  readonly #ring = new Uint32Array(WORDS);

  /** True when the counter is neither seen nor too old to know. */
  isFresh(counter: number): boolean {
    if (counter > this.largest) return true;
    if (counter <= this.largest - REPLAY_WINDOW) return false;
    return ((this.#ring[Math.floor(counter / WORD_BITS) % WORDS] as number) & (1 << (counter % WORD_BITS))) === 0;
  }

  /** Only after the datagram has been authenticated, and only a fresh counter: otherwise a forger could move the window. */
  mark(counter: number): void {
    const word = Math.floor(counter / WORD_BITS);
    if (counter > this.largest) {
      const last = this.largest < 0 ? -1 : Math.floor(this.largest / WORD_BITS);
      for (let w = Math.max(last + 1, word - WORDS + 1); w <= word; w++) this.#ring[w % WORDS] = 0;
      this.largest = counter;
    }
    this.#ring[word % WORDS] = (this.#ring[word % WORDS] as number) | (1 << (counter % WORD_BITS));
  }

  /** As if it had not arrived. Only for what may safely be read again. */
  unmark(counter: number): void {
    const word = Math.floor(counter / WORD_BITS) % WORDS;
    this.#ring[word] = (this.#ring[word] as number) & ~(1 << (counter % WORD_BITS));
  }

  /** The 32 counters of block `(largest >> 5) - back`, one bit each; 0 before the session's first block. */
  word(back: number): number {
    const word = Math.floor(this.largest / WORD_BITS) - back;
    return word < 0 || back >= WORDS ? 0 : (this.#ring[word % WORDS] as number);
  }
}
