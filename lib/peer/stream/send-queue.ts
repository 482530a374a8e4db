// The messages of one stream from send() until they are settled: their numbers, and how far they have come in the present
// session. Knows nothing of datagrams.

import { newOutgoing, type OutboundMessage, type Tagged, tombstone, UNSENT } from "./outbound-message.ts";
import { Ring } from "./ring.ts";
import { BYTE_WINDOW, MESSAGE_WINDOW } from "./stream-limits.ts";

const FIRST_NUMBER = 1; // zero is never a message's

export class SendQueue<Tag> {
  /** The lowest number that is not settled. */
  base = FIRST_NUMBER;
  /** The message whose fragments go out next for the first time in this session… */
  cursor = FIRST_NUMBER;
  /** …and the fragment. */
  cursorIndex = 0;
  /** The highest number that any receiver can know of. */
  sentUpTo = FIRST_NUMBER - 1;
  readonly #messages = new Ring<Tagged<Tag>>(); // base <= number < #next, without gaps
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
  get(number: number): Tagged<Tag> | undefined {
    return this.#messages.get(number);
  }

  add(body: Buffer, tag: Tag): number {
    const number = this.#next++;
    this.#messages.set(newOutgoing(number, body, tag));
    return number;
  }

  /** Nothing happens for one that is settled or cancelled. */
  cancel(number: number): void {
    const message = this.#messages.get(number);
    if (!message || message.abandoned) return;
    if (number === this.#next - 1 && number > this.sentUpTo) {
      this.#messages.delete(number); // nobody has heard of the number: it is free again
      this.#next = number;
    } else {
      this.#messages.set(tombstone(message));
      if (number === this.cursor) this.advance();
    }
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

  /** The message at the cursor, when there is one and the receiver has room for it. */
  startable(): Tagged<Tag> | null {
    for (;;) {
      const message = this.#messages.get(this.cursor);
      if (!message) return null;
      if (!message.abandoned) {
        if (message.started) return message;
        const fits = this.#startedBytes + message.windowCost <= BYTE_WINDOW;
        return fits && this.cursor < this.base + MESSAGE_WINDOW ? message : null;
      }
      this.advance();
    }
  }

  /** The cursor goes to the next message. */
  advance(): void {
    this.cursor++;
    this.cursorIndex = 0;
  }

  /** A fragment of it goes out. */
  start(message: OutboundMessage): void {
    if (message.started) return;
    message.started = true;
    this.#startedBytes += message.windowCost;
    this.sentUpTo = Math.max(this.sentUpTo, message.number);
  }

  /** Takes the lowest message out. Caller knows that there is one. */
  takeBase(): Tagged<Tag> {
    const message = this.#messages.delete(this.base++) as Tagged<Tag>;
    if (message.started) this.#startedBytes -= message.windowCost;
    return message;
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
}
