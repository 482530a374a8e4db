// The datagrams of one session that are under way: which have arrived, which are lost, when to ask again, and how many
// bytes may be under way at once. RFC 9002 for QUIC, in three parts: loss detection (section 6), round trip and timeout
// (section 5, with the timeout of RFC 6298), congestion window (section 7). Pure: times are arguments, in milliseconds
// of a monotonic clock. Knows nothing of what the datagrams carry: it tells their owner which have arrived or are lost.
//
// One datagram's way: onSent(); then onAck() reports it arrived, or finds it overtaken and lost; or no ACK comes at all,
// and after timeout() onTimer() asks for a probe.
import { MAX_DATAGRAM_BYTES } from "../../wire/datagram.ts";
import {
  FAST_BACKOFF_LIMIT,
  FAST_PROBES,
  GRANULARITY,
  INITIAL_TIMEOUT,
  INITIAL_WINDOW_PACKETS,
  MAX_TIMEOUT,
  MAX_WINDOW_PACKETS,
  MIN_TIMEOUT,
  MIN_WINDOW_PACKETS,
  PACKET_THRESHOLD,
  SETTLE_PROBE,
  TIME_THRESHOLD,
} from "./stream-limits.ts";

const MAX_TRACKED = 4 * MAX_WINDOW_PACKETS; // the window and many unanswered probes
const SILENCE_PROBES = 3; // unanswered, before the window falls to the least

/** One datagram under way. */
export interface Packet {
  readonly counter: number;
  readonly sentAt: number;
  readonly bytes: number;
}

/** What the owner of the datagrams has to know. */
export interface PacketOwner<P extends Packet> {
  onArrived(packet: P): void;
  onLost(packet: P, now: number): void;
  /** Neither will be known of it. */
  onForgotten(packet: P): void;
}

export class LossDetector<P extends Packet> {
  readonly #owner: PacketOwner<P>;
  readonly #roundTrip = new RoundTrip();
  readonly #congestion = new Congestion();
  readonly #packets: P[] = []; // in the order of their counters
  #probes = 0;
  #probesDue = 0;
  #largestArrived = -1;
  #lossTime = Number.POSITIVE_INFINITY;
  #lastSentAt = 0;
  #lastHeardAt = 0;
  #settleProbes = 0;

  /** @param handshakeMs the handshake's measurement of the round trip; 0 when there is none */
  constructor(owner: PacketOwner<P>, handshakeMs = 0) {
    this.#owner = owner;
    if (handshakeMs > 0) this.#roundTrip.update(handshakeMs);
  }

  /** The window has room for one datagram more. */
  get isOpen(): boolean {
    return this.#congestion.isOpen;
  }
  /** Datagrams that may, and have to, go out beyond the window. */
  get probesDue(): number {
    return this.#probesDue;
  }
  /** Timeouts since the last acknowledgement. */
  get unanswered(): number {
    return this.#probes;
  }
  /** Smoothed, in milliseconds; 0 before the first sample. */
  get roundTripMs(): number {
    return this.#roundTrip.smoothed;
  }
  /** The shortest of all, in milliseconds: what the path takes when nothing waits in it; 0 before the first sample. */
  get leastRoundTripMs(): number {
    return this.#roundTrip.least;
  }
  /** Of the congestion window, in bytes. */
  get window(): number {
    return this.#congestion.window;
  }
  get bytesInFlight(): number {
    return this.#congestion.bytesInFlight;
  }

