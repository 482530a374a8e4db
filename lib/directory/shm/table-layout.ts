// The one source of the client table's layout: it names fields with their sizes, offsets are sums, and no other file holds a
// number that depends on them. All numbers are 32-bit words in the byte order of the machine, which the segment never leaves.
// A 53-bit number takes two words, the low one first.
//
//   header | versions of the buckets | buckets: the head of a chain each | records, one more than
//   the capacity | details of the records | ring of changes
//
// A link between records is "slot + 1": 0 means none, and memory fresh from the kernel is an empty table.
import { MAX_FOLD_BYTES, MAX_NAME_BYTES } from "../../base/names.ts";
import { CLAIM_ID_LENGTH } from "../../crypto/signed-statements.ts";
import { fullLines, LINE_WORDS, offsetsOf, WORD_BYTES, wordsFor } from "../../ipc/words.ts";
import { KEY_TEXT_BYTES, MAX_DETAILS_BYTES } from "../entry.ts";

/** "ptkC" in memory on a little-endian machine. */
export const MAGIC = 0x436b_7470;
/** Raise it with every change of the layout. */
export const LAYOUT_VERSION = 3;

export const MIN_CAPACITY = 1;
export const MAX_CAPACITY = 1_048_576;

/** Bytes of a claim id, whose text is base64. */
export const CLAIM_ID_BYTES = (CLAIM_ID_LENGTH / 4) * 3;

const header = offsetsOf({
  magic: 1,
  layoutVersion: 1,
  /** One of {@link READY}; stored last by the creator. */
  ready: 1,
  capacity: 1,
  recordWords: 1,
  /** Seed of the hash of names: a client that cannot read it cannot choose names that meet in one bucket. */
  seed: 2,
  createdAt: 2,
  serverPid: 1,
  /** Inode of the socket that the server listens on. */
  listener: 2,
  // The words from here on change: on their own cache line, away from those that every reader loads.
  padding: LINE_WORDS - 12,
  count: 1,
  /** First record of the free list, as a link. */
  freeHead: 1,
  /** The first slot that was never used. */
  highWater: 1,
  /** Version given to the latest record. */
  lastVersion: 1,
  /** Changes so far, modulo 2^32; raised when the change is whole and its slot noted in the ring. */
  changes: 1,
  /** Repairs so far: a writer that died may have changed what no note says. */
  repairs: 1,
});
export const HEADER = header.at;
const HEADER_WORDS = fullLines(header.words) * LINE_WORDS;

/** States of the header's `ready`. Anything else (fresh memory is 0) means that the creator has not finished. */
export const READY = { open: 1, closed: 2 } as const;

/**
 * Versions of the buckets; many buckets share one. A writer raises it before and after a record leaves a chain, see
 * table-reader.ts. They lie apart from the buckets: a lookup among a million, which is all cache misses, passes through half the
 * memory then (measured: a fifth of the whole lookup).
 */
export const VERSIONS = 1024;

export const TEXT_WORDS = wordsFor(MAX_FOLD_BYTES) + wordsFor(MAX_NAME_BYTES + KEY_TEXT_BYTES + MAX_DETAILS_BYTES);

const recordHead = {
  /** `version << 2 | state`, the word by which a record appears and disappears; see {@link STATE}. */
  sequence: 1,
  hash: 1,
  /** Next record of the chain, or of the free list; a link. */
  next: 1,
  /** Bytes of fold (7 bits), name (8 bits) and details (16 bits), lowest first, and {@link FLAG_ASCII}. */
  lengths: 1,
  /** Milliseconds since the epoch: low word, then 11 bits of the high one tagged with 21 bits of the version. */
  lookupLow: 1,
  lookupHigh: 1,
  startedAt: 2,
};
const HEAD_WORDS = offsetsOf(recordHead).words;

/** Two cache lines: all that a lookup of a usual record touches. A million lie close together, on few pages. */
export const RECORD_WORDS = 2 * LINE_WORDS;
/** Words of the text that lie in the record; the rest lies in its detail. */
export const NEAR_TEXT_WORDS = RECORD_WORDS - HEAD_WORDS;

const record = offsetsOf({
  ...recordHead,
  /** Folded name, padded with zeros to whole words; then, packed: name, key, details (entry.ts). */
  text: NEAR_TEXT_WORDS,
});
export const RECORD = record.at;

