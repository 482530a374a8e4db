// The bodies of messages about files, before they are cut into fragments. All integers are big-endian.
//
//   every one  version 1, type 1, flags 1 (none yet), id length 1, id
//   OFFER      from length 1, from, size 8, SHA-256 32, name to the end      sender to receiver: a file, by its base name
//   CONTROL    step 1, offset 8, reason to the end                           both ways: see FileStep
//   DATA       offset 8, bytes to the end                                    sender to receiver, in order
//
// The id is the sender's, and names the transfer between these two keys. A receiver answers an OFFER with the outcome of its message
// ("declined": at once, without asking anybody) or, later, with a CONTROL of its own. A CONTROL or DATA of a transfer that its
// receiver does not know is answered with "declined": so both ends learn that the other one has forgotten it.

import { isUtf8 } from "node:buffer";
import { FRAGMENT_BYTES } from "./datagram-frames.ts";
import { BODY_VERSION, BodyType, MAX_FROM_BYTES, MAX_ID_BYTES } from "./datagram-message.ts";

/** Of a file's name, as in the kernel (NAME_MAX). */
export const MAX_FILE_NAME_BYTES = 255;
/** Of the words with which a transfer is given up; longer ones are cut. */
export const MAX_REASON_BYTES = 512;
export const SHA256_BYTES = 32;

/** A DATA body fills whole fragments, as many as a body may have: none goes out half empty. */
const DATA_BODY_BYTES = 60 * FRAGMENT_BYTES;

/**
 * What one end tells the other of a transfer. Receiver to sender: "accept" (send from `offset` on), "decline", "written" (so many bytes
 * are on the disk: the sender keeps no more than a window beyond them under way), "done" (the file is under its name, synced).
 * Sender to receiver: "end" (all of it is sent, and the file did not change meanwhile). Both: "alive" (nothing new; do you still
 * know of it?), "failed" (given up, for this reason).
 */
export const FILE_STEPS = ["accept", "decline", "written", "done", "end", "alive", "failed"] as const;
export type FileStep = (typeof FILE_STEPS)[number];

export interface FileOfferBody {
  readonly type: "offer";
  readonly id: string;
  readonly from: string;
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  readonly sha256: Buffer;
}

export interface FileControlBody {
  readonly type: "control";
  readonly id: string;
  readonly step: FileStep;
  readonly offset: number;
  readonly reason: string;
}

export interface FileDataBody {
  readonly type: "data";
  readonly id: string;
  readonly offset: number;
  /** A view into the body. */
  readonly bytes: Buffer;
}

export type FileBody = FileOfferBody | FileControlBody | FileDataBody;

const HEAD_BYTES = 4;
const OFFSET_BYTES = 8;

/** Whether this is a body about a file, whatever is in it. */
export function isFileBody(body: Buffer): boolean {
  const type = body[1];
  if (body[0] !== BODY_VERSION) return false;
  return type === BodyType.fileOffer || type === BodyType.fileControl || type === BodyType.fileData;
}

/** @returns null for an id, a sender or a name that is too long, or empty */
export function encodeFileOffer({ id, from, name, size, sha256 }: Omit<FileOfferBody, "type">): Buffer | null {
  const [fromBytes, nameBytes] = [Buffer.from(from), Buffer.from(name)];
  const head = encodeHead(BodyType.fileOffer, id);
  if (head === null || fromBytes.length > MAX_FROM_BYTES) return null;
  if (nameBytes.length === 0 || nameBytes.length > MAX_FILE_NAME_BYTES) return null;
  return Buffer.concat([head, Buffer.of(fromBytes.length), fromBytes, uint64(size), sha256, nameBytes]);
}

/** @returns null for an id that is too long or empty */
export function encodeFileControl(id: string, step: FileStep, offset = 0, reason = ""): Buffer | null {
  const head = encodeHead(BodyType.fileControl, id);
  const words = Buffer.from(reason); // a lone surrogate becomes U+FFFD
  return head && Buffer.concat([head, Buffer.of(FILE_STEPS.indexOf(step)), uint64(offset), cut(words)]);
}

