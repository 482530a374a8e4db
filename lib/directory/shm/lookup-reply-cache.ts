// Replies to LOOKUP, kept ready. Finding a client and writing its fields costs microseconds. Seeing that nothing of it has changed
// since the last time costs three loads from shared memory.

import { MAX_NAME_BYTES } from "../../base/names.ts";
import type { Protocol } from "../../wire/resp-writer.ts";
import { ReplyWriter } from "../../wire/resp-writer.ts";
import type { ReplyCache } from "../directory.ts";
import { writeEntry } from "../entry-wire.ts";
import type { ClientTable, Stamp } from "./client-table.ts";

/** Replies that one worker keeps, of some hundred bytes each. A power of two. */
const SLOTS = 4096;

interface KeptReply {
  /** As in the request. A client may have replies under several spellings. */
  readonly name: Uint8Array;
  readonly protocol: Protocol;
  readonly stamp: Stamp;
  readonly reply: Uint8Array;
}

export class LookupReplyCache implements ReplyCache {
  readonly #table: ClientTable;
  readonly #slots: (KeptReply | undefined)[] = new Array(SLOTS).fill(undefined);
  readonly #writer = new ReplyWriter(1024);

  constructor(table: ClientTable) {
    this.#table = table;
  }

  writeIfFresh(bytes: Uint8Array, start: number, end: number, protocol: Protocol, out: ReplyWriter): boolean {
    const length = end - start;
    if (length > MAX_NAME_BYTES) return false;
    const kept = this.#slots[slotOf(bytes, start, end, protocol)];
    if (kept === undefined || kept.protocol !== protocol || kept.name.length !== length) return false;
    const { name } = kept;
    for (let i = 0; i < length; i++) if (name[i] !== bytes[start + i]) return false;
    if (!this.#table.isUnchanged(kept.stamp)) return false;
    out.raw(kept.reply);
    return true;
  }

  store(bytes: Uint8Array, start: number, end: number, protocol: Protocol): boolean {
    if (end - start > MAX_NAME_BYTES) return false;
    const name = bytes.slice(start, end);
    const text = Buffer.from(name.buffer, name.byteOffset, name.byteLength).toString("utf8");
    const found = this.#table.find(text);
    if (found === null) return false;
    const stamp = this.#table.stamp(found.slot);
    const row = this.#table.at(found.slot);
    // Read between two looks at the stamp, so it is the row of that stamp. The slot may have gone to another name since
    // find(): look the name up again to make sure that it still belongs to it.
    if (stamp === null || row === null || !this.#table.isUnchanged(stamp)) return false;
    if (this.#table.find(text)?.slot !== found.slot) return false;
    this.#writer.clear();
    writeEntry(this.#writer, row.entry, protocol);
    const reply = Uint8Array.from(this.#writer.bytes());
    this.#slots[slotOf(bytes, start, end, protocol)] = { name, protocol, stamp, reply };
    return true;
  }
}

/** FNV-1a. Names that are chosen to meet in one slot make the replies slower, never wrong. */
function slotOf(bytes: Uint8Array, start: number, end: number, protocol: Protocol): number {
  let hash = 0x811c9dc5 ^ protocol;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  return (hash ^ (hash >>> 15)) & (SLOTS - 1);
}
