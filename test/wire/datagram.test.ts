import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  COOKIE_REPLY_BYTES,
  DATA_HEAD_BYTES,
  DatagramType,
  dataCounter,
  datagramType,
  decodeInitPayload,
  decodeResponsePayload,
  encodeCookieReply,
  encodeInit,
  encodeInitPayload,
  encodeResponse,
  encodeResponsePayload,
  INIT_BYTES,
  INIT_NOISE_BYTES,
  INIT_PAYLOAD_BYTES,
  initCookie,
  initMac,
  initMacInput,
  initNoise,
  isOtherVersion,
  MAX_DATAGRAM_BYTES,
  MAX_EXTENSION_BYTES,
  MAX_PAYLOAD_BYTES,
  PROTOCOL_VERSION,
  RESPONSE_BYTES,
  RESPONSE_NOISE_BYTES,
  RESPONSE_PAYLOAD_BYTES,
  receiverIndex,
  replyCookie,
  responseNoise,
  senderIndex,
  TAG_BYTES,
  writeDataHead,
} from "../../lib/wire/datagram.ts";
import {
  ACK_HEAD_BYTES,
  BASE_BYTES,
  CHALLENGE_FRAME_BYTES,
  FRAGMENT_BYTES,
  FRAGMENT_HEAD_BYTES,
  type FrameHandler,
  FrameWriter,
  fragmentCount,
  fragmentLength,
  MAX_ACK_WORDS,
  MAX_BODY_BYTES,
  MAX_REFUSED,
  NUMBER_FRAME_BYTES,
  PART_BYTES,
  PART_HEAD_BYTES,
  partCount,
  partsLength,
  REFUSAL_BYTES,
  type RefusalReason,
  readFrames,
  SETTLED_HEAD_BYTES,
} from "../../lib/wire/datagram-frames.ts";
import { BodyType, decodeMessage, encodeMessage } from "../../lib/wire/datagram-message.ts";

const index = fc.nat({ max: 0xffff_ffff });

function dataDatagram(length: number): Buffer {
  const datagram = Buffer.alloc(length);
  writeDataHead(datagram, 7, 9);
  return datagram;
}

