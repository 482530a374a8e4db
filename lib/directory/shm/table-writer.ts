// Changes the table. The caller of every function holds the write lock; readers go on meanwhile without one (table-reader.ts).
//
// The process may be killed between any two stores. This is true then: a record is in the table if and only if its sequence
// says live (of two with one folded name, the later version counts). Buckets, free list and counts are only an index, which
// table-repair.ts makes again from the records. All stores are atomic: they keep their order on every processor.
import { TalkError } from "../../base/errors.ts";
import { storeNumber } from "../../ipc/words.ts";
import { VERSION_MASK } from "../claim-rules.ts";
import { DirectoryError } from "../directory-error.ts";
import { EncodedRecord } from "./encoded-record.ts";
import { storeLookupTime } from "./lookup-time.ts";
import { NameKey } from "./name-key.ts";
import type { NewRow, RowHandle } from "./stored-entry.ts";
import { TableError } from "./table-error.ts";
import {
  CLAIM_ID_BYTES,
  DETAIL,
  detailAt,
  foldLength,
  type Geometry,
  HEADER,
  MAX_CHAIN,
  NEAR_TEXT_WORDS,
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

export class TableWriter {
  readonly #words: Int32Array;
  readonly #geometry: Geometry;
  readonly #path: string;
  readonly #key: NameKey;
  readonly #image = new EncodedRecord();
  readonly #claimWords = new Int32Array(CLAIM_ID_BYTES / 4);
  readonly #claim = Buffer.from(this.#claimWords.buffer);
  /** Records that the last search of a chain passed. */
  #passed = 0;

  constructor(words: Int32Array, geometry: Geometry, path: string) {
    this.#words = words;
    this.#geometry = geometry;
    this.#path = path;
    this.#key = new NameKey(Atomics.load(words, HEADER.seed), Atomics.load(words, HEADER.seed + 1));
  }

  /** @throws TalkError `name-taken`; DirectoryError `full` */
  insert(input: NewRow): RowHandle {
    this.#take(input);
    const bucket = this.#bucket();
    if (this.#findInChain(bucket) !== NONE) throw TalkError.nameTaken(input.entry.name);
    const count = Atomics.load(this.#words, HEADER.count);
    // A stand-in needs room in the chain, too.
    const hasRoom = count < this.#geometry.capacity && this.#passed < MAX_CHAIN - 1;
    if (!hasRoom) throw DirectoryError.full(this.#geometry.capacity);
    const slot = this.#allocate();
    const version = this.#nextVersion();
    this.#write(slot, input, version, STATE.free);
    this.#publish(slot, version, STATE.live, bucket);
    Atomics.store(this.#words, HEADER.count, count + 1);
    this.#note(slot);
    return { slot, version };
  }

  /**
   * Replaces the record of the same folded name in its slot. Lookups, pages and repairs after a crash find the old or the new
   * one at every moment: the new record is first written elsewhere, where it stands in, under the same version, while the slot
   * is written again.
   * @throws TalkError `no-such-user` if the slot does not hold that name
   */
  replace(slot: number, input: NewRow): RowHandle {
    this.#take(input);
    const words = this.#words;
    const bucket = this.#bucket();
    if (this.#findInChain(bucket) !== slot + 1) throw TalkError.noSuchUser(input.entry.name);
    const at = this.#at(slot);
    const oldVersion = Atomics.load(words, at + RECORD.sequence) >>> STATE_BITS;
    const standIn = this.#allocate();
    const version = this.#nextVersion();
    this.#write(standIn, input, version, STATE.free);
    this.#publish(standIn, version, STATE.standIn, bucket);

    this.#raise(bucket);
    Atomics.store(words, detailAt(this.#geometry, slot) + DETAIL.standIn, standIn + 1);
    Atomics.store(words, at + RECORD.sequence, sequenceOf(oldVersion, STATE.moving));
    this.#unlink(slot, bucket);
    this.#raise(bucket);

    this.#write(slot, input, version, STATE.moving);
    this.#publish(slot, version, STATE.live, bucket);
    this.#retire(standIn, version, bucket);
    this.#free(standIn);
    this.#note(slot);
    return { slot, version };
  }

  /** @returns false if the slot holds no record of this version (any more) */
  remove(slot: number, version: number): boolean {
    if (!this.holds(slot, version)) return false;
    const words = this.#words;
    const hash = Atomics.load(words, this.#at(slot) + RECORD.hash);
    this.#retire(slot, version, this.#bucket(hash));
    this.#free(slot);
    Atomics.store(words, HEADER.count, Math.max(0, Atomics.load(words, HEADER.count) - 1));
    this.#note(slot);
    return true;
  }

  /** Whether the slot's record is live and of this version. Needs no lock. */
  holds(slot: number, version: number): boolean {
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.#geometry.slots) return false;
    return Atomics.load(this.#words, this.#at(slot) + RECORD.sequence) === sequenceOf(version, STATE.live);
  }

  /**
   * Notes a lookup by the client of this record. Needs no lock; only for the worker that the client is at.
   * @param now ms since the epoch @returns false if the slot holds no record of this version (any more)
   */
  touch(slot: number, version: number, now: number): boolean {
    if (!this.holds(slot, version)) return false;
    storeLookupTime(this.#words, this.#at(slot), version, now);
    return true;
  }

  #take(input: NewRow): void {
    this.#image.encode(input);
    this.#key.setFolded(this.#image.folded);
  }

  #at(slot: number): number {
    return recordAt(this.#geometry, slot);
  }

  #bucket(hash: number = this.#key.hash): number {
    return this.#geometry.buckets + (hash & this.#geometry.bucketMask);
  }

  #raise(bucket: number): void {
    const at = versionOf(this.#geometry, bucket);
    Atomics.store(this.#words, at, (Atomics.load(this.#words, at) + 1) | 0);
  }

  /** @returns the link of the live record that has the key, or NONE */
  #findInChain(bucket: number): number {
    const words = this.#words;
    const { words: key, wordCount, hash } = this.#key;
    let link = Atomics.load(words, bucket);
    for (this.#passed = 0; link !== NONE; this.#passed++) {
      if (this.#passed === MAX_CHAIN) throw TableError.damaged(this.#path, "a chain has no end");
      const at = this.#atLink(link, "a chain");
      if (Atomics.load(words, at + RECORD.hash) === hash && (Atomics.load(words, at + RECORD.sequence) & THERE) !== 0) {
        let i = 0;
        while (i < wordCount && Atomics.load(words, at + RECORD.text + i) === key[i]) i++;
        if (i === wordCount && foldLength(Atomics.load(words, at + RECORD.lengths)) === this.#key.byteLength)
          return link;
      }
      link = Atomics.load(words, at + RECORD.next);
    }
    return NONE;
  }

  #atLink(link: number, where: string): number {
    if (link < 1 || link > this.#geometry.slots)
      throw TableError.damaged(this.#path, `${where} leads out of the table`);
    return this.#at(link - 1);
  }

  /** Takes a slot off the free list, or the first that was never used. After a crash it is on neither side until a repair. */
  #allocate(): number {
    const words = this.#words;
    const free = Atomics.load(words, HEADER.freeHead);
    if (free !== NONE) {
      const at = this.#atLink(free, "the free list");
      if ((Atomics.load(words, at + RECORD.sequence) & STATE_MASK) !== STATE.free) {
        throw TableError.damaged(this.#path, "the free list holds a record in use");
      }
      Atomics.store(words, HEADER.freeHead, Atomics.load(words, at + RECORD.next));
      return free - 1;
    }
    const slot = Atomics.load(words, HEADER.highWater);
    if (slot < 0 || slot >= this.#geometry.slots)
      throw TableError.damaged(this.#path, "no slot is left, but its count says so");
    Atomics.store(words, HEADER.highWater, slot + 1);
    return slot;
  }

  #nextVersion(): number {
    const version = (Atomics.load(this.#words, HEADER.lastVersion) + 1) & VERSION_MASK;
    Atomics.store(this.#words, HEADER.lastVersion, version);
    return version;
  }

  /** Stores everything under a sequence of that version and state. */
  #write(slot: number, input: NewRow, version: number, state: number): void {
    const words = this.#words;
    const at = this.#at(slot);
    const image = this.#image;
    Atomics.store(words, at + RECORD.sequence, sequenceOf(version, state));
    Atomics.store(words, at + RECORD.hash, this.#key.hash);
    Atomics.store(words, at + RECORD.lengths, image.lengths);
    Atomics.store(words, at + RECORD.lookupHigh, 0);
    Atomics.store(words, at + RECORD.lookupLow, 0);
    const { lastLookupAt = null } = input;
    if (lastLookupAt !== null) storeLookupTime(words, at, version, lastLookupAt);
    storeNumber(words, at + RECORD.startedAt, input.entry.startedAt);
    const near = Math.min(image.textWords, NEAR_TEXT_WORDS);
    for (let i = 0; i < near; i++) Atomics.store(words, at + RECORD.text + i, image.text[i] as number);
    const detail = detailAt(this.#geometry, slot);
    const far = detail + DETAIL.text - NEAR_TEXT_WORDS;
    for (let i = near; i < image.textWords; i++) Atomics.store(words, far + i, image.text[i] as number);
    Atomics.store(words, detail + DETAIL.worker, input.place.worker | 0);
    Atomics.store(words, detail + DETAIL.connection, input.place.connection | 0);
    this.#claim.write(input.claimId, "base64");
    for (let i = 0; i < this.#claimWords.length; i++) {
      Atomics.store(words, detail + DETAIL.claimId + i, this.#claimWords[i] as number);
    }
  }

  /** From the first store on the record is in the table; from the second on lookups find it. */
  #publish(slot: number, version: number, state: number, bucket: number): void {
    const words = this.#words;
    const at = this.#at(slot);
    Atomics.store(words, at + RECORD.next, Atomics.load(words, bucket));
    Atomics.store(words, at + RECORD.sequence, sequenceOf(version, state));
    Atomics.store(words, bucket, slot + 1);
  }

  /** From the second store on the record is not in the table. */
  #retire(slot: number, version: number, bucket: number): void {
    this.#raise(bucket);
    Atomics.store(this.#words, this.#at(slot) + RECORD.sequence, sequenceOf(version, STATE.free));
    this.#unlink(slot, bucket);
    this.#raise(bucket);
  }

  #unlink(slot: number, bucket: number): void {
    const words = this.#words;
    let from = bucket;
    for (let hops = 0; hops < MAX_CHAIN; hops++) {
      const link = Atomics.load(words, from);
      if (link === NONE) break;
      const at = this.#atLink(link, "a chain");
      if (link === slot + 1) {
        Atomics.store(words, from, Atomics.load(words, at + RECORD.next));
        return;
      }
      from = at + RECORD.next;
    }
    throw TableError.damaged(this.#path, "a record is not in its chain");
  }

  /** Tells followers (table-follower.ts) that this slot has changed. The change is whole. */
  #note(slot: number): void {
    const words = this.#words;
    const { notes, noteCount } = this.#geometry;
    const changes = Atomics.load(words, HEADER.changes);
    Atomics.store(words, notes + (changes & (noteCount - 1)), slot);
    Atomics.store(words, HEADER.changes, (changes + 1) | 0);
  }

  #free(slot: number): void {
    const words = this.#words;
    Atomics.store(words, this.#at(slot) + RECORD.next, Atomics.load(words, HEADER.freeHead));
    Atomics.store(words, HEADER.freeHead, slot + 1);
  }
}
