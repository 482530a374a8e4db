// A program that we send to or hear from: one Ed25519 key, at the endpoints where that program can be reached. Owns the
// outbox and the waiters for what is in it, the endpoints, the sessions with the program, the one that messages go through,
// and the handshake that is to make another one. No socket, no timer.
//
// A message's way: moveTo() -> enqueue() -> needsHandshake() and use(), or the session that is there -> settled, and its
// waiter hears the outcome. Or its time is over: a message that the receiver cannot have has failed; else it is
// revoked, and its outcome is the answer, "unconfirmed" after REVOKE_WAIT without one. giveUp() does the same without a
// waiter.

import { randomBytes } from "node:crypto";
import {
  areSameEndpoints,
  canonicalEndpoint,
  type Endpoint,
  formatEndpoint,
  isRelayed,
  isSameEndpoint,
  type PathKind,
} from "../base/endpoint.ts";
import { TalkError, type TriedWay, type WayAnswer } from "../base/errors.ts";
import { seconds } from "../base/seconds.ts";
import type { Outcome, RefusalReason } from "../wire/datagram-frames.ts";
import { markAgain } from "../wire/datagram-message.ts";
import type { HandshakeInitiation } from "./handshake-initiation.ts";
import { INVITATION, MAX_SILENCE, REVOKE_WAIT, SILENCE, SILENT_PROBES, SIMULTANEOUS } from "./limits.ts";
import type { Path } from "./path.ts";
import { PathProbes } from "./path-probes.ts";
import type { SecureSession, SessionOutbox } from "./secure-session.ts";
import { Outbox } from "./stream/outbox.ts";
import type { PeerReport } from "./types.ts";

/** As many as fit into a handshake's payload (lib/wire/datagram.ts); enough that no two streams ever share one. */
const STREAM_ID_BYTES = 8;

export interface Waiter {
  /** Monotonic milliseconds. */
  readonly since: number;
  readonly expiresAt: number;
  /** Called once. */
  readonly done: (error: TalkError | null, ms: number, via: PathKind) => void;
}

/** What the outbox keeps for a message. */
interface Pending {
  /** Null: its owner has given it up. */
  waiter: Waiter | null;
  /** Monotonic milliseconds: the end of its time, and once that is over, of the wait for the receiver's word on it. */
  expiresAt: number;
  /** Why its time is over, "within 10 s"; null before. From then on its receiver is asked what became of it. */
  ended: string | null;
}

export class Peer {
  /** Ed25519, 32 bytes, and its base64. */
  readonly key: Buffer;
  readonly keyText: string;
  /** Which stream of ours this is: messages are numbered within it, and the receiver remembers how far it has come. */
  readonly streamId = randomBytes(STREAM_ID_BYTES);
  readonly #outbox: Outbox<Pending>;
  readonly #sessions = new Set<SecureSession>();
  #name: string | null = null;
  #endpoints: readonly Endpoint[] = []; // canonical
  readonly #probes = new PathProbes();
  #invited: readonly Endpoint[] = [];
  #invitedUntil = Number.NEGATIVE_INFINITY;
  /** One handshake for each invitation: it has been begun. */
  #isInvitationMet = true;
  /** The handshake that goes on has been begun for an invitation, and for nothing of ours. */
  #isForInvitation = false;
  #shownPath: Path | null = null;
  #given: readonly Endpoint[] = []; // the same as the caller wrote them
  /** Of ways that have not led there, since the session that is in use. */
  readonly #answers = new Map<string, WayAnswer>();
  #waiting = 0;
  #givenUp = 0;
  #earliestExpiry = Number.POSITIVE_INFINITY; // a lower bound
  #delivered = 0;
  #session: SecureSession | null = null;
  #initiation: HandshakeInitiation | null = null;

  constructor(key: Buffer) {
    this.key = key;
    this.keyText = key.toString("base64");
    this.#outbox = new Outbox<Pending>((pending, outcome, now) => this.#onSettled(pending, outcome, now), markAgain);
  }

