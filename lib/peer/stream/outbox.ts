// The sending half of a stream: messages wait here from send() until the receiver has settled them. A pure state machine:
// no socket, no timer, the clock is an argument (monotonic milliseconds). It writes frames into a payload when asked to,
// and says when it wants to be asked again.
//
// A message's way:
//  1. enqueue() gives it the next number.
//  2. fill() cuts it into fragments and puts them into datagrams, as far as the congestion window and the receiver's
//     window allow: lost fragments first, then new ones.
//  3. onAck(): the datagram has arrived. Or it is lost, and its fragments go out again in another one.
//  4. onSettled(): the receiving application has decided; the owner hears the outcome, the message is forgotten.
//  5. Or cancel(): its owner gives it up; the receiver learns by BASE that it comes no more.
//
// Two levels, as in QUIC (RFC 9002). Datagrams have counters and are acknowledged, or declared lost, one by one; they
// belong to one session. Messages have numbers; they survive sessions. A lost datagram is never repeated: what it carried
// is put into another one, with another counter. Only this side ever takes the initiative, so the receiver keeps no timer.
import {
  BASE_BYTES,
  FRAGMENT_HEAD_BYTES,
  type FrameWriter,
  fragmentCount,
  fragmentLength,
  type Outcome,
  type Refusal,
  windowCost,
} from "../../wire/datagram-frames.ts";
import { LossDetector, type Packet } from "./loss-detector.ts";
import { Ring } from "./ring.ts";
import { BYTE_WINDOW, MESSAGE_WINDOW } from "./stream-limits.ts";

/** Called once for every message that the receiver has settled and the owner has not cancelled, in order. */
export type SettledCallback<Tag> = (tag: Tag, outcome: Outcome, now: number, number: number) => void;

/** A fragment is in one of these states, or in the datagram with the counter that stands in their place. */
const UNSENT = -1;
const ARRIVED = -2;
const FIRST_NUMBER = 1; // zero is never a message's
const NO_BYTES = Buffer.alloc(0);

interface OutboundMessage<Tag> {
  readonly number: number;
  readonly body: Buffer;
  /** What its owner wants back when it is settled. */
  readonly tag: Tag;
  /** Against BYTE_WINDOW; stays when the body is gone. */
  readonly windowCost: number;
  /** For each fragment UNSENT, ARRIVED, or the counter of the last datagram that carried it. */
  readonly fragments: number[];
  arrived: number;
  /** A fragment has been sent in the present session: the receiver may keep it. */
  started: boolean;
  /** Settled or given up: not repeated, and passed over by the next BASE. */
  abandoned: boolean;
}

/** Fragment `indexes[i]` of `messages[i]` is in it. */
interface SentPacket<Tag> extends Packet {
  readonly messages: OutboundMessage<Tag>[];
  readonly indexes: number[];
  bytes: number;
}

interface LostFragment<Tag> {
  readonly message: OutboundMessage<Tag>;
  readonly index: number;
}

/** @typeParam Tag what the owner wants to have back when a message is settled */
export class Outbox<Tag = undefined> {
  readonly #onSettled: SettledCallback<Tag>;
  readonly #queue = new SendQueue<Tag>();
  #detector: LossDetector<SentPacket<Tag>>;
  #lost: LostFragment<Tag>[] = [];
  #announceBase = false;
  #retransmissions = 0;

  constructor(onSettled: SettledCallback<Tag>) {
    this.#onSettled = onSettled;
    this.#detector = this.#newDetector(0);
  }

  /** Messages that are neither settled nor cancelled, and a few cancelled ones behind them. */
  get pending(): number {
    return this.#queue.size;
  }
  /** Messages that have had a number. */
  get numbered(): number {
    return this.#queue.numbered;
  }
  /** Timeouts since anything was acknowledged: several mean that the peer is gone, or the path. */
  get unanswered(): number {
    return this.#detector.unanswered;
  }
  /** Smoothed, in milliseconds; 0 before the first sample. */
  get roundTripMs(): number {
    return this.#detector.roundTripMs;
  }
  /** The congestion window, and what of it is in use, in bytes. */
  get window(): number {
    return this.#detector.window;
  }
  get bytesInFlight(): number {
    return this.#detector.bytesInFlight;
  }
  /** Fragments sent more than once. */
  get retransmissions(): number {
    return this.#retransmissions;
  }

