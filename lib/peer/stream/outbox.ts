// The sending half: messages wait here from send() until the receiver has settled them. A pure state machine: no socket,
// no timer, the clock is an argument (monotonic milliseconds). It writes frames into a payload when asked to, and says
// when it wants to be asked again.
//
// Two levels, as in QUIC (RFC 9002). Datagrams have counters and are acknowledged, or declared lost, one by one; they
// belong to one session. Messages have numbers; they survive sessions, and are settled when the receiving application
// has taken them. A lost datagram is never repeated: what it carried is put into another one, with another counter.
// Only this side ever takes the initiative, so the receiver keeps no timer at all.
import { BASE_BYTES, type FrameWriter, type Outcome, type Refusal } from "../../wire/datagram-frames.ts";
import { LossDetector } from "./loss-detector.ts";
import { ARRIVED, frameBytes, type OutboundMessage, type Packet, UNSENT } from "./outbound-message.ts";
import { SendQueue } from "./send-queue.ts";

/** Called once for every message that the receiver has settled and nobody has cancelled, in order. */
export type SettledCallback<Tag> = (tag: Tag, outcome: Outcome, number: number) => void;

interface LostFragment {
  readonly message: OutboundMessage;
  readonly index: number;
}

/** @typeParam Tag what the owner wants to have back when a message is settled */
export class Outbox<Tag = undefined> {
  /** Fragments sent more than once. */
  retransmissions = 0;

  readonly #onSettled: SettledCallback<Tag>;
  readonly #queue = new SendQueue<Tag>();
  #lost: LostFragment[] = [];
  #announceBase = false;
  #flight: LossDetector;

  constructor(onSettled: SettledCallback<Tag>) {
    this.#onSettled = onSettled;
    this.#flight = this.#newFlight();
  }

  /** Messages that are neither settled nor cancelled, and a few cancelled ones behind them. */
  get pending(): number {
    return this.#queue.size;
  }
  /** Messages that have had a number. */
  get numbered(): number {
    return this.#queue.numbered;
  }
  /** Timeouts since anything was acknowledged: several mean that nobody is there. */
  get unanswered(): number {
    return this.#flight.probes;
  }
  /** Smoothed, in milliseconds; 0 before the first sample. */
  get roundTripMs(): number {
    return this.#flight.roundTrip.smoothed;
  }
  /** How long the owner should wait for an answer, in milliseconds. */
  get timeoutMs(): number {
    return this.#flight.roundTrip.timeout(0);
  }

  /** Takes the body over: it must not be changed any more. Returns the message's number. */
  enqueue(body: Buffer, tag: Tag): number {
    return this.#queue.add(body, tag);
  }

  /** Gives a message up: it is not sent any more, and those after it go on without it. It may have arrived already. */
  cancel(number: number): void {
    this.#queue.cancel(number);
    this.#passAbandoned();
  }

  /**
   * A new session: nothing is known about what of the unsettled messages has arrived there, so all of it goes out again.
   * @param roundTripMs measured by the handshake; 0 when it was not
   */
  attach(roundTripMs: number): void {
    this.#flight = this.#newFlight();
    if (roundTripMs > 0) this.#flight.roundTrip.update(roundTripMs);
    this.#lost = [];
    this.#queue.rewind();
  }

  /** All that are neither settled nor cancelled; cancelling the present one is allowed. */
  forEachPending(visit: (tag: Tag, number: number) => void): void {
    this.#queue.forEachPending(visit);
  }

