// The streams of messages that others send us: one for each sending process, named by its key and the stream id that it
// drew. A stream outlives its sessions: its inbox remembers how far it has come, and so a message is handed over once.
//
// A message's way:
//  1. SecureSession.receive() puts its fragments into the stream's inbox (stream/inbox.ts).
//  2. deliver() hands it to the application when it is complete and the one before it is settled.
//  3. The application settles it, at once or later: the sender hears the outcome through the sessions that the stream has.
//
// A stream of which something was handed over is remembered after its last session has gone, as long as there is room.
// Forgetting one of a process that still runs and still repeats a message whose confirmation was lost would deliver it
// twice; it takes MAX_REMEMBERED_STREAMS other processes in the meantime of which a message was shown.

import { type Endpoint, isRelayed, type PathKind } from "../base/endpoint.ts";
import type { Outcome, RefusalReason } from "../wire/datagram-frames.ts";
import { decodeMessage } from "../wire/datagram-message.ts";
import { isFileBody } from "../wire/file-bodies.ts";
import { MAX_REMEMBERED_STREAMS } from "./limits.ts";
import { Inbox, type Received } from "./stream/inbox.ts";
import type { IncomingBody, IncomingMessage, MessageOutput } from "./types.ts";

/** What a stream needs of the sessions that it comes through. */
export interface StreamSession {
  readonly endpoint: Endpoint;
  readonly isConfirmed: boolean;
  settleLater(): void;
}

/** What a stream shares with all others. */
interface StreamHost<S extends StreamSession> {
  /** False when there is no room for so many bytes: nothing was taken. */
  take(stream: InboundStream<S>, bytes: number): boolean;
  give(bytes: number): void;
  isStopped(): boolean;
  handOver(message: IncomingMessage, inbox: Inbox, number: number, settle: (outcome: Outcome) => void): void;
  handOverBody(body: IncomingBody, inbox: Inbox, number: number, settle: (outcome: Outcome) => void): void;
  onRefused(reason: RefusalReason): void;
  onSettledLater(session: S): void;
  /** Its last session has gone. */
  onSilent(stream: InboundStream<S>): void;
}

export class InboundStream<S extends StreamSession> {
  /** The sender's key and its stream id, as text. */
  readonly id: string;
  readonly inbox: Inbox;
  readonly #key: Buffer;
  readonly #host: StreamHost<S>;
  readonly #sessions = new Set<S>();
  #isDelivering = false; // the application's callback is on the stack

  constructor(id: string, key: Buffer, host: StreamHost<S>) {
    this.id = id;
    this.#key = key;
    this.#host = host;
    this.inbox = new Inbox({ take: (bytes) => host.take(this, bytes), give: (bytes) => host.give(bytes) });
  }

  get sessions(): ReadonlySet<S> {
    return this.#sessions;
  }

  join(session: S): void {
    this.#sessions.add(session);
  }

