// A program we send to or hear from: one Ed25519 key at one place. Holds the outbox, who waits for what in it, where the peer may be
// reached, and which session is used for sending. No socket, no timer.

import { randomBytes } from "node:crypto";
import type { Endpoint } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import type { RefusalReason } from "../wire/datagram-frames.ts";
import type { HandshakeInitiation } from "./handshake-initiation.ts";
import { MAX_SILENCE, SILENCE, SILENT_PROBES } from "./limits.ts";
import type { SecureSession } from "./secure-session.ts";
import { Outbox } from "./stream/outbox.ts";

/** As many as fit into a handshake's payload (lib/wire/datagram.ts); enough that no two streams ever share one. */
const INSTANCE_BYTES = 8;

export interface Waiter {
  /** Monotonic milliseconds. */
  readonly since: number;
  readonly expiresAt: number;
  /** Called once. */
  readonly done: (error: TalkError | null, ms: number) => void;
}

export class Peer {
  /** Ed25519, 32 bytes, and its base64. */
  readonly key: Buffer;
  readonly keyText: string;
  /** Which stream of ours this is: messages are numbered within it, and the receiver remembers how far it has come. */
  readonly streamId = randomBytes(INSTANCE_BYTES);
  readonly outbox: Outbox<Waiter>;
  /** Messages that somebody waits for. */
  waiting = 0;
  readonly sessions = new Set<SecureSession>();
  /** The one that we send through. */
  session: SecureSession | null = null;
  initiation: HandshakeInitiation | null = null;
  /** Where the directory says that the peer is, canonical; empty while we have sent nothing. */
  endpoints: readonly Endpoint[] = [];
  /** The same as the caller wrote it. */
  given: readonly Endpoint[] = [];
  name = "?";
  /** Where the engine finds this one. */
  readonly endpointKeys: string[] = [];
  #earliestExpiry = Number.POSITIVE_INFINITY; // a lower bound
  #now = 0;

  constructor(key: Buffer) {
    this.key = key;
    this.keyText = key.toString("base64");
    this.outbox = new Outbox<Waiter>((waiter, outcome, now) => {
      this.waiting--;
      waiter.done(outcome === "accepted" ? null : refusalError(this.name, outcome), now - waiter.since);
    });
  }

  enqueue(body: Buffer, waiter: Waiter): number {
    this.waiting++;
    this.#earliestExpiry = Math.min(this.#earliestExpiry, waiter.expiresAt);
    return this.outbox.enqueue(body, waiter);
  }

  /** The waiter hears nothing any more. Caller knows that the message is not settled. */
  cancel(number: number): void {
    this.waiting--;
    this.outbox.cancel(number);
  }

  /** Before datagrams are read: settled messages took until now. */
  setNow(now: number): void {
    this.#now = now;
  }

  deadline(): number {
    if (!this.session && !this.initiation && this.outbox.pending > 0) return this.#now; // lost its session: call again
    const sending = this.session ? this.outbox.deadline() : Number.POSITIVE_INFINITY;
    return Math.min(sending, this.initiation?.nextAt ?? Number.POSITIVE_INFINITY, this.#earliestExpiry);
  }

  expire(now: number): void {
    if (now < this.#earliestExpiry) return;
    this.#earliestExpiry = Number.POSITIVE_INFINITY;
    const late: [number, Waiter][] = [];
    this.outbox.forEachPending((waiter, number) => {
      if (waiter.expiresAt <= now) late.push([number, waiter]);
      else this.#earliestExpiry = Math.min(this.#earliestExpiry, waiter.expiresAt);
    });
    const what = this.session ? "the message was not confirmed" : "no answer";
    for (const [number, waiter] of late.sort(([a], [b]) => a - b)) {
      this.cancel(number);
      const seconds = Math.round(waiter.expiresAt - waiter.since) / 1000;
      waiter.done(TalkError.notDelivered(this.name, `${what} within ${seconds} s`), now - waiter.since);
    }
  }

  failAll(error: TalkError, now: number): void {
    const all: [number, Waiter][] = [];
    this.outbox.forEachPending((waiter, number) => all.push([number, waiter]));
    for (const [number, waiter] of all) {
      this.cancel(number);
      waiter.done(error, now - waiter.since);
    }
  }

  /** There is something to send, and no session, or none that works, or none that is fresh. */
  needsHandshake(now: number): boolean {
    return !this.initiation && this.outbox.pending > 0 && this.endpoints.length > 0 && this.needsNewSession(now);
  }

  needsNewSession(now: number): boolean {
    const { session } = this;
    if (!session || session.needsRekey(now)) return true;
    if (this.outbox.unanswered < SILENT_PROBES) return false;
    // Before the first measurement the probes go by a guess: on a long path the first answer takes as long as the handshake.
    const guessed = this.outbox.roundTripMs === 0 ? Math.min(2 * session.handshakeMs, MAX_SILENCE) : 0;
    return now - session.heardAt >= Math.max(SILENCE, guessed);
  }

  use(session: SecureSession): void {
    this.session = session;
    this.outbox.attach(session.roundTripMs);
  }

  /** True when the session leads to where the directory says that the peer is, and not to another program of the peer. */
  isReachedBy(session: SecureSession): boolean {
    const { address, port } = session.address;
    return this.endpoints.some((known) => known.port === port && known.address === address);
  }
}

function refusalError(name: string, reason: RefusalReason): TalkError {
  switch (reason) {
    case "key-mismatch":
      return TalkError.knownUnderAnotherKey(name);
    case "declined":
      return TalkError.declined(name, "it takes no messages, or none of yours");
    case "not-understood":
      return TalkError.notUnderstood(name, "its version does not know this kind of message");
    case "malformed":
      return TalkError.notUnderstood(name, "it found the message malformed");
    case "refused":
      return TalkError.declined(name, "it gave a reason that this version does not know");
  }
}
