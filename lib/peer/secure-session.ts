// One session: keys, counters, the path to the other end, and what has to be told to it. Reads and writes DATA datagrams;
// which messages they carry is the outbox's and the inbox's business (stream/).
//
// Inbound, receive():                                     Outbound, next():
//  1. refuse a counter that was seen or is too old          1. ACK, if something arrived that calls for one
//  2. open the seal, mark the counter                       2. SETTLED, if something was settled; REVOKED
//  3. follow the other end to a new path, once it has       3. messages, while the peer sends through this session
//     shown that it receives there (path.ts)                4. CLOSE
//  4. read the frames: ACK and SETTLED go to the outbox,    5. seal it all under the next counter
//     BASE and FRAGMENT to the inbox                        6. to the present path, and to one that is being proved
//
// State: half-open (the initiator has not shown that it has the keys) -> confirmed -> ended. No socket, no timer.

import { type Endpoint, isRelayed, isSameEndpoint } from "../base/endpoint.ts";
import type { HandshakeKeys } from "../crypto/noise.ts";
import { open, SEAL_BYTES, seal } from "../crypto/seal.ts";
import {
  DATA_HEAD_BYTES,
  dataCounter,
  INIT_BYTES,
  MAX_DATAGRAM_BYTES,
  RESPONSE_BYTES,
  writeDataHead,
} from "../wire/datagram.ts";
import {
  ACK_HEAD_BYTES,
  CHALLENGE_FRAME_BYTES,
  type FrameHandler,
  FrameWriter,
  MAX_ACK_WORDS,
  NUMBER_FRAME_BYTES,
  type Parts,
  REFUSAL_BYTES,
  type Refusal,
  readFrames,
  SETTLED_HEAD_BYTES,
} from "../wire/datagram-frames.ts";
import { DIRECT_SILENCE, MAX_PATHS, REJECT_AFTER, REJECT_DATAGRAMS, REKEY_AFTER, REKEY_DATAGRAMS } from "./limits.ts";
import { Path } from "./path.ts";
import type { Inbox } from "./stream/inbox.ts";
import type { Outbox } from "./stream/outbox.ts";

export type SessionDropReason = "replayed" | "forged" | "broken-peer" | "reassembly-full";

/** The part of an outbox that a session uses. */
export type SessionOutbox = Pick<
  Outbox,
  "pending" | "unanswered" | "wantsToSend" | "fill" | "onAck" | "onSettled" | "onRevoked" | "onEnded"
>;

export interface SessionParts {
  readonly localIndex: number;
  readonly remoteIndex: number;
  readonly keys: HandshakeKeys;
  /** What we send to the peer: through this session, once attach() was called. */
  readonly outbox: SessionOutbox;
  /** The other end's stream. */
  readonly inbox: Inbox;
  /** 8 bytes, as text: which stream that is. */
  readonly streamId: string;
  /** The handshake was answered from there, or to there. */
  readonly endpoint: Endpoint;
  /** Where the program at the other end says that it can be reached, or the directory said so; empty: nowhere. */
  readonly homes: readonly Endpoint[];
  /** We began the handshake: the other end is known to be there. */
  readonly isInitiator: boolean;
  /** Milliseconds, from the handshake; 0 when it was not measured. */
  readonly roundTripMs: number;
  /** How long the handshake took, repetitions included: the round trip is not longer. 0 when the other end began it. */
  readonly handshakeMs: number;
  readonly now: number;
}

const MAX_COUNTER = 2 ** 32 - 1;
/** Of a datagram that holds a challenge and nothing else: what a probe of a path costs. */
const PROBE_BYTES = DATA_HEAD_BYTES + CHALLENGE_FRAME_BYTES + SEAL_BYTES;
const opened = Buffer.alloc(MAX_DATAGRAM_BYTES);
const writer = new FrameWriter(Buffer.alloc(MAX_DATAGRAM_BYTES));

export class SecureSession implements FrameHandler {
  readonly localIndex: number;
  readonly streamId: string;
  readonly handshakeMs: number;
  readonly isInitiator: boolean;
  /** See {@link SessionParts.homes}. */
  readonly homes: readonly Endpoint[];
  readonly #remoteIndex: number;
  readonly #keys: HandshakeKeys;
  readonly #outbox: SessionOutbox;
  readonly #inbox: Inbox;
  readonly #createdAt: number;
  readonly #received = new ReceivedCounters();
  #counter = 0; // of the next datagram
  readonly #paths: Path[] = []; // the oldest first
  #path: Path; // where what we send goes
  #next: Path | null = null; // where it is to go once that is proven: until then to both
  #arrivedBy: Path;
  #present: readonly Path[]; // that path alone
  #destinations: readonly Path[] = [];
  #heardAt: number;
  #talkedAt: number;
  #roundTripMs: number;
  #isConfirmed: boolean;
  #isAnsweredElsewhere = false;
  #isAttached = false;
  #isClosed = false;
  #isEnded = false;
  #ackDue = false;
  #settleDue = false;
  #closeDue = false;
  #pingDue = false;
  #noRoom = false;

