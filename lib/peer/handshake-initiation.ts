// A handshake that we have begun: one INIT, repeated until the holder of the peer's key answers it. Pure.
import type { Endpoint } from "../base/endpoint.ts";
import { macKey, writeMac } from "../crypto/handshake-mac.ts";
import { Initiator, type StaticKeys } from "../crypto/noise.ts";
import {
  encodeInit,
  encodeInitPayload,
  initCookie,
  initMac,
  initMacInput,
  replyCookie,
  responseNoise,
} from "../wire/datagram.ts";
import { CALL_AFTER, HANDSHAKE_BACKOFF, HANDSHAKE_TIMEOUT, MAX_HANDSHAKE_TIMEOUT, RELAY_AFTER } from "./limits.ts";

export interface InitiationParts {
  /** Of the session that is to come of it. */
  readonly index: number;
  readonly keys: StaticKeys;
  /** The peer's X25519 key. */
  readonly remote: Buffer;
  readonly streamId: Buffer;
  /** Our Ed25519 key. */
  readonly publicKey: Buffer;
  /** Where the directory has us. */
  readonly ownHomes?: readonly Endpoint[];
  /** Where the directory has the peer. */
  readonly homes?: readonly Endpoint[];
  readonly now: number;
}

export class HandshakeInitiation {
  readonly index: number;
  /** Where the directory had the peer when it began. */
  readonly homes: readonly Endpoint[];
  readonly #datagram: Buffer;
  readonly #initiator: Initiator;
  readonly #startedAt: number;
  #nextAt: number;
  #attempts = 0;
  #isStuck = false;
  #hastened = 0; // attempts, up to the last one that a COOKIE has hastened

  constructor(parts: InitiationParts) {
    this.index = parts.index;
    this.homes = parts.homes ?? [];
    this.#nextAt = parts.now;
    this.#startedAt = parts.now;
    const payload = encodeInitPayload(parts.streamId, parts.publicKey, parts.ownHomes);
    this.#initiator = new Initiator(parts.keys, parts.remote, payload);
    this.#datagram = encodeInit(parts.index, this.#initiator.message);
    writeMac(macKey(parts.remote), initMacInput(this.#datagram), initMac(this.#datagram));
  }

  /** The INIT, the same bytes each time but for the cookie: the peer answers a repetition with the same RESPONSE. */
  get datagram(): Buffer {
    return this.#datagram;
  }
  /** When to send it (again), monotonic milliseconds. */
  get nextAt(): number {
    return this.#nextAt;
  }

  /** No direct path has answered in time. */
  isRelayDue(now: number): boolean {
    return now >= this.#startedAt + RELAY_AFTER;
  }

  /** @returns true once, when no answer came soon */
  onSent(now: number): boolean {
    const timeout = HANDSHAKE_TIMEOUT * HANDSHAKE_BACKOFF ** Math.min(this.#attempts++, 20);
    this.#nextAt = now + Math.min(timeout, MAX_HANDSHAKE_TIMEOUT);
    const isStuck = !this.#isStuck && now >= this.#startedAt + CALL_AFTER;
    if (isStuck) this.#isStuck = true;
    if (!this.isRelayDue(now)) this.#nextAt = Math.min(this.#nextAt, this.#startedAt + RELAY_AFTER);
    return isStuck;
  }

  get attempts(): number {
    return this.#attempts;
  }

  /** No more of it before then. */
  pauseUntil(at: number): void {
    this.#nextAt = at;
  }

  /** The peer is under load and wants to see that we are where we say. */
  onCookie(reply: Buffer, now: number): void {
    const cookie = replyCookie(reply);
    const present = initCookie(this.#datagram);
    if (cookie.equals(present)) return; // forged or late: the timer goes on
    present.set(cookie);
    // One early repetition for each regular one: a forger of cookies must not make us a flood.
    if (this.#attempts <= this.#hastened) return;
    this.#hastened = this.#attempts + 1;
    this.#nextAt = now;
  }

  /** Null when the answer is not the peer's: it may be tried again with another one. */
  finish(response: Buffer): ReturnType<Initiator["finish"]> {
    return this.#initiator.finish(responseNoise(response));
  }

  /** 0, not measured, when the INIT was repeated: which one was answered cannot be known (Karn; RFC 6298 section 3). */
  roundTripMs(now: number): number {
    return this.#attempts > 1 ? 0 : now - this.#startedAt;
  }

  /** Since the INIT was first sent: no less than the round trip. */
  durationMs(now: number): number {
    return now - this.#startedAt;
  }
}