  /** Where the directory says that the peer is, places behind the relay included; empty while we have sent nothing. */
  get endpoints(): readonly Endpoint[] {
    return this.#endpoints;
  }
  get name(): string | null {
    return this.#name;
  }
  /** Messages that are neither settled nor cancelled, and a few cancelled ones behind them. */
  get pending(): number {
    return this.#outbox.pending;
  }
  /** Messages that have a waiter: neither settled nor cancelled. */
  get waiting(): number {
    return this.#waiting;
  }
  /** Those, and given up ones whose receiver has not answered. */
  get unsettled(): number {
    return this.#waiting + this.#givenUp;
  }
  /** Messages of this stream that have had a number. */
  get numbered(): number {
    return this.#outbox.numbered;
  }
  /** The session that messages go through. */
  get session(): SecureSession | null {
    return this.#session;
  }
  /** The handshake that we have begun. */
  get initiation(): HandshakeInitiation | null {
    return this.#initiation;
  }
  /** For its sessions. */
  get outbox(): SessionOutbox {
    return this.#outbox;
  }
  /** Direct paths are to be tried: the conversation goes on over the relay. */
  get isProbing(): boolean {
    return this.#probes.deadline(this.#session, this.#endpoints) < Number.POSITIVE_INFINITY;
  }
  /** Nothing leads to it, and nothing waits for it. */
  get isIdle(): boolean {
    const isQuiet = this.#outbox.pending === 0 && this.#waiting === 0 && !this.#initiation;
    return this.#sessions.size === 0 && isQuiet;
  }

