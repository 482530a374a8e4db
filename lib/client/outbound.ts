// Outgoing messages: from a name to whoever has it, wherever that program is by the time the message arrives. Knows nothing of
// events and of what is told to the user.
import { TalkError } from "../base/errors.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import type { PeerTransport } from "../peer/transport.ts";
import { MAX_TEXT_BYTES } from "../wire/datagram-message.ts";
import type { AddressBook } from "./address-book.ts";
import type { InFlight } from "./in-flight.ts";

/** Messages under way at once; one more fails at once instead of queueing without end. */
const MAX_UNDER_WAY = 4096;

export interface SendingParts {
  /** What the sender calls itself. */
  readonly from: string;
  readonly book: AddressBook;
  readonly journeys: InFlight;
  readonly transport: PeerTransport;
}

export interface SendLimits {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export class OutboundMessages {
  readonly #parts: SendingParts;
  #underWay = 0;

  constructor(parts: SendingParts) {
    this.#parts = parts;
  }

  /**
   * Messages for one name arrive in the order of the calls.
   * @returns who has confirmed it
   * @throws TalkError, the signal's reason, or the TimeoutError of AbortSignal.timeout
   */
  async send(id: string, to: string, text: string, { timeoutMs, signal }: SendLimits): Promise<DirectoryEntry> {
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_TEXT_BYTES) throw TalkError.tooLong(bytes, MAX_TEXT_BYTES);
    if (this.#underWay >= MAX_UNDER_WAY)
      throw TalkError.notDelivered(to, `${MAX_UNDER_WAY} messages are already under way`);
    const { from, book, journeys, transport } = this.#parts;
    const deadline = performance.now() + timeoutMs;
    const timeout = AbortSignal.timeout(timeoutMs);
    const ended = signal ? AbortSignal.any([signal, timeout]) : timeout;
    this.#underWay++;
    try {
      const record = await book.resolve(to, ended);
      const left = Math.max(1, deadline - performance.now());
      await journeys.to(record, (peer) => transport.send(peer, { from, text, id }, { timeoutMs: left, signal: ended }));
      return record;
    } finally {
      this.#underWay--;
    }
  }
}