  /** Fragments were acknowledged within sessions: after the last one they will all be sent again. */
  leave(session: S): void {
    this.#sessions.delete(session);
    if (this.#sessions.size > 0) return;
    this.inbox.clear();
    this.#host.onSilent(this);
  }

  /** Hands over what has become complete. The next message follows when the application has settled this one. */
  deliver(session: S): void {
    if (this.#isDelivering || this.#host.isStopped()) return;
    this.#isDelivering = true;
    try {
      for (let next = this.inbox.take(); next; next = this.inbox.take()) this.#handOver(session, next);
    } finally {
      this.#isDelivering = false; // a listener that throws must not end the conversation
    }
  }

  #handOver(session: S, { number, body }: Received): void {
    if (isFileBody(body)) {
      const incoming = { key: this.#key, body, address: session.endpoint, via: viaOf(session) };
      this.#host.handOverBody(incoming, this.inbox, number, (outcome) => this.#settle(session, number, outcome));
      return;
    }
    const message = decodeMessage(body);
    if (typeof message === "string") {
      this.#settle(session, number, message);
      return;
    }
    const { room = null, ...content } = message;
    this.#host.handOver(
      { key: this.#key, ...content, room, at: Date.now(), address: session.endpoint, via: viaOf(session) },
      this.inbox,
      number,
      (outcome) => this.#settle(session, number, outcome),
    );
  }

  #settle(session: S, number: number, outcome: Outcome): void {
    if (outcome !== "accepted") this.#host.onRefused(outcome);
    this.inbox.settle(number, outcome);
    if (this.#isDelivering) return; // the datagram that it came in is answered with SETTLED anyway
    // Later, from the application: tell the sender, and go on with what came meanwhile. Through a session that still
    // exists: the one that the message came through may be gone by now.
    for (const other of this.#sessions) {
      if (!other.isConfirmed) continue;
      other.settleLater();
      this.#host.onSettledLater(other);
    }
    this.deliver(session);
  }
}

const viaOf = ({ endpoint }: StreamSession): PathKind => (isRelayed(endpoint) ? "relay" : "direct");

export interface InboundStreamsParts<S extends StreamSession> {
  /** Bytes kept for all senders together. */
  readonly limitBytes: number;
  /** The application's. */
  readonly deliver: (message: IncomingMessage, settle: (outcome: Outcome) => void, output: MessageOutput) => void;
  /** Reads all that has arrived: a sender may have given up the message that is about to be shown. */
  readonly readAll: () => void;
  readonly deliverBody: (body: IncomingBody, settle: (outcome: Outcome) => void) => void;
  /** The session has a SETTLED to send, and no flush is about to follow. */
  readonly onSettledLater: (session: S) => void;
  /** Ends the session: its stream has to make room, and begins again. */
  readonly endSession: (session: S) => void;
}

/** All streams, within the bounds of what we keep for others and remember of them. */
export class InboundStreams<S extends StreamSession> {
  readonly #parts: InboundStreamsParts<S>;
  readonly #host: StreamHost<S>;
  readonly #heard = new Map<string, InboundStream<S>>(); // with sessions, which have a bound of their own
  readonly #remembered = new Map<string, InboundStream<S>>(); // without; longest gone first
  readonly #refused: Partial<Record<RefusalReason, number>> = {};
  #bytes = 0;
  #messages = 0;
  #showing = 0;
  #isStopped = false;

  constructor(parts: InboundStreamsParts<S>) {
    this.#parts = parts;
    this.#host = {
      take: (stream, bytes) => this.#take(stream, bytes),
      give: (bytes) => {
        this.#bytes -= bytes;
      },
      isStopped: () => this.#isStopped,
      handOver: (message, inbox, number, settle) => {
        this.#messages++;
        this.#handOver(inbox, number, settle, (once, output) => parts.deliver(message, once, output));
      },
      handOverBody: (body, inbox, number, settle) => {
        this.#handOver(inbox, number, settle, (once, output) => {
          if (output.begin()) parts.deliverBody(body, once);
        });
      },
      onRefused: (reason) => {
        this.#refused[reason] = (this.#refused[reason] ?? 0) + 1;
      },
      onSettledLater: parts.onSettledLater,
      onSilent: (stream) => this.#onSilent(stream),
    };
  }

  /** Bytes kept for all senders together. */
  get bytes(): number {
    return this.#bytes;
  }
  /** Messages that the application was given. */
  get messages(): number {
    return this.#messages;
  }
  /** Of them, those whose output has begun and is not done. */
  get showing(): number {
    return this.#showing;
  }
  /** Messages that were not accepted, by reason. */
  get refused(): Readonly<Record<string, number>> {
    return this.#refused;
  }

  /** The stream of a new session. Caller lets the session join it. @param streamId as text */
  acquire(key: Buffer, streamId: string): InboundStream<S> {
    const id = `${key.toString("base64")}/${streamId}`;
    let stream = this.#heard.get(id);
    if (!stream) {
      stream = this.#remembered.get(id) ?? new InboundStream(id, key, this.#host);
      this.#remembered.delete(id);
      this.#heard.set(id, stream);
    }
    if (this.#isStopped) stream.inbox.end();
    return stream;
  }

  /** Nothing is handed over any more, and no output begins: the program is ending. */
  stop(): void {
    this.#isStopped = true;
    for (const { inbox } of this.#heard.values()) inbox.end();
  }

  #handOver(
    inbox: Inbox,
    number: number,
    settle: (outcome: Outcome) => void,
    deliver: (once: (outcome: Outcome) => void, output: MessageOutput) => void,
  ): void {
    let isSettled = false;
    let isShowing = false;
    const setShowing = (showing: boolean) => {
      if (isShowing !== showing) this.#showing += showing ? 1 : -1;
      isShowing = showing;
    };
    deliver(
      (outcome) => {
        if (isSettled) return;
        isSettled = true;
        setShowing(false);
        settle(outcome);
      },
      {
        begin: () => {
          this.#parts.readAll();
          if (isSettled || !inbox.begin(number)) return false;
          setShowing(true);
          return true;
        },
        release: () => {
          setShowing(false);
          inbox.release(number);
        },
      },
    );
  }

  #onSilent(stream: InboundStream<S>): void {
    this.#heard.delete(stream.id);
    if (!stream.inbox.hasHandedOver) return;
    this.#remembered.set(stream.id, stream);
    const [oldest] = this.#remembered.keys();
    if (this.#remembered.size > MAX_REMEMBERED_STREAMS && oldest !== undefined) this.#remembered.delete(oldest);
  }

  #take(stream: InboundStream<S>, bytes: number): boolean {
    if (this.#bytes + bytes > this.#parts.limitBytes && !this.#makeRoom(stream, bytes)) return false;
    this.#bytes += bytes;
    return true;
  }

  // Max-min fairness: the stream that keeps most gives way to one that will still keep less. Otherwise a few strangers with
  // long messages that never end would silence everybody else for good.
  #makeRoom(asking: InboundStream<S>, bytes: number): boolean {
    while (this.#bytes + bytes > this.#parts.limitBytes) {
      let most = asking;
      for (const stream of this.#heard.values()) if (stream.inbox.bytes > most.inbox.bytes) most = stream;
      if (most.inbox.bytes <= asking.inbox.bytes + bytes) return false;
      for (const session of [...most.sessions]) this.#parts.endSession(session);
    }
    return true;
  }
}
