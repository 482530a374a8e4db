// Reads the table without a lock, beside a writer that may be anywhere in its work, or dead, or hostile.
//
// A reader believes a record if its sequence says live before and after it copied the words. It believes a miss if the bucket's
// version did not change meanwhile. A writer raises the version before and after it takes a record out of a chain, and uses no
// slot again before the second time. So a reader that was carried into another chain sees another version, and so does one that
// passed a replaced record on its way out without seeing its successor at the head. No reader waits for a writer: a version
// that stays odd after a crash is as good as an even one.
// Every index that comes out of the table is checked, every loop has a bound.

import { NameKey } from "./name-key.ts";
import { Snapshot } from "./snapshot.ts";
import { TableError } from "./table-error.ts";
import {
  DETAIL,
  detailAt,
  type Geometry,
  HEADER,
  MAX_CHAIN,
  RECORD,
  recordAt,
  STATE,
  STATE_MASK,
  THERE,
  versionOf,
} from "./table-layout.ts";

/** Attempts at one lookup or record. A busy writer costs one or two; only a hostile one can use them up. */
export const MAX_ATTEMPTS = 1000;

export const NO_SLOT = -1;

/** Results of a look at a chain, beside a slot. */
const MISSED = -1;
const DISTURBED = -2;

/** The words of a record that change with everything that a lookup shows. */
export interface Stamp {
  /** First word of the record. */
  readonly at: number;
  readonly sequence: number;
  readonly low: number;
  readonly high: number;
}

/** Reads one table. Not to be shared between threads: key and snapshot are its own scratch. */
export class TableReader {
  readonly key: NameKey;
  readonly snapshot = new Snapshot();
  readonly #words: Int32Array;
  readonly #geometry: Geometry;
  readonly #path: string;

  constructor(words: Int32Array, geometry: Geometry, path: string) {
    this.#words = words;
    this.#geometry = geometry;
    this.#path = path;
    this.key = new NameKey(Atomics.load(words, HEADER.seed), Atomics.load(words, HEADER.seed + 1));
  }

  /**
   * Finds a name, and leaves the record's copy in {@link snapshot}.
   * @param withClaim copy the server's fields, too
   * @returns the slot, or {@link NO_SLOT}
   * @throws TableError if the table kept changing under {@link MAX_ATTEMPTS} attempts
   */
  find(name: string, withClaim: boolean): number {
    if (!this.key.set(name)) return NO_SLOT;
    const words = this.#words;
    const bucket = this.#geometry.buckets + (this.key.hash & this.#geometry.bucketMask);
    const versionAt = versionOf(this.#geometry, bucket);
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const version = Atomics.load(words, versionAt);
      const found = this.#follow(Atomics.load(words, bucket), withClaim);
      if (found >= 0) return found;
      if (found === MISSED && Atomics.load(words, versionAt) === version) return NO_SLOT;
    }
    throw TableError.unsteady(this.#path);
  }

  #follow(head: number, withClaim: boolean): number {
    const words = this.#words;
    const geometry = this.#geometry;
    const hash = this.key.hash;
    let link = head;
    for (let hops = 0; hops < MAX_CHAIN && link > 0 && link <= geometry.slots; hops++) {
      const at = recordAt(geometry, link - 1);
      const sequence = Atomics.load(words, at + RECORD.sequence);
      if ((sequence & THERE) !== 0 && Atomics.load(words, at + RECORD.hash) === hash && this.#isKeyAt(at)) {
        const sane = this.#copy(link - 1, sequence, withClaim);
        if (Atomics.load(words, at + RECORD.sequence) !== sequence) return DISTURBED;
        if (sane && this.snapshot.foldBytes === this.key.byteLength) return link - 1;
      }
      link = Atomics.load(words, at + RECORD.next);
    }
    return MISSED;
  }

