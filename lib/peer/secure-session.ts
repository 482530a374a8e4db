// One session: keys, counters, and what has to be told to the other end. Reads and writes DATA datagrams; which messages
// they carry is the outbox's and the inbox's business (reliability/).

import type { Endpoint } from "../base/endpoint.ts";
import type { HandshakeKeys } from "../crypto/noise.ts";
import { ReplayWindow } from "../crypto/replay-window.ts";
import { open, SEAL_BYTES, seal } from "../crypto/seal.ts";
import {
  DATA_HEAD_BYTES,
  dataCounter,
  MAX_DATAGRAM_BYTES,
  MAX_PAYLOAD_BYTES,
  writeDataHead,
} from "../wire/datagram.ts";
import {
  ACK_HEAD_BYTES,
  type FrameHandler,
  FrameWriter,
  REFUSAL_BYTES,
  type Refusal,
  readFrames,
  SETTLED_HEAD_BYTES,
} from "../wire/datagram-frames.ts";
import type { InboxEntry } from "./inboxes.ts";
import { REJECT_AFTER, REJECT_DATAGRAMS, REKEY_AFTER, REKEY_DATAGRAMS, UNPROVEN_FACTOR } from "./limits.ts";
import type { Peer } from "./peer.ts";
import { AckTracker } from "./stream/ack-tracker.ts";

export type SessionDropReason = "replayed" | "forged" | "broken-peer" | "reassembly-full";

export interface SessionParts {
  readonly localIndex: number;
  readonly remoteIndex: number;
  readonly keys: HandshakeKeys;
  readonly peer: Peer;
  readonly entry: InboxEntry;
  /** 8 bytes, as text: which run of the peer's program this is. */
  readonly streamId: string;
  readonly address: Endpoint;
  /** We called: the other end is known to be there. */
  readonly initiated: boolean;
  /** Milliseconds, from the handshake; 0 when it was not measured. */
  readonly roundTripMs: number;
  /** How long the handshake took, repetitions included: the round trip is not longer. 0 when somebody else began it. */
  readonly handshakeMs: number;
  readonly now: number;
}

const MAX_COUNTER = 2 ** 32 - 1;
const opened = Buffer.alloc(MAX_DATAGRAM_BYTES);
const writer = new FrameWriter(Buffer.alloc(MAX_DATAGRAM_BYTES));

export class SecureSession implements FrameHandler {
  readonly localIndex: number;
  readonly remoteIndex: number;
  readonly peer: Peer;
  readonly entry: InboxEntry;
  readonly streamId: string;
  readonly createdAt: number;
  address: Endpoint;
  roundTripMs: number;
  readonly handshakeMs: number;
  heardAt: number;
  /** The other end has shown that it has the keys: a replayed INIT never gets here. Nothing is sent before. */
  confirmed: boolean;
  /** SETTLED, CLOSE are to be sent. */
  settleDue = false;
  closeDue = false;
  /** The other end has said goodbye. */
  closed = false;
  /** The owner's marks: in its list of sessions to flush; forgotten. */
  dirty = false;
  gone = false;

  readonly #keys: HandshakeKeys;
  readonly #window = new ReplayWindow();
  readonly #acks = new AckTracker(this.#window);
  readonly #proven: Endpoint; // the handshake was answered from there, or to there
  #mayAnswer = 0; // bytes to another address
  #counter = 0;
  #noRoom = false;

  constructor(parts: SessionParts) {
    this.localIndex = parts.localIndex;
    this.remoteIndex = parts.remoteIndex;
    this.#keys = parts.keys;
    this.peer = parts.peer;
    this.entry = parts.entry;
    this.streamId = parts.streamId;
    this.address = parts.address;
    this.#proven = parts.address;
    this.confirmed = parts.initiated;
    this.roundTripMs = parts.roundTripMs;
    this.handshakeMs = parts.handshakeMs;
    this.createdAt = parts.now;
    this.heardAt = parts.now;
  }

  needsRekey(now: number): boolean {
    return now - this.createdAt > REKEY_AFTER || this.#counter > REKEY_DATAGRAMS;
  }
  isSpent(now: number): boolean {
    return now - this.createdAt > REJECT_AFTER || this.#counter > REJECT_DATAGRAMS;
  }