describe("datagrams", () => {
  it("have the documented lengths, and an answer is never longer than its question", () => {
    expect([INIT_BYTES, RESPONSE_BYTES, COOKIE_REPLY_BYTES, DATA_HEAD_BYTES, TAG_BYTES]).toEqual([180, 72, 24, 16, 16]);
    expect(MAX_PAYLOAD_BYTES).toBe(1168);
    expect(encodeInit(1, Buffer.alloc(INIT_NOISE_BYTES))).toHaveLength(INIT_BYTES);
  });

  it("come back as they were written", () => {
    fc.assert(
      fc.property(index, index, fc.nat({ max: 2 ** 32 }), fc.nat({ max: 2 ** 20 }), (sender, receiver, low, high) => {
        const noise = Buffer.alloc(INIT_NOISE_BYTES, low & 255);
        const init = encodeInit(sender, noise);
        expect([datagramType(init), senderIndex(init), initNoise(init)]).toEqual([DatagramType.init, sender, noise]);
        const answer = Buffer.alloc(RESPONSE_NOISE_BYTES, low & 255);
        const response = encodeResponse(sender, receiver, answer);
        expect(datagramType(response)).toBe(DatagramType.response);
        expect([senderIndex(response), receiverIndex(response), responseNoise(response)]).toEqual([
          sender,
          receiver,
          answer,
        ]);
        const cookie = encodeCookieReply(receiver, Buffer.alloc(16, 5));
        expect(datagramType(cookie)).toBe(DatagramType.cookie);
        expect([receiverIndex(cookie), replyCookie(cookie)]).toEqual([receiver, Buffer.alloc(16, 5)]);
        const counter = high * 2 ** 32 + (low >>> 0);
        const data = Buffer.alloc(40);
        writeDataHead(data, receiver, counter);
        expect(datagramType(data)).toBe(DatagramType.data);
        expect([receiverIndex(data), dataCounter(data)]).toEqual([receiver, counter]);
      }),
    );
  });

  it("of any other length, type or with anything but zeros behind the type are none", () => {
    const good = [
      [encodeInit(1, Buffer.alloc(INIT_NOISE_BYTES)), MAX_EXTENSION_BYTES],
      [encodeResponse(1, 2, Buffer.alloc(RESPONSE_NOISE_BYTES)), MAX_EXTENSION_BYTES],
      [encodeCookieReply(1, Buffer.alloc(16)), 0],
    ] as const;
    for (const [shortest, extension] of good) {
      const datagram = Buffer.concat([shortest, Buffer.alloc(MAX_EXTENSION_BYTES + 1)]);
      for (let length = 0; length <= datagram.length; length++) {
        const fits = length >= shortest.length && length <= shortest.length + extension;
        expect(datagramType(datagram.subarray(0, length))).toBe(fits ? shortest[0] : null);
      }
    }
    for (let length = 16; length <= MAX_DATAGRAM_BYTES + 1; length++) {
      expect(datagramType(dataDatagram(length)) !== null).toBe(length >= 32 && length <= MAX_DATAGRAM_BYTES);
    }
    for (const at of [2, 3]) {
      const datagram = dataDatagram(40);
      datagram[at] = 1;
      expect([datagramType(datagram), isOtherVersion(datagram)]).toEqual([null, false]);
    }
    for (let type = 0; type < 256; type++) {
      const datagram = dataDatagram(40); // no handshake datagram is as short
      datagram[0] = type;
      expect(datagramType(datagram) !== null).toBe(type === DatagramType.data);
    }
  });

  it("of another version are told from what is no datagram at all, whatever their length", () => {
    for (const type of Object.values(DatagramType)) {
      for (let version = 0; version < 256; version++) {
        for (const length of [4, 24, 180, 1300]) {
          const datagram = Buffer.alloc(length);
          datagram.set([type, version]);
          if (version !== PROTOCOL_VERSION) expect(datagramType(datagram)).toBeNull();
          expect(isOtherVersion(datagram)).toBe(version !== PROTOCOL_VERSION);
        }
      }
    }
    for (const [type, length] of [
      [0, 40],
      [5, 40],
      [255, 40],
      [1, 3],
    ] as const) {
      const datagram = Buffer.alloc(length);
      datagram[0] = type;
      expect(isOtherVersion(datagram)).toBe(false);
    }
    expect(isOtherVersion(Buffer.alloc(0))).toBe(false);
  });

  it("an INIT's parts stand where they belong, also behind an extension", () => {
    for (const extension of [0, 1, MAX_EXTENSION_BYTES]) {
      const noise = Buffer.alloc(INIT_NOISE_BYTES + extension, 7);
      const init = encodeInit(5, noise);
      expect([datagramType(init), init.length]).toEqual([DatagramType.init, INIT_BYTES + extension]);
      initMac(init).fill(8);
      initCookie(init).fill(9);
      expect(initNoise(init)).toEqual(noise);
      expect(initMacInput(init)).toEqual(init.subarray(0, init.length - 32));
      expect(init.subarray(-32)).toEqual(Buffer.concat([Buffer.alloc(16, 8), Buffer.alloc(16, 9)]));
      const answer = Buffer.alloc(RESPONSE_NOISE_BYTES + extension, 6);
      expect(responseNoise(encodeResponse(1, 2, answer))).toEqual(answer);
    }
  });

  it("a handshake payload of another version, or too short, is none; features and an extension are ignored", () => {
    const streamId = Buffer.alloc(8, 3);
    const key = Buffer.alloc(32, 4);
    const init = encodeInitPayload(streamId, key);
    const response = encodeResponsePayload(streamId);
    expect([init.length, response.length]).toEqual([INIT_PAYLOAD_BYTES, RESPONSE_PAYLOAD_BYTES]);
    expect(init.toString("hex")).toBe(`02000000${"03".repeat(8)}${"04".repeat(32)}`);
    for (let length = 0; length < 60; length++) {
      const bytes = Buffer.concat([init, Buffer.alloc(60, 0xee)]).subarray(0, length);
      expect(decodeInitPayload(bytes)).toEqual(length < INIT_PAYLOAD_BYTES ? null : { streamId, key, homes: [] });
      expect(decodeResponsePayload(bytes)).toEqual(length < RESPONSE_PAYLOAD_BYTES ? null : streamId);
    }
    for (const payload of [init, response]) payload.fill(0xff, 1, 4); // features
    expect([decodeInitPayload(init), decodeResponsePayload(response)]).toEqual([
      { streamId, key, homes: [] },
      streamId,
    ]);
    for (let version = 0; version < 256; version++) {
      if (version === PROTOCOL_VERSION) continue;
      init[0] = version;
      response[0] = version;
      expect([decodeInitPayload(init), decodeResponsePayload(response)]).toEqual([null, null]);
    }
  });

  it("an INIT says where the directory has its sender; what does not add up says nothing", () => {
    const homes = [
      { address: "192.0.2.7", port: 4000 },
      { address: "2001:db8::7:0:1", port: 65_535 },
      { address: "::1", port: 1 },
    ];
    const payload = encodeInitPayload(Buffer.alloc(8, 3), Buffer.alloc(32, 4), homes);
    expect(payload.subarray(INIT_PAYLOAD_BYTES, INIT_PAYLOAD_BYTES + 9).toString("hex")).toBe("0103040fa0c0000207");
    expect(decodeInitPayload(payload)?.homes).toEqual(homes);
    for (let length = INIT_PAYLOAD_BYTES; length < payload.length; length++) {
      expect(decodeInitPayload(payload.subarray(0, length))?.homes).toEqual([]);
    }
    const many = Array.from({ length: 12 }, (_, i) => ({ address: "2001:db8::1", port: 1 + i }));
    const full = encodeInitPayload(Buffer.alloc(8), Buffer.alloc(32), many);
    expect(full.length - INIT_PAYLOAD_BYTES).toBeLessThanOrEqual(MAX_EXTENSION_BYTES);
    expect(decodeInitPayload(full)?.homes).toEqual(many.slice(0, 8));
    full[INIT_PAYLOAD_BYTES + 1] = 9;
    expect(decodeInitPayload(full)?.homes).toEqual([]);
  });
});

