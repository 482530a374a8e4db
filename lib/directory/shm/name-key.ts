// A folded name as the words of a record, with its hash: the key by which a chain is searched.
import { foldForLookup, MAX_FOLD_BYTES, MAX_NAME_BYTES } from "../../base/names.ts";

const INVALID = 0;

/** Folded form of each ASCII character that a name may hold, {@link INVALID} for the others. */
const ASCII_FOLD = new Uint8Array(128);
for (const character of "abcdefghijklmnopqrstuvwxyz0123456789._-") {
  ASCII_FOLD[character.charCodeAt(0)] = character.charCodeAt(0);
  ASCII_FOLD[character.toUpperCase().charCodeAt(0)] = character.charCodeAt(0);
}

/** One reusable key: a lookup allocates nothing for its question. */
export class NameKey {
  /** The folded name, zero-padded; the first `wordCount` words count. */
  readonly words = new Int32Array(MAX_FOLD_BYTES / 4);
  byteLength = 0;
  wordCount = 0;
  hash = 0;
  readonly #bytes = new Uint8Array(this.words.buffer);
  readonly #encoder = new TextEncoder();
  readonly #seedLow: number;
  readonly #seedHigh: number;

  /** @param seedLow and seedHigh the table's, see HEADER.seed */
  constructor(seedLow: number, seedHigh: number) {
    this.#seedLow = seedLow;
    this.#seedHigh = seedHigh;
  }

  /**
   * Takes a name as a user writes it.
   * @returns false for most texts that are no names; no record equals the rest (commands, a leading dot)
   */
  set(name: string): boolean {
    if (typeof name !== "string") return false;
    const length = name.length;
    if (length === 0 || length > MAX_NAME_BYTES) return false;
    const bytes = this.#bytes;
    for (let i = 0; i < length; i++) {
      const code = name.charCodeAt(i);
      if (code > 127) return this.#setFolded(foldForLookup(name));
      const folded = ASCII_FOLD[code] as number;
      if (folded === INVALID) return false;
      bytes[i] = folded;
    }
    this.#finish(length);
    return true;
  }

  /** Takes the folded form that validateName gave. */
  setFolded(folded: string): void {
    this.#setFolded(folded);
  }

  #setFolded(folded: string | null): boolean {
    if (folded === null) return false;
    this.#finish(this.#encoder.encodeInto(folded, this.#bytes).written);
    return true;
  }

  #finish(byteLength: number): void {
    const wordCount = (byteLength + 3) >> 2;
    this.#bytes.fill(0, byteLength, wordCount * 4);
    this.byteLength = byteLength;
    this.wordCount = wordCount;
    this.hash = hashWords(this.words, wordCount, byteLength, this.#seedLow, this.#seedHigh);
  }
}

/**
 * HalfSipHash-1-3 (Aumasson and Bernstein, https://131002.net/siphash/, the variant for hash tables), over zero-padded words,
 * the byte length in a word of its own. Without the seed, which readers of the table know, names cannot be made to collide.
 */
export function hashWords(
  words: Int32Array,
  count: number,
  byteLength: number,
  seedLow: number,
  seedHigh: number,
): number {
  let v0 = seedLow;
  let v1 = seedHigh;
  let v2 = 0x6c796765 ^ seedLow;
  let v3 = 0x74656462 ^ seedHigh;
  // One round for each word, then one for the length, then three to finish.
  for (let i = 0; i < count + 4; i++) {
    const block = i < count ? (words[i] as number) : i === count ? byteLength : 0;
    if (i === count + 1) v2 ^= 0xff;
    v3 ^= block;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= block;
  }
  return v1 ^ v3;
}