  /** True when it is where the directory says: nothing has to be checked or moved. */
  isAt(given: readonly Endpoint[]): boolean {
    return areSameEndpoints(this.#given, given);
  }

  /** Whether a session leads to one of these endpoints. @param endpoints canonical */
  isReachedAt(endpoints: readonly Endpoint[]): boolean {
    for (const session of this.#sessions) if (session.isConfirmed && session.leadsTo(endpoints)) return true;
    return false;
  }

  /** The directory's word counts: when the peer has moved, an old session may lead to another program of the same user. */
  moveTo(given: readonly Endpoint[]): void {
    this.#given = given.map(({ address, port }) => ({ address, port })); // the caller may change its own
    this.#endpoints = given.map(canonicalEndpoint);
    this.#probes.restart();
    if (this.#session && !this.#isReachedBy(this.#session)) this.#release();
    if (!this.#session) this.#useNewest();
  }

  /** @param name for error messages */
  enqueue(name: string | null, body: Buffer, waiter: Waiter): number {
    this.#name = name;
    if (!this.#session) this.#useNewest();
    this.#waiting++;
    this.#earliestExpiry = Math.min(this.#earliestExpiry, waiter.expiresAt);
    return this.#outbox.enqueue(body, { waiter, expiresAt: waiter.expiresAt, ended: null });
  }

  /** Its waiter hears nothing any more, and the text does not appear any more, if that can be had. Caller knows that it is not settled. */
  giveUp(number: number, now: number): void {
    const pending = this.#outbox.tagOf(number);
    if (!pending?.waiter) return;
    pending.waiter = null;
    this.#waiting--;
    this.#givenUp++;
    if (pending.ended === null) this.#endTime(number, pending, "in time", now);
  }

  /** Ends the time of all messages. @param reason a clause: "before the program ended" */
  revokeAll(reason: string, now: number): void {
    for (const [number, pending] of this.#all()) {
      if (pending.ended === null) this.#endTime(number, pending, reason, now);
    }
  }

  /** It is about to call us from there: our own handshake opens the way, for a moment. @param endpoints canonical */
  invite(endpoints: readonly Endpoint[], now: number): void {
    this.#invited = endpoints;
    this.#isInvitationMet = false;
    this.#invitedUntil = now + INVITATION;
  }

  /** Where our INITs go. */
  get targets(): readonly Endpoint[] {
    return this.#outbox.pending > 0 ? this.#endpoints : this.#invited;
  }

  /**
   * The handshake that goes on has been begun for an invitation, and there is something else to begin one for: a message, or another
   * invitation. Neither waits for the answer to a few INITs.
   */
  get isInvitationOutdated(): boolean {
    return this.#isForInvitation && (this.#outbox.pending > 0 || !this.#isInvitationMet);
  }
  get invitedUntil(): number {
    return this.#invitedUntil;
  }

  isInvited(now: number): boolean {
    return now < this.#invitedUntil;
  }

  /** There is something for handshakes.ts to do: begin one, repeat it, or end it. */
  isHandshakeDue(now: number): boolean {
    return this.#initiation !== null || this.needsHandshake(now);
  }

  /** There is something to send, and no session, or none that works, or none that is fresh. */
  needsHandshake(now: number): boolean {
    if (this.#initiation) return false;
    if (this.#outbox.pending > 0) return this.#endpoints.length > 0 && this.#needsNewSession(now);
    return this.isInvited(now) && !this.#isInvitationMet;
  }

  beginHandshake(initiation: HandshakeInitiation): void {
    this.#initiation = initiation;
    this.#isForInvitation = this.#outbox.pending === 0;
    if (this.#isForInvitation) this.#isInvitationMet = true;
  }

  endHandshake(): void {
    this.#initiation = null;
    this.#isForInvitation = false;
  }

  /** The session answers after all: the handshake that its silence caused would only make everything go out again. */
  makesHandshakeNeedless(session: SecureSession, now: number): boolean {
    return this.#initiation !== null && this.#session === session && !this.#needsNewSession(now);
  }

  addSession(session: SecureSession): void {
    this.#sessions.add(session);
  }

  removeSession(session: SecureSession): void {
    this.#sessions.delete(session);
    if (this.#session === session) this.#release();
  }

  /** Messages go through this session from now on, all that are not settled again. */
  use(session: SecureSession): void {
    if (this.#session !== null) session.learnFrom(this.#session);
    this.#session?.detach();
    this.#session = session;
    session.attach();
    this.#outbox.attach(session.roundTripMs, session.streamId);
    this.#answers.clear();
  }

  /** A datagram did not get there: the kernel or ICMP has said so. */
  noteUnreachable(to: Endpoint, answer: WayAnswer): void {
    const key = formatEndpoint(to);
    const isOurs = this.#ways().some((endpoint) => formatEndpoint(endpoint) === key);
    // What this host forbids comes first: no other answer is to be had before that is mended.
    if (isOurs && this.#answers.get(key) !== "forbidden") this.#answers.set(key, answer);
  }

  /** Where messages go: the present path, and where the directory has it. */
  #ways(): readonly Endpoint[] {
    const path = this.#session?.endpoint;
    if (path === undefined || this.#endpoints.some((one) => isSameEndpoint(one, path.address, path.port))) {
      return this.#endpoints;
    }
    return [path, ...this.#endpoints];
  }

  #tried(): TriedWay[] {
    return this.#ways().map((endpoint) => {
      const shown = formatEndpoint(endpoint);
      const answer = this.#answers.get(shown) ?? "nothing";
      return { endpoint: isRelayed(endpoint) ? null : shown, answer };
    });
  }

  /**
   * The initiator of this session is there. Returns whether messages go through it now: its initiator has begun it because
   * no other one worked, or was fresh.
   * @param winsTies see isOurs()
   */
  onConfirmed(session: SecureSession, winsTies: boolean, now: number): boolean {
    if (!this.#isReachedBy(session)) return false;
    const present = this.#session;
    const works = present?.streamId === session.streamId && this.#outbox.unanswered === 0;
    const isTie = works && present.isInitiator && isOneTooMany(present, session, now);
    if (isTie && winsTies) return false;
    this.use(session);
    return true;
  }

  /**
   * Our handshake is answered. Both sides may begin one at once: then both keep the one that the side with the smaller key
   * began. Returns whether messages go through the new session.
   */
  onAnswered(session: SecureSession, winsTies: boolean, now: number): boolean {
    const present = this.#session;
    const works = present?.streamId === session.streamId && this.#outbox.unanswered === 0;
    const isTie = works && !present.isInitiator && isOneTooMany(present, session, now);
    if (isTie && !winsTies) return false;
    this.use(session);
    return true;
  }

  /** The path of its messages, once for each change; null when it is the same as before. A first one that is direct is as usual. */
  takeNewPath(): Path | null {
    const path = this.#session?.path ?? null;
    const before = this.#shownPath;
    if (path === null || path === before) return null;
    this.#shownPath = path;
    const { address, port } = path.endpoint;
    return before === null ? (path.kind === "relay" ? path : null) : before.leadsTo(address, port) ? null : path;
  }

  /** When to call onTimer. */
  deadline(): number {
    if (!this.#session && !this.#initiation && this.#outbox.pending > 0) return 0; // lost its session: call again
    const sending = this.#session ? this.#outbox.deadline() : Number.POSITIVE_INFINITY;
    return Math.min(
      this.#probes.deadline(this.#session, this.#endpoints),
      sending,
      this.#initiation?.nextAt ?? Number.POSITIVE_INFINITY,
      this.#earliestExpiry,
    );
  }

  /** @returns whether direct paths are tried again */
  onTimer(now: number): boolean {
    this.#expire(now);
    if (!this.#session) return false;
    this.#outbox.onTimer(now);
    return this.#probes.onTimer(this.#session, this.#endpoints, now);
  }

  failAll(error: TalkError, now: number): void {
    for (const [number, pending] of this.#all()) {
      const isExposed = this.#outbox.isExposed(number);
      this.#outbox.cancel(number);
      this.#end(pending, isExposed ? TalkError.unconfirmed(this.#shownName, error.message, error) : error, now);
    }
  }

  /** See {@link PeerTransport.leastRoundTripMs}. */
  get leastRoundTripMs(): number {
    return this.#outbox.leastRoundTripMs;
  }

  report(): PeerReport {
    const { roundTripMs, window, bytesInFlight, retransmissions } = this.#outbox;
    // A peer that we have sent nothing to has sessions all the same: its own.
    const session = this.#session ?? [...this.#sessions].findLast(({ isConfirmed }) => isConfirmed);
    return {
      key: this.keyText,
      name: this.#name,
      endpoint: !session || isRelayed(session.endpoint) ? null : session.endpoint,
      via: session?.path.kind ?? null,
      roundTripMs: roundTripMs || session?.roundTripMs || null, // 0 is not measured
      windowBytes: Math.round(window),
      bytesInFlight,
      waiting: this.#waiting,
      delivered: this.#delivered,
      retransmissions,
    };
  }

  get #shownName(): string {
    return this.#name ?? this.keyText;
  }

  #onSettled(pending: Pending, outcome: Outcome | "unknown", now: number): void {
    if (outcome === "accepted") this.#delivered++;
    this.#end(pending, outcome === "accepted" ? null : this.#errorOf(pending, outcome), now);
  }

  #errorOf(pending: Pending, outcome: RefusalReason | "unknown"): TalkError {
    const name = this.#shownName;
    if (outcome === "revoked") return TalkError.notDelivered(name, `the message was not confirmed ${pending.ended}`);
    if (outcome === "unknown") return TalkError.unconfirmed(name, "it was started again meanwhile");
    return refusalError(name, outcome);
  }

  /** Caller takes it out of the outbox, or has taken it already. */
  #end({ waiter }: Pending, error: TalkError | null, now: number): void {
    if (waiter === null) {
      this.#givenUp--;
      return;
    }
    this.#waiting--;
    waiter.done(error, now - waiter.since, this.#session?.path.kind ?? "direct");
  }

  #expire(now: number): void {
    if (now < this.#earliestExpiry) return;
    this.#earliestExpiry = Number.POSITIVE_INFINITY;
    for (const [number, pending] of this.#all()) {
      if (pending.expiresAt > now) this.#earliestExpiry = Math.min(this.#earliestExpiry, pending.expiresAt);
      else if (pending.ended === null) this.#endTime(number, pending, within(pending), now);
      else {
        this.#outbox.cancel(number);
        const why = `no word from it ${pending.ended}`;
        this.#end(pending, TalkError.noAnswer(this.#shownName, why, this.#tried(), true), now);
      }
    }
  }

  /**
   * No more of it is sent. A message that the receiver cannot have has failed; for the rest the receiver is asked for
   * the outcome.
   */
  #endTime(number: number, pending: Pending, reason: string, now: number): void {
    if (!this.#outbox.isExposed(number)) {
      const what = this.#session ? "the message was not confirmed" : "no answer";
      this.#outbox.cancel(number);
      this.#end(pending, TalkError.noAnswer(this.#shownName, `${what} ${reason}`, this.#tried(), false), now);
      return;
    }
    pending.ended = reason;
    pending.expiresAt = now + REVOKE_WAIT;
    this.#earliestExpiry = Math.min(this.#earliestExpiry, pending.expiresAt);
    this.#outbox.revoke(number, now);
  }

  /** In the order of the numbers. */
  #all(): [number, Pending][] {
    const all: [number, Pending][] = [];
    this.#outbox.forEachPending((pending, number) => all.push([number, pending]));
    return all.sort(([a], [b]) => a - b);
  }

  #needsNewSession(now: number): boolean {
    const session = this.#session;
    if (!session || session.needsRekey(now)) return true;
    if (this.#outbox.unanswered < SILENT_PROBES) return false;
    // Before the first measurement the probes go by a guess: on a long path the first answer takes as long as the handshake.
    const guessed = this.#outbox.roundTripMs === 0 ? Math.min(2 * session.handshakeMs, MAX_SILENCE) : 0;
    return now - session.heardAt >= Math.max(SILENCE, guessed);
  }

  #useNewest(): void {
    let newest: SecureSession | null = null;
    for (const session of this.#sessions) if (session.isConfirmed && this.#isReachedBy(session)) newest = session;
    if (newest) this.use(newest);
  }

  #release(): void {
    this.#session?.detach();
    this.#session = null;
  }

  /** The session leads to where the directory says that the peer is, and not to another program of the same user. */
  #isReachedBy(session: SecureSession): boolean {
    return session.leadsTo(this.#endpoints);
  }
}

/** Both sides began at once. A direct session is no tie for one that goes over the relay. */
function isOneTooMany(present: SecureSession, session: SecureSession, now: number): boolean {
  if (now - present.createdAt >= SIMULTANEOUS) return false;
  return present.path.kind === session.path.kind || session.path.kind === "relay";
}

/** "within 10 s": the time that its sender gave it. */
function within({ waiter }: Pending): string {
  return waiter === null ? "in time" : `within ${seconds(waiter.expiresAt - waiter.since)}`;
}

function refusalError(name: string, reason: Exclude<RefusalReason, "revoked">): TalkError {
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
