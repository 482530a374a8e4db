// One connection: requests in, replies and pushes out, each within its bounds. Knows no command.
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Endpoint } from "../base/endpoint.ts";
import { LOCAL_BINDING, TLS_EXPORTER_BYTES, TLS_EXPORTER_LABEL, tlsBinding } from "../crypto/signed-statements.ts";
import type { Claim } from "../directory/directory.ts";
import { ProtocolError } from "../wire/protocol-error.ts";
import type { RequestParser } from "../wire/resp-request.ts";
import type { Protocol, ReplyWriter } from "../wire/resp-writer.ts";
import { CallRate } from "./call-rate.ts";
import { TLS_HANDSHAKE } from "./first-byte.ts";
import {
  CALLS_OF_CALLER,
  CALLS_TO_CALLEE,
  CLOGGED_BYTES,
  FLUSH_BYTES,
  LINGER_MS,
  type Limits,
  STUCK_MS,
} from "./limits.ts";
import { type Origin, reachableAt } from "./origin.ts";
import { PLAIN_SERVER } from "./rejection.ts";
import { withSharedBuffer } from "./shared-read.ts";

/** What a connection has registered. */
export interface RegisteredClient {
  readonly claim: Claim;
  /** The client answers probes. */
  readonly probe: boolean;
}

/** What all connections of a worker share, and what they tell it. */
export interface ConnectionHost {
  readonly parser: RequestParser;
  /** What is received passes through here: {@link READ_BYTES}. */
  readonly readBuffer: Uint8Array;
  /** Empty whenever no request is being carried out. */
  readonly out: ReplyWriter;
  readonly limits: Limits;
  /** Carries out the request that the parser holds; a promise means that later requests wait for it. */
  dispatch(connection: Connection, request: RequestParser, out: ReplyWriter): Promise<void> | undefined;
  refused(reason: string): void;
  /** More, or fewer, bytes wait for the connection's user or address. @returns false: it is too much */
  waiting(connection: Connection, bytes: number): boolean;
  /** It speaks TLS, and this server does not. */
  wantsTls(connection: Connection): void;
  closed(connection: Connection): void;
}

const NOTHING = new Uint8Array(0);
/** RFC 9266: the context value is empty. */
const NO_CONTEXT = Buffer.alloc(0);
const SECOND_MS = 1000;

export class Connection {
  readonly id: number;
  readonly origin: Origin;
  /** When it came, ms since the epoch. */
  readonly since = Date.now();
  protocol: Protocol = 2;
  /** What the next REGISTER or CLAIM signs; null before HELLO and once used. The client's is empty if it sent none. */
  nonces: { readonly server: string; readonly client: string } | null = null;
  client: RegisteredClient | null = null;
  /** The key (base64) that it has proved to hold last, by REGISTER or CLAIM. */
  key: string | null = null;
  /** Its CALLs, and those of others to it. */
  readonly callRate = new CallRate(CALLS_OF_CALLER);
  readonly calledRate = new CallRate(CALLS_TO_CALLEE);
  /** Where the server has seen its chat socket; null: it has not. */
  observed: Endpoint | null = null;
  /** The name that it has claimed last, and which of its claims that was: others reach it by that while it is not on. */
  claimed: { readonly name: string; readonly claimId: string } | null = null;
  /** What it has proved of a key that replaces others. */
  follows: { readonly key: string; readonly keys: readonly string[]; readonly chain: string } | null = null;
  /** Folded name that it has got with that key. */
  provenName: string | null = null;
  /** Rooms that it has entered, as they count for its user or address. */
  rooms = 0;
  /** It watches everybody. */
  watching = false;
  /** Messages that were left may be leased to it. */
  hasTaken = false;
  /** Folded names and rooms that it watches; null while there are none. Kept by the announcer. */
  interests: Set<string> | null = null;
  clientName = "";
  /** Whether bytes have come since the last health check. */
  heard = true;
  /** Kept by the health check: ms of performance.now() since when nothing came, and at which it was probed. */
  readonly silence: { since: number; probedAt: number | null } = { since: 0, probedAt: null };
  /** No further request is carried out: replies on their way may still leave. */
  ended = false;
  /** The client said QUIT: the connection ends behind the reply. */
  quitting = false;
  readonly #host: ConnectionHost;
  readonly #socket: Socket;
  #rest: Uint8Array | null = null;
  #busy = false;
  #gone = false;
  /** Requests are being carried out, or one waits for its reply: pushes wait behind the replies then. */
  #working = false;
  #replying = false;
  #pushes: Uint8Array[] = [];
  #pushBytes = 0;
  #windowAt = 0;
  #requests = 0;
  #sentAt = 0;
  #unsentAt = 0;
  /** Bytes that count for the user or address. */
  #waiting = 0;

