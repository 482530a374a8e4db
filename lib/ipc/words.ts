// Shared memory as 32-bit words: how layouts are counted out, and how a 53-bit number lies in two of them.

export const WORD_BYTES = 4;
/** A cache line of 64 bytes, as on x64 and arm64. */
export const LINE_WORDS = 16;

export const wordsFor = (bytes: number): number => Math.ceil(bytes / WORD_BYTES);
export const fullLines = (words: number): number => Math.ceil(words / LINE_WORDS);

/** Turns sizes into offsets, in the order written. */
export function offsetsOf<K extends string>(
  sizes: Readonly<Record<K, number>>,
): { at: Readonly<Record<K, number>>; words: number } {
  const at: Record<K, number> = { ...sizes };
  let words = 0;
  for (const field of Object.keys(sizes) as K[]) {
    at[field] = words;
    words += sizes[field];
  }
  return { at, words };
}

const TWO_32 = 2 ** 32;

/** @param value a whole number from 0 to 2^53-1 */
export function storeNumber(words: Int32Array, at: number, value: number): void {
  Atomics.store(words, at, value | 0); // the low word: ToInt32 is modulo 2^32
  Atomics.store(words, at + 1, Math.floor(value / TWO_32));
}

/** May be beyond 2^53 where the words are garbage. Two loads: the caller makes sure that they belong together. */
export function loadNumber(words: Int32Array, at: number): number {
  return (Atomics.load(words, at) >>> 0) + (Atomics.load(words, at + 1) >>> 0) * TWO_32;
}