  /** Takes the body over: it must not be changed any more. Returns the message's number. */
  enqueue(body: Buffer, tag: Tag): number {
    return this.#queue.add(body, tag);
  }

  /**
   * A new session: nothing is known about what of the unsettled messages has arrived there, so all of it goes out again.
   * @param roundTripMs measured by the handshake; 0 when it was not
   */
  attach(roundTripMs: number): void {
    this.#detector = this.#newDetector(roundTripMs);
    this.#lost = [];
    this.#queue.rewind();
  }

  /** True when fill() has something to write. */
  wantsToSend(): boolean {
    if (this.#queue.size === 0) return false;
    if (this.#detector.probesDue > 0 || this.#announceBase) return true;
    return this.#detector.isOpen && (this.#hasLost() || this.#queue.startable() !== null);
  }

  /**
   * Writes what should go out next behind the caller's own frames (ACK, SETTLED). When it returns true, the datagram has
   * to be sent, with this counter; when it returns false, nothing was written.
   */
  fill(writer: FrameWriter, counter: number, now: number): boolean {
    if (!this.wantsToSend() || writer.room <= BASE_BYTES) return false;
    const packet: SentPacket<Tag> = { counter, sentAt: now, messages: [], indexes: [], bytes: 0 };
    const start = writer.offset;
    writer.base(this.#queue.base);
    const probing = this.#detector.probesDue > 0;
    const { isOpen } = this.#detector;
    if (isOpen || probing) this.#fillLost(writer, packet);
    if (probing) this.#fillOldest(writer, packet);
    if (isOpen) this.#fillNew(writer, packet);
    if (packet.messages.length === 0) {
      if (!probing && !this.#announceBase) {
        writer.offset = start; // a whole fragment does not fit beside the caller's frames: it gets its own datagram
        return false;
      }
      writer.ping();
    }
    this.#announceBase = false;
    packet.bytes = writer.length;
    this.#detector.onSent(packet);
    return true;
  }

  /** Caller has checked that `largest` was sent in this session. */
  onAck(largest: number, words: Uint32Array, count: number, now: number): void {
    this.#detector.onAck(largest, words, count, now);
  }

  /** False when it settles what was never sent: the peer is broken. */
  onSettled(upTo: number, refusals: readonly Refusal[], now: number): boolean {
    if (upTo > this.#queue.sentUpTo) return false;
    if (upTo < this.#queue.base) return true;
    this.#detector.onProgress(now);
    while (this.#queue.base <= upTo) {
      const message = this.#queue.takeBase();
      if (message.abandoned) continue;
      message.abandoned = true; // tells the datagrams that carry it
      const refusal = refusals.length === 0 ? undefined : refusals.find(({ number }) => number === message.number);
      this.#onSettled(message.tag, refusal?.reason ?? "accepted", now, message.number);
    }
    this.#passAbandoned();
    return true;
  }

  /** Gives a message up: it is not sent any more, and those after it go on without it. It may have arrived already. */
  cancel(number: number): void {
    this.#queue.cancel(number);
    this.#passAbandoned();
  }

  /** All that are neither settled nor cancelled; cancelling the present one is allowed. */
  forEachPending(visit: (tag: Tag, number: number) => void): void {
    this.#queue.forEachPending(visit);
  }

  /** When to call onTimer; Infinity when only an event from outside can change anything. */
  deadline(): number {
    return this.#queue.size === 0 ? Number.POSITIVE_INFINITY : this.#detector.deadline(this.#queue.awaitsSettling);
  }

  /** fill() has to be called afterwards. */
  onTimer(now: number): void {
    if (this.#queue.size > 0) this.#detector.onTimer(now, this.#queue.awaitsSettling);
  }

  #newDetector(roundTripMs: number): LossDetector<SentPacket<Tag>> {
    return new LossDetector<SentPacket<Tag>>(
      { onArrived: (packet) => this.#onArrived(packet), onLost: (packet) => this.#onLost(packet) },
      roundTripMs,
    );
  }

  #onArrived({ messages, indexes }: SentPacket<Tag>): void {
    for (let i = 0; i < messages.length; i++) {
      const message = messages[i] as OutboundMessage<Tag>;
      const index = indexes[i] as number;
      if (message.fragments[index] === ARRIVED) continue;
      message.fragments[index] = ARRIVED;
      message.arrived++;
    }
  }

  #onLost({ counter, messages, indexes }: SentPacket<Tag>): void {
    for (let i = 0; i < messages.length; i++) {
      const message = messages[i] as OutboundMessage<Tag>;
      const index = indexes[i] as number;
      // A later datagram may carry it by now, or it has arrived in another one.
      if (message.fragments[index] !== counter) continue;
      message.fragments[index] = UNSENT;
      if (!message.abandoned) this.#lost.push({ message, index });
    }
  }

  // When messages wait behind the cancelled ones, the receiver has to learn where the base is now.
  #passAbandoned(): void {
    if (this.#queue.passAbandoned()) this.#announceBase = true;
    if (this.#queue.size > 0) return;
    this.#detector.forget();
    this.#announceBase = false;
  }

  #hasLost(): boolean {
    for (let first = this.#lost[0]; first; first = this.#lost[0]) {
      if (!first.message.abandoned && first.message.fragments[first.index] === UNSENT) return true;
      this.#lost.shift();
    }
    return false;
  }

  #fillLost(writer: FrameWriter, packet: SentPacket<Tag>): void {
    while (this.#hasLost()) {
      const { message, index } = this.#lost[0] as LostFragment<Tag>;
      if (!this.#put(writer, packet, message, index)) return;
      this.#retransmissions++;
      this.#lost.shift();
    }
  }

  // A probe carries the oldest of what may be missing: the receiver can go on with nothing else.
  #fillOldest(writer: FrameWriter, packet: SentPacket<Tag>): void {
    const queue = this.#queue;
    for (let number = queue.base; number <= queue.cursor; number++) {
      const message = queue.get(number);
      if (!message) return;
      if (message.abandoned || message.arrived === message.fragments.length) continue;
      const sent = number < queue.cursor ? message.fragments.length : queue.cursorIndex;
      for (let index = 0; index < sent; index++) {
        const state = message.fragments[index];
        if (state === ARRIVED || state === packet.counter) continue;
        if (!this.#put(writer, packet, message, index)) return;
        this.#retransmissions++;
      }
    }
  }

  #fillNew(writer: FrameWriter, packet: SentPacket<Tag>): void {
    const queue = this.#queue;
    for (let message = queue.startable(); message; message = queue.startable()) {
      if (!this.#put(writer, packet, message, queue.cursorIndex)) return;
      queue.advanceFragment(message);
    }
  }

  #put(writer: FrameWriter, packet: SentPacket<Tag>, message: OutboundMessage<Tag>, index: number): boolean {
    if (writer.room < FRAGMENT_HEAD_BYTES + fragmentLength(message.body.length, index)) return false;
    writer.fragment(message.number, message.body, index);
    message.fragments[index] = packet.counter;
    packet.messages.push(message);
    packet.indexes.push(index);
    this.#queue.start(message);
    return true;
  }
}

/**
 * The messages of the stream in their order, and how far they have come in the present session. Knows no datagrams. Its
 * methods alone write its fields; the outbox above reads them.
 */
class SendQueue<Tag> {
  /** The lowest number that is not settled. */
  base = FIRST_NUMBER;
  /** The message whose fragments go out next for the first time in this session… */
  cursor = FIRST_NUMBER;
  /** …and the fragment. */
  cursorIndex = 0;
  /** The highest number that any receiver can know of. */
  sentUpTo = FIRST_NUMBER - 1;
  readonly #messages = new Ring<OutboundMessage<Tag>>(); // base <= number < #next, without gaps
  #next = FIRST_NUMBER;
  #startedBytes = 0; // invariant: the sum of the costs of the started messages, what the receiver may have to keep

  /** Messages that are not settled; cancelled ones behind them too. */
  get size(): number {
    return this.#messages.size;
  }
  /** Messages that have had a number. */
  get numbered(): number {
    return this.#next - FIRST_NUMBER;
  }
  /** A whole message has been sent that is not settled. */
  get awaitsSettling(): boolean {
    return this.base < this.cursor;
  }
  get(number: number): OutboundMessage<Tag> | undefined {
    return this.#messages.get(number);
  }

  add(body: Buffer, tag: Tag): number {
    const number = this.#next++;
    const count = fragmentCount(body.length);
    this.#messages.set({
      number,
      body,
      tag,
      windowCost: windowCost(body.length),
      fragments: count === 1 ? [UNSENT] : new Array<number>(count).fill(UNSENT),
      arrived: 0,
      started: false,
      abandoned: false,
    });
    return number;
  }

  /** The message at the cursor, when there is one and the receiver has room for it. */
  startable(): OutboundMessage<Tag> | null {
    for (;;) {
      const message = this.#messages.get(this.cursor);
      if (!message) return null;
      if (!message.abandoned) {
        if (message.started) return message;
        const fits = this.#startedBytes + message.windowCost <= BYTE_WINDOW;
        return fits && this.cursor < this.base + MESSAGE_WINDOW ? message : null;
      }
      this.#advance();
    }
  }

  /** A fragment of it goes out. */
  start(message: OutboundMessage<Tag>): void {
    if (message.started) return;
    message.started = true;
    this.#startedBytes += message.windowCost;
    this.sentUpTo = Math.max(this.sentUpTo, message.number);
  }

  /** The fragment at the cursor has gone out. */
  advanceFragment(message: OutboundMessage<Tag>): void {
    this.cursorIndex++;
    if (this.cursorIndex === message.fragments.length) this.#advance();
  }

  /** Takes the lowest message out. Caller knows that there is one. */
  takeBase(): OutboundMessage<Tag> {
    const message = this.#messages.delete(this.base++) as OutboundMessage<Tag>;
    if (message.started) this.#startedBytes -= message.windowCost;
    return message;
  }

  /** Nothing happens for one that is settled or cancelled. */
  cancel(number: number): void {
    const message = this.#messages.get(number);
    if (!message || message.abandoned) return;
    if (number === this.#next - 1 && number > this.sentUpTo) {
      this.#messages.delete(number); // no receiver has heard of the number: it is free again
      this.#next = number;
      return;
    }
    message.abandoned = true; // tells the datagrams that carry it
    // A tombstone holds its place until the base moves over it: the body is free, its cost is not.
    this.#messages.set({ ...message, body: NO_BYTES, fragments: [] });
    if (number === this.cursor) this.#advance();
  }

  /** The base moves over cancelled messages by itself. Returns whether it did. */
  passAbandoned(): boolean {
    const before = this.base;
    while (this.#messages.get(this.base)?.abandoned) this.takeBase();
    this.sentUpTo = Math.max(this.sentUpTo, this.base - 1);
    if (this.cursor < this.base) {
      this.cursor = this.base;
      this.cursorIndex = 0;
    }
    return this.base > before;
  }

  /** A new session: all of it goes out again. */
  rewind(): void {
    this.cursor = this.base;
    this.cursorIndex = 0;
    this.#messages.forEach((message) => {
      if (message.abandoned) return; // the receiver may still keep it
      if (message.started) this.#startedBytes -= message.windowCost;
      message.started = false;
      message.fragments.fill(UNSENT);
      message.arrived = 0;
    });
  }

  forEachPending(visit: (tag: Tag, number: number) => void): void {
    this.#messages.forEach((message) => {
      if (!message.abandoned) visit(message.tag, message.number);
    });
  }

  #advance(): void {
    this.cursor++;
    this.cursorIndex = 0;
  }
}
