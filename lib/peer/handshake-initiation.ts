// A handshake that we have begun: one INIT, repeated until somebody with the right key answers. Pure.
import { macKey, writeMac } from "../crypto/handshake-mac.ts";
import { Initiator, type StaticKeys } from "../crypto/noise.ts";
import {
  encodeHandshakePayload,
  encodeInit,
  initCookie,
  initMac,
  initMacInput,
  replyCookie,
  responseNoise,
} from "../wire/datagram.ts";
import { DIAL_BACKOFF, DIAL_TIMEOUT, MAX_DIAL_TIMEOUT } from "./limits.ts";

export interface DialParts {
  readonly index: number;
  readonly keys: StaticKeys;
  /** The peer's X25519 key. */
  readonly remote: Buffer;
  readonly streamId: Buffer;
  /** Our Ed25519 key. */
  readonly publicKey: Buffer;
  readonly now: number;
}

export class HandshakeInitiation {
  readonly index: number;
  /** Always the same bytes but for the cookie: the peer answers a repetition with the same RESPONSE. */
  readonly datagram: Buffer;
  /** When to send it (again), monotonic milliseconds. */
  nextAt: number;
  readonly #startedAt: number;
  #attempts = 0;
  #hurried = 0; // attempts, up to the last one that a COOKIE has hastened
  readonly #initiator: Initiator;

  constructor(parts: DialParts) {
    this.index = parts.index;
    this.nextAt = parts.now;
    this.#startedAt = parts.now;
    const payload = encodeHandshakePayload(parts.streamId, parts.publicKey);
    this.#initiator = new Initiator(parts.keys, parts.remote, payload);
    this.datagram = encodeInit(parts.index, this.#initiator.message);
    writeMac(macKey(parts.remote), initMacInput(this.datagram), initMac(this.datagram));
  }

  onSent(now: number): void {
    this.nextAt = now + Math.min(DIAL_TIMEOUT * DIAL_BACKOFF ** Math.min(this.#attempts++, 20), MAX_DIAL_TIMEOUT);
  }

  /** The peer is under load and wants to see that we are where we say. */
  onCookie(reply: Buffer, now: number): void {
    const cookie = replyCookie(reply);
    const present = initCookie(this.datagram);
    if (cookie.equals(present)) return; // forged or late: the timer goes on
    present.set(cookie);
    // One early repetition for each regular one: whoever invents cookies must not make us a flood.
    if (this.#attempts <= this.#hurried) return;
    this.#hurried = this.#attempts + 1;
    this.nextAt = now;
  }

  /** Since the INIT was first sent: no less than the round trip. */
  durationMs(now: number): number {
    return now - this.#startedAt;
  }

  finish(response: Buffer): ReturnType<Initiator["finish"]> {
    return this.#initiator.finish(responseNoise(response));
  }

  /** 0, not measured, when the INIT was repeated: which one was answered nobody knows (Karn; RFC 6298 section 3). */
  roundTripMs(now: number): number {
    return this.#attempts > 1 ? 0 : now - this.#startedAt;
  }
}
