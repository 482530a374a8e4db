// Makes a table whole after a writer died at any store. The records are the truth: the repair keeps one if its sequence says live
// and its name hashes to its hash. Of two with one folded name it keeps the later version; of a record and its stand-in, which
// have one version, the record. Everything else is only an index of them.
//
// The caller is alone with the table but for readers without a lock. To keep these right, chains are mended link by link: missing
// records go in before wrong ones go out. A repair may itself be killed anywhere and be run again.
import { MAX_FOLD_BYTES } from "../../base/names.ts";
import { isLaterVersion, VERSION_MASK } from "../claim-rules.ts";
import { hashWords } from "./name-key.ts";
import { Snapshot } from "./snapshot.ts";
import type { RepairResult } from "./stored-entry.ts";
import {
  detailAt,
  foldLength,
  type Geometry,
  HEADER,
  MAX_CHAIN,
  RECORD,
  recordAt,
  STATE,
  STATE_BITS,
  STATE_MASK,
  sequenceOf,
  THERE,
  versionOf,
} from "./table-layout.ts";

const NONE = 0;

/** States of a slot during the repair. */
const UNWANTED = 0;
const WANTED = 1; // not yet met in its chain
const SEEN = 2;
const RELINKED = 3; // met again, on the walk that takes the rest out

/** Caller holds the write lock, or is its repair callback. */
export function repairTable(words: Int32Array, geometry: Geometry): RepairResult {
  return new Repair(words, geometry).run();
}

class Repair {
  readonly #words: Int32Array;
  readonly #geometry: Geometry;
  readonly #used: number;
  /** Records to keep, by bucket: private lists of links. */
  readonly #wantedHead: Int32Array;
  readonly #wantedNext: Int32Array;
  readonly #status: Uint8Array;
  readonly #fold = new Int32Array(MAX_FOLD_BYTES / 4);
  readonly #snapshot = new Snapshot();
  #discarded = 0;

  constructor(words: Int32Array, geometry: Geometry) {
    this.#words = words;
    this.#geometry = geometry;
    this.#used = Math.max(0, Math.min(Atomics.load(words, HEADER.highWater), geometry.slots));
    this.#wantedHead = new Int32Array(geometry.bucketMask + 1);
    this.#wantedNext = new Int32Array(this.#used);
    this.#status = new Uint8Array(this.#used);
  }

