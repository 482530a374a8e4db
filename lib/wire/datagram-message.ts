// The body of a message, before it is cut into fragments:
//
//   version 1 (zero), id length 1, id, from length 1, from, text to the end          all of them UTF-8, checked to be

import { isUtf8 } from "node:buffer";
import { MAX_BODY_BYTES } from "./datagram-frames.ts";

/** In bytes of UTF-8. */
export const MAX_TEXT_BYTES = 65_536;
export const MAX_ID_BYTES = 64;
export const MAX_FROM_BYTES = 64;

const VERSION = 0;
const HEAD_BYTES = 3;

export interface MessageBody {
  readonly id: string;
  readonly from: string;
  readonly text: string;
}

/** Caller has checked the three lengths. */
export function encodeMessage({ id, from, text }: MessageBody): Buffer {
  const idBytes = Buffer.byteLength(id);
  const fromBytes = Buffer.byteLength(from);
  const body = Buffer.allocUnsafe(HEAD_BYTES + idBytes + fromBytes + Buffer.byteLength(text));
  let at = 0;
  body[at++] = VERSION;
  body[at++] = idBytes;
  at += body.write(id, at);
  body[at++] = fromBytes;
  at += body.write(from, at);
  body.write(text, at);
  return body;
}

/** Null when the bytes are no message: lengths that do not add up, empty id, or text that is not UTF-8. */
export function decodeMessage(body: Buffer): MessageBody | null {
  if (body.length < HEAD_BYTES || body.length > MAX_BODY_BYTES || body[0] !== VERSION) return null;
  const idEnd = 2 + (body[1] as number);
  if (idEnd === 2 || idEnd - 2 > MAX_ID_BYTES || idEnd >= body.length) return null;
  const fromStart = idEnd + 1;
  const fromEnd = fromStart + (body[idEnd] as number);
  if (fromEnd - fromStart > MAX_FROM_BYTES || fromEnd > body.length) return null;
  if (body.length - fromEnd > MAX_TEXT_BYTES) return null;
  // One check for all three (TextDecoder would need three calls, half a microsecond each): a character cannot reach over
  // the length byte between id and name, which is ASCII, and none may reach from the name into the text.
  if (!isUtf8(body) || isContinuation(body[fromEnd])) return null;
  return {
    id: body.toString("utf8", 2, idEnd),
    from: body.toString("utf8", fromStart, fromEnd),
    text: body.toString("utf8", fromEnd),
  };
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
