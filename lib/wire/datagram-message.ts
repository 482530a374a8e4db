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

// Most messages are short: they are written here first, so that no string has to be measured before it is written.
const scratch = Buffer.alloc(4096);
const MAX_BYTES_PER_UNIT = 3; // UTF-8 for one UTF-16 unit

/** The body, or null when the id, the name or the text is too long (or the id empty). */
export function encodeMessage({ id, from, text }: MessageBody): Buffer | null {
  const most = HEAD_BYTES + MAX_BYTES_PER_UNIT * (id.length + from.length + text.length);
  if (most > scratch.length) {
    const length = HEAD_BYTES + Buffer.byteLength(id) + Buffer.byteLength(from) + Buffer.byteLength(text);
    if (length > MAX_BODY_BYTES) return null;
    const body = Buffer.allocUnsafe(length);
    return writeMessage(body, id, from, text) < 0 ? null : body;
  }
  const length = writeMessage(scratch, id, from, text);
  return length < 0 ? null : Buffer.from(scratch.subarray(0, length));
}

// Returns the length, or -1 when one of the three is out of bounds. Caller knows that all of it fits.
function writeMessage(body: Buffer, id: string, from: string, text: string): number {
  const idBytes = body.write(id, 2);
  const fromStart = 3 + idBytes;
  const fromBytes = body.write(from, fromStart);
  const textStart = fromStart + fromBytes;
  const textBytes = body.write(text, textStart);
  if (idBytes < 1 || idBytes > MAX_ID_BYTES || fromBytes > MAX_FROM_BYTES || textBytes > MAX_TEXT_BYTES) return -1;
  body[0] = VERSION;
  body[1] = idBytes;
  body[2 + idBytes] = fromBytes;
  return textStart + textBytes;
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
