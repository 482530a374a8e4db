// Who a user is: one Ed25519 key pair. The lookup server binds the name to it, peers pin its fingerprint, and the Noise
// handshake uses its X25519 form. Knows nothing of sockets, names or directories.
// libsodium signs: it is loaded anyway for sessions, and node:crypto takes 3 ms to make its first key.
import { createHash, randomBytes } from "node:crypto";
import sodium from "sodium-universal";
import { fingerprint } from "./fingerprint.ts";
import { readSeedFile, writeSeedFileOnce } from "./key-file.ts";

/** Lengths in bytes (RFC 8032 section 5.1). */
export const SEED_BYTES = 32;
export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

/** libsodium's form of the secret: seed and public key. */
const SECRET_BYTES = SEED_BYTES + PUBLIC_KEY_BYTES;

export class Identity {
  /** Ed25519 public key, 32 bytes. On the wire to the server: its base64. */
  readonly publicKey: Buffer;
  /** "SHA256:…", see {@link fingerprint}. */
  readonly fingerprint: string;
  // Private fields: neither util.inspect nor JSON.stringify ever shows them.
  // Nor in the memory that small buffers share.
  readonly #seed = Buffer.alloc(SEED_BYTES);
  readonly #secret = Buffer.alloc(SECRET_BYTES);

  /** @param seed the 32 secret bytes of RFC 8032; copied */
  constructor(seed: Uint8Array) {
    if (seed.length !== SEED_BYTES) throw new RangeError(`an Ed25519 seed has ${SEED_BYTES} bytes, not ${seed.length}`);
    this.#seed.set(seed);
    this.publicKey = Buffer.alloc(PUBLIC_KEY_BYTES);
    sodium.crypto_sign_seed_keypair(this.publicKey, this.#secret, this.#seed);
    this.fingerprint = fingerprint(this.publicKey);
  }

  /** A fresh identity from the system's random source; kept nowhere. */
  static generate(): Identity {
    return new Identity(randomBytes(SEED_BYTES));
  }

  /** Ed25519 signature (RFC 8032), 64 bytes. */
  sign(bytes: Uint8Array): Buffer {
    const signature = Buffer.alloc(SIGNATURE_BYTES);
    sodium.crypto_sign_detached(signature, bytes, this.#secret);
    return signature;
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
