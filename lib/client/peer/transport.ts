// The peer transport: one UDP socket and one timer around the engine (engine.ts), and promises for those who send.
import { createSocket, type Socket } from "node:dgram";
import { EventEmitter } from "node:events";
import { debuglog } from "node:util";
import { TalkError } from "../../errors.ts";
import { encodeMessage, MAX_FROM_BYTES, MAX_ID_BYTES, MAX_TEXT_BYTES } from "../../wire/datagram-message.ts";
import { canonicalAddress, displayAddress, socketAddress } from "./address.ts";
import { PeerEngine } from "./engine.ts";
import {
  CLOSE_INTERVAL,
  CLOSE_OUTPUT_WAIT,
  CLOSE_WAIT,
  DEFAULT_CLOSE_TIMEOUT,
  DEFAULT_LIMITS,
  DEFAULT_SEND_TIMEOUT,
  MAX_SEND_TIMEOUT,
  SOCKET_BUFFER_BYTES,
} from "./limits.ts";
import type {
  OutgoingMessage,
  Peer,
  PeerAddress,
  PeerStats,
  PeerTransportEvents,
  PeerTransportOptions,
  PeerTransport as PeerTransportType,
  SendOptions,
} from "./types.ts";

const debug = debuglog("ptalk-peer");
/** Datagrams closer together than this, in milliseconds, are a batch: reading one takes about 0.01 ms. */
const BATCH_GAP = 0.02;
const now = () => performance.now();

export class PeerTransport extends EventEmitter<PeerTransportEvents> implements PeerTransportType {
  readonly port: number;
  readonly address: string;
  readonly #socket: Socket;
  readonly #isIPv6: boolean;
  readonly #engine: PeerEngine;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #flushQueued = false;
  #receivedAt = 0;
  #socketClosed = false;
  #closed: Promise<void> | null = null;
  #afterFlush: (() => void) | null = null; // close() waits

  /** Binds the socket. Rejects with the system's error: EADDRINUSE, EADDRNOTAVAIL, EACCES… */
  static async open(options: PeerTransportOptions): Promise<PeerTransport> {
    return new PeerTransport(options, await bind(options.address, options.port ?? 0));
  }

