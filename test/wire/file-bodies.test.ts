// The bodies of messages about files: whole, cut short, and changed.
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_BODY_BYTES } from "../../lib/wire/datagram-frames.ts";
import {
  decodeFileBody,
  encodeFileControl,
  encodeFileOffer,
  FILE_STEPS,
  fileDataBytes,
  fileDataHeadBytes,
  isFileBody,
  writeFileDataHead,
} from "../../lib/wire/file-bodies.ts";

const size = fc.maxSafeNat();
const id = fc.string({ unit: "binary", minLength: 1, maxLength: 16 });

describe("bodies about files", () => {
  it("round-trip", () => {
    const offer = fc.record({
      ...{ id, size, from: fc.string({ unit: "binary", maxLength: 16 }) },
      name: fc.string({ unit: "binary", minLength: 1, maxLength: 60 }),
      sha256: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)),
    });
    fc.assert(
      fc.property(offer, (written) => {
        const body = encodeFileOffer(written) as Buffer;
        expect(isFileBody(body)).toBe(true);
        expect(decodeFileBody(body)).toEqual({ type: "offer", ...written });
      }),
    );
    fc.assert(
      fc.property(
        id,
        fc.constantFrom(...FILE_STEPS),
        size,
        fc.string({ maxLength: 100 }),
        (of, step, offset, reason) => {
          const body = encodeFileControl(of, step, offset, reason) as Buffer;
          expect(decodeFileBody(body)).toEqual({ type: "control", id: of, step, offset, reason });
        },
      ),
    );
    fc.assert(
      fc.property(id, size, fc.nat(1000), (of, offset, length) => {
        const head = fileDataHeadBytes(of);
        const body = Buffer.concat([Buffer.alloc(head), randomBytes(length)]);
        writeFileDataHead(body, of, offset);
        expect(decodeFileBody(body)).toEqual({ type: "data", id: of, offset, bytes: body.subarray(head) });
      }),
    );
  });

  it("fit a message, and long words are cut between characters", () => {
    expect(fileDataHeadBytes("x".repeat(64)) + fileDataBytes("x".repeat(64))).toBeLessThanOrEqual(MAX_BODY_BYTES);
    const body = encodeFileControl("x", "failed", 0, `a${"\u{1f600}".repeat(200)}`) as Buffer;
    expect(decodeFileBody(body)).toMatchObject({ reason: `a${"\u{1f600}".repeat(127)}` });
  });

  it("have an id, and names within their bounds", () => {
    const offer = { id: "i", from: "a", name: "n", size: 1, sha256: Buffer.alloc(32) };
    for (const wrong of [{ id: "" }, { id: "x".repeat(65) }, { from: "x".repeat(65) }, { name: "" }]) {
      expect(encodeFileOffer({ ...offer, ...wrong })).toBeNull();
    }
    expect(encodeFileOffer({ ...offer, name: "x".repeat(256) })).toBeNull();
    expect(encodeFileControl("", "done")).toBeNull();
  });

  it("that are cut short or changed are none, or another one, and never an exception", () => {
    const bodies = [
      encodeFileOffer({ id: "id", from: "ann", name: "n", size: 2 ** 40, sha256: randomBytes(32) }) as Buffer,
      encodeFileControl("id", "accept", 17, "because") as Buffer,
    ];
    for (const body of bodies) {
      for (let length = 0; length < body.length; length++) decodeFileBody(body.subarray(0, length));
      for (let at = 0; at < body.length; at++) {
        for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
          const changed = Buffer.from(body);
          changed[at] = value;
          decodeFileBody(changed);
        }
      }
    }
    expect(decodeFileBody(Buffer.from([1, 3, 0]))).toBeNull();
    expect(decodeFileBody(Buffer.from([1, 5, 0, 1, 0x69, 99, 0, 0, 0, 0, 0, 0, 0, 0]))).toBeNull();
  });
});
