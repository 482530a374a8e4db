// The datagrams that two clients exchange: sizes, types and the outer header. Pure functions over bytes; the handshake's
// and the seal's contents are lib/crypto's, the frames inside a sealed datagram are in datagram-frames.ts.
//
// A client that wants to talk sends INIT: the first message of Noise IK, sealed for the key that the directory gave. The
// other side answers RESPONSE, or, when it is flooded, COOKIE: the initiator then repeats its INIT with the cookie and so
// proves that it can receive at its address. From then on both send DATA: a session index, a counter and a sealed
// payload. Whoever wants to know more reads docs/PEER-PROTOCOL.md. All integers are big-endian. The three bytes after the
// type are zero and checked to be: bugs and strangers show up there, and a later version has room.
//
//   INIT      type 1, zero 3, sender index 4, noise 140, mac 16, cookie 16 (zero when none)      180 bytes
//   RESPONSE  type 1, zero 3, sender index 4, receiver index 4, noise 60                          72 bytes
//   COOKIE    type 1, zero 3, receiver index 4, cookie 16                                         24 bytes
//   DATA      type 1, zero 3, receiver index 4, counter 8, sealed payload 16 to 1184      32 to 1200 bytes
//
// No answer of the handshake is longer than what it answers, so no stranger can use a client to amplify a flood.

/** The largest datagram ever sent, in bytes of UDP payload: under the 1280-byte IPv6 minimum MTU with room for tunnels. */
export const MAX_DATAGRAM_BYTES = 1200;

/** First byte of every datagram. */
export const DatagramType = { init: 1, response: 2, cookie: 3, data: 4 } as const;

export const INDEX_BYTES = 4;
export const MAC_BYTES = 16;
export const COOKIE_BYTES = 16;
export const TAG_BYTES = 16; // Poly1305

const HEAD_BYTES = 4; // type and zeros
export const INIT_NOISE_BYTES = 140; // ephemeral 32, static 32+16, payload 44+16
export const RESPONSE_NOISE_BYTES = 60; // ephemeral 32, payload 12+16

/** The Noise payloads: INIT's is zero 4, streamId 8, Ed25519 public key 32; RESPONSE's is zero 4, streamId 8. */
export const INIT_PAYLOAD_BYTES = 44;
export const RESPONSE_PAYLOAD_BYTES = 12;
const PAYLOAD_INSTANCE = 4;
const PAYLOAD_KEY = 12;

const INIT_NOISE = HEAD_BYTES + INDEX_BYTES;
/** The mac of an INIT covers everything before it, the cookie everything before the cookie. */
export const INIT_MAC = INIT_NOISE + INIT_NOISE_BYTES;
export const INIT_COOKIE = INIT_MAC + MAC_BYTES;
export const INIT_BYTES = INIT_COOKIE + COOKIE_BYTES;

const RESPONSE_NOISE = HEAD_BYTES + 2 * INDEX_BYTES;
export const RESPONSE_BYTES = RESPONSE_NOISE + RESPONSE_NOISE_BYTES;
export const COOKIE_REPLY_BYTES = HEAD_BYTES + INDEX_BYTES + COOKIE_BYTES;

const DATA_COUNTER = HEAD_BYTES + INDEX_BYTES;
export const DATA_HEAD_BYTES = DATA_COUNTER + 8;
/** What frames can fill in one datagram. */
export const MAX_PAYLOAD_BYTES = MAX_DATAGRAM_BYTES - DATA_HEAD_BYTES - TAG_BYTES;

/**
 * The type of a datagram that is well-formed as far as its outside shows (length, type, zeros), else null. It says
 * nothing about who sent it.
 */
export function datagramType(datagram: Buffer): number | null {
  const { length } = datagram;
  if (length < COOKIE_REPLY_BYTES || length > MAX_DATAGRAM_BYTES) return null;
  if (datagram[1] !== 0 || datagram[2] !== 0 || datagram[3] !== 0) return null;
  const type = datagram[0] as number;
  switch (type) {
    case DatagramType.data:
      return length >= DATA_HEAD_BYTES + TAG_BYTES ? type : null;
    case DatagramType.init:
      return length === INIT_BYTES ? type : null;
    case DatagramType.response:
      return length === RESPONSE_BYTES ? type : null;
    case DatagramType.cookie:
      return length === COOKIE_REPLY_BYTES ? type : null;
    default:
      return null;
  }
}

