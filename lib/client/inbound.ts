// Incoming messages: verifies the sender, hands the message over to the program, and only then confirms it. Knows nothing of
// sending.
import type { EventEmitter } from "node:events";
import { debuglog } from "node:util";
import type { TalkError } from "../base/errors.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { TokenBucket } from "../peer/handshake-rate-limiter.ts";
import type { IncomingMessage } from "../peer/types.ts";
import type { Outcome, RefusalReason } from "../wire/datagram-frames.ts";
import type { AddressBook } from "./address-book.ts";
import { emitSafely, reportListenerError } from "./client-events.ts";
import type { ConnectOptions, TalkClientEvents, TalkMessage } from "./types.ts";

const debug = debuglog("ptalk-client");

/** "refused" events a second (twice as many at once): a stranger who goes on must not fill a screen or a log. */
const REFUSED_PER_SECOND = 1;
/**
 * Milliseconds that a message waits for a "message" listener, counted from the end of connect() and from the last message
 * that had one: a program attaches its listener after connect(), and one that uses events.once() attaches the next a moment
 * after the last. A program without a listener takes no messages: their senders learn so at once.
 */
const LISTENER_GRACE_MS = 100;

export interface ReceptionParts {
  readonly book: Pick<AddressBook, "verifySender">;
  /** Its "message" listeners are the output; it emits "refused". */
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
  #graceEndsAt = Number.POSITIVE_INFINITY; // until connected()
  #graceTimer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: ReceptionParts) {
    this.#parts = parts;
  }

  /** connect() resolves: from now on a message without a listener waits for LISTENER_GRACE_MS at most. */
  connected(): void {
    this.#graceEndsAt = performance.now() + LISTENER_GRACE_MS;
    this.#wake();
  }

  /** Settles the message: accepted once the program has it. While a listener fails, its sender hears nothing. */
  async take(incoming: IncomingMessage, settle: (outcome: Outcome) => void): Promise<void> {
    try {
      const standing = await this.#parts.book.verifySender(incoming.from, incoming.key.toString("base64"));
      if ("refused" in standing) {
        settle(refusalReason(standing.refused));
        if (this.#refusals.take(performance.now())) emitSafely(this.#parts.client, "refused", standing.refused);
        return;
      }
      if (!this.#parts.deliver && !(await this.#hasListener())) {
        if (!this.#closed) settle("declined");
        return;
      }
      const { id, from, text, at } = incoming;
      await this.#handOver({ id, from, text, at, fingerprint: fingerprint(incoming.key), verified: standing.verified });
      settle("accepted");
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

  // "delivered" means that an output has the text.
  async #handOver(message: TalkMessage): Promise<void> {
    const { client, deliver } = this.#parts;
    if (deliver) await deliver(message);
    // Not emit(): a listener may be async, and its promise is the hand-over.
    const calls = client.rawListeners("message").map(async (listener) => listener.call(client, message));
    if (calls.length > 0 && Number.isFinite(this.#graceEndsAt))
      this.#graceEndsAt = performance.now() + LISTENER_GRACE_MS;
    const failures = (await Promise.allSettled(calls)).filter((outcome) => outcome.status === "rejected");
    for (const { reason } of failures) reportListenerError(client, reason);
    if (failures.length > 0) throw new Error("a listener failed");
  }

  /** Waits for a listener within the grace. False: none came, or the client closes. */
  async #hasListener(): Promise<boolean> {
    const client: EventEmitter = this.#parts.client;
    while (client.listenerCount("message") === 0) {
      const left = this.#graceEndsAt - performance.now();
      if (this.#closed || left <= 0) return false;
      // The program may have removed it with all others.
      if (!client.listeners("newListener").includes(this.#onListener)) client.on("newListener", this.#onListener);
      if (Number.isFinite(left)) this.#graceTimer ??= setTimeout(() => this.#wake(), left);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    return true;
  }

  // Emitted before the listener is there: the waiting messages look again when the present callback has returned.
  readonly #onListener = (event: string | symbol): void => {
    if (event === "message") this.#wake();
  };

  #wake(): void {
    clearTimeout(this.#graceTimer);
    this.#graceTimer = undefined;
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** The sender learns this: most refusals say that its key is not the one that its name belongs to. */
function refusalReason(error: TalkError): RefusalReason {
  return error.code === "bad-name" ? "malformed" : "key-mismatch";
}
