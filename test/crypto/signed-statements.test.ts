import { generateKeyPairSync, sign, verify } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type ConnectionStatement,
  channelBytes,
  claimBytes,
  claimIdOf,
  decodeBase64,
  greetingBytes,
  isSigned,
  type Registration,
  registrationBytes,
  tlsBinding,
} from "../../lib/crypto/signed-statements.ts";

const connection: ConnectionStatement = {
  serverNonce: "c2VydmVy",
  clientNonce: "Y2xpZW50",
  serverKey: "a2V5",
  binding: "local",
};
const registration: Registration = {
  ...connection,
  name: "bob",
  port: 4000,
  endpoints: [
    { address: "192.0.2.1", port: 4001, kind: "host" },
    { address: "::1", port: 4002, kind: "relay" },
  ],
  host: "here",
  protocol: 2,
  options: ["PROBE", "TAKEOVER 0123456789abcdef"],
};
const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const key = publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64");
const signed = (bytes: Buffer) => sign(null, bytes, privateKey).toString("base64");
const signature = signed(registrationBytes(registration));

/** Everything that a statement on a connection covers, changed one by one. */
const elsewhere: Partial<ConnectionStatement>[] = [
  { serverNonce: "b3RoZXI=" },
  { clientNonce: "" },
  { serverKey: "b3RoZXI=" },
  { binding: "tls-exporter AAAA" },
];

