import { createPrivateKey, createPublicKey, randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { COOKIE_PERIOD, Cookies, hasValidMac, macKey, writeMac } from "../../lib/crypto/handshake-mac.ts";
import { Identity } from "../../lib/crypto/identity.ts";
import { Initiator, PROLOGUE, Responder, type StaticKeys, staticKeys, toX25519 } from "../../lib/crypto/noise.ts";
import { open, SEAL_BYTES, seal } from "../../lib/crypto/seal.ts";
import { PROTOCOL_VERSION } from "../../lib/wire/datagram.ts";

const hex = (text: string) => Buffer.from(text, "hex");

// node:crypto, so that the vectors check the library with something else than itself.
function x25519(secret: string): StaticKeys {
  const pkcs8 = Buffer.concat([hex("302e020100300506032b656e04220420"), hex(secret)]);
  const key = createPublicKey(createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" }));
  return { secretKey: hex(secret), publicKey: key.export({ format: "der", type: "spki" }).subarray(-32) };
}

function sealed(key: Buffer, counter: number, payload: Buffer): Buffer {
  const output = Buffer.alloc(payload.length + SEAL_BYTES);
  seal(key, counter, payload, output);
  return output;
}

describe("Noise_IK_25519_ChaChaPoly_BLAKE2b", () => {
  it("binds the protocol version that the datagrams carry", () => {
    expect(PROLOGUE.toString()).toBe(`ptalk/${PROTOCOL_VERSION}`);
  });

  it("agrees with the published vector (noise-c, noise-c-basic.txt)", () => {
    const prologue = hex("50726f6c6f677565313233");
    const alice = x25519("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1");
    const bob = x25519("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893");
    const aliceOnce = x25519("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a");
    const bobOnce = x25519("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b");
    expect(bob.publicKey).toEqual(hex("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62"));

    const initiator = new Initiator(alice, bob.publicKey, Buffer.from("Ludwig von Mises"), aliceOnce, prologue);
    expect(initiator.message.toString("hex")).toBe(
      "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944" +
        "ba83a447b38c83e327ad936929812f624884847b7831e95e197b2f797088efdd232fe541af156ec6d0657602902a8c3e" +
        "e64e470f4b6fcd9298ce0b56fe20f86e60d9d933ec6e103ffb09e6001d6abb64",
    );
    const responder = Responder.read(bob, initiator.message, bobOnce, prologue) as Responder;
    expect(responder.payload.toString()).toBe("Ludwig von Mises");
    expect(responder.remote).toEqual(alice.publicKey);
    const answer = responder.answer(Buffer.from("Murray Rothbard"));
    expect(answer.message.toString("hex")).toBe(
      "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843" +
        "9f069b267a06b3de3ecb1043bcb09807c6cd101f3826192a65f11ef3fe4317",
    );
    const done = initiator.finish(answer.message);
    expect(done?.payload.toString()).toBe("Murray Rothbard");
    const hash =
      "00e51d2aac81a9b8ebe441d6af3e1c8efc0f030cc608332edcb42588ff6a0ce26415ddc106e95277a5e6d54132f1e5245976b89caf96d262f1fe5a7f0c55c078";
    expect([done?.hash.toString("hex"), answer.hash.toString("hex")]).toEqual([hash, hash]);

    // Transport messages: counters 0 and 1 of each direction.
    const keys = (done as NonNullable<typeof done>).keys;
    expect(sealed(keys.send, 0, hex("462e20412e20486179656b")).toString("hex")).toBe(
      "cd54383060e7a28434cca27fb1cc524cfbabeb18181589df219d07",
    );
    expect(sealed(answer.keys.send, 0, hex("4361726c204d656e676572")).toString("hex")).toBe(
      "a856d3bf0246bfc476c655009cd1ed677b8dcc5b349ae8ef2a05f2",
    );
    expect(sealed(keys.send, 1, hex("4a65616e2d426170746973746520536179")).toString("hex")).toBe(
      "49063084b2c51f098337cb8a13739ac848f907e67cfb2cc8a8b60586467aa02fc7",
    );
    expect(sealed(answer.keys.send, 1, hex("457567656e2042f6686d20766f6e2042617765726b")).toString("hex")).toBe(
      "8b9709d23b47e4639df7678d7a21741eba4ef1e9c60383001c7435549c20f9d56f30e935d3",
    );
  });

  it("uses the X25519 form of the Ed25519 identity on both sides", () => {
    for (let i = 0; i < 20; i++) {
      const identity = Identity.generate();
      expect(staticKeys(identity).publicKey).toEqual(toX25519(identity.publicKey));
    }
  });

  it("refuses public keys that nobody can hold", () => {
    const smallOrder = [
      "00".repeat(32),
      `01${"00".repeat(31)}`,
      `${"ec".padEnd(62, "f")}7f`,
      "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ];
    for (const key of smallOrder) expect(toX25519(hex(key))).toBeNull();
    expect(toX25519(Buffer.alloc(31))).toBeNull();
    expect(toX25519(Buffer.alloc(0))).toBeNull();
  });

  const [alice, bob, eve] = [Identity.generate(), Identity.generate(), Identity.generate()].map(staticKeys) as [
    StaticKeys,
    StaticKeys,
    StaticKeys,
  ];

  it("is readable by nobody but the key's holder, and a changed byte anywhere makes it unreadable", () => {
    const { message } = new Initiator(alice, bob.publicKey, Buffer.from("hello"));
    expect(Responder.read(eve, message)).toBeNull();
    expect(Responder.read(bob, message)?.payload.toString()).toBe("hello");
    for (let i = 0; i < message.length; i++) {
      const forged = Buffer.from(message);
      forged[i] = (forged[i] as number) ^ 1;
      expect(Responder.read(bob, forged)).toBeNull();
    }
    for (let length = 0; length < message.length; length++) {
      expect(Responder.read(bob, message.subarray(0, length))).toBeNull();
    }
  });

  it("is finished by the peer's answer even after any number of forged ones", () => {
    const initiator = new Initiator(alice, bob.publicKey, Buffer.from("hello"));
    const responder = Responder.read(bob, initiator.message) as Responder;
    const answer = responder.answer(Buffer.from("yes"));
    const before = Buffer.from(answer.message);
    for (let i = 0; i < before.length; i++) {
      const forged = Buffer.from(before);
      forged[i] = (forged[i] as number) ^ 0x80;
      expect(initiator.finish(forged)).toBeNull();
    }
    expect(initiator.finish(Buffer.alloc(0))).toBeNull();
    const first = initiator.finish(answer.message);
    expect(first?.keys.send).toEqual(answer.keys.receive);
    expect(first?.keys.receive).toEqual(answer.keys.send);
    expect(answer.message).toEqual(before);
  });

  it("gives different keys each time", () => {
    const keys = [1, 2].map(() => {
      const initiator = new Initiator(alice, bob.publicKey, Buffer.alloc(0));
      return (Responder.read(bob, initiator.message) as Responder).answer(Buffer.alloc(0)).keys.send.toString("hex");
    });
    expect(keys[0]).not.toBe(keys[1]);
  });
});

describe("seal", () => {
  const key = randomBytes(32);

  it("opens what it sealed, with the same key and counter only", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1200 }), fc.nat(), fc.nat({ max: 0xffff_ffff }), (bytes, low, high) => {
        const counter = (high % 0x1f_ffff) * 0x1_0000_0000 + low;
        const box = sealed(key, counter, Buffer.from(bytes));
        const output = Buffer.alloc(bytes.length);
        expect(open(key, counter, box, output)).toBe(true);
        expect(output).toEqual(Buffer.from(bytes));
        expect(open(key, counter + 1, box, output)).toBe(false);
        expect(open(key, counter + 0x1_0000_0000, box, output)).toBe(false);
        const at = low % box.length;
        box[at] = (box[at] as number) ^ 4;
        expect(open(key, counter, box, output)).toBe(false);
        expect(open(randomBytes(32), counter, box, output)).toBe(false);
      }),
      { numRuns: 200 },
    );
  });
});