type Call = [kind: string, ...details: unknown[]];

function record(calls: Call[]): FrameHandler {
  const note = (...call: Call) => {
    calls.push(call);
    return true;
  };
  return {
    onAck: (largest, words, count) => note("ack", largest, [...words.subarray(0, count)]),
    onSettled: (upTo, refusals) => note("settled", upTo, refusals),
    onBase: (number) => note("base", number),
    onFragment: (number, total, at, bytes) => note("fragment", number, total, at, bytes.toString("hex")),
    onParts: (number, total, at, { first, count }, bytes) =>
      note("part", number, total, at, first, count, bytes.toString("hex")),
    onPing: () => note("ping"),
    onClose: () => note("close"),
    onRevoke: (number) => note("revoke", number),
    onRevoked: (number) => note("revoked", number),
    onEnded: (number) => note("ended", number),
    onChallenge: (token) => note("challenge", token.toString("hex")),
    onProof: (token) => note("proof", token.toString("hex")),
  };
}

const reason = fc.constantFrom<RefusalReason>(
  "refused",
  "key-mismatch",
  "declined",
  "not-understood",
  "malformed",
  "revoked",
);
const refusal = fc.record({ number: index, reason });

const frame: fc.Arbitrary<{ call: Call; write: (writer: FrameWriter) => void; bytes: number }> = fc.oneof(
  fc.tuple(index, fc.array(index, { minLength: 1, maxLength: MAX_ACK_WORDS })).map(([largest, words]) => ({
    call: ["ack", largest, words] as Call,
    write: (writer: FrameWriter) => writer.ack(largest, Uint32Array.from(words), words.length),
    bytes: ACK_HEAD_BYTES + 4 * words.length,
  })),
  fc.tuple(index, fc.array(refusal, { maxLength: MAX_REFUSED })).map(([upTo, refusals]) => ({
    call: ["settled", upTo, refusals] as Call,
    write: (writer: FrameWriter) => writer.settled(upTo, refusals),
    bytes: SETTLED_HEAD_BYTES + REFUSAL_BYTES * refusals.length,
  })),
  index.map((number) => ({
    call: ["revoke", number] as Call,
    write: (writer: FrameWriter) => writer.revoke(number),
    bytes: NUMBER_FRAME_BYTES,
  })),
  index.map((number) => ({
    call: ["revoked", number] as Call,
    write: (writer: FrameWriter) => writer.revoked(number),
    bytes: NUMBER_FRAME_BYTES,
  })),
  index.map((number) => ({
    call: ["ended", number] as Call,
    write: (writer: FrameWriter) => writer.ended(number),
    bytes: NUMBER_FRAME_BYTES,
  })),
  fc.tuple(fc.boolean(), fc.uint8Array({ minLength: 8, maxLength: 8 })).map(([asks, token]) => ({
    call: [asks ? "challenge" : "proof", Buffer.from(token).toString("hex")] as Call,
    write: (writer: FrameWriter) => (asks ? writer.challenge(Buffer.from(token)) : writer.proof(Buffer.from(token))),
    bytes: CHALLENGE_FRAME_BYTES,
  })),
  index.map((number) => ({
    call: ["base", number] as Call,
    write: (writer: FrameWriter) => writer.base(number),
    bytes: BASE_BYTES,
  })),
  fc.tuple(index, fc.uint8Array({ maxLength: 300 })).map(([number, body]) => ({
    call: ["fragment", number, body.length, 0, Buffer.from(body).toString("hex")] as Call,
    write: (writer: FrameWriter) => writer.fragment(number, Buffer.from(body), 0),
    bytes: FRAGMENT_HEAD_BYTES + body.length,
  })),
  fc
    .tuple(index, fc.integer({ min: 1, max: 3000 }), fc.nat(), fc.nat(), fc.nat())
    .map(([number, total, ...choices]) => {
      const body = Buffer.from(Array.from({ length: total }, (_, i) => i & 255));
      const at = choices[0] % fragmentCount(total);
      const first = choices[1] % partCount(total, at);
      const parts = { first, count: 1 + (choices[2] % (partCount(total, at) - first)) };
      const from = at * FRAGMENT_BYTES + first * PART_BYTES;
      const bytes = body.subarray(from, from + partsLength(total, at, parts));
      return {
        call: ["part", number, total, at, first, parts.count, bytes.toString("hex")] as Call,
        write: (writer: FrameWriter) => writer.parts(number, body, at, parts),
        bytes: PART_HEAD_BYTES + bytes.length,
      };
    }),
  fc.constant({ call: ["ping"] as Call, write: (writer: FrameWriter) => writer.ping(), bytes: 1 }),
  fc.constant({ call: ["close"] as Call, write: (writer: FrameWriter) => writer.close(), bytes: 1 }),
);

