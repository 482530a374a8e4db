// A private copy of one record's words, and what they mean. The copy may hold anything at all: whoever took it has to find the
// record's sequence unchanged before believing it, and even then the bytes may be a hostile process's.
import { MAX_FOLD_BYTES, MAX_NAME_BYTES } from "../../base/names.ts";
import { loadNumber } from "../../ipc/words.ts";
import { loadLookupTime } from "./lookup-time.ts";
import type { ClientRecord } from "./stored-entry.ts";
import {
  DETAIL,
  FLAG_ASCII,
  KEY_TEXT_BYTES,
  MAX_ADDRESSES_BYTES,
  MAX_HOST_BYTES,
  MAX_TIME,
  NEAR_TEXT_WORDS,
  PORT_MASK,
  RECORD,
  STATE_BITS,
  TEXT_WORDS,
} from "./table-layout.ts";

export class Snapshot {
  version = 0;
  /** Byte lengths as the record claims them. */
  foldBytes = 0;
  nameBytes = 0;
  hostBytes = 0;
  addressesBytes = 0;
  port = 0;
  startedAt = 0;
  lastLookupAt: number | null = null;
  #ascii = false;
  #pid = 0;
  #startTime = 0;
  #owner = 0;
  #connection = 0;
  readonly #words = new Int32Array(TEXT_WORDS);
  readonly #bytes = Buffer.from(this.#words.buffer);

  /**
   * Copies what a lookup shows. Every word by an atomic load: on arm64 a plain load may be made after a later check.
   * @param at first word of the record
   * @param detail first word of its detail
   * @param sequence the record's, as read before
   * @returns false if no writer made this, or if it changed meanwhile
   */
  copy(words: Int32Array, at: number, detail: number, sequence: number): boolean {
    const lengths = Atomics.load(words, at + RECORD.lengths);
    const fold = lengths & 0xff;
    const name = (lengths >>> 8) & 0xff;
    const host = (lengths >>> 16) & 0xff;
    const addresses = lengths >>> 24;
    if (fold > MAX_FOLD_BYTES || name > MAX_NAME_BYTES || host > MAX_HOST_BYTES || addresses > MAX_ADDRESSES_BYTES) {
      return false;
    }
    this.foldBytes = fold;
    this.nameBytes = name;
    this.hostBytes = host;
    this.addressesBytes = addresses;
    this.version = sequence >>> STATE_BITS;
    const port = Atomics.load(words, at + RECORD.port);
    this.port = port & PORT_MASK;
    this.#ascii = (port & FLAG_ASCII) !== 0;
    this.startedAt = loadNumber(words, at + RECORD.startedAt);
    this.lastLookupAt = loadLookupTime(words, at, this.version);

    const from = (fold + 3) >> 2;
    const end = from + ((name + KEY_TEXT_BYTES + host + addresses + 3) >> 2);
    const near = Math.min(end, NEAR_TEXT_WORDS);
    const copied = this.#words;
    for (let i = from; i < near; i++) copied[i - from] = Atomics.load(words, at + RECORD.text + i);
    const far = detail + DETAIL.text - NEAR_TEXT_WORDS;
    for (let i = near; i < end; i++) copied[i - from] = Atomics.load(words, far + i);
    return this.startedAt <= MAX_TIME;
  }

  /** Copies the rest, which only the server asks for. */
  copyOwner(words: Int32Array, detail: number): void {
    this.#pid = Atomics.load(words, detail + DETAIL.pid);
    this.#startTime = loadNumber(words, detail + DETAIL.startTime);
    this.#owner = Atomics.load(words, detail + DETAIL.owner) >>> 0;
    this.#connection = Atomics.load(words, detail + DETAIL.connection) >>> 0;
  }

  /** The four texts in the order in which they are packed. */
  texts(): { name: string; key: string; host: string; addresses: string } {
    const keyAt = this.nameBytes;
    const hostAt = keyAt + KEY_TEXT_BYTES;
    const addressesAt = hostAt + this.hostBytes;
    const end = addressesAt + this.addressesBytes;
    if (!this.#ascii) {
      const bytes = this.#bytes;
      return {
        name: bytes.toString("utf8", 0, keyAt),
        key: bytes.toString("latin1", keyAt, hostAt),
        host: bytes.toString("utf8", hostAt, addressesAt),
        addresses: bytes.toString("latin1", addressesAt, end),
      };
    }
    // One call into C++ for all four, then slices of its string.
    const all = this.#bytes.toString("latin1", 0, end);
    return {
      name: all.slice(0, keyAt),
      key: all.slice(keyAt, hostAt),
      host: all.slice(hostAt, addressesAt),
      addresses: all.slice(addressesAt),
    };
  }

  /** Everything. {@link copyOwner} has been called too. */
  record(): ClientRecord {
    const { name, key, host, addresses } = this.texts();
    return {
      name,
      key,
      addresses: addresses.split(","),
      port: this.port,
      host,
      pid: this.#pid,
      startTime: this.#startTime,
      startedAt: this.startedAt,
      owner: this.#owner,
      connection: this.#connection,
      lastLookupAt: this.lastLookupAt,
      version: this.version,
    };
  }
}
