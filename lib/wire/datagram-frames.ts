// The frames inside a sealed datagram. Each begins with its type; lengths follow from the fields, and whatever does not
// add up makes the whole payload malformed. Frames are only read after the seal was opened, so a malformed one comes
// from a broken or hostile peer, never from the network.
//
//   ACK      1  largest 4, words 1 (1 to 8), words × 4    which counters of this session have arrived: bit b of word w is
//                                                          counter ((largest >> 5) - w) × 32 + b
//   SETTLED  2  upTo 4, count 1 (0 to 16), count × (number 4, reason 1)
//                                                          every message up to upTo has its outcome: accepted, but for those
//                                                          listed, each with the reason of its refusal
//   BASE     3  number 4                                   the sender wants nothing below this number any more
//   FRAGMENT 4  number 4, total 4, index 2, bytes         part of a message: FRAGMENT_BYTES each but the last
//   PING     5                                             answer with ACK and SETTLED
//   CLOSE    6                                             this session is over
//   REVOKE   7  number 4                                   the sender's time for this message is over: was it shown?
//   REVOKED  8  number 4                                   it was not shown, and never will be
//   ENDED    9  number 4                                   the program ends: nothing from this number on was shown or will be
//   CHALLENGE 10  token 8                                  does the other end receive where this goes?
//   PROOF    11  token 8                                   it does: the token of a CHALLENGE, by the path that it came by
//   PART     12  number 4, total 4, index 2, which 1, bytes  part of a fragment, for a path that does not take a whole one: PART_BYTES
//                                                          each but the last of the fragment; `which` is first × 16 + count
//
// ACK, SETTLED, CLOSE, REVOKED, ENDED and PROOF call for no answer of their own (CLOSE is answered with CLOSE); BASE, FRAGMENT,
// PART and PING call for an ACK, REVOKE for REVOKED or SETTLED, CHALLENGE for PROOF.

import { MAX_PAYLOAD_BYTES } from "./datagram.ts";

export const FrameType = {
  ack: 1,
  settled: 2,
  base: 3,
  fragment: 4,
  ping: 5,
  close: 6,
  revoke: 7,
  revoked: 8,
  ended: 9,
  challenge: 10,
  proof: 11,
  part: 12,
} as const;

/**
 * Why a message was not accepted. "key-mismatch": the receiver knows the sender's name under another key. "declined": the
 * receiver takes no messages, or none of this sender. "not-understood": its version does not know the body's type or
 * version. "malformed": the body is none. "revoked": its sender gave it up before it was shown. "refused": no reason that this version
 * knows.
 */
export type RefusalReason = "refused" | "key-mismatch" | "declined" | "not-understood" | "malformed" | "revoked";
/** What became of a message at its receiver. */
export type Outcome = "accepted" | RefusalReason;

export interface Refusal {
  readonly number: number;
  readonly reason: RefusalReason;
}

const REASONS: readonly RefusalReason[] = [
  "refused",
  "key-mismatch",
  "declined",
  "not-understood",
  "malformed",
  "revoked",
]; // by code

/** Bytes of a message in one fragment: a full one fits a datagram together with BASE, ACK and a SETTLED. */
export const FRAGMENT_BYTES = 1088;
export const FRAGMENT_HEAD_BYTES = 11;
/** A fragment has so many parts, all but the last of equal length. */
export const MAX_PARTS = 8;
export const PART_BYTES = FRAGMENT_BYTES / MAX_PARTS;
export const PART_HEAD_BYTES = FRAGMENT_HEAD_BYTES + 1;
export const MAX_ACK_WORDS = 8;
/** Counters that one ACK can report, at least: more than ever are under way (peer and reliability limits). */
export const ACK_SPAN = (MAX_ACK_WORDS - 1) * 32;
export const MAX_REFUSED = 16;
/** The largest message body, in bytes: 64 KiB of text, names and ids (datagram-message.ts), rounded up. */
export const MAX_BODY_BYTES = 65_536 + 256;

const NUMBER_BYTES = 4;
export const ACK_HEAD_BYTES = 6;
export const BASE_BYTES = 1 + NUMBER_BYTES;
/** REVOKE, REVOKED, ENDED. */
export const NUMBER_FRAME_BYTES = 1 + NUMBER_BYTES;
export const SETTLED_HEAD_BYTES = 2 + NUMBER_BYTES;
export const REFUSAL_BYTES = NUMBER_BYTES + 1;

/** Token of CHALLENGE and PROOF: cannot be guessed. */
export const CHALLENGE_BYTES = 8;
export const CHALLENGE_FRAME_BYTES = 1 + CHALLENGE_BYTES;

/** What a message beyond its bytes counts for, so that a thousand empty ones are not free. */
const MESSAGE_OVERHEAD = 64;

