// The body of a message, before it is cut into fragments:
//
//   version 1, type 1, flags 1, and for a text or a wall: id length 1, id, from length 1, from, text to the end
//   in a room, before the text: room length 1, room
//
// Strings are UTF-8 and checked to be. A reader answers a version or type that it does not know with "not-understood";
// whatever stands behind the type is that type's own. Unknown flags are ignored: a flag never changes what a body means.

import { isUtf8 } from "node:buffer";
import { MAX_BODY_BYTES, type RefusalReason } from "./datagram-frames.ts";

/** In bytes of UTF-8. */
export const MAX_TEXT_BYTES = 65_536;
export const MAX_ID_BYTES = 64;
export const MAX_FROM_BYTES = 64;
/** "#" and a name, folded. */
const MAX_ROOM_BYTES = 65;

/** What a body is. Texts, to one or in a room, are here, files in file-bodies.ts; the other numbers are reserved. */
export const BodyType = {
  text: 0,
  wall: 1,
  roomText: 2,
  fileOffer: 3,
  receipt: 4,
  fileControl: 5,
  fileData: 6,
} as const;

/** Of every body. */
export const BODY_VERSION = 1;
/** Flag: sent by a program without a person's doing. */
const AUTO = 1;
/** Flag: the id may have been used before, by this program or another one: the receiver looks into its log. */
const REPEATED = 2;
/** Flag: another process of the receiver was sent this text, and has not said what became of it. */
const AGAIN = 4;
const FLAGS = 2;
const ID = 4; // where the id begins
const HEAD_BYTES = 5; // version, type, flags and the two lengths

export interface MessageBody {
  readonly id: string;
  readonly from: string;
  readonly text: string;
  /** An administrator's word to everybody; the receiver decides whether it believes that. */
  readonly wall?: boolean | undefined;
  /** "#ops", in which it is said; none: to the receiver alone. */
  readonly room?: string | undefined;
  /** Sent by a program without a person's doing: no program answers it by itself. */
  readonly auto: boolean;
  /** The receiver may have shown this id before. */
  readonly repeated: boolean;
  /** Another process of the receiver may have shown it, and have been killed since. */
  readonly again: boolean;
}

/** A message to encode; by default a text is a person's, and sent for the first time. */
export type NewMessageBody = Omit<MessageBody, "auto" | "repeated" | "again"> & {
  readonly auto?: boolean;
  readonly repeated?: boolean;
};

// Most messages are short: they are written here first, so that no string has to be measured before it is written.
const scratch = Buffer.alloc(4096);
const MAX_BYTES_PER_UNIT = 3; // UTF-8 for one UTF-16 unit

/** The body, or null when the id, the name or the text is too long (or the id empty). */
export function encodeMessage(message: NewMessageBody): Buffer | null {
  const body = encodeText(message);
  if (message.wall && body !== null) body[1] = BodyType.wall; // the same fields
  return body;
}

function encodeText(message: NewMessageBody): Buffer | null {
  const { id, from, text, room, auto = false, repeated = false } = message;
  if (room !== undefined) return encodeRoomMessage(room, { id, from, text, auto, repeated });
  const flags = (auto ? AUTO : 0) | (repeated ? REPEATED : 0);
  const most = HEAD_BYTES + MAX_BYTES_PER_UNIT * (id.length + from.length + text.length);
  if (most > scratch.length) {
    const length = HEAD_BYTES + Buffer.byteLength(id) + Buffer.byteLength(from) + Buffer.byteLength(text);
    if (length > MAX_BODY_BYTES) return null;
    const body = Buffer.allocUnsafe(length);
    return writeMessage(body, id, from, text, flags) < 0 ? null : body;
  }
  const length = writeMessage(scratch, id, from, text, flags);
  return length < 0 ? null : Buffer.from(scratch.subarray(0, length));
}

