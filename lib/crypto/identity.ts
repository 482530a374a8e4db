// Who a user is: one Ed25519 key pair. The lookup server binds the name to it, peers pin its fingerprint, and the Noise
// handshake uses its X25519 form. Knows nothing of sockets, names or directories.
import { createHash, createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign, verify } from "node:crypto";
import { fingerprint } from "./fingerprint.ts";
import { readSeedFile, writeSeedFileOnce } from "./key-file.ts";

/** Lengths in bytes (RFC 8032 section 5.1). */
export const SEED_BYTES = 32;
export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

// RFC 8410: the fixed DER heads in front of a raw Ed25519 seed (PKCS #8) and of a raw public key (SubjectPublicKeyInfo).
const PKCS8_HEAD = Buffer.from("302e020100300506032b657004220420", "hex");
const SPKI_HEAD = Buffer.from("302a300506032b6570032100", "hex");

export class Identity {
  /** Ed25519 public key, 32 bytes. On the wire to the server: its base64. */
  readonly publicKey: Buffer;
  /** "SHA256:…", see {@link fingerprint}. */
  readonly fingerprint: string;
  // Private fields: neither util.inspect nor JSON.stringify ever shows them.
  readonly #seed: Buffer;
  readonly #key: KeyObject;

  /** @param seed the 32 secret bytes of RFC 8032; copied */
  constructor(seed: Uint8Array) {
    if (seed.length !== SEED_BYTES) throw new RangeError(`an Ed25519 seed has ${SEED_BYTES} bytes, not ${seed.length}`);
    this.#seed = Buffer.from(seed);
    this.#key = createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, this.#seed]), format: "der", type: "pkcs8" });
    const spki = createPublicKey(this.#key).export({ format: "der", type: "spki" });
    this.publicKey = Buffer.from(spki.subarray(SPKI_HEAD.length));
    this.fingerprint = fingerprint(this.publicKey);
  }

  /** A fresh identity from the system's random source; kept nowhere. */
  static generate(): Identity {
    return new Identity(randomBytes(SEED_BYTES));
  }

  /** Ed25519 signature (RFC 8032), 64 bytes. */
  sign(bytes: Uint8Array): Buffer {
    return sign(null, bytes, this.#key);
  }

  /**
   * The X25519 scalar of this key, 32 secret bytes: the same one that Ed25519 signs with (RFC 8032 section 5.1.5,
   * steps 1 and 2), so that its public half is the birational image of {@link publicKey} (RFC 7748 section 4.1).
   */
  dhSecret(): Buffer {
    const scalar = createHash("sha512").update(this.#seed).digest().subarray(0, 32);
    scalar.writeUInt8(scalar.readUInt8(0) & 248, 0);
    scalar.writeUInt8((scalar.readUInt8(31) & 127) | 64, 31);
    return scalar;
  }
}

/**
 * The identity in the file at `path`, made on first use: mode 0600, whole or not at all, never overwritten. Two
 * processes starting at once end up with the same one. Synchronous: it runs once, before there is anything to serve.
 *
 * Throws TalkError "refused" for a file that others can read or that another user owns, "bad-data" for one that holds
 * no key, and the system's own error (EACCES, ENOSPC, EROFS…) when it cannot be read or made.
 */
export function loadOrCreateIdentity(path: string): Identity {
  return new Identity(readSeedFile(path) ?? writeSeedFileOnce(path, randomBytes(SEED_BYTES)));
}

/** True when `signature` is a valid Ed25519 signature of `bytes`; false for anything else, malformed input included. */
export function verifySignature(publicKey: Uint8Array, bytes: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== PUBLIC_KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  try {
    const key = createPublicKey({ key: Buffer.concat([SPKI_HEAD, publicKey]), format: "der", type: "spki" });
    return verify(null, bytes, key, signature);
  } catch {
    return false; // OpenSSL refuses some 32-byte strings that are no point of the curve
  }
}