/** What an unsettled message counts against the receiver's window of bytes: both sides have to agree. */
export function windowCost(totalBytes: number): number {
  return totalBytes + MESSAGE_OVERHEAD;
}

export function fragmentCount(totalBytes: number): number {
  return Math.max(1, Math.ceil(totalBytes / FRAGMENT_BYTES));
}

/** The bytes that fragment `index` of a message of `total` bytes carries. */
export function fragmentLength(total: number, index: number): number {
  return Math.min(FRAGMENT_BYTES, total - index * FRAGMENT_BYTES);
}

/** Parts of fragment `index` of a message of `total` bytes. */
export function partCount(total: number, index: number): number {
  return Math.max(1, Math.ceil(fragmentLength(total, index) / PART_BYTES));
}

/** The bytes of `count` parts from `first` on, of fragment `index` of a message of `total` bytes. */
export function partsLength(total: number, index: number, { first, count }: Parts): number {
  return Math.min(fragmentLength(total, index), (first + count) * PART_BYTES) - first * PART_BYTES;
}

/** Some parts of a fragment, one behind the other. */
export interface Parts {
  /** From 0. */
  readonly first: number;
  /** At least 1. */
  readonly count: number;
}

/** Writes frames into a buffer from `start`, `limit` bytes at most. Callers ask `room` first; nothing is checked twice. */
export class FrameWriter {
  readonly buffer: Buffer;
  readonly start: number;
  offset: number;
  limit = MAX_PAYLOAD_BYTES;

  constructor(buffer: Buffer, start = 0) {
    this.buffer = buffer;
    this.start = start;
    this.offset = start;
  }

  get length(): number {
    return this.offset - this.start;
  }
  get room(): number {
    return this.limit - this.length;
  }
  reset(): void {
    this.offset = this.start;
  }

  base(number: number): void {
    this.#head(FrameType.base, number);
  }
  ping(): void {
    this.buffer[this.offset++] = FrameType.ping;
  }
  close(): void {
    this.buffer[this.offset++] = FrameType.close;
  }
  revoke(number: number): void {
    this.#head(FrameType.revoke, number);
  }
  revoked(number: number): void {
    this.#head(FrameType.revoked, number);
  }
  ended(number: number): void {
    this.#head(FrameType.ended, number);
  }

  fragment(number: number, body: Buffer, index: number): void {
    this.#head(FrameType.fragment, number);
    this.offset = this.buffer.writeUInt32BE(body.length, this.offset);
    this.offset = this.buffer.writeUInt16BE(index, this.offset);
    const from = index * FRAGMENT_BYTES;
    this.offset += body.copy(this.buffer, this.offset, from, from + fragmentLength(body.length, index));
  }

  parts(number: number, body: Buffer, index: number, parts: Parts): void {
    this.#head(FrameType.part, number);
    this.offset = this.buffer.writeUInt32BE(body.length, this.offset);
    this.offset = this.buffer.writeUInt16BE(index, this.offset);
    this.buffer[this.offset++] = (parts.first << 4) | parts.count;
    const from = index * FRAGMENT_BYTES + parts.first * PART_BYTES;
    this.offset += body.copy(this.buffer, this.offset, from, from + partsLength(body.length, index, parts));
  }

  /** @param words 1 to MAX_ACK_WORDS of them */
  ack(largest: number, words: Uint32Array, count: number): void {
    this.#head(FrameType.ack, largest);
    this.buffer[this.offset++] = count;
    for (let w = 0; w < count; w++) this.offset = this.buffer.writeUInt32BE(words[w] as number, this.offset);
  }

  /** @param refusals at most MAX_REFUSED of them */
  settled(upTo: number, refusals: readonly Refusal[]): void {
    this.#head(FrameType.settled, upTo);
    this.buffer[this.offset++] = refusals.length;
    for (const { number, reason } of refusals) {
      this.offset = this.buffer.writeUInt32BE(number, this.offset);
      this.buffer[this.offset++] = REASONS.indexOf(reason);
    }
  }

  challenge(token: Buffer): void {
    this.buffer[this.offset++] = FrameType.challenge;
    this.offset += token.copy(this.buffer, this.offset);
  }
  proof(token: Buffer): void {
    this.buffer[this.offset++] = FrameType.proof;
    this.offset += token.copy(this.buffer, this.offset);
  }

  #head(type: number, number: number): void {
    this.buffer[this.offset] = type;
    this.offset = this.buffer.writeUInt32BE(number, this.offset + 1);
  }
}

