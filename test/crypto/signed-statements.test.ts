import { generateKeyPairSync, sign } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  claimBytes,
  type Registration,
  registrationBytes,
  verifyClaim,
  verifyRegistration,
} from "../../lib/crypto/signed-statements.ts";

const registration: Registration = {
  nonce: "bm9uY2U=",
  name: "bob",
  port: 4000,
  addresses: ["192.0.2.1", "::1"],
  host: "here",
};
const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const key = publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64");
const signature = sign(null, registrationBytes(registration), privateKey).toString("base64");

describe("registration", () => {
  it("signs one text, field by field", () => {
    expect(registrationBytes(registration).toString()).toBe(
      "ptalk-register-v1\nbm9uY2U=\nbob\n4000\n192.0.2.1,::1\nhere\n",
    );
  });

  it("accepts the key's signature and nothing else", () => {
    expect(verifyRegistration(registration, key, signature)).toBe(true);
    const changes: Partial<Registration>[] = [
      { nonce: "b3RoZXI=" },
      { name: "eve" },
      { port: 4001 },
      { addresses: ["192.0.2.1"] },
      { host: "" },
    ];
    for (const change of changes)
      expect(verifyRegistration({ ...registration, ...change }, key, signature)).toBe(false);
    const bytes = Buffer.from(signature, "base64");
    for (let bit = 0; bit < 512; bit++) {
      const wrong = Buffer.from(bytes);
      wrong[bit >> 3] = (wrong[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(verifyRegistration(registration, key, wrong.toString("base64"))).toBe(false);
    }
  });

  it("claims with another text, which stands for nothing else", () => {
    expect(claimBytes(registration).toString()).toBe("ptalk-claim-v1\nbm9uY2U=\nbob\n");
    const claim = sign(null, claimBytes(registration), privateKey).toString("base64");
    expect(verifyClaim(registration, key, claim)).toBe(true);
    expect(verifyClaim({ ...registration, name: "eve" }, key, claim)).toBe(false);
    expect(verifyClaim(registration, key, signature)).toBe(false);
    expect(verifyRegistration(registration, key, claim)).toBe(false);
  });

  it.each(["", "x", "A".repeat(44), key.replace("=", ""), `${key} `, key.slice(0, 40), `${key}${key}`])(
    "refuses the malformed key %j",
    (bad) => expect(verifyRegistration(registration, bad, signature)).toBe(false),
  );
});
