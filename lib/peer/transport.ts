// The peer transport: one UDP socket and one timer around the engine (engine.ts), and a promise for each message sent.
import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { constants } from "node:os";
import { debuglog } from "node:util";
import {
  canonicalEndpoint,
  type Endpoint,
  isRelayed,
  isSameEndpoint,
  type PathKind,
  relayEndpoint,
} from "../base/endpoint.ts";
import { TalkError, type WayAnswer } from "../base/errors.ts";
import { IpcError } from "../ipc/error.ts";
import { type DatagramReceiver, DatagramSocket } from "../net/datagram-socket.ts";
import { decodeBindingResponse, encodeBindingRequest, isStun, TRANSACTION_BYTES } from "../net/stun.ts";
import { encodeMessage, MAX_FROM_BYTES, MAX_ID_BYTES, MAX_TEXT_BYTES } from "../wire/datagram-message.ts";
import { PeerEngine } from "./engine.ts";
import { Knocks } from "./knocks.ts";
import {
  CLOSE_INTERVAL,
  CLOSE_OUTPUT_WAIT,
  CLOSE_REVOKE_WAIT,
  CLOSE_WAIT,
  DEFAULT_CLOSE_TIMEOUT,
  DEFAULT_LIMITS,
  DEFAULT_SEND_TIMEOUT,
  MAX_SEND_TIMEOUT,
  OLD_PORT_LIFE,
  SOCKET_BUFFER_BYTES,
  STUN_WAITS,
} from "./limits.ts";
import type {
  OutgoingMessage,
  PeerIdentity,
  PeerStats,
  PeerTransportEvents,
  PeerTransportOptions,
  StreamSendOptions,
} from "./types.ts";

const debug = debuglog("ptalk-peer");
const now = () => performance.now();

/** The receiving program has accepted a message. */
export interface Confirmed {
  /** Milliseconds since send(). */
  readonly ms: number;
  readonly via: PathKind;
}

/** What the errno of a send, or of an ICMP message, says of the way. A full buffer (EAGAIN, ENOBUFS) says nothing. */
const ANSWERS: ReadonlyMap<number, WayAnswer> = new Map([
  [constants.errno.ECONNREFUSED, "refused"],
  [constants.errno.EPERM, "forbidden"],
  [constants.errno.EACCES, "prohibited"],
  [constants.errno.EHOSTUNREACH, "unreachable"],
  [constants.errno.ENETUNREACH, "no-route"],
  [constants.errno.EADDRNOTAVAIL, "no-route"],
  [constants.errno.EAFNOSUPPORT, "no-route"],
]);

export class PeerTransport extends EventEmitter<PeerTransportEvents> {
  /** The bound address. */
  readonly address: string;
  readonly #receiver: DatagramReceiver;
  readonly #isPortFixed: boolean;
  #socket: DatagramSocket;
  /** Of the port before the present one: heard for a while, never sent from. */
  #oldSocket: DatagramSocket | null = null;
  readonly #knocks = new Knocks();
  readonly #engine: PeerEngine;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #isSocketClosed = false;
  /** While a question is out. */
  #onStun: ((datagram: Buffer, address: string, port: number) => void) | null = null;
  #flushQueued = false;
  #isFlushing = false;
  /** What a flush sends to one address, until it is over. */
  readonly #batch: Buffer[] = [];
  #batchAddress = "";
  #batchPort = 0;
  #readAt = 0; // when the present batch of datagrams was read; 0 between batches
  #closed: Promise<void> | null = null;
  #afterFlush: (() => void) | null = null; // close() waits

  /** Binds the socket. Rejects with the system's error: EADDRINUSE, EADDRNOTAVAIL, EACCES… */
  static async open(options: PeerTransportOptions): Promise<PeerTransport> {
    return new PeerTransport(options);
  }