  onSent(packet: P): void {
    if (this.#packets.length >= MAX_TRACKED) this.#dropOldest();
    this.#packets.push(packet);
    this.#congestion.onSent(packet.bytes);
    this.#lastSentAt = packet.sentAt;
    if (this.#probesDue > 0) this.#probesDue--;
  }

  /** Bit b of words[w] stands for counter ((largest >>> 5) - w) * 32 + b. */
  onAck(largest: number, words: Uint32Array, count: number, now: number): void {
    const block = largest >>> 5;
    const before = this.#packets.length;
    this.#keep((packet) => {
      if (packet.counter > largest) return true;
      const back = block - (packet.counter >>> 5);
      if (back >= count || ((words[back] as number) & (1 << (packet.counter & 31))) === 0) return true;
      if (packet.counter === largest) this.#roundTrip.update(now - packet.sentAt);
      this.#largestArrived = Math.max(this.#largestArrived, packet.counter);
      this.#congestion.onAcknowledged(packet.bytes, packet.sentAt);
      this.#owner.onArrived(packet);
      return false;
    });
    if (this.#packets.length === before) return;
    this.#lastHeardAt = now;
    this.#probes = 0;
    this.#probesDue = 0;
    this.#detectLost(now);
  }

  /** The receiver has settled something: it is alive and at work. */
  onProgress(now: number): void {
    this.#settleProbes = 0;
    this.#lastHeardAt = now;
  }

  /** Nothing is waited for any more: neither arrival nor loss of these matters. */
  forget(): void {
    for (const packet of this.#packets) {
      this.#congestion.onForgotten(packet.bytes);
      this.#owner.onForgotten(packet);
    }
    this.#packets.length = 0;
    this.#lossTime = Number.POSITIVE_INFINITY;
    this.#probes = 0;
    this.#probesDue = 0;
  }

  /** When to call onTimer. @param awaitsSettling everything sent has arrived, but the application has not taken all of it */
  deadline(awaitsSettling: boolean): number {
    if (this.#lossTime !== Number.POSITIVE_INFINITY) return this.#lossTime;
    if (this.#packets.length > 0) return this.#lastSentAt + this.#roundTrip.timeout(this.#probes);
    return awaitsSettling ? Math.max(this.#lastSentAt, this.#lastHeardAt) + this.#settleInterval() : this.#lossTime;
  }

  onTimer(now: number, awaitsSettling: boolean): void {
    if (now < this.deadline(awaitsSettling)) return;
    if (this.#lossTime !== Number.POSITIVE_INFINITY) {
      this.#detectLost(now);
    } else if (this.#packets.length > 0) {
      this.#probes++;
      // The second and later ones go out in pairs (RFC 9002 section 6.2.4): one may be lost.
      this.#probesDue = this.#probes === 1 ? 1 : 2;
      // Before the first answer the round trip is only guessed, and the window is small anyway.
      if (this.#probes === SILENCE_PROBES && this.#largestArrived >= 0) this.#congestion.onSilence();
    } else {
      this.#settleProbes++;
      this.#probesDue = 1;
    }
  }

  #settleInterval(): number {
    const first = Math.max(SETTLE_PROBE, this.#roundTrip.timeout(0));
    return Math.min(first * 2 ** Math.min(this.#settleProbes, 30), Math.max(first, MAX_TIMEOUT));
  }

  #detectLost(now: number): void {
    this.#lossTime = Number.POSITIVE_INFINITY;
    const delay = this.#roundTrip.lossDelay();
    if (this.#packets.length === 0) return;
    this.#keep((packet) => {
      if (packet.counter > this.#largestArrived) return true;
      if (packet.counter > this.#largestArrived - PACKET_THRESHOLD && packet.sentAt + delay > now) {
        this.#lossTime = Math.min(this.#lossTime, packet.sentAt + delay);
        return true;
      }
      this.#congestion.onLost(packet.bytes, packet.sentAt, now);
      this.#owner.onLost(packet, now);
      return false;
    });
  }

  #dropOldest(): void {
    const packet = this.#packets.shift();
    if (!packet) return;
    this.#congestion.onForgotten(packet.bytes);
    this.#owner.onLost(packet, this.#lastSentAt);
  }

  #keep(stays: (packet: P) => boolean): void {
    let kept = 0;
    for (const packet of this.#packets) if (stays(packet)) this.#packets[kept++] = packet;
    this.#packets.length = kept;
  }
}

/** The measured round trip and the timeout that follows from it (RFC 6298, with floor and cap of stream-limits.ts). */
export class RoundTrip {
  #smoothed = 0; // 0: no sample yet
  #variation = 0;
  #latest = 0;
  #least = Number.POSITIVE_INFINITY;

  /** @param sample milliseconds; never of a datagram that was sent twice (each has its own counter, so none is) */
  update(sample: number): void {
    this.#latest = sample;
    this.#least = Math.min(this.#least, sample);
    if (this.#smoothed === 0) {
      this.#smoothed = Math.max(sample, Number.MIN_VALUE);
      this.#variation = sample / 2;
      return;
    }
    this.#variation += (Math.abs(this.#smoothed - sample) - this.#variation) / 4;
    this.#smoothed += (sample - this.#smoothed) / 8;
  }

  /** Smoothed, in milliseconds; 0 before the first sample. */
  get smoothed(): number {
    return this.#smoothed;
  }

  /** The shortest sample; 0 before the first one. */
  get least(): number {
    return this.#smoothed === 0 ? 0 : this.#least;
  }

  /** How long to wait for an acknowledgement before probe number `probes` + 1. */
  timeout(probes: number): number {
    const measured = this.#smoothed + Math.max(4 * this.#variation, GRANULARITY);
    const first = this.#smoothed === 0 ? INITIAL_TIMEOUT : Math.max(measured, MIN_TIMEOUT);
    const doublings = Math.min(probes, FAST_BACKOFF_LIMIT) + Math.max(0, probes - FAST_PROBES);
    return Math.min(first * 2 ** Math.min(doublings, 30), Math.max(first, MAX_TIMEOUT));
  }

  /** How long a datagram may be overtaken before it counts as lost. */
  lossDelay(): number {
    return Math.max(TIME_THRESHOLD * Math.max(this.#smoothed, this.#latest), GRANULARITY);
  }
}

/**
 * How many bytes may be under way: NewReno as RFC 9002 section 7 states it for datagrams (RFC 8085 asks for this or its
 * like), counted in bytes of UDP payload.
 */
export class Congestion {
  #window = INITIAL_WINDOW_PACKETS * MAX_DATAGRAM_BYTES;
  #bytesInFlight = 0;
  #threshold = Number.POSITIVE_INFINITY; // slow start below it
  #recoveryStart = Number.NEGATIVE_INFINITY;

  get window(): number {
    return this.#window;
  }
  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }
  get isOpen(): boolean {
    return this.#bytesInFlight < this.#window;
  }

  onSent(bytes: number): void {
    this.#bytesInFlight += bytes;
  }

  /** The datagram is no longer counted, and nothing is concluded from it. */
  onForgotten(bytes: number): void {
    this.#bytesInFlight -= bytes;
  }

  onAcknowledged(bytes: number, sentAt: number): void {
    // A window that was not in use proves nothing about a larger one (RFC 9002 section 7.8).
    const used = this.#bytesInFlight * 2 >= this.#window;
    this.#bytesInFlight -= bytes;
    if (!used || sentAt <= this.#recoveryStart) return;
    const growth = this.#window < this.#threshold ? bytes : (MAX_DATAGRAM_BYTES * bytes) / this.#window;
    this.#window = Math.min(this.#window + growth, MAX_WINDOW_PACKETS * MAX_DATAGRAM_BYTES);
  }

  /** Halves the window once a round trip, however many datagrams of it were lost. */
  onLost(bytes: number, sentAt: number, now: number): void {
    this.#bytesInFlight -= bytes;
    if (sentAt <= this.#recoveryStart) return;
    this.#recoveryStart = now;
    this.#threshold = Math.max(this.#window / 2, MIN_WINDOW_PACKETS * MAX_DATAGRAM_BYTES);
    this.#window = this.#threshold;
  }

  /** Several timeouts without any answer: begin again from the least (RFC 9002 section 7.6). */
  onSilence(): void {
    this.#threshold = Math.max(this.#window / 2, MIN_WINDOW_PACKETS * MAX_DATAGRAM_BYTES);
    this.#window = MIN_WINDOW_PACKETS * MAX_DATAGRAM_BYTES;
  }
}