  run(): RepairResult {
    // A walk at the same time may meet a record twice. It sees a new version then (mapped-directory.ts).
    this.#noteVersion(Atomics.load(this.#words, HEADER.lastVersion) + 1);
    this.#raiseWord(HEADER.repairs);
    for (let slot = 0; slot < this.#used; slot++) this.#classify(slot);
    for (let index = 0; index <= this.#geometry.bucketMask; index++) this.#mendChain(index);
    const kept = this.#makeFreeList();
    // Again: a follower that began to read the table during the repair reads it once more. Followers look at the count
    // of changes.
    this.#raiseWord(HEADER.repairs);
    this.#raiseWord(HEADER.changes);
    return { kept, discarded: this.#discarded };
  }

  #at(slot: number): number {
    return recordAt(this.#geometry, slot);
  }

  /** Decides by the record alone whether it is to be kept, and lists it. */
  #classify(slot: number): void {
    const words = this.#words;
    const at = this.#at(slot);
    const sequence = Atomics.load(words, at + RECORD.sequence);
    if ((sequence & THERE) === 0 || !this.#isSane(slot, sequence)) return;

    const index = Atomics.load(words, at + RECORD.hash) & this.#geometry.bucketMask;
    let previous = NONE;
    let listed = 1;
    for (let link = this.#wantedHead[index] as number; link !== NONE; listed++) {
      const next = this.#wantedNext[link - 1] as number;
      if (this.#sameName(this.#at(link - 1), at)) {
        if (this.#outranks(this.#at(link - 1), at)) return;
        this.#status[link - 1] = UNWANTED;
        if (previous === NONE) this.#wantedHead[index] = next;
        else this.#wantedNext[previous - 1] = next;
        break;
      }
      previous = link;
      link = next;
    }
    if (listed >= MAX_CHAIN) return;
    this.#wantedNext[slot] = this.#wantedHead[index] as number;
    this.#wantedHead[index] = slot + 1;
    this.#status[slot] = WANTED;
    if (isLaterVersion(sequence >>> STATE_BITS, Atomics.load(words, HEADER.lastVersion))) {
      this.#noteVersion(sequence >>> STATE_BITS);
    }
    if ((sequence & STATE_MASK) === STATE.standIn) {
      Atomics.store(words, at + RECORD.sequence, sequenceOf(sequence >>> STATE_BITS, STATE.live));
    }
  }

  #isSane(slot: number, sequence: number): boolean {
    const words = this.#words;
    const at = this.#at(slot);
    const record = this.#snapshot;
    if (
      !record.copy(words, at, detailAt(this.#geometry, slot), sequence) ||
      record.foldBytes === 0 ||
      record.nameBytes === 0 ||
      record.detailsBytes === 0
    )
      return false;
    const count = (record.foldBytes + 3) >> 2;
    for (let i = 0; i < count; i++) this.#fold[i] = Atomics.load(words, at + RECORD.text + i);
    const seedLow = Atomics.load(words, HEADER.seed);
    const seedHigh = Atomics.load(words, HEADER.seed + 1);
    return hashWords(this.#fold, count, record.foldBytes, seedLow, seedHigh) === Atomics.load(words, at + RECORD.hash);
  }

  #sameName(a: number, b: number): boolean {
    const words = this.#words;
    if (Atomics.load(words, a + RECORD.hash) !== Atomics.load(words, b + RECORD.hash)) return false;
    const bytes = foldLength(Atomics.load(words, a + RECORD.lengths));
    if (bytes !== foldLength(Atomics.load(words, b + RECORD.lengths))) return false;
    for (let i = 0; i < (bytes + 3) >> 2; i++) {
      if (Atomics.load(words, a + RECORD.text + i) !== Atomics.load(words, b + RECORD.text + i)) return false;
    }
    return true;
  }

  /** Whether the listed record is to be kept rather than this one of the same name. */
  #outranks(listed: number, at: number): boolean {
    const listedVersion = Atomics.load(this.#words, listed + RECORD.sequence) >>> STATE_BITS;
    const sequence = Atomics.load(this.#words, at + RECORD.sequence);
    const version = sequence >>> STATE_BITS;
    if (listedVersion === version) return (sequence & STATE_MASK) === STATE.standIn;
    return isLaterVersion(listedVersion, version);
  }

  #noteVersion(version: number): void {
    Atomics.store(this.#words, HEADER.lastVersion, version & VERSION_MASK);
  }

  #mendChain(index: number): void {
    const words = this.#words;
    const bucket = this.#geometry.buckets + index;
    const hasForeign = this.#markChain(index, bucket);
    for (let link = this.#wantedHead[index] as number; link !== NONE; link = this.#wantedNext[link - 1] as number) {
      if (this.#status[link - 1] !== WANTED) continue;
      Atomics.store(words, this.#at(link - 1) + RECORD.next, Atomics.load(words, bucket));
      Atomics.store(words, bucket, link);
      this.#status[link - 1] = SEEN;
    }
    if (!hasForeign) return;
    this.#raise(bucket);
    this.#unlinkForeign(index, bucket);
    this.#raise(bucket);
  }

  /** Marks the wanted records of a chain. @returns whether there was anything else in it */
  #markChain(index: number, bucket: number): boolean {
    const words = this.#words;
    let link = Atomics.load(words, bucket);
    let foreign = false;
    for (let hops = 0; link !== NONE; hops++) {
      if (link < 1 || link > this.#used || hops === MAX_CHAIN) return true;
      if (!this.#isOf(index, link - 1)) foreign = true;
      else if (this.#status[link - 1] === SEEN) return true;
      else this.#status[link - 1] = SEEN;
      link = Atomics.load(words, this.#at(link - 1) + RECORD.next);
    }
    return foreign;
  }

  /** Wanted records lie within the hops of markChain, behind those that were put in since: as many again at most. */
  #unlinkForeign(index: number, bucket: number): void {
    const words = this.#words;
    let from = bucket;
    for (let hops = 0; hops < 2 * MAX_CHAIN; hops++) {
      const link = Atomics.load(words, from);
      if (link === NONE) return;
      if (link < 1 || link > this.#used) break;
      const at = this.#at(link - 1);
      if (!this.#isOf(index, link - 1)) {
        if (this.#status[link - 1] === UNWANTED) this.#discard(at);
        Atomics.store(words, from, Atomics.load(words, at + RECORD.next));
        continue;
      }
      if (this.#status[link - 1] === RELINKED) break;
      this.#status[link - 1] = RELINKED;
      from = at + RECORD.next;
    }
    Atomics.store(words, from, NONE); // the chain leads out of the table, or back into itself
  }

  #isOf(index: number, slot: number): boolean {
    if (this.#status[slot] === UNWANTED) return false;
    return (Atomics.load(this.#words, this.#at(slot) + RECORD.hash) & this.#geometry.bucketMask) === index;
  }

  #raise(bucket: number): void {
    this.#raiseWord(versionOf(this.#geometry, bucket));
  }

  #raiseWord(at: number): void {
    Atomics.store(this.#words, at, (Atomics.load(this.#words, at) + 1) | 0);
  }

  #discard(at: number): void {
    const sequence = Atomics.load(this.#words, at + RECORD.sequence);
    if ((sequence & STATE_MASK) === STATE.free) return;
    Atomics.store(this.#words, at + RECORD.sequence, sequenceOf(sequence >>> STATE_BITS, STATE.free));
    this.#discarded++;
  }

  /** @returns how many records are kept */
  #makeFreeList(): number {
    const words = this.#words;
    let kept = 0;
    let highWater = 0;
    let free = NONE;
    Atomics.store(words, HEADER.freeHead, NONE);
    for (let slot = this.#used - 1; slot >= 0; slot--) {
      if (this.#status[slot] !== UNWANTED) {
        if (kept++ === 0) highWater = slot + 1;
        continue;
      }
      this.#discard(this.#at(slot));
      if (kept === 0) continue; // above the last record: as good as never used
      Atomics.store(words, this.#at(slot) + RECORD.next, free);
      free = slot + 1;
    }
    Atomics.store(words, HEADER.highWater, highWater);
    Atomics.store(words, HEADER.freeHead, free);
    Atomics.store(words, HEADER.count, kept);
    return kept;
  }
}