/** As a text to one, with the room before the text. */
function encodeRoomMessage(room: string, message: NewMessageBody): Buffer | null {
  const body = encodeMessage(message);
  const name = Buffer.from(room);
  if (body === null || name.length < 1 || name.length > MAX_ROOM_BYTES) return null;
  const fromAt = ID + (body[3] as number);
  const textAt = fromAt + 1 + (body[fromAt] as number);
  body[1] = BodyType.roomText;
  return Buffer.concat([body.subarray(0, textAt), Buffer.of(name.length), name, body.subarray(textAt)]);
}

// Returns the length, or -1 when one of the three is out of bounds. Caller knows that all of it fits.
function writeMessage(body: Buffer, id: string, from: string, text: string, flags: number): number {
  const idBytes = body.write(id, ID);
  const fromStart = ID + idBytes + 1;
  const fromBytes = body.write(from, fromStart);
  const textStart = fromStart + fromBytes;
  const textBytes = body.write(text, textStart);
  if (idBytes < 1 || idBytes > MAX_ID_BYTES || fromBytes > MAX_FROM_BYTES || textBytes > MAX_TEXT_BYTES) return -1;
  body[0] = BODY_VERSION;
  body[1] = BodyType.text;
  body[FLAGS] = flags;
  body[3] = idBytes;
  body[ID + idBytes] = fromBytes;
  return textStart + textBytes;
}

/** The text, or why it is refused. "malformed": lengths that do not add up, an empty id, bytes that are not UTF-8. */
export function decodeMessage(body: Buffer): MessageBody | Extract<RefusalReason, "not-understood" | "malformed"> {
  const version = body[0];
  const type = body[1];
  if (version === undefined) return "malformed";
  if (version !== BODY_VERSION) return "not-understood";
  if (type === undefined) return "malformed";
  const isRoom = type === BodyType.roomText;
  if (type !== BodyType.text && type !== BodyType.wall && !isRoom) return "not-understood";
  if (body.length < HEAD_BYTES || body.length > MAX_BODY_BYTES) return "malformed";
  const idEnd = ID + (body[3] as number);
  if (idEnd === ID || idEnd - ID > MAX_ID_BYTES || idEnd >= body.length) return "malformed";
  const fromStart = idEnd + 1;
  const fromEnd = fromStart + (body[idEnd] as number);
  if (fromEnd - fromStart > MAX_FROM_BYTES || fromEnd > body.length) return "malformed";
  const roomEnd = isRoom ? fromEnd + 1 + (body[fromEnd] ?? 0) : fromEnd;
  if (roomEnd > body.length || roomEnd - fromEnd > 1 + MAX_ROOM_BYTES || roomEnd === fromEnd + 1) return "malformed";
  if (body.length - roomEnd > MAX_TEXT_BYTES) return "malformed";
  // One check for all (TextDecoder would need three calls, half a microsecond each): a character cannot reach over
  // the length byte between id and name, which is ASCII, and none may reach from the name (or the room) into what follows.
  if (!isUtf8(body.subarray(ID)) || isContinuation(body[fromEnd]) || isContinuation(body[roomEnd])) return "malformed";
  const flags = body[FLAGS] as number;
  return {
    id: body.toString("utf8", ID, idEnd),
    from: body.toString("utf8", fromStart, fromEnd),
    text: body.toString("utf8", roomEnd),
    ...(roomEnd > fromEnd && { room: body.toString("utf8", fromEnd + 1, roomEnd) }),
    ...(type === BodyType.wall && { wall: true }),
    auto: (flags & AUTO) !== 0,
    repeated: (flags & (REPEATED | AGAIN)) !== 0,
    again: (flags & AGAIN) !== 0,
  };
}

/** From now on a text's body says that another process of its receiver may have shown it. */
export function markAgain(body: Buffer): void {
  if ((body[1] === BodyType.text || body[1] === BodyType.wall) && body.length > FLAGS)
    body[FLAGS] = (body[FLAGS] as number) | AGAIN;
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
