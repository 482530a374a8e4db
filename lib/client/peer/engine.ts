// The peer protocol without its socket: datagrams and messages in, datagrams and messages out, the clock as an argument.
// transport.ts gives it a socket and a timer; tests give it a network of their own.
import type { Identity } from "../../crypto/identity.ts";
import { TalkError } from "../../errors.ts";
import { DatagramType, datagramType, receiverIndex } from "../../wire/datagram.ts";
import type { Correspondent, Waiter } from "./correspondent.ts";
import { Counters } from "./counters.ts";
import { Delivery } from "./delivery.ts";
import { DueSessions } from "./due-sessions.ts";
import { Goodbyes } from "./goodbyes.ts";
import { type HandshakeDropReason, Handshakes } from "./handshakes.ts";
import { Inboxes } from "./inboxes.ts";
import { SWEEP } from "./limits.ts";
import { Routes } from "./routes.ts";
import type { Session, SessionDropReason } from "./session.ts";
import { Sessions } from "./sessions.ts";
import type { IncomingMessage, Peer, PeerAddress, PeerLimits } from "./types.ts";

/** Why a datagram was dropped; stats() counts them. */
export type DropReason = SessionDropReason | HandshakeDropReason | "malformed" | "closing" | "bad-message";

export interface EngineOptions {
  readonly identity: Identity;
  readonly limits: PeerLimits;
  /** Monotonic milliseconds. */
  readonly now: number;
  readonly transmit: (datagram: Buffer, to: PeerAddress) => void;
  readonly deliver: (message: IncomingMessage, accept: () => void, refuse: () => void) => void;
  /** Something has to be flushed that no call of the owner has caused. */
  readonly wake: () => void;
}

