// How many handshakes may begin, from one address and in all: token buckets, asked before any Diffie-Hellman. Pure; the
// clock is an argument.
import { isIPv6 } from "node:net";
import { isLoopback } from "../base/server-address.ts";
import { BURST_SECONDS, CHEAP_REPLIES, MAX_TRACKED_ADDRESSES } from "./limits.ts";
import type { PeerLimits } from "./types.ts";

export class TokenBucket {
  readonly #rate: number; // a second
  #tokens: number;
  #at: number;

  constructor(ratePerSecond: number, now: number) {
    this.#rate = ratePerSecond;
    this.#tokens = ratePerSecond * BURST_SECONDS;
    this.#at = now;
  }

  take(now: number): boolean {
    const grown = this.#tokens + ((now - this.#at) / 1000) * this.#rate;
    this.#tokens = Math.min(grown, this.#rate * BURST_SECONDS);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

/** "cookie": answer with a COOKIE. "address" and "global": drop the INIT; the limit that it ran into. */
export type RateVerdict = "pass" | "cookie" | "address" | "global";

export class HandshakeRateLimiter {
  readonly #limits: PeerLimits;
  readonly #all: TokenBucket; // without a proof of the address
  readonly #allProven: TokenBucket;
  readonly #replies: TokenBucket;
  readonly #buckets = new Map<string, TokenBucket>(); // by rateLimitKey(), without a proof
  readonly #provenBuckets = new Map<string, TokenBucket>();

  constructor(limits: PeerLimits, now: number) {
    this.#limits = limits;
    this.#all = new TokenBucket(limits.handshakesWithoutCookie, now);
    this.#allProven = new TokenBucket(limits.handshakesWithCookie, now);
    this.#replies = new TokenBucket(CHEAP_REPLIES, now);
  }

  /** @param proven the INIT had a valid cookie: its source address is no lie */
  admit(address: string, port: number, proven: boolean, now: number): RateVerdict {
    const key = rateLimitKey(address);
    if (proven) {
      // Users of one machine share its loopback address, and the cookie has proved the port too.
      const provenKey = isLoopback(address) ? `${address} ${port}` : key;
      if (!this.#bucket(this.#provenBuckets, provenKey, now).take(now)) return "address";
      return this.#allProven.take(now) ? "pass" : "global";
    }
    // A forged source can use up only what its victim has without a proof: an INIT beyond that is asked for one.
    if (this.#bucket(this.#buckets, key, now).take(now) && this.#all.take(now)) return "pass";
    return this.#replies.take(now) ? "cookie" : "global";
  }

  /** An answer that costs no Diffie-Hellman: to an INIT that was answered before. */
  mayReply(now: number): boolean {
    return this.#replies.take(now);
  }

  #bucket(buckets: Map<string, TokenBucket>, key: string, now: number): TokenBucket {
    let bucket = buckets.get(key);
    if (!bucket) {
      const [oldest] = buckets.keys();
      if (buckets.size >= MAX_TRACKED_ADDRESSES && oldest !== undefined) buckets.delete(oldest);
      bucket = new TokenBucket(this.#limits.handshakesPerAddress, now);
      buckets.set(key, bucket);
    }
    return bucket;
  }
}

/** What one party is sure to control at most: an IPv4 address, or an IPv6 /64. */
export function rateLimitKey(address: string): string {
  if (!isIPv6(address)) return address;
  const [left = "", right] = (address.split("%")[0] as string).split("::");
  const head = left === "" ? [] : left.split(":");
  const tail = right === undefined || right === "" ? [] : right.split(":");
  const zeros = right === undefined ? 0 : 8 - head.length - tail.length;
  return [...head, ...new Array<string>(Math.max(zeros, 0)).fill("0"), ...tail].slice(0, 4).join(":");
}