  /** Opens a DATA datagram and does what it says; null, or why it was dropped. `heardAt` and `address` are up to date afterwards. */
  receive(datagram: Buffer, address: string, port: number, now: number): SessionDropReason | null {
    const counter = dataCounter(datagram);
    if (!this.#window.isFresh(counter)) return "replayed";
    // Nobody honest gets there, and an ACK could not tell it. Not "broken-peer": nothing is authentic before open().
    if (counter > MAX_COUNTER) return "forged";
    const payload = opened.subarray(0, datagram.length - DATA_HEAD_BYTES - SEAL_BYTES);
    if (!open(this.#keys.receive, counter, datagram.subarray(DATA_HEAD_BYTES), payload)) return "forged";
    const newest = counter > this.#window.largest;
    this.#window.mark(counter);
    this.heardAt = now;
    // Roaming: answers go where the newest authentic datagram came from; an overtaken one must not turn it back.
    if (!isAt(this.address, address, port) && newest) this.#moveTo(address, port);
    if (this.address !== this.#proven && isAt(this.address, address, port)) {
      this.#mayAnswer += UNPROVEN_FACTOR * datagram.length;
    }
    this.#noRoom = false;
    if (readFrames(payload, this)) return null;
    if (!this.#noRoom) return "broken-peer";
    // Not acknowledged, so it comes again, more slowly each time. All frames may be read twice.
    this.#window.unmark(counter);
    return "reassembly-full";
  }

  /** True when next() would give something. */
  wantsToSend(): boolean {
    if (this.#acks.due || this.settleDue || this.closeDue) return true;
    return this.confirmed && this.peer.session === this && this.peer.outbox.wantsToSend();
  }

  /** The next datagram that has to go out, or null. */
  next(now: number): Buffer | null {
    writer.reset();
    const limited = this.address !== this.#proven;
    if (limited) writer.limit = Math.min(this.#mayAnswer - DATA_HEAD_BYTES - SEAL_BYTES, MAX_PAYLOAD_BYTES);
    if (this.#acks.due && writer.room >= ACK_HEAD_BYTES + 4) this.#acks.write(writer);
    const { inbox } = this.entry;
    if (
      this.settleDue &&
      inbox.settledUpTo > 0 &&
      writer.room >= SETTLED_HEAD_BYTES + REFUSAL_BYTES * inbox.refusals.length
    ) {
      writer.settled(inbox.settledUpTo, inbox.refusals);
    }
    this.settleDue = false;
    if (limited) {
      writer.limit = MAX_PAYLOAD_BYTES;
      if (writer.length > 0) this.#mayAnswer -= DATA_HEAD_BYTES + SEAL_BYTES + writer.length;
    }
    const { peer } = this;
    if (peer.session === this && this.confirmed) peer.outbox.fill(writer, this.#counter, now);
    if (this.closeDue && writer.room > 0) {
      writer.close();
      this.closeDue = false;
    }
    if (writer.length === 0) return null;
    return this.#seal(writer.buffer.subarray(0, writer.length));
  }

  #moveTo(address: string, port: number): void {
    this.address = isAt(this.#proven, address, port) ? this.#proven : { address, port };
    this.#mayAnswer = 0;
  }

  #seal(payload: Buffer): Buffer {
    const datagram = Buffer.allocUnsafe(DATA_HEAD_BYTES + payload.length + SEAL_BYTES);
    const counter = this.#counter++;
    writeDataHead(datagram, this.remoteIndex, counter);
    seal(this.#keys.send, counter, payload, datagram.subarray(DATA_HEAD_BYTES));
    return datagram;
  }

  onAck(largest: number, words: Uint32Array, count: number): boolean {
    if (largest >= this.#counter) return false;
    const { peer } = this;
    if (peer.session === this) peer.outbox.onAck(largest, words, count, this.heardAt);
    return true;
  }

  // From any session of this key: what an earlier streamId has settled stays settled.
  onSettled(upTo: number, refusals: readonly Refusal[]): boolean {
    return this.peer.outbox.onSettled(upTo, refusals, this.heardAt);
  }

  onBase(number: number): boolean {
    this.entry.inbox.onBase(number);
    return true;
  }

  onFragment(number: number, total: number, index: number, bytes: Buffer): boolean {
    const outcome = this.entry.inbox.onFragment(number, total, index, bytes);
    this.#noRoom = outcome === "no-room";
    return (outcome === "kept" || outcome === "duplicate") && this.onPing();
  }

  onPing(): boolean {
    this.#acks.due = true;
    this.settleDue = true;
    return true;
  }

  onClose(): boolean {
    this.closed = true;
    return true;
  }
}

const isAt = (place: Endpoint, address: string, port: number): boolean =>
  place.port === port && place.address === address;