describe("frames", () => {
  it("come back as they were written; cut anywhere they are the whole ones before the cut, or malformed", () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 8 }), (frames) => {
        const writer = new FrameWriter(Buffer.alloc(10_000));
        const ends = [0];
        for (const { write, bytes } of frames) {
          write(writer);
          ends.push((ends.at(-1) as number) + bytes);
          expect(writer.length).toBe(ends.at(-1));
        }
        const payload = writer.buffer.subarray(0, writer.length);
        for (let cut = 0; cut <= payload.length; cut++) {
          const calls: Call[] = [];
          const ok = readFrames(payload.subarray(0, cut), record(calls));
          const whole = ends.filter((end) => end <= cut).length - 1;
          expect(calls).toEqual(frames.slice(0, whole).map(({ call }) => call));
          expect(ok).toBe(ends.includes(cut));
        }
      }),
      { numRuns: 100 },
    );
  });

  it("of a settlement give each refusal its reason; a code of a later version is a refusal all the same", () => {
    const settled = (hex: string) => {
      const calls: Call[] = [];
      return readFrames(Buffer.from(hex.replaceAll(" ", ""), "hex"), record(calls)) ? calls : null;
    };
    const reasons = ["refused", "key-mismatch", "declined", "not-understood", "malformed", "revoked", "refused"];
    for (const [code, name] of [...reasons.entries(), [255, "refused"] as const]) {
      const refusals = [{ number: 6, reason: name }];
      expect(settled(`02 00000007 01 00000006 ${code.toString(16).padStart(2, "0")}`)).toEqual([
        ["settled", 7, refusals],
      ]);
    }
    expect(settled("02 00000007 00")).toEqual([["settled", 7, []]]);
    expect(settled(`02 00000007 ${(MAX_REFUSED + 1).toString(16)} ${"0000000601".repeat(MAX_REFUSED + 1)}`)).toBeNull();
    expect(settled("02 00000007 02 00000006 01 00000005")).toBeNull();
  });

  it("of an unknown type end the payload, wherever they stand", () => {
    const known = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for (let type = 0; type < 256; type++) {
      if (known.includes(type)) continue;
      const calls: Call[] = [];
      expect(readFrames(Buffer.from([5, type, ...new Array<number>(40).fill(0)]), record(calls))).toBe(false);
      expect(calls).toEqual([["ping"]]);
    }
  });

  it("of random bytes never throw, and never give a fragment outside its message", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 8 }), fc.uint8Array({ maxLength: 1168 }), (type, bytes) => {
        const payload = Buffer.from([type, ...bytes]);
        readFrames(payload, {
          ...record([]),
          onFragment: (_number, total, at, fragment) => {
            expect(total).toBeLessThanOrEqual(MAX_BODY_BYTES);
            expect(at).toBeLessThan(fragmentCount(total));
            expect(fragment).toHaveLength(fragmentLength(total, at));
            return true;
          },
        });
      }),
      { numRuns: 5000 },
    );
  });

  it("the largest message's fragments fill datagrams and leave room for BASE and ACK", () => {
    expect(FRAGMENT_BYTES + FRAGMENT_HEAD_BYTES + BASE_BYTES + ACK_HEAD_BYTES + 4 * MAX_ACK_WORDS).toBeLessThanOrEqual(
      MAX_PAYLOAD_BYTES,
    );
    const body = Buffer.alloc(MAX_BODY_BYTES, 7);
    let sum = 0;
    for (let i = 0; i < fragmentCount(body.length); i++) {
      const writer = new FrameWriter(Buffer.alloc(MAX_DATAGRAM_BYTES));
      writer.fragment(1, body, i);
      expect(writer.room).toBeGreaterThanOrEqual(0);
      sum += writer.length - FRAGMENT_HEAD_BYTES;
    }
    expect(sum).toBe(body.length);
    expect([
      fragmentCount(0),
      fragmentCount(1),
      fragmentCount(FRAGMENT_BYTES),
      fragmentCount(FRAGMENT_BYTES + 1),
    ]).toEqual([1, 1, 1, 2]);
  });
});