  private constructor(options: PeerTransportOptions) {
    super();
    this.#receiver = {
      onDatagram: (datagram, from, port) => {
        if (isStun(datagram)) {
          this.#onStun?.(datagram, from, port);
          return;
        }
        if (this.#readAt === 0) this.#readAt = now();
        this.#engine.receive(datagram, from, port, this.#readAt);
      },
      onRead: () => this.#answer(),
      onUnreachable: (to, port, error) => this.#noteUnreachable(error, { address: to, port }),
      onError: (error) => {
        debug("socket: %s", error.message);
        if (this.listenerCount("error") > 0) this.emit("error", error);
      },
    };
    const { socket, address } = bind(options, this.#receiver);
    this.#socket = socket;
    this.address = address;
    this.#isPortFixed = (options.port ?? 0) !== 0;
    this.#engine = new PeerEngine({
      identity: options.identity,
      limits: { ...DEFAULT_LIMITS, ...options.limits },
      now: now(),
      transmit: (datagram, to, isAlone) => {
        if (isRelayed(to)) options.relay?.(to.address, datagram);
        else this.#transmit(datagram, to, isAlone);
      },
      ownHomes: () => options.ownHomes?.() ?? [],
      onUnanswered: ({ key, name }) => {
        if (name !== null) this.emit("unanswered", { key, name });
      },
      onPath: ({ key, name }, { kind, endpoint }) => {
        if (name === null) return;
        this.emit("path", { key, name, via: kind, endpoint: kind === "relay" ? null : endpoint });
      },
      deliver: (message, settle, output) => {
        if (!this.emit("message", message, settle, output)) settle("declined"); // no listener: this program takes no messages
      },
      readAll: () => this.#readAll(),
      deliverBody: (body, settle) => {
        if (!this.emit("body", body, settle)) settle("not-understood");
      },
      wake: () => this.#flushSoon(),
    });
    this.#schedule();
  }

  /** The UDP port in use. */
  get port(): number {
    return this.#socket.port;
  }

  /**
   * Goes on from another UDP port: what a NAT or a firewall holds for the present one may be dead, and lives on by all that is
   * sent from it. The peers of direct sessions hear of it by a datagram from there; what they send to the old port
   * meanwhile is heard for OLD_PORT_LIFE.
   * @returns false when the port was chosen by the owner, or no other one is to be had
   */
  changePort(): boolean {
    if (this.#isPortFixed || this.#closed !== null) return false;
    const before = this.#socket;
    try {
      this.#socket = new DatagramSocket(this.address, 0, SOCKET_BUFFER_BYTES, this.#receiver);
    } catch (error) {
      debug("no other port: %s", error);
      return false;
    }
    debug("port %d is left for %d", before.port, this.port);
    this.#oldSocket?.close();
    this.#oldSocket = before;
    setTimeout(() => before.close(), OLD_PORT_LIFE).unref();
    this.#engine.pingDirect();
    this.#flushSoon();
    return true;
  }

  /**
   * Resolves when the receiving program has accepted the message; `ms` is the time that took, in milliseconds.
   * Rejects with TalkError: "not-delivered" (no confirmation in time, and the text will not appear later), "unconfirmed" (the
   * receiver may have shown it and has not said so, a second after the time is over), "key-mismatch", "declined", "not-understood"
   * (the receiver's word), "too-long", "bad-data", "closed"; or with the signal's reason.
   */
  send(peer: PeerIdentity, message: OutgoingMessage, options: StreamSendOptions = {}): Promise<Confirmed> {
    const body = encodeMessage(message);
    return body ? this.sendBody(peer, body, options) : Promise.reject(messageProblem(message));
  }

  /** As send(), for a body that its sender has encoded. The caller must not change it before the promise is settled. */
  sendBody(peer: PeerIdentity, body: Buffer, options: StreamSendOptions = {}): Promise<Confirmed> {
    return new Promise((resolve, reject) => {
      const problem = timeoutProblem(options);
      if (problem) return reject(problem);
      const { signal, timeoutMs = DEFAULT_SEND_TIMEOUT } = options;
      if (signal?.aborted) return reject(signal.reason);
      if (this.#closed) return reject(TalkError.closed("the peer transport"));
      const since = now();
      let onAbort: (() => void) | undefined;
      const done = (error: TalkError | null, ms: number, via: PathKind) => {
        if (onAbort) signal?.removeEventListener("abort", onAbort);
        if (error) reject(error);
        else resolve({ ms, via });
      };
      const cancel = this.#engine.send(peer, body, { since, expiresAt: since + timeoutMs, done });
      if (cancel instanceof TalkError) return reject(cancel);
      if (signal) {
        onAbort = () => {
          cancel(now());
          reject(signal.reason);
          this.#flushSoon();
        };
        signal.addEventListener("abort", onAbort, { once: true });
      }
      // A message alone goes out at once. Later ones of the same turn go together when the turn is over.
      if (this.#flushQueued || this.#engine.pendingAtLast > 1) this.#flushSoon();
      else this.#flushAt(since);
    });
  }

  /**
   * Asks a server how this socket looks from there (RFC 8489). One question at a time.
   * @param token that the server knows the asker by
   * @returns null when no answer came, by any reason
   */
  observe(server: Endpoint, token?: Buffer): Promise<Endpoint | null> {
    const to = canonicalEndpoint(server);
    const transaction = randomBytes(TRANSACTION_BYTES);
    const request = encodeBindingRequest(transaction, token);
    return new Promise((resolve) => {
      let [attempt, timer]: [number, NodeJS.Timeout | undefined] = [0, undefined];
      const finish = (seen: Endpoint | null): void => {
        clearTimeout(timer);
        this.#onStun = null;
        resolve(seen);
      };
      const ask = (): void => {
        const waitMs = STUN_WAITS[attempt++];
        if (waitMs === undefined || this.#isSocketClosed) {
          finish(null);
          return;
        }
        this.#socket.send(request, to.address, to.port);
        timer = setTimeout(ask, waitMs).unref();
      };
      this.#onStun = (datagram, address, port) => {
        const seen = isSameEndpoint(to, address, port) ? decodeBindingResponse(datagram, transaction) : null;
        if (seen !== null) finish(seen);
      };
      ask();
    });
  }

  /** This peer is about to call from one of its endpoints, as the server says: opens the way for it, within bounds. */
  invite(peer: PeerIdentity): void {
    const at = now();
    this.#engine.invite(peer, this.#knocks.admit(peer.endpoints.map(canonicalEndpoint), at), at);
    this.#flushSoon();
  }

  /**
   * The relay has passed a datagram on. It says nothing about its sender that counts: that is found out as for any other.
   * @param place what the relay calls its sender: answers go there
   */
  receiveRelayed(place: string, datagram: Buffer): void {
    if (this.#isSocketClosed) return;
    this.#engine.receiveRelayed(datagram, place, now());
    this.#flushSoon();
  }

  /** The relay has not passed a datagram on: it knows no client at that place. That may change in a moment. */
  noteNotHere(place: string): void {
    this.#engine.onUnreachable(relayEndpoint(place), "not-here");
  }

  /** The directory has the peer elsewhere now (it was restarted, or changed networks): messages that wait for it follow. */
  move(key: Uint8Array, from: readonly Endpoint[], to: readonly Endpoint[]): void {
    this.#engine.move(Buffer.from(key), from.map(canonicalEndpoint), to.map(canonicalEndpoint), now());
    this.#flushSoon();
  }

  /**
   * Whether a session with the peer is open: it has neither said goodbye nor been silent for so long that the session was given
   * up. One that was killed may still count as open.
   */
  hasSession(peer: PeerIdentity): boolean {
    return this.#engine.hasSession(peer);
  }

  /** The shortest round trip to the peer in the present session, in milliseconds; 0 before anything was measured. */
  leastRoundTripMs(peer: PeerIdentity): number {
    return this.#engine.leastRoundTripMs(peer);
  }

  stats(): PeerStats {
    return this.#engine.stats();
  }

  /**
   * Waits until everything sent is settled, at most `timeoutMs` (1,000 unless told otherwise), asks what became of the rest, then
   * waits for the message that is being output, at most half a second, then says goodbye.
   */
  close(options: { timeoutMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(options.timeoutMs ?? DEFAULT_CLOSE_TIMEOUT);
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(timeoutMs: number): Promise<void> {
    const end = now() + timeoutMs;
    await this.#until(() => this.#engine.pending === 0, end);
    if (timeoutMs > 0 && this.#engine.pending > 0) {
      this.#engine.revokeAll(now());
      this.#flush();
      await this.#until(() => this.#engine.pending === 0, now() + CLOSE_REVOKE_WAIT);
    }
    this.#engine.stopSending(now());
    // What is being shown right now is confirmed before the goodbye.
    await this.#until(() => this.#engine.showing === 0, now() + Math.min(timeoutMs, CLOSE_OUTPUT_WAIT));
    // The last confirmations may have been lost: the goodbye repeats them until it is answered, for a bounded time.
    const goodbyeEnd = now() + CLOSE_WAIT;
    const answered = () => this.#engine.openSessions(now()) === 0;
    while (now() < goodbyeEnd && !answered()) {
      this.#engine.sayGoodbye(now());
      this.#flush();
      await this.#until(answered, now() + CLOSE_INTERVAL);
    }
    clearTimeout(this.#timer);
    this.#timerAt = Number.NEGATIVE_INFINITY; // never armed again
    this.#isSocketClosed = true;
    this.#socket.close();
    this.#oldSocket?.close();
  }

  // Looks again after every flush.
  #until(condition: () => boolean, end: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        this.#afterFlush = null;
        resolve();
      };
      const timer = setTimeout(finish, Math.max(0, end - now()));
      this.#afterFlush = () => {
        if (condition()) finish();
      };
      this.#afterFlush();
    });
  }

  // All that had arrived is read: one answer for all of it, with one ACK.
  #answer(): void {
    const at = this.#readAt;
    this.#readAt = 0;
    if (this.#engine.wantsToFlush() && !this.#flushQueued) {
      this.#flushAt(at);
    } else {
      this.#schedule(); // an ACK may have brought a deadline nearer
      this.#afterFlush?.();
    }
  }

  // Called between two batches, when a text is about to be shown: its sender may have given it up while this process stood still,
  // and a timer that was due has come before what arrived.
  #readAll(): void {
    this.#readAt = now();
    if (this.#socket.readAll()) this.#flushSoon();
    this.#readAt = 0;
  }

  // Everything that is sent until the present callback returns goes into as few datagrams as it fits.
  #flushSoon(): void {
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    process.nextTick(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushQueued = false;
    this.#flushAt(now());
  };

  /** What goes to one address goes out together. One alone, as most messages are, costs no more for it. */
  #flushAt(at: number): void {
    const isOutermost = !this.#isFlushing; // an application may send when it is given a message
    this.#isFlushing = true;
    try {
      this.#engine.flush(at);
    } finally {
      if (isOutermost) {
        this.#isFlushing = false;
        this.#sendBatch();
      }
    }
    this.#schedule();
    this.#afterFlush?.();
  }

  // One timer, moved only to an earlier time: firing early costs less than being set anew for each datagram.
  #schedule(): void {
    const deadline = this.#engine.deadline();
    if (deadline >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = deadline;
    this.#timer = setTimeout(this.#onTimer, Math.max(0, Math.ceil(deadline - now())));
  }

  readonly #onTimer = (): void => {
    this.#timerAt = Number.POSITIVE_INFINITY;
    this.#engine.onTimer(now());
    this.#flush();
  };

  #transmit(datagram: Buffer, { address, port }: Endpoint, isAlone: boolean): void {
    // After close() it does nothing: the application may accept a message whenever it likes. Failures (ENETUNREACH, a
    // firewall's EPERM, a full buffer) are losses: the retransmission or the timeout sees to it.
    if (!this.#isFlushing || isAlone) {
      this.#sendBatch(); // what is before it comes first
      this.#noteSent(this.#socket.send(datagram, address, port), { address, port }, datagram.length);
      return;
    }
    if (port !== this.#batchPort || address !== this.#batchAddress) this.#sendBatch();
    this.#batchAddress = address;
    this.#batchPort = port;
    this.#batch.push(datagram);
  }

  #sendBatch(): void {
    const [first] = this.#batch;
    if (first === undefined) return;
    const [address, port] = [this.#batchAddress, this.#batchPort];
    const error =
      this.#batch.length === 1
        ? this.#socket.send(first, address, port)
        : this.#socket.sendMany(this.#batch, address, port);
    if (error !== 0) this.#noteSent(error, { address, port }, Math.max(...this.#batch.map(({ length }) => length)));
    this.#batch.length = 0;
  }

  #noteSent(error: number, to: Endpoint, bytes: number): void {
    if (error === 0) return;
    if (error === constants.errno.EMSGSIZE) this.#engine.onTooLarge(to, bytes, now());
    else this.#noteUnreachable(error, to);
  }

  #noteUnreachable(error: number, to: Endpoint): void {
    const answer = ANSWERS.get(error);
    if (answer !== undefined) this.#engine.onUnreachable(to, answer);
  }
}

