// The sending half of a stream: messages wait here from send() until the receiver has settled them. A pure state machine:
// no socket, no timer, the clock is an argument (monotonic milliseconds). It writes frames into a payload when asked to,
// and says when it wants to be asked again.
//
// A message's way:
//  1. enqueue() gives it the next number.
//  2. fill() cuts it into fragments and puts them into datagrams, as far as the congestion window and the receiver's
//     window allow: lost fragments first, then new ones.
//  3. onAck(): the datagram has arrived. Or it is lost, and its fragments go out again in another one. A fragment for which the path
//     has no room goes in parts; so do those of the second probe that a silent receiver gets, for the path may have shrunk.
//  4. onSettled(): the receiving application has decided; the owner hears the outcome, the message is forgotten.
//  5. Or its time is over, revoke(): no more of it is sent, and the receiver is asked, every REVOKE_INTERVAL, whether it was
//     shown. onSettled() or onRevoked() answers; the meaning of "not shown" depends on which receivers may have had it
//     (below).
//  6. Or cancel(): its owner gives it up; the receiver learns by BASE that it comes no more.
//
// Only the process that was asked can answer for itself. Each message remembers which process of the receiver may have it, by the
// stream id that it had in the handshake; once there were several, "not shown" by the last of them says nothing of the others.
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
  NUMBER_FRAME_BYTES,
  type Outcome,
  PART_HEAD_BYTES,
  type Parts,
  partCount,
  partsLength,
  type Refusal,
  windowCost,
} from "../../wire/datagram-frames.ts";
import type { PayloadSize } from "../path-mtu.ts";
import { LossDetector, type Packet } from "./loss-detector.ts";
import { Ring } from "./ring.ts";
import { BYTE_WINDOW, MESSAGE_WINDOW, REVOKE_INTERVAL } from "./stream-limits.ts";

/**
 * Called once for every message that the receiver has settled and the owner has not cancelled. In order, but for revoked ones.
 * "revoked": no process of the receiver has shown it, and none will. "unknown": the last one has not, an earlier one may have.
 */
export type SettledCallback<Tag> = (tag: Tag, outcome: Outcome | "unknown", now: number, number: number) => void;

/** A fragment is in one of these states, or in the datagram with the counter that stands in their place. So is each of its parts. */
const UNSENT = -1;
const ARRIVED = -2;
/** It goes in parts, which have a state each. */
const SPLIT = -3;
const FIRST_NUMBER = 1; // zero is never a message's
const NO_BYTES = Buffer.alloc(0);

interface OutboundMessage<Tag> {
  readonly number: number;
  readonly body: Buffer;
  /** What its owner wants back when it is settled. */
  readonly tag: Tag;
  /** Against BYTE_WINDOW; stays when the body is gone. */
  readonly windowCost: number;
  /** For each fragment UNSENT, ARRIVED, SPLIT, or the counter of the last datagram that carried it. */
  readonly fragments: number[];
  /** The same for the parts of those that are SPLIT; null while there was none. */
  parts: Map<number, number[]> | null;
  arrived: number;
  /** A fragment has been sent in the present session: the receiver may keep it. */
  started: boolean;
  /** Settled or given up: not repeated, and passed over by the next BASE, unless it is being revoked. */
  abandoned: boolean;
  /** Given up, and its receiver has not said yet whether it was shown. */
  revoking: boolean;
  /** The process of the receiver that may have it: its stream id; NOBODY, or SEVERAL. */
  exposedTo: string;
}

/** No stream id is one of these. */
const NOBODY = "";
const SEVERAL = "*";

/** Fragment `indexes[i]` of `messages[i]` is in it, whole or the parts `parts[i]`. */
interface SentPacket<Tag> extends Packet {
  readonly messages: OutboundMessage<Tag>[];
  readonly indexes: number[];
  readonly parts: (Parts | null)[];
  /** Of the path that it goes by. */
  readonly size: PayloadSize | null;
  bytes: number;
}

interface LostFragment<Tag> {
  readonly message: OutboundMessage<Tag>;
  readonly index: number;
}

