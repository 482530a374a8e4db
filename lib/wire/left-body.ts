// The sealed content of a message that was left: its recipient, and a text or a receipt.
//
//   version 1, type 1 (0 text, 4 receipt), name length 1, name of the recipient, and
//   text      the message's body, see datagram-message.ts
//   receipt   by the recipient, or, for what the recipient has not fetched or cannot open, by the server: state 1, name length 1, name of its author, id to the end: what became of the message with this id, which the reader has left
import { isUtf8 } from "node:buffer";
import {
  BodyType,
  decodeMessage,
  encodeMessage,
  MAX_FROM_BYTES,
  type MessageBody,
  type NewMessageBody,
} from "./datagram-message.ts";

const VERSION = 1;
const HEAD_BYTES = 3;
/** By code. */
const STATES = ["delivered", "declined", "expired", "lost-key"] as const;
export type ReceiptState = (typeof STATES)[number];

export type LeftBody =
  | { readonly type: "text"; readonly to: string; readonly message: MessageBody }
  | ({ readonly type: "receipt"; readonly to: string } & Receipt);

export interface Receipt {
  /** Whom the message was left for. */
  readonly from: string;
  readonly id: string;
  readonly state: ReceiptState;
}

/** Null when something of the message is too long. */
export function encodeLeftText(to: string, message: NewMessageBody): Buffer | null {
  const body = encodeMessage(message);
  const name = Buffer.from(to);
  if (body === null || name.length > MAX_FROM_BYTES) return null;
  return Buffer.concat([Buffer.from([VERSION, BodyType.text, name.length]), name, body]);
}

export function encodeReceipt(to: string, { from, id, state }: Receipt): Buffer {
  const [name, author] = [Buffer.from(to), Buffer.from(from)];
  const head = [VERSION, BodyType.receipt, name.length];
  const more = [STATES.indexOf(state), author.length];
  return Buffer.concat([Buffer.from(head), name, Buffer.from(more), author, Buffer.from(id)]);
}

/** Null for bytes that are neither, or of a later version. */
export function decodeLeft(bytes: Buffer): LeftBody | null {
  const nameEnd = HEAD_BYTES + (bytes[2] ?? 0);
  if (bytes[0] !== VERSION || nameEnd >= bytes.length || !isUtf8(bytes.subarray(HEAD_BYTES, nameEnd))) return null;
  const to = bytes.toString("utf8", HEAD_BYTES, nameEnd);
  if (bytes[1] === BodyType.text) {
    const message = decodeMessage(bytes.subarray(nameEnd));
    return typeof message === "string" ? null : { type: "text", to, message };
  }
  const state = STATES[bytes[nameEnd] as number];
  const authorEnd = nameEnd + 2 + (bytes[nameEnd + 1] ?? 0);
  if (bytes[1] !== BodyType.receipt || state === undefined || authorEnd >= bytes.length) return null;
  const [author, id] = [bytes.subarray(nameEnd + 2, authorEnd), bytes.subarray(authorEnd)];
  if (!isUtf8(author) || !isUtf8(id)) return null;
  return { type: "receipt", to, from: author.toString("utf8"), id: id.toString("utf8"), state };
}