  /** @param untouched the socket is the connection itself, and nothing has read from it */
  constructor(id: number, socket: Socket, origin: Origin, host: ConnectionHost, untouched: boolean) {
    this.id = id;
    this.origin = origin;
    this.#host = host;
    this.#socket =
      (untouched && withSharedBuffer(socket, host.readBuffer, (chunk) => this.#receive(chunk))) ||
      socket.on("data", (chunk) => this.#receive(chunk));
    this.#watch(this.#socket);
    this.#socket.resume();
  }

  /** It holds this key; whether it gets a name with it is not known yet. */
  prove(key: string): void {
    this.key = key;
    this.provenName = null;
  }

  #watch(socket: Socket): void {
    socket.on("end", () => this.#finish());
    socket.on("error", () => {}); // 'close' follows, and is all that matters
    socket.on("close", () => this.#closed());
  }

  /**
   * What ties a signature to this very connection; null if nothing does. Before TLS 1.3 two connections can be made to export the
   * same, unless both ends use the extended master secret (RFC 9266, section 4.2): Node does not say whether they do.
   */
  get binding(): string | null {
    if (!("exportKeyingMaterial" in this.#socket)) return LOCAL_BINDING;
    const secure = this.#socket as TLSSocket;
    if (secure.destroyed || secure.getProtocol() !== "TLSv1.3") return null;
    return tlsBinding(secure.exportKeyingMaterial(TLS_EXPORTER_BYTES, TLS_EXPORTER_LABEL, NO_CONTEXT));
  }

  get transport(): "unix" | "tcp" | "tls" {
    if (this.origin.address === null) return "unix";
    return "exportKeyingMaterial" in this.#socket ? "tls" : "tcp";
  }

  /** Where this host reaches the client; an IPv4 address in IPv4 notation. */
  get address(): string {
    return reachableAt(this.origin);
  }

  /** The other side has vanished or was cut. */
  get gone(): boolean {
    return this.#gone;
  }

  /** A command is at work on its reply. */
  get replying(): boolean {
    return this.#replying;
  }

  /** Writes replies outside of a dispatch. @param fill when it throws, nothing of what it has written is sent */
  write(fill: (out: ReplyWriter) => void): void {
    const { out } = this.#host;
    try {
      fill(out);
    } catch (error) {
      out.clear();
      throw error;
    }
    this.#flush(out);
  }

  /** @param bytes replies, or a part of one; not changed afterwards by the caller */
  send(bytes: Uint8Array): void {
    if (this.#gone) return;
    this.#socket.write(bytes);
    if (this.#socket.writableLength > this.#host.limits.unsentBytes) this.tooSlow();
    else this.#countWaiting();
  }

  /** What waits in many connections adds up. Nearly all have nothing that waits. */
  #countWaiting(): void {
    const unsent = this.#socket.writableLength;
    const waiting = unsent > CLOGGED_BYTES && !this.#gone ? unsent : 0;
    if (waiting === this.#waiting) return;
    const more = waiting - this.#waiting;
    this.#waiting = waiting;
    if (!this.#host.waiting(this, more) && more > 0) this.tooSlow();
  }

  /** Bytes of replies and pushes that wait for the other side. */
  get unsent(): number {
    return this.#socket.writableLength + this.#pushBytes;
  }

  /** @param bytes whole pushes, which leave between two replies; not changed afterwards by the caller */
  push(bytes: Uint8Array): void {
    if (this.ended) return;
    if (!this.#working && !this.#replying) {
      this.send(bytes);
      return;
    }
    this.#pushes.push(bytes);
    this.#pushBytes += bytes.length;
    if (this.#pushBytes > this.#host.limits.unsentBytes) this.tooSlow();
  }

  /** More waits for the other side than may, or for longer. */
  tooSlow(): void {
    this.#host.refused("slow reader");
    this.destroy();
  }

  /** Waits until most of what was written has left. Resolves as well when the connection ends. */
  drained(): Promise<void> {
    if (this.#gone || this.#socket.writableLength <= CLOGGED_BYTES || !this.#socket.writableNeedDrain) {
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const done = () => {
        this.#socket.off("drain", done);
        this.#socket.off("close", done);
        resolve();
      };
      this.#socket.on("drain", done);
      this.#socket.on("close", done);
    });
  }

  /** Sends what is written and the reply that is being made, then closes; the other side gets a moment to read it. */
  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.#rest = null;
    if (!this.#replying) this.#socket.end();
    this.#socket.resume(); // what still comes is read and dropped: unread bytes would turn the close into a reset
    setTimeout(() => this.destroy(), LINGER_MS).unref();
  }

  destroy(): void {
    this.ended = true;
    this.#socket.destroy();
    this.#closed();
  }

  /** Whether unsent bytes have not moved for {@link STUCK_MS}. Called now and then. */
  isStuck(now: number): boolean {
    this.#countWaiting();
    const unsent = this.#socket.writableLength;
    const sent = this.#socket.bytesWritten - unsent;
    if (unsent === 0 || sent !== this.#sentAt) {
      this.#sentAt = sent;
      this.#unsentAt = now;
    }
    return now - this.#unsentAt > STUCK_MS;
  }

  #receive(chunk: Uint8Array): void {
    if (this.ended) return;
    this.heard = true;
    if (this.#busy) {
      // The socket was paused; at most what Node had read already arrives here.
      this.#rest = this.#rest === null ? chunk.slice() : Buffer.concat([this.#rest, chunk]);
      return;
    }
    this.#work(chunk);
  }

  #work(chunk: Uint8Array): void {
    const { parser, out } = this.#host;
    if (this.#requests === 0 && chunk[0] === TLS_HANDSHAKE && this.#rest === null) {
      this.#host.refused("TLS to a plain server");
      this.#host.wantsTls(this);
      this.send(Buffer.from(PLAIN_SERVER));
      this.end();
      return;
    }
    let pending: Promise<void> | undefined;
    let broken: ProtocolError | undefined;
    parser.open(this.#rest, chunk);
    this.#working = true;
    try {
      while (!this.ended && !this.quitting && parser.next()) {
        this.#count();
        pending = this.#host.dispatch(this, parser, out);
        if (pending !== undefined) break;
        if (out.length > FLUSH_BYTES && this.#flush(out)) break;
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      broken = error;
    }
    const rest = parser.rest();
    this.#rest = this.ended ? null : rest;
    if (broken !== undefined) {
      this.#host.refused("protocol error");
      out.error(`ERR Protocol error: ${broken.message}`);
    }
    const clogged = this.#flush(out);
    this.#working = false;
    if (pending === undefined) this.#sendPushes();
    if (broken !== undefined || this.quitting) this.end();
    else if (pending !== undefined) this.#reply(pending);
    else if (clogged) this.#pauseFor(this.drained());
  }

  #count(): void {
    if (++this.#requests <= this.#host.limits.requestsPerSecond) return;
    // Looked at only when the allowance is used up: the clock costs more than a request.
    const now = performance.now();
    if (now - this.#windowAt < SECOND_MS) throw new ProtocolError("too many requests in one second");
    this.#windowAt = now;
    this.#requests = 1;
  }

  /** @returns whether the other side should read before more is written */
  #flush(out: ReplyWriter): boolean {
    if (out.length > 0) {
      this.send(out.bytes());
      // What the kernel took at once was copied; otherwise the stream still holds our memory, and gets it for good.
      if (this.#socket.writableLength > 0) out.detach();
      else out.clear();
    }
    return this.#socket.writableLength > CLOGGED_BYTES;
  }

  #reply(pending: Promise<void>): void {
    this.#replying = true;
    this.#pauseFor(
      pending.then(() => {
        this.#replying = false;
        this.#sendPushes();
        if (this.ended && !this.#gone) this.#socket.end();
      }),
    );
  }

  #sendPushes(): void {
    if (this.#pushes.length === 0) return;
    for (const push of this.#pushes.splice(0)) this.send(push);
    this.#pushBytes = 0;
  }

  #pauseFor(pending: Promise<void>): void {
    this.#busy = true;
    this.#socket.pause();
    pending.then(() => {
      this.#busy = false;
      if (this.#gone || this.ended) return;
      this.#work(NOTHING);
      if (this.#busy) return;
      if (this.#socket.readableEnded) this.#finish();
      else this.#socket.resume();
    });
  }

  /** The other side sends no more: what it asked for is answered, then the connection ends. */
  #finish(): void {
    if (!this.#busy) this.end();
  }

  #closed(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.ended = true;
    this.#countWaiting();
    this.#rest = null;
    this.#host.closed(this);
  }
}