/** @typeParam Tag what the owner wants to have back when a message is settled */
export class Outbox<Tag = undefined> {
  readonly #onSettled: SettledCallback<Tag>;
  readonly #queue: SendQueue<Tag>;
  #detector: LossDetector<SentPacket<Tag>>;
  #lost: LostFragment<Tag>[] = [];
  #announceBase = false;
  #retransmissions = 0;
  /** The process of the receiver that the present session leads to. */
  #receiver = NOBODY;
  /** When the receiver is asked again, while something is being revoked. */
  #revokeAt = Number.POSITIVE_INFINITY;
  #revokesDue: number[] = [];

  /** @param onAgain a message goes to another process of the receiver: its body may be changed to say so, not its length */
  constructor(onSettled: SettledCallback<Tag>, onAgain: (body: Buffer) => void = () => {}) {
    this.#onSettled = onSettled;
    this.#queue = new SendQueue<Tag>(onAgain);
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
  /** See LossDetector. */
  get leastRoundTripMs(): number {
    return this.#detector.leastRoundTripMs;
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
   * @param receiver stream id of the other end
   */
  attach(roundTripMs: number, receiver: string): void {
    this.#detector.forget();
    this.#detector = this.#newDetector(roundTripMs);
    this.#lost = [];
    this.#receiver = receiver;
    this.#queue.rewind(receiver);
    if (this.#queue.revoking > 0) this.#askRevoked();
  }

  /** True when fill() has something to write. */
  wantsToSend(): boolean {
    if (this.#queue.size === 0) return false;
    if (this.#detector.probesDue > 0 || this.#announceBase || this.#revokesDue.length > 0) return true;
    return this.#detector.isOpen && (this.#hasLost() || this.#queue.startable() !== null);
  }

  /**
   * Writes what should go out next behind the caller's own frames (ACK, SETTLED). When it returns true, the datagram has
   * to be sent, with this counter; when it returns false, nothing was written.
   * @param size of the path that it goes by; null: the writer's limit is all there is to know
   */
  fill(writer: FrameWriter, counter: number, now: number, size: PayloadSize | null = null): boolean {
    if (!this.wantsToSend() || writer.room <= BASE_BYTES) return false;
    const packet: SentPacket<Tag> = { counter, sentAt: now, messages: [], indexes: [], parts: [], size, bytes: 0 };
    const start = writer.offset;
    const { limit } = writer;
    const probing = this.#detector.probesDue > 0;
    if (size !== null)
      writer.limit = Math.min(limit, this.#isShrinking ? size.shrunk(this.#detector.unanswered - 1) : size.limit(now));
    const isWritten = this.#fill(writer, packet, probing);
    writer.limit = limit;
    if (!isWritten) {
      writer.offset = start; // a whole fragment does not fit beside the caller's frames: it gets its own datagram
      return false;
    }
    this.#announceBase = false;
    packet.bytes = writer.length;
    this.#detector.onSent(packet);
    size?.onSent(packet.bytes);
    return true;
  }

  /** The second of two probes that go out at once, after the first has stayed unanswered: smaller than what may be too large. */
  get #isShrinking(): boolean {
    return this.#detector.unanswered > 1 && this.#detector.probesDue === 1;
  }

  #fill(writer: FrameWriter, packet: SentPacket<Tag>, probing: boolean): boolean {
    if (writer.room < BASE_BYTES) return false;
    writer.base(this.#queue.base);
    const { isOpen } = this.#detector;
    const revokes = this.#fillRevokes(writer);
    if (isOpen || probing) this.#fillLost(writer, packet);
    if (probing) this.#fillOldest(writer, packet);
    if (isOpen) this.#fillNew(writer, packet);
    if (packet.messages.length === 0) {
      if (!probing && !this.#announceBase && !revokes) return false;
      if (!revokes && writer.room > 0) writer.ping();
    }
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
      if (message.abandoned && !message.revoking) continue;
      message.abandoned = true; // tells the datagrams that carry it
      const refusal = refusals.length === 0 ? undefined : refusals.find(({ number }) => number === message.number);
      this.#settle(message, refusal?.reason ?? "accepted", now);
    }
    this.#passAbandoned();
    return true;
  }

  /** The process that the session leads to has not shown a message that was revoked. @param receiver its stream id */
  onRevoked(number: number, receiver: string, now: number): void {
    const message = this.#queue.get(number);
    if (!message?.revoking || !isExposedTo(message, receiver)) return;
    this.#queue.endRevoke(message);
    this.#settle(message, "revoked", now);
    this.#passAbandoned();
  }

  /** The process ends, and has shown nothing from this number on. @param receiver its stream id */
  onEnded(from: number, receiver: string, now: number): void {
    const revoked: OutboundMessage<Tag>[] = [];
    this.#queue.forEach((message) => {
      if (message.number < from || message.exposedTo !== receiver) return;
      message.exposedTo = NOBODY;
      if (message.revoking) revoked.push(message);
    });
    for (const message of revoked) {
      this.#queue.endRevoke(message);
      this.#settle(message, "revoked", now);
    }
    this.#passAbandoned();
  }

  /** Of a message that is neither settled nor cancelled. */
  tagOf(number: number): Tag | undefined {
    return this.#queue.get(number)?.tag;
  }

  /** Whether some process of the receiver may show it, or may have. */
  isExposed(number: number): boolean {
    return this.#queue.get(number)?.exposedTo !== NOBODY;
  }

  /**
   * Its time is over: nothing of it is sent any more, and the receiver is asked whether it was shown, until the answer comes or
   * cancel() is called. Caller knows that it is exposed, and neither settled nor cancelled.
   */
  revoke(number: number, now: number): void {
    this.#queue.revoke(number);
    this.#askRevoked();
    this.#revokeAt = now + REVOKE_INTERVAL;
  }

  /** Gives a message up: it is not sent any more, and those after it go on without it. It may have arrived already. */
  cancel(number: number): void {
    this.#queue.cancel(number);
    this.#passAbandoned();
  }

  /** All that are neither settled nor cancelled, those that are being revoked too; cancelling the present one is allowed. */
  forEachPending(visit: (tag: Tag, number: number) => void): void {
    this.#queue.forEachPending(visit);
  }

  /** When to call onTimer; Infinity when only an event from outside can change anything. */
  deadline(): number {
    if (this.#queue.size === 0) return Number.POSITIVE_INFINITY;
    const sending = this.#detector.deadline(this.#queue.awaitsSettling);
    return this.#queue.revoking > 0 ? Math.min(sending, this.#revokeAt) : sending;
  }

  /** fill() has to be called afterwards. */
  onTimer(now: number): void {
    if (this.#queue.size === 0) return;
    this.#detector.onTimer(now, this.#queue.awaitsSettling);
    if (this.#queue.revoking === 0 || now < this.#revokeAt) return;
    this.#askRevoked();
    this.#revokeAt = now + REVOKE_INTERVAL;
  }

  #settle(message: OutboundMessage<Tag>, outcome: Outcome, now: number): void {
    const isUnknown = outcome === "revoked" && message.exposedTo === SEVERAL;
    this.#onSettled(message.tag, isUnknown ? "unknown" : outcome, now, message.number);
  }

  #askRevoked(): void {
    this.#revokesDue = [];
    this.#queue.forEach((message) => {
      // A process that never had it could only answer for itself.
      if (message.revoking && isExposedTo(message, this.#receiver)) this.#revokesDue.push(message.number);
    });
  }

  /** Beside the congestion window: a few bytes, and there is no time to wait for it. @returns whether there was one */
  #fillRevokes(writer: FrameWriter): boolean {
    const before = writer.offset;
    while (this.#revokesDue.length > 0 && writer.room >= NUMBER_FRAME_BYTES) {
      const number = this.#revokesDue.shift() as number;
      if (this.#queue.get(number)?.revoking) writer.revoke(number);
    }
    return writer.offset > before;
  }

  #newDetector(roundTripMs: number): LossDetector<SentPacket<Tag>> {
    return new LossDetector<SentPacket<Tag>>(
      {
        onArrived: (packet) => this.#onArrived(packet),
        onLost: (packet, now) => this.#onLost(packet, now),
        onForgotten: ({ size, bytes }) => size?.onForgotten(bytes),
      },
      roundTripMs,
    );
  }

  #onArrived({ messages, indexes, parts, size, bytes, sentAt }: SentPacket<Tag>): void {
    size?.onArrived(bytes, sentAt);
    for (let i = 0; i < messages.length; i++) {
      const message = messages[i] as OutboundMessage<Tag>;
      const index = indexes[i] as number;
      if (message.fragments[index] === ARRIVED) continue;
      const which = parts[i];
      const states = which ? message.parts?.get(index) : undefined;
      if (which && states) {
        states.fill(ARRIVED, which.first, which.first + which.count);
        if (states.some((state) => state !== ARRIVED)) continue;
      }
      message.fragments[index] = ARRIVED;
      message.parts?.delete(index);
      message.arrived++;
    }
  }

  #onLost({ counter, messages, indexes, parts, size, bytes, sentAt }: SentPacket<Tag>, now: number): void {
    size?.onLost(bytes, sentAt, now);
    for (let i = 0; i < messages.length; i++) {
      const message = messages[i] as OutboundMessage<Tag>;
      const index = indexes[i] as number;
      const state = message.fragments[index];
      const which = parts[i];
      if (state === SPLIT) {
        const states = message.parts?.get(index) as number[];
        if (which) for (const [part, one] of states.entries()) if (one === counter) states[part] = UNSENT;
        // Of one that went whole, and has gone apart since, some parts have not been sent again.
        if (!states.includes(UNSENT)) continue;
      } else if (state === counter) {
        message.fragments[index] = UNSENT;
      } else {
        continue; // a later datagram carries it by now, or it has arrived in another one
      }
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
      if (!first.message.abandoned && isUnsent(first.message, first.index)) return true;
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
      let sent = number < queue.cursor ? message.fragments.length : queue.cursorIndex;
      if (number === queue.cursor && message.fragments[sent] === SPLIT) sent++;
      for (let index = 0; index < sent; index++) {
        const state = message.fragments[index];
        if (state === ARRIVED || state === packet.counter) continue;
        if (!this.#put(writer, packet, message, index, true)) return;
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

  /**
   * Puts what is not sent of a fragment into the datagram. @param again what is sent and has not arrived, too
   * @returns false when some of it is left for another datagram
   */
  #put(
    writer: FrameWriter,
    packet: SentPacket<Tag>,
    message: OutboundMessage<Tag>,
    index: number,
    again = false,
  ): boolean {
    const bytes = FRAGMENT_HEAD_BYTES + fragmentLength(message.body.length, index);
    if (message.fragments[index] === ARRIVED) return true; // in parts that others have sent again
    if (message.fragments[index] !== SPLIT) {
      if (writer.room >= bytes) {
        writer.fragment(message.number, message.body, index);
        message.fragments[index] = packet.counter;
        this.#note(packet, message, index, null);
        return true;
      }
      if (BASE_BYTES + bytes <= writer.limit) return false; // it gets its own datagram
      split(message, index);
    }
    return this.#putParts(writer, packet, message, index, again);
  }

  #putParts(
    writer: FrameWriter,
    packet: SentPacket<Tag>,
    message: OutboundMessage<Tag>,
    index: number,
    again: boolean,
  ): boolean {
    const states = message.parts?.get(index) as number[];
    const isDue = (state: number | undefined): boolean =>
      state === UNSENT || (again && state !== undefined && state !== ARRIVED && state !== packet.counter);
    for (let first = states.findIndex(isDue); first !== -1; first = states.findIndex(isDue)) {
      let count = 0;
      while (isDue(states[first + count]) && fits(writer, message, index, { first, count: count + 1 })) count++;
      if (count === 0) return false;
      const which = { first, count };
      writer.parts(message.number, message.body, index, which);
      states.fill(packet.counter, first, first + count);
      this.#note(packet, message, index, which);
    }
    return true;
  }

  #note(packet: SentPacket<Tag>, message: OutboundMessage<Tag>, index: number, which: Parts | null): void {
    if (message.exposedTo !== this.#receiver)
      message.exposedTo = message.exposedTo === NOBODY ? this.#receiver : SEVERAL;
    packet.messages.push(message);
    packet.indexes.push(index);
    packet.parts.push(which);
    this.#queue.start(message);
  }
}

function fits<Tag>(writer: FrameWriter, { body }: OutboundMessage<Tag>, index: number, parts: Parts): boolean {
  return writer.room >= PART_HEAD_BYTES + partsLength(body.length, index, parts);
}

/** From now on it goes in parts. Where it is under way whole, that may arrive all the same. */
function split<Tag>(message: OutboundMessage<Tag>, index: number): void {
  message.parts ??= new Map();
  message.parts.set(index, new Array<number>(partCount(message.body.length, index)).fill(UNSENT));
  message.fragments[index] = SPLIT;
}

/** Some of the fragment has to go out. */
function isUnsent<Tag>({ fragments, parts }: OutboundMessage<Tag>, index: number): boolean {
  const state = fragments[index];
  return state === UNSENT || (state === SPLIT && (parts?.get(index)?.includes(UNSENT) ?? false));
}

function isExposedTo<Tag>({ exposedTo }: OutboundMessage<Tag>, receiver: string): boolean {
  return exposedTo === receiver || exposedTo === SEVERAL;
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
  #revoking = 0;
  readonly #onAgain: (body: Buffer) => void;

  constructor(onAgain: (body: Buffer) => void) {
    this.#onAgain = onAgain;
  }

  /** Messages that are being revoked. */
  get revoking(): number {
    return this.#revoking;
  }
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
      parts: null,
      arrived: 0,
      started: false,
      abandoned: false,
      revoking: false,
      exposedTo: NOBODY,
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
    if (message.revoking) this.#revoking--;
    return message;
  }

  /** Nothing happens for one that is settled or cancelled. */
  cancel(number: number): void {
    const message = this.#messages.get(number);
    if (!message) return;
    if (message.revoking) this.endRevoke(message);
    if (message.abandoned) return;
    if (number === this.#next - 1 && number > this.sentUpTo) {
      this.#messages.delete(number); // no receiver has heard of the number: it is free again
      this.#next = number;
      return;
    }
    this.#tombstone(message);
  }

  /** Nothing of it goes out any more, and its number stays until its receiver has answered. */
  revoke(number: number): void {
    const message = this.#messages.get(number);
    if (!message || message.abandoned) return;
    this.#tombstone(message).revoking = true;
    this.#revoking++;
  }

  endRevoke(message: OutboundMessage<Tag>): void {
    message.revoking = false;
    this.#revoking--;
  }

  // It holds its place until the base moves over it: the body is free, its cost is not.
  #tombstone(message: OutboundMessage<Tag>): OutboundMessage<Tag> {
    message.abandoned = true; // tells the datagrams that carry it
    const tombstone = { ...message, body: NO_BYTES, fragments: [] };
    this.#messages.set(tombstone);
    if (message.number === this.cursor) this.#advance();
    return tombstone;
  }

  /** The base moves over cancelled messages by itself. Returns whether it did. */
  passAbandoned(): boolean {
    const before = this.base;
    for (let message = this.#messages.get(this.base); message?.abandoned; message = this.#messages.get(this.base)) {
      if (message.revoking) break;
      this.takeBase();
    }
    this.sentUpTo = Math.max(this.sentUpTo, this.base - 1);
    if (this.cursor < this.base) {
      this.cursor = this.base;
      this.cursorIndex = 0;
    }
    return this.base > before;
  }

  /** A new session: all of it goes out again. @param receiver the process that it leads to */
  rewind(receiver: string): void {
    this.cursor = this.base;
    this.cursorIndex = 0;
    this.#messages.forEach((message) => {
      if (message.abandoned) return; // the receiver may still keep it
      if (message.exposedTo !== NOBODY && message.exposedTo !== receiver) this.#onAgain(message.body);
      if (message.started) this.#startedBytes -= message.windowCost;
      message.started = false;
      message.fragments.fill(UNSENT);
      message.parts = null;
      message.arrived = 0;
    });
  }

  forEachPending(visit: (tag: Tag, number: number) => void): void {
    this.#messages.forEach((message) => {
      if (!message.abandoned || message.revoking) visit(message.tag, message.number);
    });
  }

  forEach(visit: (message: OutboundMessage<Tag>) => void): void {
    this.#messages.forEach(visit);
  }

  #advance(): void {
    this.cursor++;
    this.cursorIndex = 0;
  }
}
