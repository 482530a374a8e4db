// A program we send to or hear from: one Ed25519 key at one place. Holds the outbox, who waits for what in it, where the peer may be
// reached, and which session is used for sending. No socket, no timer.
import { randomBytes } from "node:crypto";
import { TalkError } from "../errors.ts";
import type { Dial } from "./peer-dial.ts";
import { SILENCE, SILENT_PROBES } from "./peer-limits.ts";
import type { Session } from "./peer-session.ts";
import type { PeerAddress } from "./peer-types.ts";
import { Outbox } from "./reliability/outbox.ts";

/** As many as fit into a handshake's payload (lib/wire/datagram.ts); enough that no two streams ever share one. */
const INSTANCE_BYTES = 8;

export interface Waiter {
  /** Monotonic milliseconds. */
  readonly since: number;
  readonly expiresAt: number;
  /** Called once. */
  readonly done: (error: TalkError | null, ms: number) => void;
}

export class Correspondent {
  /** Ed25519, 32 bytes, and its base64. */
  readonly key: Buffer;
  readonly keyText: string;
  /** Which stream of ours this is: messages are numbered within it, and the receiver remembers how far it has come. */
  readonly instance = randomBytes(INSTANCE_BYTES);
  readonly outbox: Outbox;
  readonly sessions = new Set<Session>();
  /** The one that we send through. */
  session: Session | null = null;
  dial: Dial | null = null;
  /** Where the directory says that the peer is; empty while we have sent nothing. */
  addresses: readonly PeerAddress[] = [];
  name = "?";
  /** Where the engine finds this one. */
  readonly places: string[] = [];
  readonly #waiters = new Map<number, Waiter>();
  #earliestExpiry = Number.POSITIVE_INFINITY; // a lower bound
  #now = 0;

  constructor(key: Buffer) {
    this.key = key;
    this.keyText = key.toString("base64");
    this.outbox = new Outbox((number, refused) => {
      const error = refused ? TalkError.refused(`${this.name} refused the message`) : null;
      this.#finish(number, error, this.#now);
    });
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  enqueue(body: Buffer, waiter: Waiter): number {
    const number = this.outbox.enqueue(body);
    this.#waiters.set(number, waiter);
    this.#earliestExpiry = Math.min(this.#earliestExpiry, waiter.expiresAt);
    return number;
  }

  /** The waiter hears nothing any more. False when the message is settled already. */
  cancel(number: number, waiter: Waiter): boolean {
    if (this.#waiters.get(number) !== waiter) return false;
    this.#waiters.delete(number);
    this.outbox.cancel(number);
    return true;
  }

  /** Before datagrams are read: settled messages took until now. */
  setNow(now: number): void {
    this.#now = now;
  }

  deadline(): number {
    if (!this.session && !this.dial && this.outbox.pending > 0) return this.#now; // lost its session: call again
    const sending = this.session ? this.outbox.deadline() : Number.POSITIVE_INFINITY;
    return Math.min(sending, this.dial?.nextAt ?? Number.POSITIVE_INFINITY, this.#earliestExpiry);
  }

  expire(now: number): void {
    if (now < this.#earliestExpiry) return;
    this.#earliestExpiry = Number.POSITIVE_INFINITY;
    for (const [number, waiter] of this.#waiters) {
      if (waiter.expiresAt > now) {
        this.#earliestExpiry = Math.min(this.#earliestExpiry, waiter.expiresAt);
        continue;
      }
      this.outbox.cancel(number);
      const seconds = Math.round(waiter.expiresAt - waiter.since) / 1000;
      const what = this.session ? "the message was not confirmed" : "no answer";
      this.#finish(number, TalkError.notDelivered(this.name, `${what} within ${seconds} s`), now);
    }
  }

  failAll(error: TalkError, now: number): void {
    for (const number of [...this.#waiters.keys()]) {
      this.outbox.cancel(number);
      this.#finish(number, error, now);
    }
  }

  /** There is something to send, and no session, or none that works, or none that is fresh. */
  needsHandshake(now: number): boolean {
    if (this.dial || this.outbox.pending === 0 || this.addresses.length === 0) return false;
    const { session } = this;
    if (!session || session.needsRekey(now)) return true;
    return this.outbox.unanswered >= SILENT_PROBES && now - session.heardAt >= SILENCE;
  }

  use(session: Session): void {
    this.session = session;
    this.outbox.attach(session.roundTripMs);
  }

  /** True when the session leads to where the directory says that the peer is, and not to another program of the peer. */
  isReachedBy(session: Session): boolean {
    const { address, port } = session.address;
    return this.addresses.some((known) => known.port === port && known.address === address);
  }

  #finish(number: number, error: TalkError | null, now: number): void {
    const waiter = this.#waiters.get(number);
    if (!waiter) return;
    this.#waiters.delete(number);
    if (this.#waiters.size === 0) this.#earliestExpiry = Number.POSITIVE_INFINITY;
    waiter.done(error, now - waiter.since);
  }
}
