// How many bytes may be under way: NewReno as RFC 9002 section 7 states it for datagrams (RFC 8085 asks for this or its
// like), counted in bytes of UDP payload.
import { MAX_DATAGRAM_BYTES } from "../../wire/datagram.ts";
import { INITIAL_WINDOW_PACKETS, MAX_WINDOW_PACKETS, MIN_WINDOW_PACKETS } from "./stream-limits.ts";

export class Congestion {
  window = INITIAL_WINDOW_PACKETS * MAX_DATAGRAM_BYTES;
  inFlight = 0;
  #threshold = Number.POSITIVE_INFINITY; // slow start below it
  #recoveryStart = Number.NEGATIVE_INFINITY;

  get open(): boolean {
    return this.inFlight < this.window;
  }

  onSent(bytes: number): void {
    this.inFlight += bytes;
  }

  /** The datagram is no longer counted, and nothing is concluded from it. */
  onForgotten(bytes: number): void {
    this.inFlight -= bytes;
  }

  onAcknowledged(bytes: number, sentAt: number): void {
    // A window that was not in use proves nothing about a larger one (RFC 9002 section 7.8).
    const used = this.inFlight * 2 >= this.window;
    this.inFlight -= bytes;
    if (!used || sentAt <= this.#recoveryStart) return;
    const growth = this.window < this.#threshold ? bytes : (MAX_DATAGRAM_BYTES * bytes) / this.window;
    this.window = Math.min(this.window + growth, MAX_WINDOW_PACKETS * MAX_DATAGRAM_BYTES);
  }

  /** Halves the window once a round trip, however many datagrams of it were lost. */
  onLost(bytes: number, sentAt: number, now: number): void {
    this.inFlight -= bytes;
    if (sentAt <= this.#recoveryStart) return;
    this.#recoveryStart = now;
    this.#threshold = Math.max(this.window / 2, MIN_WINDOW_PACKETS * MAX_DATAGRAM_BYTES);
    this.window = this.#threshold;
  }

  /** Several timeouts without any answer: begin again from the least (RFC 9002 section 7.6). */
  onSilence(): void {
    this.#threshold = Math.max(this.window / 2, MIN_WINDOW_PACKETS * MAX_DATAGRAM_BYTES);
    this.window = MIN_WINDOW_PACKETS * MAX_DATAGRAM_BYTES;
  }
}
