// The datagrams that two clients exchange: sizes, types and the outer header. Pure functions over bytes; the handshake's
// and the seal's contents are lib/crypto's, the frames inside a sealed datagram are in datagram-frames.ts.
//
// A client that wants to talk sends INIT: the first message of Noise IK, sealed for the key that the directory gave. The
// other side answers RESPONSE, or, when it is flooded, COOKIE: the initiator then repeats its INIT with the cookie and so
// proves that it can receive at its address. From then on both send DATA: a session index, a counter and a sealed
// payload. docs/PEER-PROTOCOL.md has the whole story. All integers are big-endian. A datagram begins with a head of four
// bytes: type, protocol version, and two zeros, which are checked: bugs and strangers show up there.
//
//   INIT      head 4, sender index 4, noise 140 + n, mac 16, cookie 16 (zero when none)    180 + n bytes, n at most 256
//   RESPONSE  head 4, sender index 4, receiver index 4, noise 60 + n                       72 + n bytes
//   COOKIE    head 4, receiver index 4, cookie 16                                          24 bytes
//   DATA      head 4, receiver index 4, counter 8, sealed payload 16 to 1184               32 to 1200 bytes
//
// Inside the Noise messages:
//
//   INIT      version 1, features 3 (bits), stream id 8, Ed25519 public key 32, extension n
//   RESPONSE  version 1, features 3, stream id 8, extension n
//
// An INIT's extension says where the directory has its sender (none: nowhere). This version sets no feature, and ignores
// features and other extensions: a later one can add to a handshake without breaking with this one, and use what both sides
// have announced. No answer of the handshake is longer than what it
// answers, so no stranger can use a client to amplify a flood; that holds for extensions too.

import { addressBytes, addressText, type Endpoint, MAX_ENDPOINTS } from "../base/endpoint.ts";

export const PROTOCOL_VERSION = 2;

/** The largest datagram ever sent, in bytes of UDP payload: under the 1280-byte IPv6 minimum MTU with room for tunnels. */
export const MAX_DATAGRAM_BYTES = 1200;

/** First byte of every datagram. */
export const DatagramType = { init: 1, response: 2, cookie: 3, data: 4 } as const;

export const INDEX_BYTES = 4;
export const MAC_BYTES = 16;
export const COOKIE_BYTES = 16;
export const TAG_BYTES = 16; // Poly1305

const HEAD_BYTES = 4;
const VERSION_AT = 1;
/** Without an extension: the Noise messages… */
export const INIT_NOISE_BYTES = 140; // ephemeral 32, static 32+16, payload 44+16
export const RESPONSE_NOISE_BYTES = 60; // ephemeral 32, payload 12+16
/** …and their payloads. */
export const INIT_PAYLOAD_BYTES = 44;
export const RESPONSE_PAYLOAD_BYTES = 12;
/** Room for eight endpoints and more; an INIT with a full one still fits the smallest MTU of IPv4 (576, RFC 1122). */
export const MAX_EXTENSION_BYTES = 256;
const PAYLOAD_STREAM = 4; // behind version and features
const PAYLOAD_KEY = 12;

const INIT_NOISE = HEAD_BYTES + INDEX_BYTES;
export const INIT_BYTES = INIT_NOISE + INIT_NOISE_BYTES + MAC_BYTES + COOKIE_BYTES;

const RESPONSE_NOISE = HEAD_BYTES + 2 * INDEX_BYTES;
export const RESPONSE_BYTES = RESPONSE_NOISE + RESPONSE_NOISE_BYTES;
export const COOKIE_REPLY_BYTES = HEAD_BYTES + INDEX_BYTES + COOKIE_BYTES;

const DATA_COUNTER = HEAD_BYTES + INDEX_BYTES;
export const DATA_HEAD_BYTES = DATA_COUNTER + 8;
/** What frames can fill in one datagram. */
export const MAX_PAYLOAD_BYTES = MAX_DATAGRAM_BYTES - DATA_HEAD_BYTES - TAG_BYTES;

/**
 * The type of a datagram that is well-formed as far as its outside shows (length, type, version, zeros), else null. It
 * says nothing about who sent it.
 */
