// Messages between the primary and a worker process that leave together: a write to the channel costs far more than a message in it.
// Messages of one turn of the event loop leave at its end together, in order.

/** @typeParam T a message */
export class MessageBatcher<T> {
  readonly #write: (messages: readonly T[], left: () => void) => void;
  #messages: T[] = [];
  #left: (() => void)[] = [];

  /** @param write writes several messages, and calls back when they have left this process */
  constructor(write: (messages: readonly T[], left: () => void) => void) {
    this.#write = write;
  }

  /** @param left called when the message has left this process */
  send(message: T, left: () => void): void {
    if (this.#messages.length === 0) setImmediate(() => this.flush());
    this.#messages.push(message);
    this.#left.push(left);
  }

  /** Writes what waits, before something that travels by itself. */
  flush(): void {
    if (this.#messages.length === 0) return;
    const [messages, left] = [this.#messages, this.#left];
    this.#messages = [];
    this.#left = [];
    this.#write(messages, () => {
      for (const tell of left) tell();
    });
  }
}
