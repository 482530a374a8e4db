// The peer protocol without its socket: datagrams and messages in, datagrams and messages out, the clock as an argument.
// transport.ts gives it a socket and a timer; tests give it a network of their own.
import type { Identity } from "../../crypto/identity.ts";
import { type StaticKeys, staticKeys, toX25519 } from "../../crypto/noise.ts";
import { TalkError } from "../../errors.ts";
import {
  DatagramType,
  datagramType,
  decodeHandshakePayload,
  encodeHandshakePayload,
  encodeResponse,
  receiverIndex,
  senderIndex,
} from "../../wire/datagram.ts";
import { decodeMessage } from "../../wire/datagram-message.ts";
import type { Received } from "../reliability/inbox.ts";
import { addressProblem, canonicalAddress, sameAddresses } from "./address.ts";
import { Answerer, type Call, type InitDropReason } from "./answerer.ts";
import { Correspondent, type Waiter } from "./correspondent.ts";
import { Counters } from "./counters.ts";
import { Dial } from "./dial.ts";
import { Inboxes } from "./inboxes.ts";
import { CLOSE_RECENT, SWEEP } from "./limits.ts";
import { Session, type SessionDropReason } from "./session.ts";
import { Sessions } from "./sessions.ts";
import type { IncomingMessage, Peer, PeerAddress, PeerLimits } from "./types.ts";