export function datagramType(datagram: Buffer): number | null {
  const { length } = datagram;
  if (length < COOKIE_REPLY_BYTES || length > MAX_DATAGRAM_BYTES) return null;
  if (datagram[VERSION_AT] !== PROTOCOL_VERSION || datagram[2] !== 0 || datagram[3] !== 0) return null;
  const type = datagram[0] as number;
  switch (type) {
    case DatagramType.data:
      return length >= DATA_HEAD_BYTES + TAG_BYTES ? type : null;
    case DatagramType.init:
      return length >= INIT_BYTES && length <= INIT_BYTES + MAX_EXTENSION_BYTES ? type : null;
    case DatagramType.response:
      return length >= RESPONSE_BYTES && length <= RESPONSE_BYTES + MAX_EXTENSION_BYTES ? type : null;
    case DatagramType.cookie:
      return length === COOKIE_REPLY_BYTES ? type : null;
    default:
      return null;
  }
}

/** True for what may be a datagram of another version of this protocol. Only its head is looked at: lengths may differ. */
export function isOtherVersion(datagram: Buffer): boolean {
  const type = datagram[0] as number;
  if (datagram.length < HEAD_BYTES || datagram[VERSION_AT] === PROTOCOL_VERSION) return false;
  return type >= DatagramType.init && type <= DatagramType.data && datagram[2] === 0 && datagram[3] === 0;
}

/** The session that an INIT or a RESPONSE offers: what the receiver puts into its own datagrams as receiver index. */
export function senderIndex(datagram: Buffer): number {
  return datagram.readUInt32BE(HEAD_BYTES);
}

/** The receiver's session that a RESPONSE, COOKIE or DATA is for. */
export function receiverIndex(datagram: Buffer): number {
  return datagram.readUInt32BE(datagram[0] === DatagramType.response ? HEAD_BYTES + INDEX_BYTES : HEAD_BYTES);
}

export function dataCounter(datagram: Buffer): number {
  // Counters stay far below 2^53: a session is replaced long before (REJECT_DATAGRAMS in lib/peer/limits.ts).
  return datagram.readUInt32BE(DATA_COUNTER) * 0x1_0000_0000 + datagram.readUInt32BE(DATA_COUNTER + 4);
}

/** @param index the receiver's session; writes the first DATA_HEAD_BYTES bytes of `datagram` */
export function writeDataHead(datagram: Buffer, index: number, counter: number): void {
  writeHead(datagram, DatagramType.data);
  datagram.writeUInt32BE(index, HEAD_BYTES);
  datagram.writeUInt32BE(Math.floor(counter / 0x1_0000_0000), DATA_COUNTER);
  datagram.writeUInt32BE(counter >>> 0, DATA_COUNTER + 4);
}

function writeHead(datagram: Buffer, type: number): void {
  datagram.writeUInt32BE(type * 0x1_00_00_00 + PROTOCOL_VERSION * 0x1_00_00, 0);
}

/** An INIT without mac and cookie yet. @param noise INIT_NOISE_BYTES bytes, and up to MAX_EXTENSION_BYTES more */
export function encodeInit(index: number, noise: Uint8Array): Buffer {
  const datagram = Buffer.alloc(INIT_NOISE + noise.length + MAC_BYTES + COOKIE_BYTES);
  writeHead(datagram, DatagramType.init);
  datagram.writeUInt32BE(index, HEAD_BYTES);
  datagram.set(noise, INIT_NOISE);
  return datagram;
}

/** @param noise RESPONSE_NOISE_BYTES bytes; with an extension, no more than makes it as long as the INIT */
export function encodeResponse(sender: number, receiver: number, noise: Uint8Array): Buffer {
  const datagram = Buffer.alloc(RESPONSE_NOISE + noise.length);
  writeHead(datagram, DatagramType.response);
  datagram.writeUInt32BE(sender, HEAD_BYTES);
  datagram.writeUInt32BE(receiver, HEAD_BYTES + INDEX_BYTES);
  datagram.set(noise, RESPONSE_NOISE);
  return datagram;
}

export function encodeCookieReply(receiver: number, cookie: Uint8Array): Buffer {
  const datagram = Buffer.alloc(COOKIE_REPLY_BYTES);
  writeHead(datagram, DatagramType.cookie);
  datagram.writeUInt32BE(receiver, HEAD_BYTES);
  datagram.set(cookie, HEAD_BYTES + INDEX_BYTES);
  return datagram;
}