/** Receives the frames of a payload in order; each returns false when the peer broke the protocol. */
export interface FrameHandler {
  /** `words` is reused by the next call. */
  onAck(largest: number, words: Uint32Array, count: number): boolean;
  onSettled(upTo: number, refusals: readonly Refusal[]): boolean;
  onBase(number: number): boolean;
  /** `bytes` is a view into the payload: copy what you keep. */
  onFragment(number: number, total: number, index: number, bytes: Buffer): boolean;
  /** `bytes` as in onFragment(): of these parts of the fragment. */
  onParts(number: number, total: number, index: number, parts: Parts, bytes: Buffer): boolean;
  onPing(): boolean;
  onClose(): boolean;
  onRevoke(number: number): boolean;
  onRevoked(number: number): boolean;
  onEnded(number: number): boolean;
  /** `token` is a view into the payload. */
  onChallenge(token: Buffer): boolean;
  onProof(token: Buffer): boolean;
}

const ackWords = new Uint32Array(MAX_ACK_WORDS);

/** Reads all frames of a payload in order; false as soon as one is malformed or refused. */
export function readFrames(payload: Buffer, handler: FrameHandler): boolean {
  const end = payload.length;
  let at = 0;
  while (at < end) {
    const type = payload[at] as number;
    if (type === FrameType.ping || type === FrameType.close) {
      at += 1;
      if (!(type === FrameType.ping ? handler.onPing() : handler.onClose())) return false;
      continue;
    }
    if (type === FrameType.challenge || type === FrameType.proof) {
      if (at + CHALLENGE_FRAME_BYTES > end) return false;
      const token = payload.subarray(at + 1, at + CHALLENGE_FRAME_BYTES);
      at += CHALLENGE_FRAME_BYTES;
      if (!(type === FrameType.challenge ? handler.onChallenge(token) : handler.onProof(token))) return false;
      continue;
    }
    if (at + 1 + NUMBER_BYTES > end) return false;
    const number = payload.readUInt32BE(at + 1);
    switch (type) {
      case FrameType.base:
        at += BASE_BYTES;
        if (!handler.onBase(number)) return false;
        break;
      case FrameType.fragment: {
        if (at + FRAGMENT_HEAD_BYTES > end) return false;
        const total = payload.readUInt32BE(at + 5);
        const index = payload.readUInt16BE(at + 9);
        if (total > MAX_BODY_BYTES || index >= fragmentCount(total)) return false;
        const from = at + FRAGMENT_HEAD_BYTES;
        at = from + fragmentLength(total, index);
        if (at > end || !handler.onFragment(number, total, index, payload.subarray(from, at))) return false;
        break;
      }
      case FrameType.part: {
        if (at + PART_HEAD_BYTES > end) return false;
        const total = payload.readUInt32BE(at + 5);
        const index = payload.readUInt16BE(at + 9);
        const which = payload[at + 11] as number;
        const parts = { first: which >> 4, count: which & 15 };
        if (total > MAX_BODY_BYTES || index >= fragmentCount(total)) return false;
        if (parts.count < 1 || parts.first + parts.count > partCount(total, index)) return false;
        const from = at + PART_HEAD_BYTES;
        at = from + partsLength(total, index, parts);
        if (at > end || !handler.onParts(number, total, index, parts, payload.subarray(from, at))) return false;
        break;
      }
      case FrameType.ack: {
        const count = at + ACK_HEAD_BYTES <= end ? (payload[at + 5] as number) : 0;
        const from = at + ACK_HEAD_BYTES;
        at = from + count * 4;
        if (count < 1 || count > MAX_ACK_WORDS || at > end) return false;
        for (let w = 0; w < count; w++) ackWords[w] = payload.readUInt32BE(from + w * 4);
        if (!handler.onAck(number, ackWords, count)) return false;
        break;
      }
      case FrameType.settled: {
        const count = at + SETTLED_HEAD_BYTES <= end ? (payload[at + 5] as number) : MAX_REFUSED + 1;
        const from = at + SETTLED_HEAD_BYTES;
        at = from + count * REFUSAL_BYTES;
        if (count > MAX_REFUSED || at > end) return false;
        if (!handler.onSettled(number, count === 0 ? NO_REFUSALS : readRefusals(payload, from, count))) return false;
        break;
      }
      case FrameType.revoke:
        at += NUMBER_FRAME_BYTES;
        if (!handler.onRevoke(number)) return false;
        break;
      case FrameType.revoked:
        at += NUMBER_FRAME_BYTES;
        if (!handler.onRevoked(number)) return false;
        break;
      case FrameType.ended:
        at += NUMBER_FRAME_BYTES;
        if (!handler.onEnded(number)) return false;
        break;
      default:
        return false;
    }
  }
  return true;
}

const NO_REFUSALS: readonly Refusal[] = [];

function readRefusals(payload: Buffer, from: number, count: number): Refusal[] {
  const refusals: Refusal[] = [];
  for (let at = from; at < from + count * REFUSAL_BYTES; at += REFUSAL_BYTES) {
    const code = payload[at + NUMBER_BYTES] as number;
    refusals.push({ number: payload.readUInt32BE(at), reason: REASONS[code] ?? "refused" }); // a later version's code
  }
  return refusals;
}
