// The peer protocol without its socket: datagrams and messages in, datagrams and messages out, the clock as an argument.
// transport.ts gives it a socket and a timer; tests give it a network of their own.

import type { Endpoint } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import type { Identity } from "../crypto/identity.ts";
import { DatagramType, datagramType, isOtherVersion, receiverIndex } from "../wire/datagram.ts";
import type { Outcome } from "../wire/datagram-frames.ts";
import { Counters } from "./counters.ts";
import { Delivery } from "./delivery.ts";
import { type HandshakeDropReason, Handshakes } from "./handshakes.ts";
import { Inboxes } from "./inboxes.ts";
import { SWEEP } from "./limits.ts";
import type { Peer, Waiter } from "./peer.ts";
import { PeerTable } from "./peer-table.ts";
import { ReadySessions } from "./ready-sessions.ts";
import type { SecureSession, SessionDropReason } from "./secure-session.ts";
import { SessionClose } from "./session-close.ts";
import { Sessions } from "./sessions.ts";
import type { IncomingMessage, PeerIdentity, PeerLimits } from "./types.ts";

/** Why a datagram was dropped; stats() counts them. */
export type DropReason = SessionDropReason | HandshakeDropReason | "malformed" | "other-version" | "closing";

export interface EngineOptions {
  readonly identity: Identity;
  readonly limits: PeerLimits;
  /** Monotonic milliseconds. */
  readonly now: number;
  readonly transmit: (datagram: Buffer, to: Endpoint) => void;
  readonly deliver: (message: IncomingMessage, settle: (outcome: Outcome) => void) => void;
  /** Something has to be flushed that no call of the owner has caused. */
  readonly wake: () => void;
}

export class PeerEngine {
  readonly counters = new Counters();
  readonly sessionClose: SessionClose;
  /** How many messages waited for the peer that the last one was sent to, with that one. */
  pendingAtLast = 0;
  readonly #options: EngineOptions;
  readonly #inboxes: Inboxes;
  readonly #sessions: Sessions;
  readonly #peers: PeerTable;
  readonly #handshakes: Handshakes;
  readonly #delivery: Delivery;
  readonly #active = new Set<Peer>(); // those that wait for something
  readonly #due: ReadySessions;
  #sweepAt: number;
  #closing = false;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#inboxes = new Inboxes(options.limits.reassemblyBytes, (entry) => this.#sessions.end(entry));
    this.#peers = new PeerTable(options.limits, (peer) => {
      this.#handshakes.end(peer);
      this.counters.retransmissions += peer.outbox.retransmissions;
    });
    this.#due = new ReadySessions((datagram, to) => this.#transmit(datagram, to));
    this.#sessions = new Sessions(options.limits, (session) => {
      this.#peers.gone(session);
      this.#inboxes.release(session.entry);
    });
    this.sessionClose = new SessionClose(this.#sessions, this.#due);
    this.#handshakes = new Handshakes({
      identity: options.identity,
      limits: options.limits,
      now: options.now,
      sessions: this.#sessions,
      inboxes: this.#inboxes,
      peers: this.#peers,
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
    for (const peer of this.#active) count += peer.waiting;
    return count;
  }
  /** Messages that the application was given and has not settled. */
  get inHand(): number {
    return this.#delivery.inHand;
  }
  get retransmissions(): number {
    let count = this.counters.retransmissions;
    for (const peer of this.#peers.all()) count += peer.outbox.retransmissions;
    return count;
  }

  /**
   * Queues a message; flush() sends it. Returns what cancels it, to be called only before `waiter.done` was, or the error
   * that kept it from being queued.
   */
  send(identity: PeerIdentity, body: Buffer, waiter: Waiter): TalkError | (() => void) {
    if (this.#closing) return TalkError.closed("the peer transport");
    const peer = this.#peers.admit(identity);
    if (peer instanceof TalkError) return peer;
    const number = peer.enqueue(body, waiter);
    this.pendingAtLast = peer.outbox.pending;
    this.#active.add(peer);
    this.#service(peer, waiter.since);
    return () => {
      peer.cancel(number);
      if (peer.session) this.#due.addIfWanted(peer.session);
    };
  }

  /** The directory says that this peer is elsewhere now: what waits for it follows. flush() sends what is due. */
  move(key: Buffer, from: readonly Endpoint[], to: readonly Endpoint[], now: number): void {
    const moved = this.#peers.move(key, from, to);
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
    for (const peer of this.#active) earliest = Math.min(earliest, peer.deadline());
    return earliest;
  }

  /** flush() sends what it decides. */
  onTimer(now: number): void {
    for (const peer of this.#active) {
      peer.expire(now);
      if (peer.session) peer.outbox.onTimer(now);
      this.#service(peer, now);
      if (peer.waiting === 0 && peer.outbox.pending === 0) this.#active.delete(peer);
    }
    if (now < this.#sweepAt) return;
    this.#sweepAt = now + SWEEP;
    this.#sessions.sweep(now);
    this.#handshakes.sweep(now);
    this.#peers.forgetIdle();
  }

  /** No new messages in or out; those on their way go on. */
  stopSending(now: number): void {
    this.#closing = true;
    this.#delivery.stopped = true;
    for (const peer of this.#active) peer.failAll(TalkError.closed("the peer transport"), now);
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
        return isOtherVersion(datagram) ? "other-version" : "malformed";
    }
  }

  #onData(datagram: Buffer, address: string, port: number, now: number): DropReason | null {
    const session = this.#sessions.get(receiverIndex(datagram));
    if (!session) return "unknown-session";
    const { peer } = session;
    peer.setNow(now);
    const reason = session.receive(datagram, address, port, now);
    if (reason) {
      if (reason === "broken-peer") this.#sessions.remove(session); // authentic, but of no use
      return reason;
    }
    if (!session.confirmed) this.#onConfirmed(session, now);
    // It answers after all: the call that its silence has caused would only make everything under way go out again.
    if (peer.initiation && peer.session === session && !peer.needsNewSession(now)) {
      this.#handshakes.end(peer);
    }
    try {
      this.#delivery.from(session); // an application may throw
    } finally {
      this.#due.addIfWanted(session);
      if (peer.session && peer.session !== session) this.#due.addIfWanted(peer.session);
      if (session.closed) this.#onClosed(session, now);
    }
    return null;
  }

  #onResponse(response: Buffer, from: Endpoint, now: number): DropReason | null {
    const session = this.#handshakes.onResponse(response, from, now);
    if (typeof session === "string") return session;
    this.counters.handshakes++;
    session.peer.use(session);
    this.#due.add(session);
    return null;
  }

  #onConfirmed(session: SecureSession, now: number): void {
    this.#sessions.confirm(session);
    this.counters.handshakes++;
    session.roundTripMs = now - session.createdAt;
    if (this.#peers.confirmed(session)) this.#handshakes.end(session.peer);
  }

  #onClosed(session: SecureSession, now: number): void {
    if (!this.#closing) {
      session.closeDue = true;
      const datagram = session.next(now);
      if (datagram) this.#transmit(datagram, session.address);
    }
    this.#sessions.remove(session);
    this.#service(session.peer, now);
  }

  #service(peer: Peer, now: number): void {
    this.#handshakes.drive(peer, now);
    if (peer.session) this.#due.addIfWanted(peer.session);
  }

  #transmit(datagram: Buffer, to: Endpoint): void {
    this.counters.onSent(datagram.length);
    this.#options.transmit(datagram, to);
  }
}
