// The peer protocol without its socket: datagrams and messages in, datagrams and messages out, the clock as an argument.
// transport.ts gives it a socket and a timer; tests give it a network of their own.
import type { Identity } from "../../crypto/identity.ts";
import { toX25519 } from "../../crypto/noise.ts";
import { TalkError } from "../../errors.ts";
import { DatagramType, datagramType, receiverIndex } from "../../wire/datagram.ts";
import { addressProblem, canonicalAddress, sameAddresses } from "./address.ts";
import { Correspondent, type Waiter } from "./correspondent.ts";
import { Counters } from "./counters.ts";
import { Delivery } from "./delivery.ts";
import { type HandshakeDropReason, Handshakes } from "./handshakes.ts";
import { Inboxes } from "./inboxes.ts";
import { CLOSE_RECENT, SWEEP } from "./limits.ts";
import { Places } from "./places.ts";
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
  /** How many messages waited for the peer that the last one was sent to, with that one. */
  pendingAtLast = 0;
  readonly #options: EngineOptions;
  readonly #inboxes: Inboxes;
  readonly #sessions: Sessions;
  readonly #places = new Places();
  readonly #handshakes: Handshakes;
  readonly #delivery: Delivery;
  readonly #active = new Set<Correspondent>(); // those that wait for something
  readonly #dirty: Session[] = []; // those that may have something to send (session.dirty)
  #sweepAt: number;
  #closing = false;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#inboxes = new Inboxes(options.limits.reassemblyBytes, (entry) => this.#sessions.end(entry));
    this.#sessions = new Sessions(options.limits, (session) => this.#onGone(session));
    this.#handshakes = new Handshakes({
      identity: options.identity,
      limits: options.limits,
      now: options.now,
      sessions: this.#sessions,
      inboxes: this.#inboxes,
      places: this.#places,
      transmit: (datagram, to) => this.#transmit(datagram, to),
    });
    this.#delivery = new Delivery({
      counters: this.counters,
      deliver: options.deliver,
      onSettledLater: (session) => {
        this.#markDirty(session);
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
    for (const correspondent of this.#places.all()) count += correspondent.outbox.retransmissions;
    return count;
  }

  /**
   * Queues a message; flush() sends it. Returns what cancels it, to be called only before `waiter.done` was, or the error
   * that kept it from being queued.
   */
  send(peer: Peer, body: Buffer, waiter: Waiter): TalkError | (() => void) {
    if (this.#closing) return TalkError.closed("the peer transport");
    const key = asBuffer(peer.key);
    const keyText = key.toString("base64");
    const name = peer.name ?? keyText;
    let known = this.#places.find(keyText, peer.addresses);
    if (!known || !sameAddresses(known.given, peer.addresses)) {
      const problem = addressProblem(peer.addresses);
      if (problem) return TalkError.badData(problem);
      known ??= this.#places.find(keyText, peer.addresses.map(canonicalAddress));
      if (!known && !toX25519(key)) return TalkError.badData(`the key of ${name} is no usable public key`);
    }
    const correspondent = known ?? new Correspondent(Buffer.from(key));
    if (correspondent.waiting >= this.#options.limits.queuedMessages) {
      return TalkError.notDelivered(name, `${correspondent.waiting} messages are waiting for it already`);
    }
    correspondent.name = name;
    this.#moveTo(correspondent, peer.addresses);
    const number = correspondent.enqueue(body, waiter);
    this.pendingAtLast = correspondent.outbox.pending;
    this.#active.add(correspondent);
    this.#service(correspondent, waiter.since);
    return () => {
      correspondent.cancel(number);
      if (correspondent.session) this.#mayFlush(correspondent.session);
    };
  }

  /** The directory says that this peer is elsewhere now: what waits for it follows. flush() sends what is due. */
  move(key: Buffer, from: readonly PeerAddress[], to: readonly PeerAddress[], now: number): void {
    const correspondent = this.#places.find(key.toString("base64"), from);
    if (!correspondent || addressProblem(to)) return;
    this.#moveTo(correspondent, to);
    this.#service(correspondent, now);
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
    return this.#dirty.length > 0;
  }

  /** Sends whatever is due. */
  flush(now: number): void {
    for (const session of this.#dirty) {
      session.dirty = false;
      if (session.gone) continue;
      for (let datagram = session.next(now); datagram; datagram = session.next(now)) {
        this.#transmit(datagram, session.address);
      }
    }
    this.#dirty.length = 0;
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
    if (now >= this.#sweepAt) this.#sweep(now);
  }

  /** No new messages in or out; those on their way go on. */
  stopSending(now: number): void {
    this.#closing = true;
    this.#delivery.stopped = true;
    for (const correspondent of this.#active) correspondent.failAll(TalkError.closed("the peer transport"), now);
  }

  /** Says goodbye (again) to everybody heard of lately who has not answered it. */
  goodbye(now: number): void {
    for (const session of this.#sessions.all()) {
      if (!isRecent(session, now)) continue;
      session.closeDue = true;
      session.settleDue = true;
      this.#markDirty(session);
    }
  }

  /** Sessions whose goodbye is not answered yet. */
  unansweredGoodbyes(now: number): number {
    let count = 0;
    for (const session of this.#sessions.all()) if (isRecent(session, now)) count++;
    return count;
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
        return this.#onCookie(datagram, now);
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
    this.#delivery.from(session);
    this.#mayFlush(session);
    if (correspondent.session && correspondent.session !== session) this.#mayFlush(correspondent.session);
    if (session.closed) this.#onClosed(session, now);
    return null;
  }

  #onResponse(response: Buffer, from: PeerAddress, now: number): DropReason | null {
    const session = this.#handshakes.onResponse(response, from, now);
    if (typeof session === "string") return session;
    this.counters.handshakes++;
    session.correspondent.use(session);
    this.#markDirty(session);
    return null;
  }

  #onCookie(reply: Buffer, now: number): DropReason | null {
    const correspondent = this.#handshakes.onCookie(reply, now);
    if (!correspondent) return "unknown-session";
    this.#service(correspondent, now);
    return null;
  }

  // Both sides may call each other at once: then there are two sessions. Each side sends through the one that it began,
  // or through the first that works, and hears on both; the other one is forgotten when it is idle.
  #onConfirmed(session: Session, now: number): void {
    this.#sessions.confirm(session);
    this.counters.handshakes++;
    session.roundTripMs = now - session.createdAt;
    const { correspondent } = session;
    const { session: present } = correspondent;
    if (!correspondent.isReachedBy(session)) return;
    const works = present && present.instance === session.instance && correspondent.outbox.unanswered === 0;
    if (works) return;
    correspondent.use(session);
    this.#handshakes.end(correspondent);
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

  #onGone(session: Session): void {
    const { correspondent } = session;
    session.gone = true;
    correspondent.sessions.delete(session);
    this.#inboxes.release(session.entry);
    if (correspondent.session === session) correspondent.session = null;
  }

  // The directory's word counts: when the peer has moved, an old session may lead to another program of the same user.
  #moveTo(correspondent: Correspondent, given: readonly PeerAddress[]): void {
    if (!sameAddresses(correspondent.given, given)) {
      correspondent.given = given.map(({ address, port }) => ({ address, port })); // the caller may change its own
      correspondent.addresses = given.map(canonicalAddress);
      this.#places.put(correspondent, correspondent.addresses);
      const { session } = correspondent;
      if (session && !correspondent.isReachedBy(session)) correspondent.session = null;
    }
    if (correspondent.session) return;
    let best: Session | null = null;
    for (const session of correspondent.sessions) {
      if (session.confirmed && correspondent.isReachedBy(session)) best = session; // the newest
    }
    if (best) correspondent.use(best);
  }

  #service(correspondent: Correspondent, now: number): void {
    if (correspondent.dial && correspondent.outbox.pending === 0) this.#handshakes.end(correspondent);
    if (correspondent.needsHandshake(now)) this.#handshakes.begin(correspondent, now);
    const { dial } = correspondent;
    if (dial && now >= dial.nextAt) {
      for (const address of correspondent.addresses) this.#transmit(dial.datagram, address);
      dial.onSent(now);
    }
    if (correspondent.session) this.#mayFlush(correspondent.session);
  }

  #mayFlush(session: Session): void {
    if (session.wantsToSend()) this.#markDirty(session);
  }

  #markDirty(session: Session): void {
    if (session.dirty) return;
    session.dirty = true;
    this.#dirty.push(session);
  }

  #transmit(datagram: Buffer, to: PeerAddress): void {
    this.counters.onSent(datagram.length);
    this.#options.transmit(datagram, to);
  }

  #sweep(now: number): void {
    this.#sweepAt = now + SWEEP;
    this.#sessions.sweep(now);
    this.#handshakes.sweep(now);
    for (const correspondent of this.#places.all()) {
      if (correspondent.sessions.size > 0 || correspondent.outbox.pending > 0 || correspondent.waiting > 0) continue;
      this.#handshakes.end(correspondent);
      this.counters.retransmissions += correspondent.outbox.retransmissions;
      this.#places.remove(correspondent);
    }
  }
}

function isRecent(session: Session, now: number): boolean {
  return session.confirmed && now - session.heardAt <= CLOSE_RECENT;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes);
}