  private constructor(options: PeerTransportOptions, socket: Socket) {
    super();
    this.#socket = socket;
    const { address, port, family } = socket.address();
    this.port = port;
    this.address = address;
    this.#isIPv6 = family === "IPv6";
    this.#engine = new PeerEngine({
      identity: options.identity,
      limits: { ...DEFAULT_LIMITS, ...options.limits },
      now: now(),
      transmit: (datagram, to) => this.#transmit(datagram, to.address, to.port),
      deliver: (message, accept, refuse) => {
        // With nobody to hand it to, it stays unconfirmed: the sender is told the truth.
        this.emit("message", message, accept, refuse);
      },
      wake: () => this.#flushSoon(),
    });
    socket.on("message", (datagram, { address: from, port: fromPort }) => {
      const at = now();
      this.#engine.receive(datagram, displayAddress(from), fromPort, at);
      // A lone datagram is answered at once. One that comes with others waits until all that the kernel has are read
      // (setImmediate runs after them): one ACK for the batch.
      if (this.#engine.wantsToFlush() && !this.#flushQueued) {
        if (at - this.#receivedAt < BATCH_GAP) this.#flushAfterReads();
        else this.#flushAt(at);
      } else {
        this.#schedule(); // an ACK may have brought a deadline nearer
        this.#afterFlush?.();
      }
      this.#receivedAt = at;
    });
    socket.on("error", (error) => {
      debug("socket: %s", error.message);
      if (this.listenerCount("error") > 0) this.emit("error", error);
    });
    this.#schedule();
  }

  send(peer: Peer, message: OutgoingMessage, options: SendOptions = {}): Promise<{ ms: number }> {
    return new Promise((resolve, reject) => {
      const body = encodeMessage(message);
      const problem = body ? timeoutProblem(options) : messageProblem(message);
      if (!body || problem) return reject(problem);
      const { signal, timeoutMs = DEFAULT_SEND_TIMEOUT } = options;
      if (signal?.aborted) return reject(signal.reason);
      if (this.#closed) return reject(TalkError.closed("the peer transport"));
      const since = now();
      let onAbort: (() => void) | undefined;
      const done = (error: TalkError | null, ms: number) => {
        if (onAbort) signal?.removeEventListener("abort", onAbort);
        if (error) reject(error);
        else resolve({ ms });
        if (!error) this.#engine.counters.messagesDelivered++;
      };
      const cancel = this.#engine.send(peer, body, { since, expiresAt: since + timeoutMs, done });
      if (cancel instanceof TalkError) return reject(cancel);
      if (signal) {
        onAbort = () => {
          cancel();
          reject(signal.reason);
          this.#flushSoon();
        };
        signal.addEventListener("abort", onAbort, { once: true });
      }
      // Alone it goes out at once. Others in the same turn find it under way, and go together when the turn is over.
      if (this.#flushQueued || this.#engine.pendingAtLast > 1) this.#flushSoon();
      else this.#flushAt(since);
    });
  }

  move(key: Uint8Array, from: readonly PeerAddress[], to: readonly PeerAddress[]): void {
    this.#engine.move(Buffer.from(key), from.map(canonicalAddress), to.map(canonicalAddress), now());
    this.#flushSoon();
  }

  stats(): PeerStats {
    const { sessions, halfOpen, retransmissions, counters } = this.#engine;
    return { ...counters, dropped: { ...counters.dropped }, sessions, halfOpen, retransmissions };
  }

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
    this.#engine.stopSending(now());
    // What is being shown right now is confirmed before the goodbye.
    await this.#until(() => this.#engine.inHand === 0, now() + Math.min(timeoutMs, CLOSE_OUTPUT_WAIT));
    // The last confirmations may have been lost: the goodbye repeats them until it is answered, for a bounded time.
    const goodbyeEnd = now() + CLOSE_WAIT;
    const answered = () => this.#engine.goodbyes.unanswered(now()) === 0;
    while (now() < goodbyeEnd && !answered()) {
      this.#engine.goodbyes.say(now());
      this.#flush();
      await this.#until(answered, now() + CLOSE_INTERVAL);
    }
    clearTimeout(this.#timer);
    this.#timerAt = Number.NEGATIVE_INFINITY; // never armed again
    this.#socketClosed = true;
    await new Promise<void>((resolve) => this.#socket.close(resolve));
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

  // Everything that is sent until the present callback returns goes into as few datagrams as it fits.
  #flushSoon(): void {
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    process.nextTick(this.#flush);
  }

  #flushAfterReads(): void {
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushQueued = false;
    this.#flushAt(now());
  };

  #flushAt(at: number): void {
    this.#engine.flush(at);
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

  #transmit(datagram: Buffer, address: string, port: number): void {
    if (this.#socketClosed) return; // the application may accept a message whenever it likes
    // Failures (ENETUNREACH, a firewall's EPERM) are losses: the retransmission or the timeout sees to it. A callback for
    // them would cost a tick for each datagram.
    this.#socket.send(datagram, port, socketAddress(address, this.#isIPv6));
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

function timeoutProblem({ timeoutMs }: SendOptions): TalkError | null {
  if (timeoutMs === undefined || (timeoutMs > 0 && timeoutMs <= MAX_SEND_TIMEOUT)) return null;
  return TalkError.badData(`a timeout is more than 0 and at most ${MAX_SEND_TIMEOUT} ms, not ${timeoutMs}`);
}

async function bind(address: string | undefined, port: number): Promise<Socket> {
  if (address !== undefined) return bindOne(address, port);
  try {
    return await bindOne("::", port);
  } catch (error) {
    // A host without IPv6.
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "EAFNOSUPPORT" && code !== "EADDRNOTAVAIL" && code !== "EINVAL") throw error;
    return bindOne("0.0.0.0", port);
  }
}

function bindOne(address: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const type = address.includes(":") ? "udp6" : "udp4";
    const socket = createSocket({
      type,
      recvBufferSize: SOCKET_BUFFER_BYTES,
      sendBufferSize: SOCKET_BUFFER_BYTES,
      // Addresses are numeric already: node:dgram's way through dns.lookup would cost a turn of the event loop each.
      lookup: (host, _options, callback) => callback(null, host, type === "udp6" ? 6 : 4),
    });
    socket.once("error", reject);
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}