/** Views into an INIT. The mac covers everything before it. */
export function initNoise(init: Buffer): Buffer {
  return init.subarray(INIT_NOISE, init.length - COOKIE_BYTES - MAC_BYTES);
}
export function initMacInput(init: Buffer): Buffer {
  return init.subarray(0, init.length - COOKIE_BYTES - MAC_BYTES);
}
export function initMac(init: Buffer): Buffer {
  return init.subarray(init.length - COOKIE_BYTES - MAC_BYTES, init.length - COOKIE_BYTES);
}
export function initCookie(init: Buffer): Buffer {
  return init.subarray(init.length - COOKIE_BYTES);
}
export function responseNoise(response: Buffer): Buffer {
  return response.subarray(RESPONSE_NOISE);
}
export function replyCookie(datagram: Buffer): Buffer {
  return datagram.subarray(HEAD_BYTES + INDEX_BYTES, COOKIE_REPLY_BYTES);
}

/** @param streamId 8 random bytes: which stream of messages this is */
export function encodeResponsePayload(streamId: Buffer): Buffer {
  const payload = Buffer.alloc(RESPONSE_PAYLOAD_BYTES);
  payload[0] = PROTOCOL_VERSION; // no features behind it
  payload.set(streamId, PAYLOAD_STREAM);
  return payload;
}

/**
 * @param key the sender's Ed25519 key
 * @param homes where the directory has the sender; none: it is not in the directory
 */
export function encodeInitPayload(streamId: Buffer, key: Buffer, homes: readonly Endpoint[] = []): Buffer {
  const head = Buffer.concat([encodeResponsePayload(streamId), key]);
  return homes.length === 0 ? head : Buffer.concat([head, encodeHomes(homes)]);
}

/** Null when the payload is not of this version. Features, and extensions that are not known, are ignored. */
export function decodeInitPayload(
  payload: Buffer,
): { streamId: Buffer; key: Buffer; homes: readonly Endpoint[] } | null {
  const streamId = payload.length < INIT_PAYLOAD_BYTES ? null : decodeResponsePayload(payload);
  if (!streamId) return null;
  const key = payload.subarray(PAYLOAD_KEY, INIT_PAYLOAD_BYTES);
  return { streamId, key, homes: decodeHomes(payload.subarray(INIT_PAYLOAD_BYTES)) };
}

/** Extension: type 1, count 1, count × (family 1, port 2, address 4 or 16). */
const HOMES = 1;
const HOMES_HEAD_BYTES = 2;
const PORT_BYTES = 2;

function encodeHomes(homes: readonly Endpoint[]): Buffer {
  const parts = homes.slice(0, MAX_ENDPOINTS).map(({ address, port }) => {
    const bytes = addressBytes(address);
    const head = Buffer.alloc(1 + PORT_BYTES);
    head[0] = bytes.length === 4 ? 4 : 6;
    head.writeUInt16BE(port, 1);
    return Buffer.concat([head, bytes]);
  });
  return Buffer.concat([Buffer.from([HOMES, parts.length]), ...parts]);
}

/** What does not add up is none: the sender only says where it can be found. */
function decodeHomes(extension: Buffer): readonly Endpoint[] {
  if (extension[0] !== HOMES || (extension[1] as number) > MAX_ENDPOINTS) return [];
  const homes: Endpoint[] = [];
  let at = HOMES_HEAD_BYTES;
  for (let left = extension[1] as number; left > 0; left--) {
    const family = extension[at];
    const from = at + 1 + PORT_BYTES;
    at = from + (family === 4 ? 4 : 16);
    if ((family !== 4 && family !== 6) || at > extension.length) return [];
    homes.push({ address: addressText(extension.subarray(from, at)), port: extension.readUInt16BE(from - PORT_BYTES) });
  }
  return homes;
}

/** The stream id; null when the payload is not of this version. */
export function decodeResponsePayload(payload: Buffer): Buffer | null {
  if (payload.length < RESPONSE_PAYLOAD_BYTES || payload[0] !== PROTOCOL_VERSION) return null;
  return payload.subarray(PAYLOAD_STREAM, PAYLOAD_KEY);
}