/** Bytes before those of the file, in the DATA bodies of this transfer. */
export function fileDataHeadBytes(id: string): number {
  return HEAD_BYTES + Buffer.byteLength(id) + OFFSET_BYTES;
}

/** The most bytes of the file that one DATA body of this transfer carries. */
export function fileDataBytes(id: string): number {
  return DATA_BODY_BYTES - fileDataHeadBytes(id);
}

/** Writes the head of a DATA body; the bytes of the file stand behind it already. Caller's id is one. */
export function writeFileDataHead(body: Buffer, id: string, offset: number): void {
  const head = encodeHead(BodyType.fileData, id);
  if (head === null) throw new RangeError("not an id");
  head.copy(body);
  body.writeBigUInt64BE(BigInt(offset), head.length);
}

/** Null for what does not add up. */
export function decodeFileBody(body: Buffer): FileBody | null {
  const idEnd = HEAD_BYTES + (body[3] ?? 0);
  if (idEnd === HEAD_BYTES || idEnd - HEAD_BYTES > MAX_ID_BYTES || idEnd > body.length) return null;
  const id = text(body, HEAD_BYTES, idEnd);
  if (id === null) return null;
  switch (body[1]) {
    case BodyType.fileOffer:
      return decodeOffer(body, id, idEnd);
    case BodyType.fileControl:
      return decodeControl(body, id, idEnd);
    default: {
      const offset = readOffset(body, idEnd);
      return offset === null ? null : { type: "data", id, offset, bytes: body.subarray(idEnd + OFFSET_BYTES) };
    }
  }
}

function decodeOffer(body: Buffer, id: string, at: number): FileOfferBody | null {
  const sizeAt = at + 1 + (body[at] ?? 0);
  const shaAt = sizeAt + OFFSET_BYTES;
  const nameAt = shaAt + SHA256_BYTES;
  const size = readOffset(body, sizeAt);
  if (size === null || sizeAt - at - 1 > MAX_FROM_BYTES) return null;
  if (nameAt >= body.length || body.length - nameAt > MAX_FILE_NAME_BYTES) return null;
  const [from, name] = [text(body, at + 1, sizeAt), text(body, nameAt, body.length)];
  if (from === null || name === null) return null;
  return { type: "offer", id, from, name, size, sha256: Buffer.from(body.subarray(shaAt, nameAt)) };
}

function decodeControl(body: Buffer, id: string, at: number): FileControlBody | null {
  const step = FILE_STEPS[body[at] ?? FILE_STEPS.length];
  const offset = readOffset(body, at + 1);
  const reasonAt = at + 1 + OFFSET_BYTES;
  if (step === undefined || offset === null || body.length - reasonAt > MAX_REASON_BYTES) return null;
  const reason = text(body, reasonAt, body.length);
  return reason === null ? null : { type: "control", id, step, offset, reason };
}

function encodeHead(type: number, id: string): Buffer | null {
  const bytes = Buffer.from(id);
  if (bytes.length < 1 || bytes.length > MAX_ID_BYTES) return null;
  return Buffer.concat([Buffer.of(BODY_VERSION, type, 0, bytes.length), bytes]);
}

function uint64(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(OFFSET_BYTES);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** Null where there is none, or one that no file has. */
function readOffset(body: Buffer, at: number): number | null {
  if (at + OFFSET_BYTES > body.length) return null;
  const value = body.readBigUInt64BE(at);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null;
}

function text(body: Buffer, from: number, to: number): string | null {
  const bytes = body.subarray(from, to);
  return isUtf8(bytes) ? bytes.toString("utf8") : null;
}

/** Not within a character. */
function cut(bytes: Buffer): Buffer {
  if (bytes.length <= MAX_REASON_BYTES) return bytes;
  let end = MAX_REASON_BYTES;
  while (((bytes[end] as number) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}
