// Handing messages to the application: complete ones only, one at a time for each sender, and the sender is told what
// became of them. Knows no socket and no clock but the one in the message.
import type { Outcome } from "../wire/datagram-frames.ts";
import { decodeMessage } from "../wire/datagram-message.ts";
import type { Counters } from "./counters.ts";
import type { SecureSession } from "./secure-session.ts";
import type { Received } from "./stream/inbox.ts";
import type { IncomingMessage } from "./types.ts";

export interface DeliveryParts {
  readonly counters: Counters;
  /** The application's. */
  readonly deliver: (message: IncomingMessage, settle: (outcome: Outcome) => void) => void;
  /** The session has a SETTLED to send, and nobody is about to flush. */
  readonly onSettledLater: (session: SecureSession) => void;
}

export class Delivery {
  /** Nothing is handed over any more: the program is ending. */
  stopped = false;
  /** Messages that the application was given and has not settled. */
  inHand = 0;
  readonly #parts: DeliveryParts;

  constructor(parts: DeliveryParts) {
    this.#parts = parts;
  }

  /** Hands over what has become complete. The next message follows when the application has taken this one. */
  from(session: SecureSession): void {
    const { entry } = session;
    if (entry.delivering || this.stopped) return;
    entry.delivering = true;
    try {
      for (let next = entry.inbox.take(); next; next = entry.inbox.take()) this.#handOver(session, next);
    } finally {
      entry.delivering = false; // a listener that throws must not end the conversation
    }
  }

  #handOver(session: SecureSession, { number, body }: Received): void {
    const { counters, deliver } = this.#parts;
    const message = decodeMessage(body);
    if (typeof message === "string") {
      this.#settle(session, number, message);
      return;
    }
    counters.messagesReceived++;
    this.inHand++;
    let settled = false;
    const settle = (outcome: Outcome) => {
      if (settled) return;
      settled = true;
      this.inHand--;
      this.#settle(session, number, outcome);
    };
    const { id, from, text } = message;
    const { address, peer } = session;
    deliver({ key: peer.key, from, text, id, at: Date.now(), address }, settle);
  }

  #settle(session: SecureSession, number: number, outcome: Outcome): void {
    if (outcome !== "accepted") this.#parts.counters.refuse(outcome);
    session.entry.inbox.settle(number, outcome);
    if (session.entry.delivering) return; // the datagram that it came in is answered with SETTLED anyway
    // Later, from the application: tell the sender, and go on with what came meanwhile. Through a session that still
    // exists: the one that the message came through may be gone by now.
    for (const other of session.peer.sessions) {
      if (other.entry !== session.entry || !other.confirmed) continue;
      other.settleDue = true;
      this.#parts.onSettledLater(other);
    }
    this.from(session);
  }
}
