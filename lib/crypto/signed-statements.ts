// What a client signs when it registers: that the holder of the key wants this name at these endpoints, on this connection.
// Or, when it only claims the name, that it wants the name. Ed25519 (RFC 8032) over a text with one field a line; a field cannot contain a line feed.
import { createPublicKey, verify } from "node:crypto";

export interface Registration {
  /** base64, from the server's HELLO on this connection; used once */
  nonce: string;
  name: string;
  /** UDP port of the client's chat socket, 1 to 65535 */
  port: number;
  /** as sent in ADDR arguments, in their order; empty: the address that the server sees */
  addresses: readonly string[];
  /** as sent in HOST; "" if it was left out */
  host: string;
}

/** Bytes of an Ed25519 public key and of a signature (RFC 8032, section 5.1). */
export const KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

// SubjectPublicKeyInfo of an Ed25519 key is these bytes and then the key (RFC 8410, section 4).
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/** The bytes that a client signs and the server verifies. */
export function registrationBytes(registration: Registration): Buffer {
  const { nonce, name, port, addresses, host } = registration;
  const fields = ["ptalk-register-v1", nonce, name, String(port), addresses.join(","), host];
  return Buffer.from(`${fields.join("\n")}\n`, "utf8");
}

/** The same for a CLAIM: the name alone. */
export type Claim = Pick<Registration, "nonce" | "name">;

export function claimBytes({ nonce, name }: Claim): Buffer {
  return Buffer.from(`ptalk-claim-v1\n${nonce}\n${name}\n`, "utf8");
}

/**
 * @param key base64 of 32 bytes
 * @param signature base64 of 64 bytes
 * @returns whether the key's holder signed the registration; false for malformed keys and signatures as well
 */
export function verifyRegistration(registration: Registration, key: string, signature: string): boolean {
  return isSigned(registrationBytes(registration), key, signature);
}

/** As {@link verifyRegistration}. */
export function verifyClaim(claim: Claim, key: string, signature: string): boolean {
  return isSigned(claimBytes(claim), key, signature);
}

function isSigned(text: Buffer, key: string, signature: string): boolean {
  const keyBytes = decodeBase64(key, KEY_BYTES);
  const signatureBytes = decodeBase64(signature, SIGNATURE_BYTES);
  if (keyBytes === null || signatureBytes === null) return false;
  try {
    const publicKey = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, keyBytes]), format: "der", type: "spki" });
    return verify(null, text, publicKey, signatureBytes);
  } catch {
    return false; // not a point of the curve
  }
}

/** Bytes of canonical base64 of exactly `size` bytes (RFC 4648, section 4, padded); null for anything else. */
export function decodeBase64(text: string, size: number): Buffer | null {
  const bytes = Buffer.from(text, "base64");
  // Node skips what is no base64. One spelling per key, or one key could own a name under two.
  return bytes.length === size && bytes.toString("base64") === text ? bytes : null;
}