const detail = offsetsOf({
  /** The text that did not fit into the record. */
  text: TEXT_WORDS - NEAR_TEXT_WORDS,
  /** Where the client's connection is. */
  worker: 1,
  connection: 1,
  claimId: wordsFor(CLAIM_ID_BYTES),
  /** While the record is `moving`: the slot that stands in for it, as a link. */
  standIn: 1,
});
export const DETAIL = detail.at;
export const DETAIL_WORDS = fullLines(detail.words) * LINE_WORDS;

/**
 * Low two bits of a record's sequence. The lowest says to lookups and repairs that the record is there. A `standIn` is there for
 * a record that is `moving`: a walk over the slots reads it in that record's place, and passes it by in its own.
 */
export const STATE = { free: 0, live: 1, moving: 2, standIn: 3 } as const;
export const THERE = 1;
export const STATE_BITS = 2;
export const STATE_MASK = (1 << STATE_BITS) - 1;
/** The word by which a record of this version shows its state. */
export function sequenceOf(version: number, state: number): number {
  return (version << STATE_BITS) | state;
}

/** All text of the record is ASCII: one conversion makes all its strings. */
export const FLAG_ASCII = 1 << 31;
const FOLD_BITS = 7;
const NAME_BITS = 8;
const DETAILS_BITS = 16;

export function packLengths(fold: number, name: number, details: number, isAscii: boolean): number {
  return fold | (name << FOLD_BITS) | (details << (FOLD_BITS + NAME_BITS)) | (isAscii ? FLAG_ASCII : 0);
}
export const foldLength = (lengths: number): number => lengths & ((1 << FOLD_BITS) - 1);
export const nameLength = (lengths: number): number => (lengths >>> FOLD_BITS) & ((1 << NAME_BITS) - 1);
export const detailsLength = (lengths: number): number =>
  (lengths >>> (FOLD_BITS + NAME_BITS)) & ((1 << DETAILS_BITS) - 1);

/**
 * Longest chain that a writer makes and a reader follows. With a seeded hash and no more records than buckets, a chain of
 * 20 has a probability of 1e-13 in the largest table. The bound is the cost of a cycle in a damaged table.
 */
export const MAX_CHAIN = 256;

/**
 * Changes that the ring holds: a process that was busy or has just begun to follow is within them. Of a full table that comes back
 * all at once they are two rounds; the largest table has a bound, past which a follower reads it again.
 */
const MIN_NOTES = 1024;
const MAX_NOTES = 65_536;
const NOTES_PER_CLIENT = 2;

/** Twice as many buckets as records: one lookup in four passes another record. */
const BUCKETS_PER_RECORD = 2;

/** First word of the slot's record. */
export function recordAt(geometry: Geometry, slot: number): number {
  return geometry.records + slot * RECORD_WORDS;
}

/** First word of the slot's detail. */
export function detailAt(geometry: Geometry, slot: number): number {
  return geometry.details + slot * DETAIL_WORDS;
}

/** The version word of a bucket, given by its word's offset. */
export function versionOf(geometry: Geometry, bucket: number): number {
  return geometry.versions + ((bucket - geometry.buckets) & (VERSIONS - 1));
}

/** Where everything is in a table of this capacity, in words; `bytes` is the exact size of the segment. */
export interface Geometry {
  readonly capacity: number;
  /** One more than the capacity: a full table can still replace a record. */
  readonly slots: number;
  readonly bucketMask: number;
  readonly versions: number;
  readonly buckets: number;
  readonly records: number;
  readonly details: number;
  /** First word of the ring of changes, and its length, a power of two. */
  readonly notes: number;
  readonly noteCount: number;
  readonly bytes: number;
}

/** @param capacity an integer from {@link MIN_CAPACITY} to {@link MAX_CAPACITY} */
export function geometryOf(capacity: number): Geometry {
  const bucketCount = BUCKETS_PER_RECORD * 2 ** Math.ceil(Math.log2(capacity));
  const slots = capacity + 1;
  const buckets = HEADER_WORDS + VERSIONS;
  const records = buckets + fullLines(bucketCount) * LINE_WORDS;
  const details = records + slots * RECORD_WORDS;
  const notes = details + slots * DETAIL_WORDS;
  const noteCount = Math.min(MAX_NOTES, Math.max(MIN_NOTES, NOTES_PER_CLIENT * 2 ** Math.ceil(Math.log2(capacity))));
  return {
    capacity,
    slots,
    bucketMask: bucketCount - 1,
    versions: HEADER_WORDS,
    buckets,
    records,
    details,
    notes,
    noteCount,
    bytes: (notes + noteCount) * WORD_BYTES,
  };
}
