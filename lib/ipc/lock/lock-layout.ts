// Where everything stands in a lock's segment, in 32-bit words. The one source of these numbers; docs/LOCK.md tells what they mean.
//
//   header    HEADER_WORDS words: constants first, then the words that change, each hot one on a cache line of its own
//   slot 0 …  SLOT_WORDS words for each of CAPACITY participants: one cache line, written by its owner alone while it lives
//
// Every word that another process may write meanwhile is read and written with Atomics (sequentially consistent).

/** The most participants of one lock; the 257th gets EUSERS. */
export const CAPACITY = 256;

const CACHE_LINE_WORDS = 16;
const HEADER_WORDS = 4 * CACHE_LINE_WORDS;
export const SLOT_WORDS = CACHE_LINE_WORDS;
export const SEGMENT_BYTES = 4 * (HEADER_WORDS + CAPACITY * SLOT_WORDS);

/** "ptLK", little-endian. */
export const MAGIC = 0x4b4c7470;
export const LAYOUT_VERSION = 1;
/** Value of the ready word once the creator has finished; published last. */
export const READY = 1;

export const Header = {
  magic: 0,
  version: 1,
  capacity: 2,
  ready: 3,
  /** One more than the highest slot ever taken: bounds the scan of the fast path. */
  slotsUsed: 4,
  /** 1 while a dead writer's half-written data has not been repaired. */
  damaged: 5,
  /** Process id of whoever holds the recovery gate; for people. */
  gateHolder: 6,
  recoveriesLow: 7,
  recoveriesHigh: 8,
  /** Even: open. Odd: recovery under way. Read by everyone, written only under the gate. */
  epoch: CACHE_LINE_WORDS,
  /** epoch tag << READERS_BITS | number of readers inside. */
  readers: 2 * CACHE_LINE_WORDS,
  /** Source of seniority numbers for those who have to sleep; also counts up whenever one of them shows its own. */
  tickets: 3 * CACHE_LINE_WORDS,
} as const;

export const Slot = {
  phase: 0,
  kind: 1,
  epoch: 2,
  /** Seniority of a participant that sleeps in WANT; 0 for one that does not sleep. */
  ticket: 3,
  pid: 4,
  startLow: 5,
  startHigh: 6,
  /** Milliseconds since the epoch, modulo 2^32, when the section began (INSIDE) or the wait did (WANT, QUEUED). */
  since: 7,
  readsLow: 8,
  readsHigh: 9,
  writesLow: 10,
  writesHigh: 11,
  waitsLow: 12,
  waitsHigh: 13,
} as const;

export const Phase = { idle: 0, want: 1, queued: 2, inside: 3, leaving: 4 } as const;
export const Kind = { read: 1, write: 2 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** Word index of a slot's first word. */
export function slotAt(slot: number): number {
  return HEADER_WORDS + slot * SLOT_WORDS;
}

const READERS_BITS = 12;
const READERS_MASK = (1 << READERS_BITS) - 1;

/**
 * The readers word of an epoch with nobody inside. The tag keeps 20 bits of epoch/2: a leaver would have to sleep through exactly
 * a multiple of 2^20 recoveries to mistake one epoch's count for another's.
 */
export function noReaders(epoch: number): number {
  return (epoch >> 1) << READERS_BITS;
}

export function readersOf(word: number): number {
  return word & READERS_MASK;
}

/** Whether the word counts readers of `epoch`, and a number of them that can be. */
export function isReadersOf(word: number, epoch: number): boolean {
  return (word & ~READERS_MASK) === noReaders(epoch) && (word & READERS_MASK) <= CAPACITY;
}

/** The odd number that marks `epoch` as under recovery. Epochs are 32-bit and wrap. */
export function recoveryOf(epoch: number): number {
  return epoch | 1;
}

/** The even number that follows. */
export function nextOpen(epoch: number): number {
  return ((epoch | 1) + 1) | 0;
}

export function isOpen(epoch: number): boolean {
  return (epoch & 1) === 0;
}
