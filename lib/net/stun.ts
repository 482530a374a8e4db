// STUN Binding (RFC 8489): a client asks which address and port its datagrams come from. Bytes only. The request may carry a token, by
// which the server knows whose socket it sees; the answer has XOR-MAPPED-ADDRESS and nothing else. With the token a client may ask for
// a second answer after a silence: whether that still gets through says how long a NAT or a firewall keeps a way open. The first
// answer then says that the second one will come. Or it may ask for answers from elsewhere too, which tell what a NAT or a firewall
// filters (RFC 4787 section 5); the usual answer then says from how many places.
import { addressBytes, addressText, type Endpoint } from "../base/endpoint.ts";

const HEAD_BYTES = 20;
const MAGIC = 0x2112_a442;
const REQUEST = 0x0001;
const SUCCESS = 0x0101;
const BINDING = 0x01; // the low byte of both
export const TRANSACTION_BYTES = 12;
const TRANSACTION_AT = 8;

const XOR_MAPPED_ADDRESS = 0x0020;
/** An attribute of our own: from the range that a server may ignore (section 14), and not registered. */
const TOKEN = 0xc0_70;
/** A longer request gets no answer: a request is bare, or has our token, and perhaps attributes of other programs. */
const MAX_REQUEST_BYTES = 548;
const MAX_TOKEN_BYTES = 128;
/** As TOKEN: milliseconds until the second answer. */
const LATE = 0xc0_71;
const LATE_BYTES = 4;
/** As TOKEN: the answer is wanted from other places as well; in it, 32 bits: their number. */
const ELSEWHERE = 0xc0_72;

export interface BindingRequest {
  readonly transaction: Buffer;
  /** Null: a bare question. */
  readonly token: Buffer | null;
  /** Milliseconds until a second answer; null: none is wanted. */
  readonly lateMs: number | null;
  /** Answers from another port and another address are wanted too. */
  readonly elsewhere: boolean;
}

/** It can be no datagram of the peer protocol: those have another second byte. */
export function isStun(datagram: Buffer): boolean {
  if (datagram.length < HEAD_BYTES || datagram[1] !== BINDING) return false;
  return (datagram[0] as number) < 4 && datagram.readUInt32BE(4) === MAGIC;
}

export interface WantedAnswers {
  readonly lateMs?: number | undefined;
  readonly elsewhere?: boolean;
}

/**
 * @param transaction TRANSACTION_BYTES random bytes
 * @param wanted what needs the token: a second answer after so many milliseconds, or answers from elsewhere
 */
export function encodeBindingRequest(transaction: Buffer, token?: Buffer, wanted: WantedAnswers = {}): Buffer {
  const attributes: [number, Buffer][] = token === undefined ? [] : [[TOKEN, token]];
  if (wanted.lateMs !== undefined) attributes.push([LATE, encodeNumber(wanted.lateMs)]);
  if (wanted.elsewhere === true) attributes.push([ELSEWHERE, encodeNumber(0)]);
  return message(REQUEST, transaction, attributes);
}

/** Null for anything else, and for a request with an attribute that its receiver would have to understand (section 6.3.1). */
export function decodeBindingRequest(datagram: Buffer): BindingRequest | null {
  if (datagram.length > MAX_REQUEST_BYTES) return null;
  const attributes = decode(datagram, REQUEST);
  if (attributes === null) return null;
  let token: Buffer | null = null;
  let lateMs: number | null = null;
  let elsewhere = false;
  for (const [type, value] of attributes) {
    if (type === TOKEN && value.length <= MAX_TOKEN_BYTES) token ??= Buffer.from(value);
    else if (type === LATE && value.length === LATE_BYTES) lateMs ??= value.readUInt32BE();
    else if (type === ELSEWHERE) elsewhere = true;
    // RFC 5780's CHANGE-REQUEST among them: an answer never comes from elsewhere, nor goes elsewhere.
    else if (type < 0x8000) return null;
  }
  return { transaction: Buffer.from(datagram.subarray(TRANSACTION_AT, HEAD_BYTES)), token, lateMs, elsewhere };
}

