// The peer protocol without its socket: datagrams and messages in, datagrams and messages out, the clock as an argument.
// transport.ts gives it a socket and a timer; tests give it a network of their own.
//
// Outbound                                                Inbound
//  1. transport.ts encodes the message: send()             1. transport.ts reads a datagram: receive()
//  2. peer-table.ts finds the peer, whose outbox           2. by its type: a handshake's goes to handshakes.ts; DATA to
//     numbers the message (peer.ts, stream/outbox.ts)         the session that its index names (peer-table.ts)
//  3. without a good session: handshakes.ts begins one     3. secure-session.ts refuses replays, opens the seal, reads the
//  4. flush(): the session fills a datagram with ACK,         frames: ACK and SETTLED for the outbox, which ends the
//     SETTLED and what the outbox has to send, and            outbound way; fragments for the inbox (stream/inbox.ts)
//     seals it (secure-session.ts)                         4. flush(), when all that had arrived is read: inbound-streams.ts
//  5. transmit(); stream/loss-detector.ts remembers           hands complete messages to the application
//     it until it is acknowledged                          5. the application begins their output, unless they were given up
//                                                             meanwhile, and settles them, now or later
//                                                          6. flush() answers with ACK and SETTLED

import { debuglog } from "node:util";
import { type Endpoint, formatEndpoint, relayEndpoint } from "../base/endpoint.ts";
import { TalkError, type WayAnswer } from "../base/errors.ts";
import type { Identity } from "../crypto/identity.ts";
import { DatagramType, datagramType, isOtherVersion, receiverIndex } from "../wire/datagram.ts";
import type { Outcome } from "../wire/datagram-frames.ts";
import { type HandshakeDropReason, Handshakes, hex } from "./handshakes.ts";
import { type InboundStream, InboundStreams } from "./inbound-streams.ts";
import { CLOSE_RECENT, DIRECT_SILENCE, SWEEP } from "./limits.ts";
import type { Path } from "./path.ts";
import type { Peer, Waiter } from "./peer.ts";
import { PeerTable, type SessionEntry } from "./peer-table.ts";
import type { SecureSession, SessionDropReason } from "./secure-session.ts";
import type { IncomingBody, IncomingMessage, MessageOutput, PeerIdentity, PeerLimits, PeerStats } from "./types.ts";

const debug = debuglog("ptalk-peer");

/** Why a datagram was dropped; stats() counts them. */
export type DropReason = SessionDropReason | HandshakeDropReason | "malformed" | "other-version" | "closing";

export interface EngineOptions {
  readonly identity: Identity;
  readonly limits: PeerLimits;
  /** Monotonic milliseconds. */
  readonly now: number;
  /** @param isAlone not together with others: it shows what the path takes */
  readonly transmit: (datagram: Buffer, to: Endpoint, isAlone: boolean) => void;
  readonly deliver: (message: IncomingMessage, settle: (outcome: Outcome) => void, output: MessageOutput) => void;
  /** Gives receive() all that waits in the socket. Not called within receive(). */
  readonly readAll?: () => void;
  readonly deliverBody: (body: IncomingBody, settle: (outcome: Outcome) => void) => void;
  /** Something has to be flushed that no call of the owner has caused. */
  readonly wake: () => void;
  /** Where the directory has this program; none unless told otherwise. */
  readonly ownHomes?: () => readonly Endpoint[];
  /** No direct path to the peer answers, or not soon. */
  readonly onUnanswered?: (peer: Peer) => void;
  /** Messages to a peer that has a name go another way from now on. */
  readonly onPath?: (peer: Peer, path: Path) => void;
}

export class PeerEngine {
  readonly #options: EngineOptions;
  readonly #streams: InboundStreams<SecureSession>;
  readonly #table: PeerTable;
  readonly #handshakes: Handshakes;
  readonly #active = new Set<Peer>(); // those that wait for something
  readonly #ready: SecureSession[] = []; // those that may have something to send, until flush()
  /** Streams that have received something, and the session, until flush() hands over the complete messages. */
  readonly #heard: { readonly stream: InboundStream<SecureSession>; readonly session: SecureSession }[] = [];
  #sweepAt: number;
  #isClosing = false;
  #pendingAtLast = 0;

  #datagramsSent = 0;
  #datagramsReceived = 0;
  #bytesSent = 0;
  #bytesReceived = 0;
  #completed = 0; // handshakes
  #pathChanges = 0;
  readonly #forgotten = { delivered: 0, retransmissions: 0 }; // of peers that are forgotten
  readonly #dropped: Partial<Record<DropReason, number>> = {};