export class PeerEngine {
  readonly counters = new Counters();
  readonly goodbyes: Goodbyes;
  /** How many messages waited for the peer that the last one was sent to, with that one. */
  pendingAtLast = 0;
  readonly #options: EngineOptions;
  readonly #inboxes: Inboxes;
  readonly #sessions: Sessions;
  readonly #routes: Routes;
  readonly #handshakes: Handshakes;
  readonly #delivery: Delivery;
  readonly #active = new Set<Correspondent>(); // those that wait for something
  readonly #due: DueSessions;
  #sweepAt: number;
  #closing = false;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#inboxes = new Inboxes(options.limits.reassemblyBytes, (entry) => this.#sessions.end(entry));
    this.#routes = new Routes(options.limits, (correspondent) => {
      this.#handshakes.end(correspondent);
      this.counters.retransmissions += correspondent.outbox.retransmissions;
    });
    this.#due = new DueSessions((datagram, to) => this.#transmit(datagram, to));
    this.#sessions = new Sessions(options.limits, (session) => {
      this.#routes.gone(session);
      this.#inboxes.release(session.entry);
    });
    this.goodbyes = new Goodbyes(this.#sessions, this.#due);
    this.#handshakes = new Handshakes({
      identity: options.identity,
      limits: options.limits,
      now: options.now,
      sessions: this.#sessions,
      inboxes: this.#inboxes,
      routes: this.#routes,
      transmit: (datagram, to) => this.#transmit(datagram, to),
    });
    this.#delivery = new Delivery({
      counters: this.counters,
      deliver: options.deliver,
      onSettledLater: (session) => {
        this.#due.add(session);
        options.wake();
      },
    });
    this.#sweepAt = options.now + SWEEP;
  }

  get sessions(): number {
    return this.#sessions.size - this.#sessions.halfOpen;
  }
  get halfOpen(): number {
    return this.#sessions.halfOpen;
  }
  /** Messages that are neither settled nor given up. */
  get pending(): number {
    let count = 0;
    for (const correspondent of this.#active) count += correspondent.waiting;
    return count;
  }
  /** Messages that the application was given and has neither accepted nor refused. */
  get inHand(): number {
    return this.#delivery.inHand;
  }
  get retransmissions(): number {
    let count = this.counters.retransmissions;
    for (const correspondent of this.#routes.all()) count += correspondent.outbox.retransmissions;
    return count;
  }

  /**
   * Queues a message; flush() sends it. Returns what cancels it, to be called only before `waiter.done` was, or the error
   * that kept it from being queued.
   */
  send(peer: Peer, body: Buffer, waiter: Waiter): TalkError | (() => void) {
    if (this.#closing) return TalkError.closed("the peer transport");
    const correspondent = this.#routes.admit(peer);
    if (correspondent instanceof TalkError) return correspondent;
    const number = correspondent.enqueue(body, waiter);
    this.pendingAtLast = correspondent.outbox.pending;
    this.#active.add(correspondent);
    this.#service(correspondent, waiter.since);
    return () => {
      correspondent.cancel(number);
      if (correspondent.session) this.#due.addIfWanted(correspondent.session);
    };
  }

  /** The directory says that this peer is elsewhere now: what waits for it follows. flush() sends what is due. */
  move(key: Buffer, from: readonly PeerAddress[], to: readonly PeerAddress[], now: number): void {
    const moved = this.#routes.move(key, from, to);
    if (moved) this.#service(moved, now);
  }

  /** One datagram from the socket; flush() answers. */
  receive(datagram: Buffer, address: string, port: number, now: number): void {
    this.counters.onReceived(datagram.length);
    // Nobody can be answered at port 0, and the socket would throw; a forger can write it into a datagram.
    const reason = port === 0 ? "malformed" : this.#read(datagram, address, port, now);
    if (reason) this.counters.drop(reason);
  }

  /** False when flush() would do nothing. */
  wantsToFlush(): boolean {
    return !this.#due.isEmpty;
  }

  /** Sends whatever is due. */
  flush(now: number): void {
    this.#due.flush(now);
  }

  /** When to call onTimer. */
  deadline(): number {
    let earliest = this.#sweepAt;
    for (const correspondent of this.#active) earliest = Math.min(earliest, correspondent.deadline());
    return earliest;
  }

  /** flush() sends what it decides. */
  onTimer(now: number): void {
    for (const correspondent of this.#active) {
      correspondent.expire(now);
      if (correspondent.session) correspondent.outbox.onTimer(now);
      this.#service(correspondent, now);
      if (correspondent.waiting === 0 && correspondent.outbox.pending === 0) this.#active.delete(correspondent);
    }
    if (now < this.#sweepAt) return;
    this.#sweepAt = now + SWEEP;
    this.#sessions.sweep(now);
    this.#handshakes.sweep(now);
    this.#routes.forgetIdle();
  }

  /** No new messages in or out; those on their way go on. */
  stopSending(now: number): void {
    this.#closing = true;
    this.#delivery.stopped = true;
    for (const correspondent of this.#active) correspondent.failAll(TalkError.closed("the peer transport"), now);
  }

  #read(datagram: Buffer, address: string, port: number, now: number): DropReason | null {
    switch (datagramType(datagram)) {
      case DatagramType.data:
        return this.#onData(datagram, address, port, now);
      case DatagramType.init:
        return this.#closing ? "closing" : this.#handshakes.onInit(datagram, { address, port }, now);
      case DatagramType.response:
        return this.#onResponse(datagram, { address, port }, now);
      case DatagramType.cookie:
        return this.#handshakes.onCookie(datagram, now);
      default:
        return "malformed";
    }
  }

  #onData(datagram: Buffer, address: string, port: number, now: number): DropReason | null {
    const session = this.#sessions.get(receiverIndex(datagram));
    if (!session) return "unknown-session";
    const { correspondent } = session;
    correspondent.setNow(now);
    const reason = session.receive(datagram, address, port, now);
    if (reason) {
      if (reason === "broken-peer") this.#sessions.remove(session); // authentic, but of no use
      return reason;
    }
    if (!session.confirmed) this.#onConfirmed(session, now);
    // It answers after all: the call that its silence has caused would only make everything under way go out again.
    if (correspondent.dial && correspondent.session === session && !correspondent.needsNewSession(now)) {
      this.#handshakes.end(correspondent);
    }
    try {
      this.#delivery.from(session); // an application may throw
    } finally {
      this.#due.addIfWanted(session);
      if (correspondent.session && correspondent.session !== session) this.#due.addIfWanted(correspondent.session);
      if (session.closed) this.#onClosed(session, now);
    }
    return null;
  }

  #onResponse(response: Buffer, from: PeerAddress, now: number): DropReason | null {
    const session = this.#handshakes.onResponse(response, from, now);
    if (typeof session === "string") return session;
    this.counters.handshakes++;
    session.correspondent.use(session);
    this.#due.add(session);
    return null;
  }

  #onConfirmed(session: Session, now: number): void {
    this.#sessions.confirm(session);
    this.counters.handshakes++;
    session.roundTripMs = now - session.createdAt;
    if (this.#routes.confirmed(session)) this.#handshakes.end(session.correspondent);
  }

  #onClosed(session: Session, now: number): void {
    if (!this.#closing) {
      session.closeDue = true;
      const datagram = session.next(now);
      if (datagram) this.#transmit(datagram, session.address);
    }
    this.#sessions.remove(session);
    this.#service(session.correspondent, now);
  }

  #service(correspondent: Correspondent, now: number): void {
    this.#handshakes.drive(correspondent, now);
    if (correspondent.session) this.#due.addIfWanted(correspondent.session);
  }

  #transmit(datagram: Buffer, to: PeerAddress): void {
    this.counters.onSent(datagram.length);
    this.#options.transmit(datagram, to);
  }
}
