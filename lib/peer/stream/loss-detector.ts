// The datagrams of one session that are under way: which have arrived, which are lost, when to ask again.
// Loss detection of RFC 9002 section 6, with the timeout of round-trip.ts. Pure; times are arguments.
import { Congestion } from "./congestion.ts";
import { ARRIVED, type OutboundMessage, type Packet, UNSENT } from "./outbound-message.ts";
import { RoundTrip } from "./round-trip.ts";
import { MAX_TIMEOUT, MAX_WINDOW_PACKETS, PACKET_THRESHOLD, SETTLE_PROBE } from "./stream-limits.ts";

const MAX_TRACKED = 4 * MAX_WINDOW_PACKETS; // the window and many unanswered probes
const SILENCE_PROBES = 3; // unanswered, before the window falls to the least

export class LossDetector {
  readonly roundTrip = new RoundTrip();
  readonly congestion = new Congestion();
  /** Timeouts since the last acknowledgement. */
  probes = 0;
  /** Datagrams that may, and have to, go out beyond the window. */
  probesDue = 0;

  readonly #onLost: (message: OutboundMessage, index: number) => void;
  readonly #packets: Packet[] = []; // in the order of their counters
  #largestArrived = -1;
  #lossTime = Number.POSITIVE_INFINITY;
  #lastSentAt = 0;
  #lastHeardAt = 0;
  #settleProbes = 0;

  constructor(onLost: (message: OutboundMessage, index: number) => void) {
    this.#onLost = onLost;
  }

  onSent(packet: Packet): void {
    if (this.#packets.length >= MAX_TRACKED) this.#dropOldest();
    this.#packets.push(packet);
    this.congestion.onSent(packet.bytes);
    this.#lastSentAt = packet.sentAt;
    if (this.probesDue > 0) this.probesDue--;
  }

  /** Bit b of words[w] stands for counter ((largest >>> 5) - w) * 32 + b. */
  onAck(largest: number, words: Uint32Array, count: number, now: number): void {
    const block = largest >>> 5;
    const before = this.#packets.length;
    this.#keep((packet) => {
      if (packet.counter > largest) return true;
      const back = block - (packet.counter >>> 5);
      if (back >= count || ((words[back] as number) & (1 << (packet.counter & 31))) === 0) return true;
      if (packet.counter === largest) this.roundTrip.update(now - packet.sentAt);
      this.#arrived(packet);
      return false;
    });
    if (this.#packets.length === before) return;
    this.#lastHeardAt = now;
    this.probes = 0;
    this.probesDue = 0;
    this.#detectLost(now);
  }

  /** The receiver has settled something: it is alive and at work. */
  onProgress(now: number): void {
    this.#settleProbes = 0;
    this.#lastHeardAt = now;
  }

  /** Nothing is waited for any more: neither arrival nor loss of these matters. */
  forget(): void {
    for (const packet of this.#packets) this.congestion.onForgotten(packet.bytes);
    this.#packets.length = 0;
    this.#lossTime = Number.POSITIVE_INFINITY;
    this.probes = 0;
    this.probesDue = 0;
  }

  /** @param awaitsSettling everything sent has arrived, but the application has not taken all of it */
  deadline(awaitsSettling: boolean): number {
    if (this.#lossTime !== Number.POSITIVE_INFINITY) return this.#lossTime;
    if (this.#packets.length > 0) return this.#lastSentAt + this.roundTrip.timeout(this.probes);
    return awaitsSettling ? Math.max(this.#lastSentAt, this.#lastHeardAt) + this.#settleInterval() : this.#lossTime;
  }

  onTimer(now: number, awaitsSettling: boolean): void {
    if (now < this.deadline(awaitsSettling)) return;
    if (this.#lossTime !== Number.POSITIVE_INFINITY) {
      this.#detectLost(now);
    } else if (this.#packets.length > 0) {
      this.probes++;
      // The second and later ones go out in pairs (RFC 9002 section 6.2.4): one may be lost.
      this.probesDue = this.probes === 1 ? 1 : 2;
      // Before the first answer the round trip is only guessed, and the window is small anyway.
      if (this.probes === SILENCE_PROBES && this.#largestArrived >= 0) this.congestion.onSilence();
    } else {
      this.#settleProbes++;
      this.probesDue = 1;
    }
  }

  #settleInterval(): number {
    const first = Math.max(SETTLE_PROBE, this.roundTrip.timeout(0));
    return Math.min(first * 2 ** Math.min(this.#settleProbes, 30), Math.max(first, MAX_TIMEOUT));
  }

  #arrived(packet: Packet): void {
    this.#largestArrived = Math.max(this.#largestArrived, packet.counter);
    this.congestion.onAcknowledged(packet.bytes, packet.sentAt);
    for (let i = 0; i < packet.messages.length; i++) {
      const message = packet.messages[i] as OutboundMessage;
      const index = packet.indexes[i] as number;
      if (message.fragments[index] === ARRIVED) continue;
      message.fragments[index] = ARRIVED;
      message.arrived++;
    }
  }

  #detectLost(now: number): void {
    this.#lossTime = Number.POSITIVE_INFINITY;
    const delay = this.roundTrip.lossDelay();
    if (this.#packets.length === 0) return;
    this.#keep((packet) => {
      if (packet.counter > this.#largestArrived) return true;
      if (packet.counter > this.#largestArrived - PACKET_THRESHOLD && packet.sentAt + delay > now) {
        this.#lossTime = Math.min(this.#lossTime, packet.sentAt + delay);
        return true;
      }
      this.congestion.onLost(packet.bytes, packet.sentAt, now);
      this.#lose(packet);
      return false;
    });
  }

  #dropOldest(): void {
    const packet = this.#packets.shift();
    if (!packet) return;
    this.congestion.onForgotten(packet.bytes);
    this.#lose(packet);
  }

  #keep(stays: (packet: Packet) => boolean): void {
    let kept = 0;
    for (const packet of this.#packets) if (stays(packet)) this.#packets[kept++] = packet;
    this.#packets.length = kept;
  }

  #lose(packet: Packet): void {
    for (let i = 0; i < packet.messages.length; i++) {
      const message = packet.messages[i] as OutboundMessage;
      const index = packet.indexes[i] as number;
      // A later datagram may carry it by now, or it has arrived in another one.
      if (message.fragments[index] !== packet.counter) continue;
      message.fragments[index] = UNSENT;
      this.#onLost(message, index);
    }
  }
}