const FIRST = { auto: false, repeated: false, again: false };

describe("message bodies", () => {
  const short = fc.string({ unit: "grapheme", maxLength: 12 }).filter((text) => Buffer.byteLength(text) <= 64);

  it("come back as they were written", () => {
    fc.assert(
      fc.property(
        short.filter((id) => id !== ""),
        short,
        fc.string({ unit: "grapheme", maxLength: 300 }),
        (id, from, text) => {
          expect(decodeMessage(encodeMessage({ id, from, text }) as Buffer)).toEqual({ id, from, text, ...FIRST });
        },
      ),
    );
  });

  it("that are changed or cut are other messages or none, and never throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const body = Buffer.from([1, 0, ...bytes]);
        const message = decodeMessage(body);
        if (typeof message === "string") {
          expect(message).toBe("malformed");
          return;
        }
        body[2] = (body[2] as number) & 3; // flags: those that are written at once
        expect(encodeMessage(message)).toEqual(body);
      }),
      { numRuns: 3000 },
    );
  });

  it("that are cut anywhere are shorter texts or malformed", () => {
    const body = encodeMessage({ id: "id", from: "alice", text: "grüß dich" }) as Buffer;
    const textStart = body.length - Buffer.byteLength("grüß dich");
    for (let length = 0; length < body.length; length++) {
      const message = decodeMessage(body.subarray(0, length));
      const splitsCharacter = length === textStart + 3 || length === textStart + 5;
      if (length < textStart || splitsCharacter) expect(message).toBe("malformed");
      else expect(message).toMatchObject({ id: "id", from: "alice" });
    }
  });

  it("of an unknown version or type are not understood, whatever stands behind it", () => {
    const body = encodeMessage({ id: "i", from: "a", text: "t" }) as Buffer;
    const { text, wall, roomText, ...others } = BodyType;
    for (let value = 0; value < 256; value++) {
      const otherVersion = Buffer.from([value, ...body.subarray(1)]);
      if (value !== 1) expect(decodeMessage(otherVersion)).toBe("not-understood");
      const otherType = Buffer.from([1, value, ...body.subarray(2)]);
      if (value !== text && value !== wall && value !== roomText)
        expect(decodeMessage(otherType)).toBe("not-understood");
    }
    expect(Object.values(others)).toEqual([3, 4, 5, 6]);
    expect(decodeMessage(Buffer.from([1, 77]))).toBe("not-understood");
    expect(decodeMessage(Buffer.from([7]))).toBe("not-understood");
  });

  it("say whether a program has sent them without a person's doing", () => {
    const body = encodeMessage({ id: "i", from: "a", text: "t", auto: true }) as Buffer;
    expect(body[2]).toBe(1);
    expect(decodeMessage(body)).toEqual({ id: "i", from: "a", text: "t", ...FIRST, auto: true });
  });

  it("with flags that this version does not know are the same texts", () => {
    const message = { id: "i", from: "a", text: "t" };
    const body = encodeMessage(message) as Buffer;
    expect(body[2]).toBe(0);
    for (let flags = 0; flags < 256; flags++) {
      body[2] = flags;
      const again = (flags & 4) !== 0;
      expect(decodeMessage(body)).toEqual({
        ...{ ...message, again },
        auto: (flags & 1) !== 0,
        repeated: again || (flags & 2) !== 0,
      });
    }
  });

  it("within their bounds only, also where the bytes and not the characters are too many", () => {
    const fits = { id: "é".repeat(32), from: "é".repeat(32), text: "é".repeat(32_768) };
    expect(decodeMessage(encodeMessage(fits) as Buffer)).toEqual({ ...fits, ...FIRST });
    for (const wrong of [{ id: "" }, { id: `${fits.id}x` }, { from: `${fits.from}x` }, { text: `${fits.text}x` }]) {
      expect(encodeMessage({ ...fits, ...wrong })).toBeNull();
      expect(encodeMessage({ ...fits, text: "short", ...wrong })).toBeNull();
    }
  });

  it("of a room say which; cut short they are none, and neither is one without a room", () => {
    const message = { id: "i", from: "ann", text: "grüß euch", room: "#opß", auto: true };
    const body = encodeMessage(message) as Buffer;
    expect(body[1]).toBe(BodyType.roomText);
    expect(decodeMessage(body)).toEqual({ ...message, ...FIRST, auto: true });
    const textStart = body.length - Buffer.byteLength(message.text);
    for (let length = 0; length < textStart; length++) {
      expect(decodeMessage(body.subarray(0, length))).toBe("malformed");
    }
    const long = { ...message, text: "x".repeat(65_536), room: `#${"é".repeat(32)}` };
    expect(decodeMessage(encodeMessage(long) as Buffer)).toMatchObject({ text: long.text, room: long.room });
    expect(encodeMessage({ ...long, text: `${long.text}x` })).toBeNull();
    expect(encodeMessage({ ...long, room: `${long.room}x` })).toBeNull();
    expect(encodeMessage({ ...long, room: "" })).toBeNull();
    const unnamed = Buffer.from([1, 2, 0, 1, 0x69, 1, 0x61, 0, 0x74]);
    expect(decodeMessage(unnamed)).toBe("malformed");
  });

  it("do not let a character reach from one field into the next", () => {
    const body = encodeMessage({ id: "i", from: "ab", text: "cd" }) as Buffer;
    for (let at = 4; at < body.length - 1; at++) {
      const changed = Buffer.from(body);
      changed[at] = 0xc3;
      changed[at + 1] = 0xa9;
      expect(JSON.stringify(decodeMessage(changed))).not.toContain("\ufffd");
    }
    expect(decodeMessage(Buffer.from([1, 0, 0, 1, 0x69, 1, 0xc3, 0xa9]))).toBe("malformed");
  });
});
