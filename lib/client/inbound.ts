// Incoming messages: whose they are, whether they may be shown, and the hand-over to the program, upon which their sender is
// told "delivered". Knows nothing of sending.
import type { EventEmitter } from "node:events";
import { debuglog } from "node:util";
import { TalkError } from "../base/errors.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { TokenBucket } from "../peer/handshake-rate-limiter.ts";
import type { IncomingMessage } from "../peer/types.ts";
import type { AddressBook } from "./address-book.ts";
import { emitSafely, reportListenerError } from "./client-events.ts";
import type { ConnectOptions, TalkClientEvents, TalkMessage } from "./types.ts";

const debug = debuglog("ptalk-client");

/** "refused" events a second (twice as many at once): a stranger who goes on must not fill a screen or a log. */
const REFUSED_PER_SECOND = 1;

export interface ReceptionParts {
  readonly book: Pick<AddressBook, "verifySender">;
  /** Whose "message" listeners are the output, and who is told of what was refused. */
  readonly client: EventEmitter<TalkClientEvents>;
  readonly deliver: ConnectOptions["deliver"];
  /** A message has been handed over. */
  readonly onReceived: () => void;
}

export class InboundMessages {
  readonly #parts: ReceptionParts;
  readonly #refusals = new TokenBucket(REFUSED_PER_SECOND, performance.now());
  /** Messages that wait for a first listener. */
  readonly #waiting = new Set<() => void>();
  #closed = false;

  constructor(parts: ReceptionParts) {
    this.#parts = parts;
  }

  /** Calls `accept` when the program has the message, `refuse` when it must not have it; else its sender hears nothing. */
  async take(incoming: IncomingMessage, accept: () => void, refuse: () => void): Promise<void> {
    try {
      const standing = await this.#parts.book.verifySender(incoming.from, incoming.key.toString("base64"));
      if ("refused" in standing) {
        refuse();
        if (this.#refusals.take(performance.now())) emitSafely(this.#parts.client, "refused", standing.refused);
        return;
      }
      const { id, from, text, at } = incoming;
      await this.#handOver({ id, from, text, at, fingerprint: fingerprint(incoming.key), verified: standing.verified });
      accept();
      this.#parts.onReceived();
    } catch (error) {
      debug("not handed over: %s", error instanceof Error ? error.message : error);
    }
  }

  /** What still waits for a listener is not handed over any more. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  // Nobody is told "delivered" before an output has the text: without one the message waits, and its sender with it.
  async #handOver(message: TalkMessage): Promise<void> {
    const { client, deliver } = this.#parts;
    if (deliver) await deliver(message);
    else await this.#untilListened();
    // Not emit(): a listener may be async, and its promise is the hand-over.
    const calls = client.rawListeners("message").map(async (listener) => listener.call(client, message));
    const failures = (await Promise.allSettled(calls)).filter((outcome) => outcome.status === "rejected");
    for (const { reason } of failures) reportListenerError(client, reason);
    if (failures.length > 0) throw new Error("a listener failed");
  }

  async #untilListened(): Promise<void> {
    const client: EventEmitter = this.#parts.client;
    while (client.listenerCount("message") === 0) {
      if (this.#closed) throw TalkError.closed("the client");
      // The program may have removed it with all others.
      if (!client.listeners("newListener").includes(this.#onListener)) client.on("newListener", this.#onListener);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  // It comes before the listener is there: whoever waits looks when the present callback has returned.
  readonly #onListener = (event: string | symbol): void => {
    if (event === "message") this.#wake();
  };

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
