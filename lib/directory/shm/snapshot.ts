// A private copy of one record's words, and what they mean. The copy may hold any bytes: the reader believes it only if the
// record's sequence has not changed, and even then a hostile process may have written it.
import { MAX_FOLD_BYTES, MAX_NAME_BYTES } from "../../base/names.ts";
import { loadNumber } from "../../ipc/words.ts";
import { DirectoryEntry, KEY_TEXT_BYTES, MAX_DETAILS_BYTES, MAX_TIME, type PackedEntry } from "../entry.ts";
import { loadLookupTime } from "./lookup-time.ts";
import type { StoredEntry } from "./stored-entry.ts";
import {
  CLAIM_ID_BYTES,
  DETAIL,
  detailsLength,
  FLAG_ASCII,
  foldLength,
  NEAR_TEXT_WORDS,
  nameLength,
  RECORD,
  STATE_BITS,
  TEXT_WORDS,
} from "./table-layout.ts";

export class Snapshot {
  version = 0;
  /** Byte lengths as the record claims them. */
  foldBytes = 0;
  nameBytes = 0;
  detailsBytes = 0;
  startedAt = 0;
  lastLookupAt: number | null = null;
  #ascii = false;
  #worker = 0;
  #connection = 0;
  readonly #claim = Buffer.alloc(CLAIM_ID_BYTES);
  readonly #claimWords = new Int32Array(CLAIM_ID_BYTES / 4);
  readonly #words = new Int32Array(TEXT_WORDS);
  readonly #bytes = Buffer.from(this.#words.buffer);

  /**
   * Copies what a lookup shows, each word by an atomic load: arm64 may make a plain load after a later check.
   * @param at first word of the record
   * @param detail first word of its detail
   * @param sequence the record's, as read before
   * @returns false if this is no writer's work, or if it changed meanwhile
   */
  copy(words: Int32Array, at: number, detail: number, sequence: number): boolean {
    const lengths = Atomics.load(words, at + RECORD.lengths);
    const fold = foldLength(lengths);
    const name = nameLength(lengths);
    const details = detailsLength(lengths);
    if (fold > MAX_FOLD_BYTES || name > MAX_NAME_BYTES || details > MAX_DETAILS_BYTES) return false;
    this.foldBytes = fold;
    this.nameBytes = name;
    this.detailsBytes = details;
    this.version = sequence >>> STATE_BITS;
    this.#ascii = (lengths & FLAG_ASCII) !== 0;
    this.startedAt = loadNumber(words, at + RECORD.startedAt);
    this.lastLookupAt = loadLookupTime(words, at, this.version);

    const from = (fold + 3) >> 2;
    const end = from + ((name + KEY_TEXT_BYTES + details + 3) >> 2);
    const near = Math.min(end, NEAR_TEXT_WORDS);
    const copied = this.#words;
    for (let i = from; i < near; i++) copied[i - from] = Atomics.load(words, at + RECORD.text + i);
    const far = detail + DETAIL.text - NEAR_TEXT_WORDS;
    for (let i = near; i < end; i++) copied[i - from] = Atomics.load(words, far + i);
    return this.startedAt <= MAX_TIME;
  }

  /** Copies the rest, for the server. */
  copyClaim(words: Int32Array, detail: number): void {
    this.#worker = Atomics.load(words, detail + DETAIL.worker) >>> 0;
    this.#connection = Atomics.load(words, detail + DETAIL.connection) >>> 0;
    for (let i = 0; i < this.#claimWords.length; i++) {
      this.#claimWords[i] = Atomics.load(words, detail + DETAIL.claimId + i);
    }
  }

  /** The three texts in the order in which they are packed. */
  packed(): PackedEntry {
    const keyAt = this.nameBytes;
    const detailsAt = keyAt + KEY_TEXT_BYTES;
    const end = detailsAt + this.detailsBytes;
    const { startedAt } = this;
    if (!this.#ascii) {
      const bytes = this.#bytes;
      return {
        name: bytes.toString("utf8", 0, keyAt),
        key: bytes.toString("latin1", keyAt, detailsAt),
        startedAt,
        details: bytes.toString("utf8", detailsAt, end),
      };
    }
    // One call into C++ for all three, then slices of its string.
    const all = this.#bytes.toString("latin1", 0, end);
    return { name: all.slice(0, keyAt), key: all.slice(keyAt, detailsAt), startedAt, details: all.slice(detailsAt) };
  }

  entry(): DirectoryEntry {
    return new DirectoryEntry(this.packed(), this.lastLookupAt);
  }

  /** Everything. {@link copyClaim} has been called too. */
  stored(slot: number): StoredEntry {
    this.#claim.set(new Uint8Array(this.#claimWords.buffer));
    return {
      entry: this.entry(),
      claimId: this.#claim.toString("base64"),
      place: { worker: this.#worker, connection: this.#connection },
      slot,
      version: this.version,
    };
  }
}
