// How large a datagram a path takes: datagram path MTU discovery (RFC 8899) with the datagrams that are sent anyway. One for each
// path. Pure: times are arguments, in milliseconds of a monotonic clock.
//
//  1. A path begins with the largest size. Most take it.
//  2. Two large ones are lost in a row, while a small one that was sent behind the first of them arrives: the size halves. Or the
//     kernel refuses one as too large (EMSGSIZE): at once. Where small ones are lost as well it is the path that fails, not the size.
//  3. Then one datagram at a time tries the next size up. When it arrives, that is the size; when it is lost, the size above is
//     left alone for a second, longer each time: a path may change, and the loss may have been chance.
import { SEAL_BYTES } from "../crypto/seal.ts";
import { DATA_HEAD_BYTES, MAX_DATAGRAM_BYTES } from "../wire/datagram.ts";

/**
 * Bytes of UDP payload. Below the largest one each size has room for one part less of a fragment (PART in
 * wire/datagram-frames.ts). The smallest carries one part: a path that takes a handshake takes it, too.
 */
export const SIZES = [208, 344, 480, 616, 752, 888, 1024, 1160, MAX_DATAGRAM_BYTES] as const;
/** So many large ones in a row have to be lost: a single loss is nobody's fault. */
const LOSSES = 2;
/** A size that has failed is tried again after so long, doubling… */
const FIRST_REST = 1_000;
/** …up to this (RFC 8899 section 5.1.1, PMTU_RAISE_TIMER). */
const MAX_REST = 600_000;

/** A path's size as the outbox needs it, in bytes of the payload of a DATA datagram. */
export interface PayloadSize {
  /** The most bytes of the next datagram: one that is larger than `surely` is a probe. */
  limit(now: number): number;
  /** Of a datagram that is to arrive where larger ones do not: smaller with each step. */
  shrunk(steps: number): number;
  onSent(payloadBytes: number): void;
  onArrived(payloadBytes: number, sentAt: number): void;
  onLost(payloadBytes: number, sentAt: number, now: number): void;
  /** The outcome will stay unknown: a trial may be made again. */
  onForgotten(payloadBytes: number): void;
}

/** "About half": 1200 is followed by 616, and that by 344. */
const HALF_SLACK = 80;
/** Of a DATA datagram, beside its payload: the head and the seal's tag. */
const OVERHEAD = DATA_HEAD_BYTES + SEAL_BYTES;

export class PathMtu implements PayloadSize {
  #size: number = MAX_DATAGRAM_BYTES;
  /** A size that has failed, and until when it is left alone. */
  #ceiling: number = Number.POSITIVE_INFINITY;
  #ceilingUntil = 0;
  #rest = FIRST_REST;
  /** Size of the datagram under way that tries a larger size; 0 for none. */
  #trial = 0;
  #losses = 0;
  /** When the first of them was sent. */
  #lostSince = Number.POSITIVE_INFINITY;
  /** When the latest small one that has arrived was sent. */
  #smallSentAt = Number.NEGATIVE_INFINITY;

  /** It does not take the largest ones. */
  get isReduced(): boolean {
    return this.#size < MAX_DATAGRAM_BYTES;
  }
  /** Bytes of the largest datagram that goes there. */
  get datagramBytes(): number {
    return this.#size;
  }

  shrunk(steps: number): number {
    let size = this.#size;
    for (let step = 0; step < steps && size > SIZES[0]; step++) size = below(size);
    return size - OVERHEAD;
  }

  limit(now: number): number {
    const next = above(this.#size);
    const mayTry = this.#trial === 0 && (next < this.#ceiling || now >= this.#ceilingUntil);
    return (mayTry ? next : this.#size) - OVERHEAD;
  }

  onSent(payloadBytes: number): void {
    if (payloadBytes + OVERHEAD > this.#size) this.#trial = payloadBytes + OVERHEAD;
  }

  onArrived(payloadBytes: number, sentAt: number): void {
    const bytes = payloadBytes + OVERHEAD;
    if (bytes > this.#size) this.#raise(bytes);
    if (bytes > below(this.#size)) this.#forgetLosses();
    else this.#smallSentAt = Math.max(this.#smallSentAt, sentAt);
    this.#judge(sentAt);
  }

  onLost(payloadBytes: number, sentAt: number, now: number): void {
    const bytes = payloadBytes + OVERHEAD;
    if (bytes === this.#trial) {
      this.#trial = 0;
      this.#avoid(above(this.#size), now);
    } else if (bytes > this.#size) {
      // Sent before the size was lowered: it has been judged.
    } else if (bytes > below(this.#size)) {
      this.#losses++;
      this.#lostSince = Math.min(this.#lostSince, sentAt);
      this.#judge(now);
    }
  }

  onForgotten(payloadBytes: number): void {
    if (payloadBytes + OVERHEAD === this.#trial) this.#trial = 0;
  }

  /** The kernel does not send so large a datagram. */
  onTooLarge(datagramBytes: number, now: number): void {
    if (datagramBytes > this.#size) {
      this.#trial = 0;
      this.#avoid(above(this.#size), now);
    }
    while (this.#size >= datagramBytes && this.#size > SIZES[0]) this.#lower(now);
  }

  /** As that one has learned it: another session goes the same way. */
  learnFrom(other: PathMtu): void {
    this.#size = other.#size;
    this.#ceiling = other.#ceiling;
    this.#ceilingUntil = other.#ceilingUntil;
    this.#rest = other.#rest;
  }

  #judge(now: number): void {
    if (this.#losses >= LOSSES && this.#smallSentAt > this.#lostSince) this.#lower(now);
  }

  #lower(now: number): void {
    this.#avoid(this.#size, now);
    this.#size = below(this.#size);
    this.#losses = LOSSES - 1; // until one of this size arrives, it is under suspicion itself
  }

  #raise(bytes: number): void {
    this.#size = SIZES.find((size) => size >= bytes) ?? MAX_DATAGRAM_BYTES;
    this.#trial = 0;
    if (this.#size < this.#ceiling) return;
    this.#ceiling = Number.POSITIVE_INFINITY;
    this.#rest = FIRST_REST;
  }

  #avoid(size: number, now: number): void {
    this.#ceiling = size;
    this.#ceilingUntil = now + this.#rest;
    this.#rest = Math.min(2 * this.#rest, MAX_REST);
  }

  #forgetLosses(): void {
    this.#losses = 0;
    this.#lostSince = Number.POSITIVE_INFINITY;
  }
}

/** The largest size that is at most about half of that one: few steps to one that goes through. */
function below(size: number): number {
  return SIZES.findLast((one) => one < size && 2 * one <= size + HALF_SLACK) ?? SIZES[0];
}

/** The next size up; the size itself when there is none. */
function above(size: number): number {
  return SIZES.find((one) => one > size) ?? size;
}
