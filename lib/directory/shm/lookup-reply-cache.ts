// Ready answers of LOOKUP. Finding a client and writing its fields down costs microseconds; seeing that nothing about it has
// changed since the last time costs three loads from shared memory, and the answer is there already.

import { type Protocol, ReplyWriter } from "../../wire/resp-writer.ts";
import { writeClientEntry } from "../entry-wire.ts";
import type { ClientTable, Stamp } from "./client-table.ts";

/** LookupReplyCache kept by one worker, at some 700 bytes each. A power of two. */
const PLACES = 4096;
const LONGEST_NAME = 32; // bytes; longer ones are nobody's

interface Answer {
  /** As in the request: one client may have answers under several spellings. */
  readonly name: Uint8Array;
  readonly protocol: Protocol;
  readonly stamp: Stamp;
  readonly reply: Uint8Array;
}

export class LookupReplyCache {
  readonly #table: ClientTable;
  readonly #places: (Answer | undefined)[] = new Array(PLACES).fill(undefined);
  readonly #writer = new ReplyWriter(1024);

  constructor(table: ClientTable) {
    this.#table = table;
  }

  /**
   * WriteBatcher the answer to a lookup of the name in `bytes[start..end)`.
   * @returns false when there is none ready
   */
  write(bytes: Uint8Array, start: number, end: number, protocol: Protocol, out: ReplyWriter): boolean {
    const length = end - start;
    if (length > LONGEST_NAME) return false;
    const answer = this.#places[placeOf(bytes, start, end, protocol)];
    if (answer === undefined || answer.protocol !== protocol || answer.name.length !== length) return false;
    const { name } = answer;
    for (let i = 0; i < length; i++) if (name[i] !== bytes[start + i]) return false;
    if (!this.#table.isUnchanged(answer.stamp)) return false;
    out.raw(answer.reply);
    return true;
  }

  /** Gets an answer ready for the next time. @param slot where the name was found */
  keep(bytes: Uint8Array, start: number, end: number, protocol: Protocol, slot: number): void {
    if (end - start > LONGEST_NAME) return;
    const stamp = this.#table.stamp(slot);
    const found = this.#table.at(slot);
    // Read between two looks at the stamp, so it is the record of that stamp; whose it is, is asked once more.
    if (stamp === null || found === null || !this.#table.isUnchanged(stamp)) return;
    const name = bytes.slice(start, end);
    if (this.#table.find(Buffer.from(name).toString("utf8"))?.slot !== slot) return;
    this.#writer.clear();
    writeClientEntry(this.#writer, found.record, protocol);
    const reply = Uint8Array.from(this.#writer.bytes());
    this.#places[placeOf(bytes, start, end, protocol)] = { name, protocol, stamp, reply };
  }
}

/** FNV-1a. Whoever chooses names to meet in one place makes only the answers slower, never wrong. */
function placeOf(bytes: Uint8Array, start: number, end: number, protocol: Protocol): number {
  let hash = 0x811c9dc5 ^ protocol;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  return (hash ^ (hash >>> 15)) & (PLACES - 1);
}