/** Why a datagram was dropped; stats() counts them. */
export type DropReason =
  | SessionDropReason
  | InitDropReason
  | "malformed"
  | "unknown-session"
  | "cookie-asked"
  | "closing"
  | "bad-message";

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
  readonly #keys: StaticKeys;
  readonly #answerer: Answerer;
  readonly #inboxes: Inboxes;
  readonly #sessions: Sessions;
  readonly #dials = new Map<number, Correspondent>();
  /** By key and place: several programs of one user have one key. One that is reached at several places is here for each. */
  readonly #correspondents = new Map<string, Correspondent>();
  readonly #active = new Set<Correspondent>(); // those that wait for something
  #dirty: Session[] = []; // those that may have something to send (session.dirty)
  #sweepAt: number;
  #closing = false;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#keys = staticKeys(options.identity);
    this.#answerer = new Answerer(this.#keys, options.limits, options.now);
    this.#inboxes = new Inboxes(options.limits.reassemblyBytes);
    this.#sessions = new Sessions(options.limits, (session) => this.#onGone(session));
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
  get retransmissions(): number {
    let count = this.counters.retransmissions;
    for (const correspondent of new Set(this.#correspondents.values())) count += correspondent.outbox.retransmissions;
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
    let known = this.#find(keyText, peer.addresses);
    if (!known || !sameAddresses(known.given, peer.addresses)) {
      const problem = addressProblem(peer.addresses);
      if (problem) return TalkError.badData(problem);
      known ??= this.#find(keyText, peer.addresses.map(canonicalAddress));
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
    const correspondent = this.#find(key.toString("base64"), from);
    if (!correspondent || addressProblem(to)) return;
    this.#moveTo(correspondent, to);
    this.#service(correspondent, now);
  }

  /** One datagram from the socket; flush() answers. */
  receive(datagram: Buffer, address: string, port: number, now: number): void {
    this.counters.onReceived(datagram.length);
    const reason = this.#read(datagram, address, port, now);
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
        return this.#onInit(datagram, { address, port }, now);
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
    this.#deliver(session);
    this.#mayFlush(session);
    if (correspondent.session && correspondent.session !== session) this.#mayFlush(correspondent.session);
    if (session.closed) this.#onClosed(session, now);
    return null;
  }

  #onInit(init: Buffer, from: PeerAddress, now: number): DropReason | null {
    if (this.#closing) return "closing";
    const answer = this.#answerer.read(init, from.address, from.port, now);
    if (answer.kind === "drop") return answer.reason;
    if (answer.kind === "call") {
      this.#answer(answer, from, now);
      return null;
    }
    this.#transmit(answer.datagram, from);
    return answer.isCookie ? "cookie-asked" : null;
  }

  #answer(call: Call, from: PeerAddress, now: number): void {
    const correspondent =
      this.#find(call.key.toString("base64"), [from]) ?? this.#place(new Correspondent(call.key), [from]);
    const { message, keys } = call.responder.answer(encodeHandshakePayload(correspondent.instance));
    const session = this.#newSession(correspondent, call.instance, {
      localIndex: this.#newIndex(),
      remoteIndex: call.index,
      keys,
      address: from,
      initiated: false,
      roundTripMs: 0,
      now,
    });
    const response = encodeResponse(session.localIndex, call.index, message);
    this.#answerer.remember(call.id, response, now);
    this.#transmit(response, from);
  }

  #onResponse(response: Buffer, from: PeerAddress, now: number): DropReason | null {
    const index = receiverIndex(response);
    const correspondent = this.#dials.get(index);
    const dial = correspondent?.dial;
    if (!correspondent || !dial) return "unknown-session";
    const finished = dial.finish(response);
    const payload = finished && decodeHandshakePayload(finished.payload);
    if (!payload) return "bad-handshake";
    this.#endDial(correspondent);
    const session = this.#newSession(correspondent, payload.instance.toString("base64"), {
      localIndex: index,
      remoteIndex: senderIndex(response),
      keys: finished.keys,
      address: from,
      initiated: true,
      roundTripMs: dial.roundTripMs(now),
      now,
    });
    this.counters.handshakes++;
    correspondent.use(session);
    this.#markDirty(session);
    return null;
  }

  #onCookie(reply: Buffer, now: number): DropReason | null {
    const correspondent = this.#dials.get(receiverIndex(reply));
    if (!correspondent) return "unknown-session";
    correspondent.dial?.onCookie(reply, now);
    this.#service(correspondent, now);
    return null;
  }

  #newSession(
    correspondent: Correspondent,
    instance: string,
    parts: Omit<ConstructorParameters<typeof Session>[0], "correspondent" | "entry" | "instance">,
  ): Session {
    const entry = this.#inboxes.acquire(`${correspondent.keyText}/${instance}`);
    const session = new Session({ ...parts, correspondent, entry, instance });
    correspondent.sessions.add(session);
    this.#sessions.add(session);
    return session;
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
    this.#endDial(correspondent);
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

  // Hands over what is complete, one at a time: the next one follows when the application has taken this one.
  #deliver(session: Session): void {
    const { entry } = session;
    if (entry.delivering || this.#closing) return;
    entry.delivering = true;
    for (let received = entry.inbox.take(); received; received = entry.inbox.take()) this.#handOver(session, received);
    entry.delivering = false;
  }

  #handOver(session: Session, { number, body }: Received): void {
    const message = decodeMessage(body);
    if (!message) {
      this.counters.drop("bad-message");
      this.#settle(session, number, true);
      return;
    }
    this.counters.messagesReceived++;
    let settled = false;
    const settle = (refused: boolean) => {
      if (settled) return;
      settled = true;
      this.#settle(session, number, refused);
    };
    const { id, from, text } = message;
    this.#options.deliver(
      { key: session.correspondent.key, from, text, id, at: Date.now(), address: session.address },
      () => settle(false),
      () => settle(true),
    );
  }

  #settle(session: Session, number: number, refused: boolean): void {
    session.entry.inbox.settle(number, refused);
    if (session.entry.delivering) return; // the datagram that it came in is answered with SETTLED anyway
    // Later, from the application: tell the sender, and go on with what came meanwhile.
    this.#tellSettled(session);
    this.#deliver(session);
    this.#options.wake();
  }

  // Through a session that still exists: the one that the message came through may be gone by now.
  #tellSettled(session: Session): void {
    for (const other of session.correspondent.sessions) {
      if (other.entry !== session.entry || !other.confirmed) continue;
      other.settleDue = true;
      this.#markDirty(other);
    }
  }

  #find(keyText: string, addresses: readonly PeerAddress[]): Correspondent | undefined {
    for (const address of addresses) {
      const found = this.#correspondents.get(placeOf(keyText, address));
      if (found) return found;
    }
    return undefined;
  }

  // Who is there already stays there: two outboxes for one place do not merge, each ends by itself.
  #place(correspondent: Correspondent, addresses: readonly PeerAddress[]): Correspondent {
    this.#displace(correspondent);
    for (const address of addresses) {
      const place = placeOf(correspondent.keyText, address);
      if (this.#correspondents.has(place)) continue;
      this.#correspondents.set(place, correspondent);
      correspondent.places.push(place);
    }
    return correspondent;
  }

  #displace(correspondent: Correspondent): void {
    for (const place of correspondent.places.splice(0)) this.#correspondents.delete(place);
  }

  // The directory's word counts: when the peer has moved, an old session may lead to another program of the same user.
  #moveTo(correspondent: Correspondent, given: readonly PeerAddress[]): void {
    if (!sameAddresses(correspondent.given, given)) {
      correspondent.given = given.map(({ address, port }) => ({ address, port })); // the caller may change its own
      correspondent.addresses = given.map(canonicalAddress);
      this.#place(correspondent, correspondent.addresses);
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
    if (correspondent.dial && correspondent.outbox.pending === 0) this.#endDial(correspondent);
    if (correspondent.needsHandshake(now)) this.#dial(correspondent, now);
    const { dial } = correspondent;
    if (dial && now >= dial.nextAt) {
      for (const address of correspondent.addresses) this.#transmit(dial.datagram, address);
      dial.onSent(now);
    }
    if (correspondent.session) this.#mayFlush(correspondent.session);
  }

  #dial(correspondent: Correspondent, now: number): void {
    const remote = toX25519(correspondent.key);
    if (!remote) return; // checked by send()
    const index = this.#newIndex();
    const { publicKey } = this.#options.identity;
    const { instance } = correspondent;
    correspondent.dial = new Dial({ index, keys: this.#keys, remote, instance, publicKey, now });
    this.#dials.set(index, correspondent);
  }

  #endDial(correspondent: Correspondent): void {
    if (correspondent.dial) this.#dials.delete(correspondent.dial.index);
    correspondent.dial = null;
  }

  #newIndex(): number {
    return this.#sessions.newIndex((index) => this.#dials.has(index));
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
    this.#answerer.sweep(now);
    for (const correspondent of new Set(this.#correspondents.values())) {
      if (correspondent.sessions.size > 0 || correspondent.outbox.pending > 0 || correspondent.waiting > 0) continue;
      this.#endDial(correspondent);
      this.counters.retransmissions += correspondent.outbox.retransmissions;
      this.#displace(correspondent);
    }
  }
}

const placeOf = (keyText: string, { address, port }: PeerAddress): string => `${keyText} ${address} ${port}`;

function isRecent(session: Session, now: number): boolean {
  return session.confirmed && now - session.heardAt <= CLOSE_RECENT;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes);
}