/** The session that an INIT or a RESPONSE offers: what the receiver puts into its own datagrams as receiver index. */
export function senderIndex(datagram: Buffer): number {
  return datagram.readUInt32BE(HEAD_BYTES);
}

/** Whose session a RESPONSE, COOKIE or DATA is for. */
export function receiverIndex(datagram: Buffer): number {
  return datagram.readUInt32BE(datagram[0] === DatagramType.response ? HEAD_BYTES + INDEX_BYTES : HEAD_BYTES);
}

export function dataCounter(datagram: Buffer): number {
  // Counters stay far below 2^53: a session is replaced long before (lib/client/peer/limits.ts).
  return datagram.readUInt32BE(DATA_COUNTER) * 0x1_0000_0000 + datagram.readUInt32BE(DATA_COUNTER + 4);
}

/** @param index the receiver's session; writes the first DATA_HEAD_BYTES bytes of `datagram` */
export function writeDataHead(datagram: Buffer, index: number, counter: number): void {
  datagram.writeUInt32BE(DatagramType.data << 24, 0);
  datagram.writeUInt32BE(index, HEAD_BYTES);
  datagram.writeUInt32BE(Math.floor(counter / 0x1_0000_0000), DATA_COUNTER);
  datagram.writeUInt32BE(counter >>> 0, DATA_COUNTER + 4);
}

/** An INIT without mac and cookie yet. @param noise INIT_NOISE_BYTES bytes */
export function encodeInit(index: number, noise: Uint8Array): Buffer {
  const datagram = Buffer.alloc(INIT_BYTES);
  datagram[0] = DatagramType.init;
  datagram.writeUInt32BE(index, HEAD_BYTES);
  datagram.set(noise, INIT_NOISE);
  return datagram;
}

/** @param noise RESPONSE_NOISE_BYTES bytes */
export function encodeResponse(sender: number, receiver: number, noise: Uint8Array): Buffer {
  const datagram = Buffer.alloc(RESPONSE_BYTES);
  datagram[0] = DatagramType.response;
  datagram.writeUInt32BE(sender, HEAD_BYTES);
  datagram.writeUInt32BE(receiver, HEAD_BYTES + INDEX_BYTES);
  datagram.set(noise, RESPONSE_NOISE);
  return datagram;
}

export function encodeCookieReply(receiver: number, cookie: Uint8Array): Buffer {
  const datagram = Buffer.alloc(COOKIE_REPLY_BYTES);
  datagram[0] = DatagramType.cookie;
  datagram.writeUInt32BE(receiver, HEAD_BYTES);
  datagram.set(cookie, HEAD_BYTES + INDEX_BYTES);
  return datagram;
}

/** Views into an INIT. */
export function initNoise(datagram: Buffer): Buffer {
  return datagram.subarray(INIT_NOISE, INIT_MAC);
}
export function initCookie(datagram: Buffer): Buffer {
  return datagram.subarray(INIT_COOKIE, INIT_BYTES);
}
export function responseNoise(datagram: Buffer): Buffer {
  return datagram.subarray(RESPONSE_NOISE, RESPONSE_BYTES);
}
export function replyCookie(datagram: Buffer): Buffer {
  return datagram.subarray(HEAD_BYTES + INDEX_BYTES, COOKIE_REPLY_BYTES);
}

/** @param streamId 8 random bytes: which run of a program this is @param key the sender's Ed25519 key, in an INIT */
export function encodeHandshakePayload(streamId: Buffer, key?: Buffer): Buffer {
  const zeros = Buffer.alloc(PAYLOAD_INSTANCE);
  return key ? Buffer.concat([zeros, streamId, key]) : Buffer.concat([zeros, streamId]);
}

/** Null when the payload is not of this version. `key` is empty in a RESPONSE's. */
export function decodeHandshakePayload(payload: Buffer): { streamId: Buffer; key: Buffer } | null {
  if (payload.length !== INIT_PAYLOAD_BYTES && payload.length !== RESPONSE_PAYLOAD_BYTES) return null;
  if (payload.readUInt32BE(0) !== 0) return null;
  return { streamId: payload.subarray(PAYLOAD_INSTANCE, PAYLOAD_KEY), key: payload.subarray(PAYLOAD_KEY) };
}