/**
 * @param seen where the request came from
 * @param announced when a second answer follows, and how many come from elsewhere
 */
export function encodeBindingResponse(
  transaction: Buffer,
  seen: Endpoint,
  { lateMs, others }: { readonly lateMs?: number | undefined; readonly others?: number | undefined } = {},
): Buffer {
  const address = masked(addressBytes(seen.address), transaction);
  const head = Buffer.from([0, address.length === 4 ? 1 : 2, 0, 0]);
  head.writeUInt16BE(seen.port ^ (MAGIC >>> 16), 2);
  const attributes: [number, Buffer][] = [[XOR_MAPPED_ADDRESS, Buffer.concat([head, address])]];
  if (lateMs !== undefined) attributes.push([LATE, encodeNumber(lateMs)]);
  if (others !== undefined) attributes.push([ELSEWHERE, encodeNumber(others)]);
  return message(SUCCESS, transaction, attributes);
}

/** How many answers come from elsewhere, as this one says; null when it does not. */
export function answersElsewhere(response: Buffer): number | null {
  for (const [type, value] of decode(response, SUCCESS) ?? []) {
    if (type === ELSEWHERE && value.length === 4) return value.readUInt32BE();
  }
  return null;
}

/** The answer says that another one follows. */
export function announcesLate(response: Buffer): boolean {
  return (decode(response, SUCCESS) ?? []).some(([type]) => type === LATE);
}

/** The address that the server saw; null when this is no answer to that request. */
export function decodeBindingResponse(datagram: Buffer, transaction: Buffer): Endpoint | null {
  if (!datagram.subarray(TRANSACTION_AT, HEAD_BYTES).equals(transaction)) return null;
  for (const [type, value] of decode(datagram, SUCCESS) ?? []) {
    if (type !== XOR_MAPPED_ADDRESS) continue;
    const length = value[1] === 1 ? 4 : 16;
    if (value.length !== 4 + length) return null;
    const port = value.readUInt16BE(2) ^ (MAGIC >>> 16);
    return port === 0 ? null : { address: addressText(masked(value.subarray(4), transaction)), port };
  }
  return null;
}

/** Type and value of each attribute; null when it is no message of that type, or its lengths do not add up. */
function decode(datagram: Buffer, type: number): [type: number, value: Buffer][] | null {
  if (!isStun(datagram) || datagram.readUInt16BE(0) !== type) return null;
  if (datagram.readUInt16BE(2) !== datagram.length - HEAD_BYTES || datagram.length % 4 !== 0) return null;
  const attributes: [number, Buffer][] = [];
  for (let at = HEAD_BYTES; at < datagram.length; ) {
    const length = datagram.readUInt16BE(at + 2);
    const from = at + 4;
    if (from + length > datagram.length) return null;
    attributes.push([datagram.readUInt16BE(at), datagram.subarray(from, from + length)]);
    at = from + padded(length);
  }
  return attributes;
}

function message(type: number, transaction: Buffer, attributes: readonly [type: number, value: Buffer][]): Buffer {
  const parts = attributes.map(([kind, value]) => {
    const part = Buffer.alloc(4 + padded(value.length));
    part.writeUInt16BE(kind, 0);
    part.writeUInt16BE(value.length, 2);
    part.set(value, 4);
    return part;
  });
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(body.length, 2);
  head.writeUInt32BE(MAGIC, 4);
  head.set(transaction, TRANSACTION_AT);
  return Buffer.concat([head, body]);
}

function encodeNumber(number: number): Buffer {
  const bytes = Buffer.alloc(LATE_BYTES);
  bytes.writeUInt32BE(number);
  return bytes;
}

const padded = (length: number): number => (length + 3) & ~3;

/** XOR with the magic cookie and the transaction (section 14.2). */
function masked(address: Buffer, transaction: Buffer): Buffer {
  const mask = Buffer.alloc(4);
  mask.writeUInt32BE(MAGIC, 0);
  const bytes = Buffer.concat([mask, transaction]);
  return Buffer.from(address.map((byte, i) => byte ^ (bytes[i] as number)));
}
