// Handshakes that others begin: decides what an INIT deserves, cheapest check first, so that a flood costs next to nothing.
//  1. the mac (a microsecond): the sender knows our key
//  2. an INIT that was answered before: the same answer again
//  3. the rates (handshake-rate-limiter.ts): answer, ask for a cookie, or drop
//  4. only then Diffie-Hellman
import type { Endpoint } from "../base/endpoint.ts";
import { Cookies, hasValidMac, macKey } from "../crypto/handshake-mac.ts";
import { Responder, type StaticKeys, toX25519 } from "../crypto/noise.ts";
import {
  decodeInitPayload,
  encodeCookieReply,
  initCookie,
  initMac,
  initMacInput,
  initNoise,
  senderIndex,
} from "../wire/datagram.ts";
import { HandshakeRateLimiter } from "./handshake-rate-limiter.ts";
import { HALF_OPEN_LIFE } from "./limits.ts";
import type { PeerLimits } from "./types.ts";

/** An INIT to be answered with a RESPONSE. */
export interface Call {
  readonly kind: "call";
  readonly responder: Responder;
  /** The initiator's Ed25519 key: its X25519 form is what the handshake proves. */
  readonly key: Buffer;
  /** Where the initiator says that the directory has it. */
  readonly homes: readonly Endpoint[];
  /** 8 bytes, as text. */
  readonly streamId: string;
  /** The initiator's session. */
  readonly index: number;
  /** For remember(). */
  readonly id: string;
}

export type InitDropReason = "wrong-key" | "flood-address" | "flood" | "bad-handshake";

export type InitAnswer =
  | Call
  | { readonly kind: "reply"; readonly datagram: Buffer; readonly isCookie: boolean }
  | { readonly kind: "drop"; readonly reason: InitDropReason };

export class HandshakeResponder {
  readonly #keys: StaticKeys;
  readonly #macKey: Buffer;
  readonly #limits: PeerLimits;
  readonly #limiter: HandshakeRateLimiter;
  readonly #cookies: Cookies;
  readonly #answered = new Map<string, { readonly response: Buffer; readonly at: number }>(); // oldest first

  constructor(keys: StaticKeys, limits: PeerLimits, now: number) {
    this.#keys = keys;
    this.#macKey = macKey(keys.publicKey);
    this.#limits = limits;
    this.#limiter = new HandshakeRateLimiter(limits, now);
    this.#cookies = new Cookies(now);
  }

  /** @param init a datagram that datagramType() calls one */
  read(init: Buffer, address: string, port: number, now: number): InitAnswer {
    const covered = initMacInput(init);
    if (!hasValidMac(this.#macKey, covered, initMac(init))) return { kind: "drop", reason: "wrong-key" };
    // All that the mac covers: the index is not Noise's, and a stranger may repeat the rest under another one.
    const id = covered.toString("latin1");
    const answered = this.#answered.get(id);
    if (answered) {
      return this.#limiter.mayReply(now)
        ? { kind: "reply", datagram: answered.response, isCookie: false }
        : { kind: "drop", reason: "flood" };
    }

    const proven = this.#cookies.isValid(initCookie(init), address, port, now);
    switch (this.#limiter.admit(address, port, proven, now)) {
      case "cookie": {
        const cookie = this.#cookies.make(address, port, now);
        return { kind: "reply", datagram: encodeCookieReply(senderIndex(init), cookie), isCookie: true };
      }
      case "address":
        return { kind: "drop", reason: "flood-address" };
      case "global":
        return { kind: "drop", reason: "flood" };
      case "pass":
        break;
    }
    const responder = Responder.read(this.#keys, initNoise(init));
    const payload = responder && decodeInitPayload(responder.payload);
    if (!payload || !toX25519(payload.key)?.equals(responder.remote)) return { kind: "drop", reason: "bad-handshake" };
    const streamId = payload.streamId.toString("base64");
    const { homes } = payload;
    return { kind: "call", responder, key: Buffer.from(payload.key), homes, streamId, index: senderIndex(init), id };
  }

  /** A repetition of this INIT gets the same answer, and costs no Diffie-Hellman. */
  remember(id: string, response: Buffer, now: number): void {
    const [oldest] = this.#answered.keys();
    if (this.#answered.size >= 2 * this.#limits.halfOpen && oldest !== undefined) this.#answered.delete(oldest);
    this.#answered.set(id, { response, at: now });
  }

  sweep(now: number): void {
    for (const [id, { at }] of this.#answered) {
      if (now - at < HALF_OPEN_LIFE) return;
      this.#answered.delete(id);
    }
  }
}