describe("the texts", () => {
  it("of a registration has a line for each field", () => {
    expect(registrationBytes(registration).toString()).toBe(
      "ptalk-register-v2\nc2VydmVy\nY2xpZW50\na2V5\nlocal\n" +
        "bob\n4000\nhost 192.0.2.1 4001,relay ::1 4002\nhere\n2\nPROBE,TAKEOVER 0123456789abcdef\n",
    );
    const empty = { ...registration, clientNonce: "", endpoints: [], host: "", options: [] };
    expect(registrationBytes(empty).toString()).toBe(
      "ptalk-register-v2\nc2VydmVy\n\na2V5\nlocal\nbob\n4000\n\n\n2\n\n",
    );
  });

  it("of a claim and of a greeting stand for nothing else", () => {
    expect(claimBytes(registration).toString()).toBe("ptalk-claim-v2\nc2VydmVy\nY2xpZW50\na2V5\nlocal\nbob\n");
    const greeting = { ...connection, directory: "0123", channel: "plain" } as const;
    expect(greetingBytes(greeting).toString()).toBe("ptalk-hello-v3\nY2xpZW50\nc2VydmVy\na2V5\n0123\nplain\n");
    expect(channelBytes(connection).toString()).toBe("ptalk-channel-v1\nY2xpZW50\nc2VydmVy\nlocal\n");
    const heads = [registrationBytes(registration), claimBytes(registration), greetingBytes(greeting)];
    expect(new Set(heads.map((bytes) => bytes.toString().split("\n")[0])).size).toBe(heads.length);
  });

  it("of two registrations without line feeds in their fields are equal only if all fields are", () => {
    const word = fc.string({ maxLength: 4, unit: fc.constantFrom("a", ",", " ", "2", "") });
    const endpoint = fc.record({
      address: fc.constantFrom("192.0.2.1", "::1"),
      port: fc.constantFrom(1, 11),
      kind: fc.constantFrom("host" as const, "relay" as const),
    });
    const statement = fc.record({
      ...{ serverNonce: word, clientNonce: word, serverKey: word, binding: word, name: word, host: word },
      port: fc.constantFrom(1, 11),
      endpoints: fc.array(endpoint, { maxLength: 2 }),
      protocol: fc.constantFrom(2, 22),
      options: fc.subarray(["PROBE", "REPLACE", "TAKEOVER 0123456789abcdef"]),
    });
    fc.assert(
      fc.property(statement, statement, (a, b) => {
        expect(registrationBytes(a).equals(registrationBytes(b))).toBe(JSON.stringify(a) === JSON.stringify(b));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("a signature", () => {
  it("of the key is good for what was signed, and for nothing else", () => {
    expect(isSigned(registrationBytes(registration), key, signature)).toBe(true);
    const changes: Partial<Registration>[] = [
      ...elsewhere,
      { name: "eve" },
      { port: 4001 },
      { endpoints: [] },
      { endpoints: registration.endpoints.toReversed() },
      { endpoints: registration.endpoints.map((endpoint) => ({ ...endpoint, kind: "host" })) },
      { host: "" },
      { protocol: 3 },
      { options: [] },
      { options: ["PROBE", "REPLACE", "TAKEOVER 0123456789abcdef"] },
      { options: ["PROBE", "TAKEOVER 0123456789abcdeg"] },
    ];
    for (const change of changes) {
      expect(isSigned(registrationBytes({ ...registration, ...change }), key, signature)).toBe(false);
    }
    const bytes = Buffer.from(signature, "base64");
    for (let bit = 0; bit < 512; bit++) {
      const wrong = Buffer.from(bytes);
      wrong[bit >> 3] = (wrong[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(isSigned(registrationBytes(registration), key, wrong.toString("base64"))).toBe(false);
    }
  });

  it("of a claim is good for that name on that connection, and for no registration", () => {
    const claim = signed(claimBytes(registration));
    expect(isSigned(claimBytes(registration), key, claim)).toBe(true);
    for (const change of [...elsewhere, { name: "eve" }]) {
      expect(isSigned(claimBytes({ ...registration, ...change }), key, claim)).toBe(false);
    }
    expect(isSigned(claimBytes(registration), key, signature)).toBe(false);
    expect(isSigned(registrationBytes(registration), key, claim)).toBe(false);
  });

  it("is the one of RFC 8032, as others make and check it", () => {
    const bytes = registrationBytes(registration);
    expect(verify(null, bytes, publicKey, Buffer.from(signature, "base64"))).toBe(true);
    expect(isSigned(bytes, key, sign(null, bytes, privateKey).toString("base64"))).toBe(true);
  });

  it.each(["", "x", "A".repeat(44), key.replace("=", ""), `${key} `, key.slice(0, 40), `${key}${key}`])(
    "of the malformed key %j is none",
    (bad) => expect(isSigned(registrationBytes(registration), bad, signature)).toBe(false),
  );

  it("by a key of small order is none: that one signs every text", () => {
    // The neutral element: R = identity, S = 0 fits it for any text, where nobody looks.
    const neutral = Buffer.alloc(32);
    neutral[0] = 1;
    const forged = Buffer.concat([neutral, Buffer.alloc(32)]);
    expect(isSigned(registrationBytes(registration), neutral.toString("base64"), forged.toString("base64"))).toBe(
      false,
    );
  });
});

it("names a registration by the head of its nonce, in characters that an option may have", () => {
  const nonce = Buffer.alloc(32, 0xff).toString("base64");
  expect(claimIdOf(nonce)).toMatch(/^[A-Za-z0-9+/]{16}$/);
  expect(nonce.startsWith(claimIdOf(nonce))).toBe(true);
});

it("writes a TLS connection's binding as base64 of what it exports", () => {
  expect(tlsBinding(Buffer.alloc(32, 1))).toBe(`tls-exporter ${Buffer.alloc(32, 1).toString("base64")}`);
});

describe("base64", () => {
  it("has one spelling for the same bytes", () => {
    const text = Buffer.alloc(32, 7).toString("base64");
    expect(decodeBase64(text, 32)).toEqual(Buffer.alloc(32, 7));
    const second = `${text.slice(0, -2)}${String.fromCharCode(text.charCodeAt(42) + 1)}=`;
    expect(Buffer.from(second, "base64")).toEqual(Buffer.alloc(32, 7));
    for (const other of [second, ` ${text}`, `${text}\n`, text.slice(0, -1), "", null, 7]) {
      expect(decodeBase64(other, 32)).toBeNull();
    }
    expect(decodeBase64(text, 31)).toBeNull();
  });
});