  constructor(parts: SessionParts) {
    this.localIndex = parts.localIndex;
    this.streamId = parts.streamId;
    this.handshakeMs = parts.handshakeMs;
    this.isInitiator = parts.isInitiator;
    this.homes = parts.homes;
    this.#remoteIndex = parts.remoteIndex;
    this.#keys = parts.keys;
    this.#outbox = parts.outbox;
    this.#inbox = parts.inbox;
    this.#createdAt = parts.now;
    this.#path = this.#addPath(new Path(parts.endpoint, parts.isInitiator, parts.now));
    this.#present = [this.#path];
    if (!parts.isInitiator) onAnswered(this.#path, parts.now);
    this.#arrivedBy = this.#path;
    this.#heardAt = parts.now;
    this.#talkedAt = parts.now;
    this.#roundTripMs = parts.roundTripMs;
    this.#isConfirmed = parts.isInitiator;
  }

  /** Where what we send goes: to where the newest authentic datagram came from, once the other end has shown that it is there. */
  get path(): Path {
    return this.#path;
  }
  get endpoint(): Endpoint {
    return this.#path.endpoint;
  }
  /** Where the last datagram that next() gave goes. */
  get destinations(): readonly Path[] {
    return this.#destinations;
  }
  /** Something is amiss with it, or with the size of the datagrams that it takes. */
  get isPathUncertain(): boolean {
    return this.#path.mtu.isReduced || (this.#isAttached && this.#outbox.unanswered > 0);
  }
  get createdAt(): number {
    return this.#createdAt;
  }
  /** When the last authentic datagram came. */
  get heardAt(): number {
    return this.#heardAt;
  }
  /** When something was last said through it, either way: not probes. */
  get talkedAt(): number {
    return this.#talkedAt;
  }
  /** Milliseconds, of the handshake; 0 when it was not measured. */
  get roundTripMs(): number {
    return this.#roundTripMs;
  }
  /** The other end has shown that it has the keys: a replayed INIT never gets here. Nothing is sent before. */
  get isConfirmed(): boolean {
    return this.#isConfirmed;
  }
  /** Messages wait for the peer. */
  get isInUse(): boolean {
    return this.#outbox.pending > 0;
  }
  /** The other end has said goodbye. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** True if the session leads to the program at one of these endpoints. */
  leadsTo(endpoints: readonly Endpoint[]): boolean {
    const isOne = ({ address, port }: Endpoint) => endpoints.some((one) => isSameEndpoint(one, address, port));
    if (this.homes.some(isOne)) return true;
    // The relay's word for a name is good for whoever has the name: where a program has an address, that counts.
    const isMovable = this.homes.length > 0;
    return this.#paths.some(
      ({ endpoint, isProven }) => isProven && isOne(endpoint) && !(isMovable && isRelayed(endpoint)),
    );
  }

  needsRekey(now: number): boolean {
    return now - this.#createdAt > REKEY_AFTER || this.#counter > REKEY_DATAGRAMS;
  }
  isSpent(now: number): boolean {
    return now - this.#createdAt > REJECT_AFTER || this.#counter > REJECT_DATAGRAMS;
  }