function messageProblem(message: OutgoingMessage): TalkError {
  const bytes = Buffer.byteLength(message.text);
  if (bytes > MAX_TEXT_BYTES) return TalkError.tooLong(bytes, MAX_TEXT_BYTES);
  const from = Buffer.byteLength(message.from);
  if (from > MAX_FROM_BYTES) {
    return TalkError.badData(`the sender's name has ${from} bytes; the limit is ${MAX_FROM_BYTES}`);
  }
  return TalkError.badData(`a message's id has 1 to ${MAX_ID_BYTES} bytes, not ${Buffer.byteLength(message.id)}`);
}

function timeoutProblem({ timeoutMs }: StreamSendOptions): TalkError | null {
  if (timeoutMs === undefined || (timeoutMs > 0 && timeoutMs <= MAX_SEND_TIMEOUT)) return null;
  return TalkError.badData(`a timeout is more than 0 and at most ${MAX_SEND_TIMEOUT} ms, not ${timeoutMs}`);
}

function bind(
  { address, port = 0 }: PeerTransportOptions,
  receiver: DatagramReceiver,
): { socket: DatagramSocket; address: string } {
  const bound = (at: string) => ({ socket: new DatagramSocket(at, port, SOCKET_BUFFER_BYTES, receiver), address: at });
  if (address !== undefined) return bound(address);
  try {
    return bound("::");
  } catch (error) {
    // A host without IPv6.
    const code = error instanceof IpcError ? error.code : undefined;
    if (code !== "EAFNOSUPPORT" && code !== "EADDRNOTAVAIL" && code !== "EINVAL") throw error;
    return bound("0.0.0.0");
  }
}