describe("handshake mac and cookie", () => {
  it("is made with the receiver's public key over the bytes", () => {
    const [mine, other] = [macKey(randomBytes(32)), macKey(randomBytes(32))];
    const bytes = randomBytes(100);
    const mac = Buffer.alloc(16);
    writeMac(mine, bytes, mac);
    expect(hasValidMac(mine, bytes, mac)).toBe(true);
    expect(hasValidMac(other, bytes, mac)).toBe(false);
    bytes[3] = (bytes[3] as number) ^ 1;
    expect(hasValidMac(mine, bytes, mac)).toBe(false);
  });

  it("a cookie is good for its address and port only, and for one to two periods", () => {
    const cookies = new Cookies(0);
    const cookie = cookies.make("192.0.2.1", 4000, 0);
    expect(cookies.isValid(cookie, "192.0.2.1", 4000, 1)).toBe(true);
    expect(cookies.isValid(cookie, "192.0.2.1", 4001, 1)).toBe(false);
    expect(cookies.isValid(cookie, "192.0.2.2", 4000, 1)).toBe(false);
    expect(cookies.isValid(Buffer.alloc(16), "192.0.2.1", 4000, 1)).toBe(false);
    expect(cookies.isValid(cookie, "192.0.2.1", 4000, COOKIE_PERIOD * 1.5)).toBe(true);
    expect(cookies.isValid(cookie, "192.0.2.1", 4000, COOKIE_PERIOD * 2.6)).toBe(false);
    expect(new Cookies(0).isValid(cookie, "192.0.2.1", 4000, 1)).toBe(false);
    expect(new Cookies(0).isValid(cookie, "192.0.2.1", 4000, COOKIE_PERIOD * 9)).toBe(false);
  });
});