  /** The first datagram has come: it answers the RESPONSE. */
  confirm(now: number): void {
    // It shows that a RESPONSE has arrived: there, if there was no other one.
    if (this.#arrivedBy === this.#path && !this.#isAnsweredElsewhere) this.#path.prove();
    this.#isConfirmed = true;
    this.#roundTripMs = now - this.#createdAt;
  }

  /** The same INIT has come from there too, and has had the same RESPONSE: either may be the one that arrives. */
  onAnsweredTo({ address, port }: Endpoint, now: number): void {
    if (this.#isConfirmed || this.#path.leadsTo(address, port)) return;
    this.#isAnsweredElsewhere = true;
    const path = this.#pathFrom(address, port, now);
    onAnswered(path, now);
    if (path.isProven && !this.#path.isProven) this.#use(path);
  }

  /** The peer sends its messages through this session from now on… */
  attach(): void {
    this.#isAttached = true;
  }
  /** …and no longer. What comes through it is heard all the same. */
  detach(): void {
    this.#isAttached = false;
  }

  /** Forgotten: sends nothing any more. */
  end(): void {
    this.#isEnded = true;
  }

  /** The application has settled a message: the other end is to hear of it. */
  settleLater(): void {
    this.#settleDue = true;
  }

  /** Says something that calls for an answer. */
  pingLater(): void {
    this.#pingDue = true;
  }

  /** The goodbye, with the last word on what was settled. */
  closeLater(): void {
    this.#closeDue = true;
    this.#settleDue = true;
  }

  /** Opens a DATA datagram and does what it says; null, or why it was dropped. */
  receive(datagram: Buffer, address: string, port: number, now: number): SessionDropReason | null {
    const counter = dataCounter(datagram);
    if (!this.#received.isFresh(counter)) return "replayed";
    // No honest peer gets there, and an ACK could not report it. Not "broken-peer": nothing is authentic before open().
    if (counter > MAX_COUNTER) return "forged";
    const payload = opened.subarray(0, datagram.length - DATA_HEAD_BYTES - SEAL_BYTES);
    if (!open(this.#keys.receive, counter, datagram.subarray(DATA_HEAD_BYTES), payload)) return "forged";
    // Roaming: answers go where the newest authentic datagram came from; an overtaken one must not turn it back.
    const isNewest = counter > this.#received.largest;
    this.#received.mark(counter);
    this.#heardAt = now;
    const path = this.#pathFrom(address, port, now);
    path.onHeard(datagram.length, now);
    this.#arrivedBy = path;
    if (path !== this.#path && isNewest) this.#onNewest(path, now);
    this.#noRoom = false;
    if (readFrames(payload, this)) return null;
    if (!this.#noRoom) return "broken-peer";
    // Not acknowledged, so it comes again, more slowly each time. All frames may be read twice.
    this.#received.unmark(counter);
    return "reassembly-full";
  }

  onAck(largest: number, words: Uint32Array, count: number): boolean {
    if (largest >= this.#counter) return false;
    if (this.#isAttached) this.#outbox.onAck(largest, words, count, this.#heardAt);
    return true;
  }

  // From any session of the peer: what was settled through an earlier one stays settled.
  onSettled(upTo: number, refusals: readonly Refusal[]): boolean {
    return this.#outbox.onSettled(upTo, refusals, this.#heardAt);
  }

  onBase(number: number): boolean {
    this.#inbox.onBase(number);
    return true;
  }

  onFragment(number: number, total: number, index: number, bytes: Buffer): boolean {
    const outcome = this.#inbox.onFragment(number, total, index, bytes);
    this.#noRoom = outcome === "no-room";
    return (outcome === "kept" || outcome === "duplicate") && this.onPing();
  }

  onRevoke(number: number): boolean {
    return this.#inbox.onRevoke(number) && this.onPing();
  }

  onRevoked(number: number): boolean {
    this.#outbox.onRevoked(number, this.streamId, this.#heardAt);
    return true;
  }

  onEnded(number: number): boolean {
    this.#outbox.onEnded(number, this.streamId, this.#heardAt);
    return true;
  }

  onChallenge(token: Buffer): boolean {
    this.#arrivedBy.answerLater(token);
    return true;
  }

  // A late one, or one that came by another path, proves nothing: no reason to end the session.
  onProof(token: Buffer): boolean {
    const path = this.#arrivedBy;
    if (path.onAnswer(token, this.#heardAt)) this.#onProven(path);
    return true;
  }

  onParts(number: number, total: number, index: number, parts: Parts, bytes: Buffer): boolean {
    const outcome = this.#inbox.onParts(number, total, index, parts, bytes);
    this.#noRoom = outcome === "no-room";
    return (outcome === "kept" || outcome === "duplicate") && this.onPing();
  }

  onPing(): boolean {
    this.#ackDue = true;
    this.#settleDue = true;
    return true;
  }

  onClose(): boolean {
    this.#isClosed = true;
    return true;
  }

  /** True when next() would give something. */
  wantsToSend(): boolean {
    if (this.#isEnded) return false;
    if (
      this.#ackDue ||
      this.#settleDue ||
      this.#closeDue ||
      this.#pingDue ||
      this.#paths.some((path) => path.wantsToSend)
    )
      return true;
    return this.#isAttached && this.#outbox.wantsToSend();
  }

  /** The kernel does not send a datagram of so many bytes there. */
  onTooLarge({ address, port }: Endpoint, bytes: number, now: number): void {
    this.#paths.find((path) => path.leadsTo(address, port))?.mtu.onTooLarge(bytes, now);
  }

  /** What another session has learned of the path that this one goes by. */
  learnFrom(other: SecureSession): void {
    if (other.#path.leadsTo(this.endpoint.address, this.endpoint.port)) this.#path.mtu.learnFrom(other.#path.mtu);
  }

  /** Tries a path of our own accord: when the other end answers, and the path is better, it is used. */
  probe(endpoint: Endpoint, now: number): void {
    const path = this.#pathFrom(endpoint.address, endpoint.port, now);
    if (path !== this.#path) path.probe(PROBE_BYTES, now);
  }

  /** The next datagram that has to go out, or null; `destinations` says where it goes. */
  next(now: number): Buffer | null {
    if (this.#isEnded) return null;
    this.#next?.challenge(now);
    if (!this.#path.isProven && this.#isConfirmed) this.#path.challenge(now);
    for (const path of this.#paths) {
      const datagram = path.wantsToSend ? this.#forPath(path, now) : null;
      if (datagram) return datagram;
    }
    writer.reset();
    this.#writeAnswers();
    if (this.#pingDue) writer.ping();
    this.#pingDue = false;
    // Not larger than what goes by both ways, while it goes by two.
    const isNextSmaller = this.#next !== null && this.#next.mtu.datagramBytes < this.#path.mtu.datagramBytes;
    const { mtu } = isNextSmaller && this.#next !== null ? this.#next : this.#path;
    if (this.#isAttached) this.#outbox.fill(writer, this.#counter, now, mtu);
    if (this.#closeDue && writer.room > NUMBER_FRAME_BYTES) {
      if (this.#inbox.endsAt > 0) writer.ended(this.#inbox.endsAt);
      writer.close();
      this.#closeDue = false;
    }
    if (writer.length === 0) return null;
    this.#talkedAt = now;
    const datagram = this.#seal(writer.buffer.subarray(0, writer.length));
    this.#setDestinations(datagram.length);
    return datagram;
  }

  // One that is not proven gets no more than it may: the rest is lost, and sent again.
  #setDestinations(bytes: number): void {
    const [path, next] = [this.#path, this.#next];
    if (path.isProven && next === null) this.#destinations = this.#present;
    else this.#destinations = [path, next].filter((one) => one !== null).filter((one) => one.spend(bytes));
  }

  /** What belongs to one path: the question whether the other end is there, and the answer to its own. */
  #forPath(path: Path, now: number): Buffer | null {
    writer.reset();
    const answer = path.takeAnswer();
    if (answer) writer.proof(answer);
    const token = path.takeChallenge(now);
    if (token) writer.challenge(token);
    const bytes = DATA_HEAD_BYTES + writer.length + SEAL_BYTES;
    if (writer.length === 0 || !path.spend(bytes)) return null;
    this.#destinations = [path];
    return this.#seal(writer.buffer.subarray(0, writer.length));
  }

  #writeAnswers(): void {
    if (this.#ackDue && writer.room >= ACK_HEAD_BYTES + 4) {
      this.#received.write(writer);
      this.#ackDue = false;
    }
    const { settledUpTo, refusals } = this.#inbox;
    if (this.#settleDue && settledUpTo > 0 && writer.room >= SETTLED_HEAD_BYTES + REFUSAL_BYTES * refusals.length) {
      writer.settled(settledUpTo, refusals);
    }
    this.#settleDue = false;
    if (this.#inbox.hasUnanswered) {
      // What does not fit is asked for again.
      for (const number of this.#inbox.takeUnanswered()) if (writer.room >= NUMBER_FRAME_BYTES) writer.revoked(number);
    }
  }

  #pathFrom(address: string, port: number, now: number): Path {
    if (this.#path.leadsTo(address, port)) return this.#path;
    const known = this.#paths.find((path) => path.leadsTo(address, port));
    return known ?? this.#addPath(new Path({ address, port }, false, now));
  }

  #addPath(path: Path): Path {
    if (this.#paths.length >= MAX_PATHS) {
      const oldest = this.#paths.findIndex((one) => one !== this.#path && one !== this.#next);
      this.#paths.splice(oldest, 1);
    }
    this.#paths.push(path);
    return path;
  }

  /** The newest datagram has come by this path, which is not the present one. */
  #onNewest(path: Path, now: number): void {
    if (!this.#isBetter(path, now)) return;
    if (path.isProven) {
      this.#use(path);
      return;
    }
    path.challenge(now);
    this.#next = path;
  }

  #onProven(path: Path): void {
    if (path === this.#path) return;
    if (path === this.#next || this.#isBetter(path, this.#heardAt)) this.#use(path);
  }

  /** The direct path is left for the relay only when nothing comes by it any more. */
  #isBetter(path: Path, now: number): boolean {
    if (path.kind === "direct" || this.#path.kind === "relay" || !this.#path.isProven) return true;
    return now - this.#path.heardAt >= DIRECT_SILENCE;
  }

  #use(path: Path): void {
    this.#path = path;
    this.#present = [path];
    this.#next = null;
  }

  #seal(payload: Buffer): Buffer {
    const datagram = Buffer.allocUnsafe(DATA_HEAD_BYTES + payload.length + SEAL_BYTES);
    const counter = this.#counter++;
    writeDataHead(datagram, this.#remoteIndex, counter);
    seal(this.#keys.send, counter, payload, datagram.subarray(DATA_HEAD_BYTES));
    return datagram;
  }
}

/** An INIT has come by the path and has had its RESPONSE: that counts against what an unproven address may get. */
function onAnswered(path: Path, now: number): void {
  path.onHeard(INIT_BYTES, now);
  path.spend(RESPONSE_BYTES);
}

const WORD_BITS = 32;
const WORDS = 32; // 1,024 bits
/** Counters this far behind the largest are refused unseen; reordering within it is harmless. */
export const REPLAY_WINDOW = (WORDS - 1) * WORD_BITS;
/** Each arrival is reported in at least so many ACKs: some of them get lost. */
const ACK_REPEATS = 4;
const ackWords = new Uint32Array(MAX_ACK_WORDS);

/**
 * Which counters have arrived: refuses replays, and is what ACKs report. The sliding window of RFC 6479: a ring of words of
 * which whole ones are cleared as the window moves on.
 */
export class ReceivedCounters {
  #largest = -1;
  readonly #ring = new Uint32Array(WORDS);
  readonly #reported: number[] = new Array<number>(ACK_REPEATS).fill(0); // the largest counters of the last ACKs, in a ring
  #turn = 0;

  /** The largest counter marked so far, -1 before the first. */
  get largest(): number {
    return this.#largest;
  }

  /** True when the counter is neither seen nor too old to know. */
  isFresh(counter: number): boolean {
    if (counter > this.#largest) return true;
    if (counter <= this.#largest - REPLAY_WINDOW) return false;
    return ((this.#ring[Math.floor(counter / WORD_BITS) % WORDS] as number) & (1 << (counter % WORD_BITS))) === 0;
  }

  /** Only after the datagram has been authenticated, and only a fresh counter: otherwise a forger could move the window. */
  mark(counter: number): void {
    const word = Math.floor(counter / WORD_BITS);
    if (counter > this.#largest) {
      const last = this.#largest < 0 ? -1 : Math.floor(this.#largest / WORD_BITS);
      for (let w = Math.max(last + 1, word - WORDS + 1); w <= word; w++) this.#ring[w % WORDS] = 0;
      this.#largest = counter;
    }
    this.#ring[word % WORDS] = (this.#ring[word % WORDS] as number) | (1 << (counter % WORD_BITS));
  }

  /** As if it had not arrived. Only for what may safely be read again. */
  unmark(counter: number): void {
    const word = Math.floor(counter / WORD_BITS) % WORDS;
    this.#ring[word] = (this.#ring[word] as number) & ~(1 << (counter % WORD_BITS));
  }

  /** Writes an ACK; nothing before anything has arrived. */
  write(to: FrameWriter): void {
    const largest = this.#largest;
    if (largest < 0) return;
    // Back to where the fourth-last ACK ended, and one word more for what was overtaken.
    const oldest = this.#reported[this.#turn] as number;
    this.#reported[this.#turn] = largest;
    this.#turn = (this.#turn + 1) % ACK_REPEATS;
    const reach = (largest >>> 5) - (oldest >>> 5) + 2;
    const room = Math.floor((to.room - ACK_HEAD_BYTES) / 4);
    const count = Math.min(reach, (largest >>> 5) + 1, MAX_ACK_WORDS, room);
    if (count < 1) return;
    for (let w = 0; w < count; w++) ackWords[w] = this.#ring[((largest >>> 5) - w) % WORDS] as number;
    to.ack(largest, ackWords, count);
  }
}