  constructor(options: EngineOptions) {
    this.#options = options;
    const { identity, limits, now } = options;
    const transmit = (datagram: Buffer, to: Endpoint) => this.#transmit(datagram, to);
    this.#streams = new InboundStreams<SecureSession>({
      limitBytes: limits.reassemblyBytes,
      deliver: options.deliver,
      readAll: () => options.readAll?.(),
      deliverBody: options.deliverBody,
      onSettledLater: (session) => {
        this.#addReady(session);
        options.wake();
      },
      endSession: (session) => this.#table.removeSession(session),
    });
    this.#table = new PeerTable(limits, (peer) => this.#onForget(peer));
    const [table, streams] = [this.#table, this.#streams];
    const onUnanswered = (peer: Peer) => options.onUnanswered?.(peer);
    const ownHomes = () => options.ownHomes?.() ?? [];
    this.#handshakes = new Handshakes({ identity, limits, now, table, streams, transmit, ownHomes, onUnanswered });
    this.#sweepAt = now + SWEEP;
  }

  /**
   * Queues a message; flush() sends it. Returns what cancels it, to be called only before `waiter.done` was, which then is not
   * called any more, or the error that kept it from being queued.
   */
  send(identity: PeerIdentity, body: Buffer, waiter: Waiter): TalkError | ((now: number) => void) {
    if (this.#isClosing) return TalkError.closed("the peer transport");
    const peer = this.#table.admit(identity);
    if (peer instanceof TalkError) return peer;
    const number = peer.enqueue(identity.name ?? null, body, waiter);
    this.#pendingAtLast = peer.pending;
    this.#active.add(peer);
    this.#service(peer, waiter.since);
    return (now) => {
      peer.giveUp(number, now);
      if (peer.session) this.#addIfReady(peer.session);
    };
  }

  /** Messages that wait for the peer of the last send(), that one included. */
  get pendingAtLast(): number {
    return this.#pendingAtLast;
  }

  /** The directory says that this peer is elsewhere now: what waits for it follows. flush() sends what is due. */
  move(key: Buffer, from: readonly Endpoint[], to: readonly Endpoint[], now: number): void {
    const moved = this.#table.move(key, from, to);
    if (!moved) return;
    if (debug.enabled) debug("the directory moves a peer to %s", to.map(formatEndpoint).join(", "));
    this.#service(moved, now);
  }

  /**
   * This peer is about to call us: our own INITs open the way for its. flush() is not needed.
   * @param from where they go, canonical
   */
  invite(identity: PeerIdentity, from: readonly Endpoint[], now: number): void {
    if (this.#isClosing || from.length === 0) return;
    const peer = this.#table.caller(Buffer.from(identity.key), from[0] as Endpoint, from);
    if (peer.session?.path.kind === "direct" && now - peer.session.heardAt < DIRECT_SILENCE) return;
    peer.invite(from, now);
    this.#active.add(peer);
    this.#service(peer, now);
  }

  /** Our datagrams come from another port now: peers with direct paths have to know. flush() tells them. */
  pingDirect(): void {
    for (const session of this.#table.confirmedSessions()) {
      if (session.path.kind !== "direct") continue;
      session.pingLater();
      this.#addReady(session);
    }
  }

  /** See {@link PeerTable.hasSession}. */
  hasSession(identity: PeerIdentity): boolean {
    return this.#table.hasSession(identity);
  }

  /** See {@link PeerTransport.leastRoundTripMs}. */
  leastRoundTripMs(identity: PeerIdentity): number {
    return this.#table.peerOf(identity)?.leastRoundTripMs ?? 0;
  }

  /** One datagram from the socket; flush() answers. */
  receive(datagram: Buffer, address: string, port: number, now: number): void {
    this.#datagramsReceived++;
    this.#bytesReceived += datagram.length;
    // Port 0 cannot be answered: the socket would throw. A forger can write it into a datagram.
    const reason = port === 0 ? "malformed" : this.#read(datagram, address, port, now);
    if (reason !== null) this.#noteDropped(reason, datagram, { address, port });
  }

  #noteDropped(reason: DropReason | null, { length }: Buffer, from: Endpoint): void {
    if (reason === null) return;
    this.#dropped[reason] = (this.#dropped[reason] ?? 0) + 1;
    if (debug.enabled) debug("dropped %s: %d bytes from %s", reason, length, formatEndpoint(from));
  }

  /** One datagram that the relay has passed on; flush() answers. @param place what the relay calls its sender */
  receiveRelayed(datagram: Buffer, place: string, now: number): void {
    this.#datagramsReceived++;
    this.#bytesReceived += datagram.length;
    const { address, port } = relayEndpoint(place);
    this.#noteDropped(this.#read(datagram, address, port, now), datagram, { address, port });
  }

  /** A datagram did not get there: the errno of a send, or what ICMP has said of it. It counts as lost. */
  onUnreachable(to: Endpoint, answer: WayAnswer): void {
    if (debug.enabled) debug("%s: %s", formatEndpoint(to), answer);
    for (const peer of this.#active) peer.noteUnreachable(to, answer);
  }

  /** The kernel does not send so large a datagram there: it counts as lost, and smaller ones go there from now on. */
  onTooLarge(to: Endpoint, bytes: number, now: number): void {
    if (debug.enabled) debug("%d bytes are too many for the way to %s", bytes, formatEndpoint(to));
    for (const session of this.#table.confirmedSessions()) session.onTooLarge(to, bytes, now);
  }

  /** False when flush() would do nothing. */
  wantsToFlush(): boolean {
    return this.#ready.length > 0 || this.#heard.length > 0;
  }

  /**
   * Hands over what has become complete, and sends whatever is due: everything that happened since the last call goes into as few
   * datagrams as it fits.
   */
  flush(now: number): void {
    try {
      this.#deliver();
    } finally {
      this.#send(now); // an application may throw
    }
  }

  #deliver(): void {
    for (let heard = this.#heard.shift(); heard; heard = this.#heard.shift()) {
      const { stream, session } = heard;
      stream.deliver(session);
      this.#addIfReady(session);
    }
  }

  #send(now: number): void {
    for (const session of this.#ready) {
      for (let datagram = session.next(now); datagram; datagram = session.next(now)) {
        for (const { endpoint } of session.destinations) this.#transmit(datagram, endpoint, session.isPathUncertain);
      }
    }
    this.#ready.length = 0;
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
      if (peer.onTimer(now)) this.#options.onUnanswered?.(peer);
      this.#service(peer, now);
      const isBusy = peer.waiting > 0 || peer.pending > 0 || peer.isProbing || peer.initiation;
      if (!isBusy) this.#active.delete(peer);
    }
    if (now < this.#sweepAt) return;
    this.#sweepAt = now + SWEEP;
    this.#table.sweep(now);
    this.#handshakes.sweep(now);
    this.#table.forgetIdle();
  }

  /** Messages that are neither settled nor given up, or whose receiver has not said yet whether it has shown them. */
  get pending(): number {
    let count = 0;
    for (const peer of this.#active) count += peer.unsettled;
    return count;
  }
  /** Messages whose output has begun and is not done. */
  get showing(): number {
    return this.#streams.showing;
  }

  /** Ends the time of everything that is under way: asks each receiver that may have a message whether it was shown. */
  revokeAll(now: number): void {
    for (const peer of this.#active) {
      peer.revokeAll("before the peer transport was closed", now);
      if (peer.session) this.#addIfReady(peer.session);
    }
  }

  /** No new messages in or out; those on their way go on. */
  stopSending(now: number): void {
    this.#isClosing = true;
    this.#streams.stop();
    for (const peer of this.#active) peer.failAll(TalkError.closed("the peer transport"), now);
  }

  /** flush() says goodbye, CLOSE, to the peers heard of lately that have not answered it yet. */
  sayGoodbye(now: number): void {
    for (const session of this.#recent(now)) {
      session.closeLater();
      this.#addReady(session);
    }
  }

  /** Sessions that have not answered the goodbye yet. */
  openSessions(now: number): number {
    return this.#recent(now).length;
  }

  stats(): PeerStats {
    const peers = [...this.#table.peers].map((peer) => peer.report());
    const sum = (count: (peer: (typeof peers)[number]) => number) =>
      peers.reduce((total, peer) => total + count(peer), 0);
    return {
      sessions: this.#table.sessions,
      halfOpen: this.#table.halfOpen,
      handshakes: {
        begun: this.#handshakes.begun,
        answered: this.#handshakes.answered,
        completed: this.#completed,
        failed: this.#handshakes.failed + this.#table.unconfirmed,
      },
      datagramsSent: this.#datagramsSent,
      datagramsReceived: this.#datagramsReceived,
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
      messagesDelivered: this.#forgotten.delivered + sum(({ delivered }) => delivered),
      messagesReceived: this.#streams.messages,
      retransmissions: this.#forgotten.retransmissions + sum(({ retransmissions }) => retransmissions),
      pathChanges: this.#pathChanges,
      dropped: { ...this.#dropped },
      refused: { ...this.#streams.refused },
      peers: peers.filter(({ via, waiting }) => via !== null || waiting > 0),
    };
  }

  #read(datagram: Buffer, address: string, port: number, now: number): DropReason | null {
    switch (datagramType(datagram)) {
      case DatagramType.data:
        return this.#onData(datagram, address, port, now);
      case DatagramType.init:
        return this.#isClosing ? "closing" : this.#handshakes.onInit(datagram, { address, port }, now);
      case DatagramType.response:
        return this.#onResponse(datagram, { address, port }, now);
      case DatagramType.cookie:
        return this.#handshakes.onCookie(datagram, now);
      default:
        return isOtherVersion(datagram) ? "other-version" : "malformed";
    }
  }

  #onData(datagram: Buffer, address: string, port: number, now: number): DropReason | null {
    const entry = this.#table.session(receiverIndex(datagram));
    if (!entry) return "unknown-session";
    const { session, peer, stream } = entry;
    const before = session.endpoint;
    const reason = session.receive(datagram, address, port, now);
    if (session.endpoint !== before) {
      this.#onPathChange(session, before);
      this.#notePath(peer);
    }
    if (reason) {
      if (reason === "broken-peer") this.#table.removeSession(session); // authentic, but of no use
      return reason;
    }
    if (!session.isConfirmed) this.#onConfirmed(entry, now);
    if (peer.makesHandshakeNeedless(session, now)) this.#handshakes.supersede(peer);
    this.#heard.push({ stream, session });
    this.#addIfReady(session);
    if (peer.session && peer.session !== session) this.#addIfReady(peer.session);
    if (session.isClosed) this.#onClosed(entry, now);
    return null;
  }

  #onResponse(response: Buffer, from: Endpoint, now: number): DropReason | null {
    const entry = this.#handshakes.onResponse(response, from, now);
    if (typeof entry === "string") return entry;
    this.#completed++;
    const isUsed = entry.peer.onAnswered(entry.session, this.#winsTies(entry.peer), now);
    if (entry.peer.pending === 0) entry.session.pingLater(); // the other side uses it once it has heard something
    if (isUsed || entry.peer.pending === 0) {
      this.#addReady(entry.session);
      this.#notePath(entry.peer);
    }
    return null;
  }

  #onConfirmed({ session, peer }: SessionEntry, now: number): void {
    this.#table.confirm(session, now);
    this.#completed++;
    if (debug.enabled)
      debug("handshake %s: confirmed from %s", hex(session.localIndex), formatEndpoint(session.endpoint));
    if (!peer.onConfirmed(session, this.#winsTies(peer), now)) return;
    this.#handshakes.supersede(peer);
    this.#notePath(peer);
  }

  /** Of two handshakes that both sides begin at once, both keep the one of the side with the smaller key. */
  #winsTies(peer: Peer): boolean {
    return Buffer.compare(this.#options.identity.publicKey, peer.key) < 0;
  }

  #notePath(peer: Peer): void {
    const path = peer.name === null ? null : peer.takeNewPath();
    if (path !== null) this.#options.onPath?.(peer, path);
  }

  #onPathChange(session: SecureSession, before: Endpoint): void {
    this.#pathChanges++;
    if (!debug.enabled) return;
    const [from, to] = [formatEndpoint(before), formatEndpoint(session.endpoint)];
    debug("session %s: path changes from %s to %s", hex(session.localIndex), from, to);
  }

  #onClosed({ session, peer }: SessionEntry, now: number): void {
    if (!this.#isClosing) {
      session.closeLater();
      const datagram = session.next(now);
      if (datagram) for (const { endpoint } of session.destinations) this.#transmit(datagram, endpoint);
    }
    this.#table.removeSession(session);
    this.#service(peer, now);
  }

  #onForget(peer: Peer): void {
    this.#handshakes.supersede(peer);
    const { delivered, retransmissions } = peer.report();
    this.#forgotten.delivered += delivered;
    this.#forgotten.retransmissions += retransmissions;
  }

  #service(peer: Peer, now: number): void {
    if (peer.isHandshakeDue(now)) this.#handshakes.drive(peer, now);
    if (peer.session) this.#addIfReady(peer.session);
    if (peer.isProbing) this.#active.add(peer);
  }

  #addIfReady(session: SecureSession): void {
    if (session.wantsToSend()) this.#addReady(session);
  }

  // Few at once: a search is cheaper than a set that comes and goes with each message.
  #addReady(session: SecureSession): void {
    if (!this.#ready.includes(session)) this.#ready.push(session);
  }

  #recent(now: number): SecureSession[] {
    return [...this.#table.confirmedSessions()].filter(({ heardAt }) => now - heardAt <= CLOSE_RECENT);
  }

  #transmit(datagram: Buffer, to: Endpoint, isAlone = false): void {
    this.#datagramsSent++;
    this.#bytesSent += datagram.length;
    this.#options.transmit(datagram, to, isAlone);
  }
}
