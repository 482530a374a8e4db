// A message on its way out, cut into fragments, and the datagram that carries some of them.
import { FRAGMENT_HEAD_BYTES, fragmentCount, fragmentLength } from "../../wire/datagram-frames.ts";
import { MESSAGE_OVERHEAD } from "./stream-limits.ts";

/** A fragment is in one of these states, or in the datagram with the counter that stands in their place. */
export const UNSENT = -1;
export const ARRIVED = -2;

export interface OutboundMessage {
  readonly number: number;
  readonly body: Buffer;
  /** What the receiver may have to keep for it, against BYTE_WINDOW; stays when the body is gone. */
  readonly windowCost: number;
  /** For each fragment UNSENT, ARRIVED, or the counter of the last datagram that carried it. */
  readonly fragments: number[];
  arrived: number;
  /** A fragment has been sent in the present session: the receiver may keep it. */
  started: boolean;
  /** Nobody waits for it any more: not repeated, and passed over by the next BASE. */
  abandoned: boolean;
}

/** One datagram under way. Fragment `indexes[i]` of `messages[i]` is in it. */
export interface Packet {
  readonly counter: number;
  readonly sentAt: number;
  readonly messages: OutboundMessage[];
  readonly indexes: number[];
  bytes: number;
}

/** An outgoing message with what its owner wants back when it is settled. */
export interface Tagged<Tag> extends OutboundMessage {
  readonly tag: Tag;
}

export function newOutgoing<Tag>(number: number, body: Buffer, tag: Tag): Tagged<Tag> {
  const count = fragmentCount(body.length);
  const fragments = count === 1 ? [UNSENT] : new Array<number>(count).fill(UNSENT);
  return {
    number,
    body,
    windowCost: windowCost(body.length),
    fragments,
    arrived: 0,
    started: false,
    abandoned: false,
    tag,
  };
}

/** What stands in a cancelled message's place until the base moves over it: the body is free, its windowCost is not. */
export function tombstone<Tag>(message: Tagged<Tag>): Tagged<Tag> {
  message.abandoned = true; // tells the datagrams that carry it
  return { ...message, body: EMPTY, fragments: [] };
}

const EMPTY = Buffer.alloc(0);

/** Against BYTE_WINDOW. */
export function windowCost(bodyBytes: number): number {
  return bodyBytes + MESSAGE_OVERHEAD;
}

/** Bytes that the fragment's frame takes. */
export function frameBytes(message: OutboundMessage, index: number): number {
  return FRAGMENT_HEAD_BYTES + fragmentLength(message.body.length, index);
}