  #isKeyAt(at: number): boolean {
    const { words, wordCount } = this.key;
    for (let i = 0; i < wordCount; i++) {
      if (Atomics.load(this.#words, at + RECORD.text + i) !== words[i]) return false;
    }
    return true;
  }

  /**
   * Copies the record of a slot into {@link snapshot}. A record that is being replaced is read from its stand-in, so a walk over
   * all slots meets each record that is there throughout exactly once.
   * @returns false if the slot holds none
   */
  readSlot(slot: number, withClaim: boolean): boolean {
    const words = this.#words;
    const at = recordAt(this.#geometry, slot);
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const sequence = Atomics.load(words, at + RECORD.sequence);
      const state = sequence & STATE_MASK;
      if (state === STATE.live) {
        const sane = this.#copy(slot, sequence, withClaim);
        if (Atomics.load(words, at + RECORD.sequence) === sequence) return sane;
      } else if (state === STATE.moving) {
        const link = Atomics.load(words, detailAt(this.#geometry, slot) + DETAIL.standIn);
        if (link <= 0 || link > this.#geometry.slots) return false;
        const standIn = recordAt(this.#geometry, link - 1);
        const other = Atomics.load(words, standIn + RECORD.sequence);
        const sane = (other & THERE) !== 0 && this.#copy(link - 1, other, withClaim);
        // The slot still moving says that its stand-in was not yet dismissed.
        if (Atomics.load(words, standIn + RECORD.sequence) === other) {
          if (Atomics.load(words, at + RECORD.sequence) === sequence) return sane;
        }
      } else {
        return false;
      }
    }
    throw TableError.unsteady(this.#path);
  }

  #copy(slot: number, sequence: number, withClaim: boolean): boolean {
    const detail = detailAt(this.#geometry, slot);
    const sane = this.snapshot.copy(this.#words, recordAt(this.#geometry, slot), detail, sequence);
    if (withClaim) this.snapshot.copyClaim(this.#words, detail);
    return sane;
  }

  /** @param slot one of the table's @returns null unless it holds a live record of its own */
  stamp(slot: number): Stamp | null {
    const words = this.#words;
    const at = recordAt(this.#geometry, slot);
    const sequence = Atomics.load(words, at + RECORD.sequence);
    if ((sequence & STATE_MASK) !== STATE.live) return null;
    const [low, high] = [Atomics.load(words, at + RECORD.lookupLow), Atomics.load(words, at + RECORD.lookupHigh)];
    return { at, sequence, low, high };
  }

  /** Every change of a record changes its sequence, but for the time of its last lookup. */
  isUnchanged({ at, sequence, low, high }: Stamp): boolean {
    const words = this.#words;
    return (
      Atomics.load(words, at + RECORD.sequence) === sequence &&
      Atomics.load(words, at + RECORD.lookupLow) === low &&
      Atomics.load(words, at + RECORD.lookupHigh) === high
    );
  }

  /** Slots that may hold records, from 0; never more than the table has, whatever the header says. */
  get usedSlots(): number {
    const claimed = Atomics.load(this.#words, HEADER.highWater);
    return Math.max(0, Math.min(claimed, this.#geometry.slots));
  }

  /** Changes so far, modulo 2^32. */
  get changes(): number {
    return Atomics.load(this.#words, HEADER.changes);
  }

  get repairs(): number {
    return Atomics.load(this.#words, HEADER.repairs);
  }

  /** @returns the slots that changed from the one count of changes to the other; null if the ring does not hold them (any more) */
  changedSince(from: number, to: number): number[] | null {
    const words = this.#words;
    const { notes, noteCount, slots } = this.#geometry;
    const count = (to - from) | 0;
    if (count < 0 || count > noteCount) return null;
    const changed: number[] = [];
    for (let i = 0; i < count; i++) {
      const slot = Atomics.load(words, notes + ((from + i) & (noteCount - 1)));
      if (slot < 0 || slot >= slots) return null; // no writer's work
      changed.push(slot);
    }
    // Writers have gone on meanwhile: the oldest notes may be those of later changes. One may be under way.
    const passed = (Atomics.load(words, HEADER.changes) - from) | 0;
    return passed < 0 || passed >= noteCount ? null : changed;
  }

  get count(): number {
    return Math.max(0, Math.min(Atomics.load(this.#words, HEADER.count), this.#geometry.capacity));
  }
}
