// The checks of a handshake before any Diffie-Hellman: a mac that proves that the sender knows the receiver's public key (a
// stray datagram or a scan is dropped in a microsecond), and under load a cookie that proves that it receives at its address.
// The cookie is stateless: a mac over the address, under a secret that changes.
import { randomBytes, timingSafeEqual } from "node:crypto";
import sodium from "sodium-universal";
import { PROLOGUE } from "./noise.ts";

/** Lengths in bytes of a mac and of a cookie: keyed BLAKE2b, truncated by its own parameter. */
export const MAC_BYTES = 16;

const LABEL = Buffer.from(`${PROLOGUE} mac `);
const SECRET_BYTES = 32;
/** A cookie is good for one to two of these, in milliseconds. */
export const COOKIE_PERIOD = 60_000;

/** Derived from the receiver's X25519 public key. */
export function macKey(publicKey: Buffer): Buffer {
  const key = Buffer.alloc(32);
  sodium.crypto_generichash(key, Buffer.concat([LABEL, publicKey]));
  return key;
}

/** @param output MAC_BYTES bytes */
export function writeMac(key: Buffer, bytes: Buffer, output: Buffer): void {
  sodium.crypto_generichash(output, bytes, key);
}

const expected = Buffer.alloc(MAC_BYTES);

export function hasValidMac(key: Buffer, bytes: Buffer, mac: Buffer): boolean {
  writeMac(key, bytes, expected);
  return timingSafeEqual(expected, mac);
}

export class Cookies {
  #secret = randomBytes(SECRET_BYTES);
  #previous = randomBytes(SECRET_BYTES);
  #changedAt: number;

  /** @param now monotonic milliseconds */
  constructor(now: number) {
    this.#changedAt = now;
  }

  make(address: string, port: number, now: number): Buffer {
    this.#rotate(now);
    return cookie(this.#secret, address, port);
  }

  isValid(given: Buffer, address: string, port: number, now: number): boolean {
    this.#rotate(now);
    return [this.#secret, this.#previous].some((secret) => timingSafeEqual(cookie(secret, address, port), given));
  }

  #rotate(now: number): void {
    const age = now - this.#changedAt;
    if (age < COOKIE_PERIOD) return;
    // After a long pause the last secret is old too.
    this.#previous = age < 2 * COOKIE_PERIOD ? this.#secret : randomBytes(SECRET_BYTES);
    this.#secret = randomBytes(SECRET_BYTES);
    this.#changedAt = now;
  }
}

function cookie(secret: Buffer, address: string, port: number): Buffer {
  const output = Buffer.alloc(MAC_BYTES);
  writeMac(secret, Buffer.from(`${address} ${port}`), output);
  return output;
}