  /** True when fill() has something to write. */
  wantsToSend(): boolean {
    if (this.#queue.size === 0) return false;
    if (this.#flight.probesDue > 0 || this.#announceBase) return true;
    return this.#flight.congestion.open && (this.#hasLost() || this.#queue.startable() !== null);
  }

  /**
   * WriteBatcher what should go out next behind the caller's own frames (ACK, SETTLED). When it returns true, the datagram has
   * to be sent, with this counter; when it returns false, nothing was written.
   */
  fill(writer: FrameWriter, counter: number, now: number): boolean {
    if (!this.wantsToSend() || writer.room <= BASE_BYTES) return false;
    const packet: Packet = { counter, sentAt: now, messages: [], indexes: [], bytes: 0 };
    const start = writer.offset;
    writer.base(this.#queue.base);
    const probing = this.#flight.probesDue > 0;
    const { open } = this.#flight.congestion;
    if (open || probing) this.#fillLost(writer, packet);
    if (probing) this.#fillOldest(writer, packet);
    if (open) this.#fillNew(writer, packet);
    if (packet.messages.length === 0) {
      if (!probing && !this.#announceBase) {
        writer.offset = start; // a whole fragment does not fit beside the caller's frames: it gets its own datagram
        return false;
      }
      writer.ping();
    }
    this.#announceBase = false;
    packet.bytes = writer.length;
    this.#flight.onSent(packet);
    return true;
  }

  /** Caller has checked that `largest` was sent in this session. */
  onAck(largest: number, words: Uint32Array, count: number, now: number): void {
    this.#flight.onAck(largest, words, count, now);
  }

  /** False when it settles what was never sent: the peer is broken. */
  onSettled(upTo: number, refusals: readonly Refusal[], now: number): boolean {
    if (upTo > this.#queue.sentUpTo) return false;
    if (upTo < this.#queue.base) return true;
    this.#flight.onProgress(now);
    while (this.#queue.base <= upTo) {
      const message = this.#queue.takeBase();
      if (message.abandoned) continue;
      message.abandoned = true; // tells the datagrams that carry it
      const refusal = refusals.length === 0 ? undefined : refusals.find(({ number }) => number === message.number);
      this.#onSettled(message.tag, refusal?.reason ?? "accepted", message.number);
    }
    this.#passAbandoned();
    return true;
  }

  /** When to call onTimer; Infinity when only an event from outside can change anything. */
  deadline(): number {
    return this.#queue.size === 0 ? Number.POSITIVE_INFINITY : this.#flight.deadline(this.#awaitsSettling);
  }

  /** fill() has to be called afterwards. */
  onTimer(now: number): void {
    if (this.#queue.size > 0) this.#flight.onTimer(now, this.#awaitsSettling);
  }

  #newFlight(): LossDetector {
    return new LossDetector((message, index) => {
      if (!message.abandoned) this.#lost.push({ message, index });
    });
  }

  get #awaitsSettling(): boolean {
    return this.#queue.base < this.#queue.cursor;
  }

  // The receiver is told where the base is now when others wait behind the cancelled ones.
  #passAbandoned(): void {
    if (this.#queue.passAbandoned()) this.#announceBase = true;
    if (this.#queue.size > 0) return;
    this.#flight.forget();
    this.#announceBase = false;
  }

  #hasLost(): boolean {
    for (let first = this.#lost[0]; first; first = this.#lost[0]) {
      if (!first.message.abandoned && first.message.fragments[first.index] === UNSENT) return true;
      this.#lost.shift();
    }
    return false;
  }

  #fillLost(writer: FrameWriter, packet: Packet): void {
    while (this.#hasLost()) {
      const { message, index } = this.#lost[0] as LostFragment;
      if (!this.#put(writer, packet, message, index)) return;
      this.retransmissions++;
      this.#lost.shift();
    }
  }

  // A probe carries the oldest of what may be missing: the receiver can go on with nothing else.
  #fillOldest(writer: FrameWriter, packet: Packet): void {
    const { base, cursor, cursorIndex } = this.#queue;
    for (let number = base; number <= cursor; number++) {
      const message = this.#queue.get(number);
      if (!message) return;
      if (message.abandoned || message.arrived === message.fragments.length) continue;
      const sent = number < cursor ? message.fragments.length : cursorIndex;
      for (let index = 0; index < sent; index++) {
        const state = message.fragments[index];
        if (state === ARRIVED || state === packet.counter) continue;
        if (!this.#put(writer, packet, message, index)) return;
        this.retransmissions++;
      }
    }
  }

  #fillNew(writer: FrameWriter, packet: Packet): void {
    const queue = this.#queue;
    for (let message = queue.startable(); message; message = queue.startable()) {
      if (!this.#put(writer, packet, message, queue.cursorIndex)) return;
      queue.cursorIndex++;
      if (queue.cursorIndex === message.fragments.length) queue.advance();
    }
  }

  #put(writer: FrameWriter, packet: Packet, message: OutboundMessage, index: number): boolean {
    if (writer.room < frameBytes(message, index)) return false;
    writer.fragment(message.number, message.body, index);
    message.fragments[index] = packet.counter;
    packet.messages.push(message);
    packet.indexes.push(index);
    this.#queue.start(message);
    return true;
  }
}
