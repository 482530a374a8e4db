// Incoming messages: whose they are, whether they may be shown, and the hand-over to the program, upon which their sender hears
// "delivered". Owns the messages that wait for a listener. Knows nothing of sending.
//
//  1. The transport gives one message of a sender at a time: receive().
//  2. A sender that the user does not want to hear is declined: admission.ts. So is a message in a room that this
//     program is not in.
//  3. The address book says whether it is from the owner of the name; a key that contradicts the name is refused.
//  4. A program without a listener declines it, after a moment in which one may still come.
//  5. One that was shown before, under the same id, is not shown again.
//  6. Its sender may have given it up meanwhile: then it is never shown. From here on the sender hears neither "shown" nor "not shown".
//  7. In an unattended program the history gets it, then the listeners, whose outcome changes nothing.
//  8. Else the listeners get it, unless it exceeds the limit of a burst: then it goes into the history, and the
//     program reports only the number of such messages.
// Once all of them are done it is accepted.
import type { EventEmitter } from "node:events";
import { debuglog } from "node:util";
import { withTimeout } from "../base/async.ts";
import { TalkError } from "../base/errors.ts";
import { foldIfValid } from "../base/names.ts";
import { TokenBucket } from "../peer/handshake-rate-limiter.ts";
import type { IncomingMessage, MessageOutput } from "../peer/types.ts";
import type { HistoryJournal } from "../store/history/journal.ts";
import type { HistoryRecord } from "../store/history/record.ts";
import type { SeenIds } from "../store/seen-ids.ts";
import type { Outcome, RefusalReason } from "../wire/datagram-frames.ts";
import type { AddressBook, Sender } from "./address-book.ts";
import type { Admission } from "./admission.ts";
import { Bursts, TELL_EVERY_MS } from "./burst.ts";
import { NotShown } from "./not-shown.ts";
import type { ConnectOptions, FoldedEvent, TalkClientEvents, TalkMessage } from "./types.ts";

const debug = debuglog("ptalk-client");

/** "refused" events a second (twice as many at once): a stranger who goes on must not fill a screen or a log. */
const REFUSED_PER_SECOND = 1;
/**
 * Milliseconds that a message waits for a "message" listener, counted from the end of connect() and from the last message
 * that had one: a program attaches its listener after connect(), and one that uses events.once() attaches the next a moment
 * after the last. A program without a listener takes no messages: their senders learn so at once.
 */
const LISTENER_GRACE_MS = 100;

/** Milliseconds that a message waits for the log of ids: a disk that does not answer holds nothing up. */
export const SEEN_LIMIT_MS = 2_000;

/** Of an id: whether it was shown before; "unknown" where the log does not say. */
type Known = "shown" | "new" | "unknown";

export interface InboundParts {
  readonly book: Pick<AddressBook, "verifySender">;
  readonly admission: Pick<Admission, "admits">;
  /** Messages that were left come before those that come directly. Within a bound. */
  readonly untilLeftShown: () => Promise<void> | undefined;
  readonly seen: Pick<SeenIds, "has" | "begin" | "addSynced">;
  /** Whether a wall is to be shown as one. */
  readonly isWall: (message: IncomingMessage) => boolean | Promise<boolean>;
  readonly journal: Pick<HistoryJournal, "add" | "addSynced"> | undefined;
  /** Called with how many were folded of whom, where bursts are folded; that needs a journal. */
  readonly onFolded: ((event: FoldedEvent) => void) | undefined;
  /** The history is the output, and the program is unattended: that needs a journal. */
  readonly isUnattended: boolean;
  /** Whose "message" listeners are the output. */
  readonly client: EventEmitter<TalkClientEvents>;
  /** Whether this program is in the room. */
  readonly isInRoom: (room: string) => boolean;
  /** Takes the place of listeners. */
  readonly deliver: ConnectOptions["deliver"];
  readonly receiveAfter: ConnectOptions["receiveAfter"];
  /** A message has been handed over. */
  readonly onReceived: () => void;
  /** A message was refused. Not called for each of many. */
  readonly onRefused: (error: TalkError) => void;
  /** A listener has thrown, or its promise was rejected. */
  readonly onListenerError: (reason: unknown) => void;
}

export class InboundMessages {
  readonly #parts: InboundParts;
  readonly #refusals = new TokenBucket(REFUSED_PER_SECOND, performance.now());
  /** Messages that wait for a first listener. */
  readonly #waiting = new Set<() => void>();
  #graceEndsAt = Number.POSITIVE_INFINITY; // until onConnected()
  #graceTimer: NodeJS.Timeout | undefined;
  readonly #bursts = new Bursts();
  #tellTimer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #received = 0;
  #refused = 0;
  #declined = 0;

  constructor(parts: InboundParts) {
    this.#parts = parts;
  }

  /** connect() resolves: from now on a message without a listener waits for LISTENER_GRACE_MS at most. */
  onConnected(): void {
    this.#graceEndsAt = performance.now() + LISTENER_GRACE_MS;
    this.#wake();
  }

  /** Settles the message: accepted once the program has it. While a listener fails, its sender hears nothing. */
  async receive(
    incoming: IncomingMessage & { leftAt?: number },
    settle: (outcome: Outcome) => void,
    output: MessageOutput,
  ): Promise<void> {
    try {
      // Another program of this user has the name now, and gets it.
      if (this.#isClosed && this.#parts.isUnattended) return;
      // The ignore list and the filter of senders do not hold back an administrator's messages to everybody.
      const isWall = incoming.wall === true && (await this.#parts.isWall(incoming));
      if (!isWall && !(await this.#admits(incoming))) {
        settle("declined");
        this.#declined++;
        return;
      }
      const { room } = incoming;
      if (room !== null && !this.#parts.isInRoom(room)) {
        settle("declined");
        this.#declined++;
        return;
      }
      const sender = await this.#identify(incoming);
      if (sender instanceof TalkError) {
        settle(refusalReason(sender));
        this.#refused++;
        if (this.#refusals.take(performance.now())) this.#parts.onRefused(sender);
        return;
      }
      const { isUnattended } = this.#parts;
      if (!isUnattended && !this.#parts.deliver && !this.#isListenedTo() && !(await this.#untilListened())) {
        if (this.#isClosed) return;
        settle("declined");
        this.#declined++;
        return;
      }
      if (this.#parts.receiveAfter !== undefined) await this.#parts.receiveAfter;
      if (incoming.leftAt === undefined) await this.#parts.untilLeftShown();
      const { id, from, text, at, again, auto, via, leftAt = null } = incoming;
      const kind = isWall ? "wall" : "text";
      let message: TalkMessage = {
        ...{ id, from, text, at, ...sender, kind },
        ...{ room, via: leftAt === null ? via : "mailbox", leftAt, again, auto },
      };
      const { known, shown } = await this.#beginOnce(incoming);
      if (shown === null) {
        settle("accepted"); // it was shown; of this attempt its sender learns no more than that
        return;
      }
      if (!output.begin()) {
        shown(false);
        return;
      }
      if (known === "unknown") message = { ...message, again: true };
      let isFolded = false;
      let wasShown = false;
      try {
        if (isUnattended) await this.#keep(message, incoming.key);
        else isFolded = await this.#fold(message, incoming.key);
        if (!isFolded && !isUnattended) await this.#handOver(message);
        wasShown = !isUnattended; // else that is on the disk already
        settle("accepted");
      } finally {
        shown(wasShown);
      }
      this.#received++;
      this.#parts.onReceived();
      if (isUnattended) await this.#handOver(message);
      else if (!isFolded) this.#parts.journal?.add(receivedRecord(message));
    } catch (error) {
      if (error instanceof NotShown) output.release();
      debug("not handed over: %s", error instanceof Error ? error.message : error);
    }
  }

  get stats(): { received: number; refused: number; declined: number } {
    return { received: this.#received, refused: this.#refused, declined: this.#declined };
  }

  /** What still waits for a listener is not handed over any more. */
  close(): void {
    this.#isClosed = true;
    this.#wake();
    this.#tellFolded();
  }

  /** Null: the id was shown before. */
  async #beginOnce(incoming: IncomingMessage): Promise<{ known: Known; shown: ReturnType<SeenIds["begin"]> }> {
    for (;;) {
      const known = await this.#isKnown(incoming);
      if (known === "shown") return { known, shown: null };
      const shown = this.#parts.seen.begin(incoming.key, incoming.id);
      if (shown !== null) return { known, shown };
    }
  }

  async #isKnown({ key, id, repeated }: IncomingMessage): Promise<Known> {
    try {
      const wasShown = this.#parts.seen.has(key, id, repeated);
      const answer = repeated ? await withTimeout(SEEN_LIMIT_MS, wasShown, "unknown" as const) : await wasShown;
      return answer === true ? "shown" : answer === false ? "new" : answer;
    } catch (error) {
      debug("the log of ids: %s", error instanceof Error ? error.message : error);
      return "unknown";
    }
  }

  async #admits({ from, key }: IncomingMessage): Promise<boolean> {
    const name = foldIfValid(from);
    return name === null || this.#parts.admission.admits(name, key);
  }

  /**
   * Puts the message on the disk, then its id. A terminal that takes the name over in this moment gets the message again when the
   * confirmation comes too late, and knows it by the id. An id without its message would lose the message.
   */
  async #keep(message: TalkMessage, key: Buffer): Promise<void> {
    const { journal, seen } = this.#parts;
    await journal?.addSynced(receivedRecord(message));
    await seen.addSynced(key, message.id);
  }

  /** Takes a message that is one too many of a burst away from the screen: into the history, on the disk. */
  async #fold(message: TalkMessage, key: Buffer): Promise<boolean> {
    const { journal, onFolded } = this.#parts;
    if (onFolded === undefined || journal === undefined) return false;
    if (!this.#bursts.isTooMany(key.toString("base64"), performance.now())) return false;
    try {
      await journal.addSynced(receivedRecord(message));
    } catch {
      return false; // where it cannot be kept it is shown
    }
    this.#bursts.fold(message.from);
    this.#tellTimer ??= setTimeout(() => this.#tellFolded(), TELL_EVERY_MS);
    return true;
  }

  #tellFolded(): void {
    clearTimeout(this.#tellTimer);
    this.#tellTimer = undefined;
    for (const event of this.#bursts.take()) this.#parts.onFolded?.(event);
  }

  /** @returns why it is refused, if it is */
  async #identify({ from, key, leftAt }: IncomingMessage & { leftAt?: number }): Promise<Sender | TalkError> {
    const name = foldIfValid(from);
    if (name === null) return TalkError.badName(from, "a sender calls itself so");
    try {
      return await this.#parts.book.verifySender(name, key, leftAt !== undefined);
    } catch (error) {
      if (error instanceof TalkError) return error;
      throw error;
    }
  }

  /** Nobody is told "delivered" before an output has the text. */
  async #handOver(message: TalkMessage): Promise<void> {
    const { client, deliver, onListenerError } = this.#parts;
    if (deliver) await deliver(message);
    // Not emit(): a listener may be async, and its promise is the hand-over.
    const calls = client.rawListeners("message").map(async (listener) => listener.call(client, message));
    if (calls.length > 0 && Number.isFinite(this.#graceEndsAt)) {
      this.#graceEndsAt = performance.now() + LISTENER_GRACE_MS;
    }
    const failures = (await Promise.allSettled(calls)).filter((outcome) => outcome.status === "rejected");
    for (const { reason } of failures) onListenerError(reason);
    if (failures.length > 0) throw new Error("a listener failed");
  }

  #isListenedTo(): boolean {
    return this.#parts.client.listenerCount("message") > 0;
  }

  /** Waits for a listener within the grace. False: none came, or the client closes. */
  async #untilListened(): Promise<boolean> {
    const client: EventEmitter = this.#parts.client;
    while (!this.#isListenedTo()) {
      const left = this.#graceEndsAt - performance.now();
      if (this.#isClosed || left <= 0) return false;
      // The program may have removed it with all others.
      if (!client.listeners("newListener").includes(this.#onListener)) client.on("newListener", this.#onListener);
      if (Number.isFinite(left)) this.#graceTimer ??= setTimeout(() => this.#wake(), left);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    return true;
  }

  // It comes before the listener is there: whoever waits looks when the present callback has returned.
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

function receivedRecord({ at, from, room, id, text, via, fingerprint }: TalkMessage): HistoryRecord {
  return { at, direction: "in", with: from, room, id, text, state: "delivered", via, fingerprint };
}

/** What the sender is told: most refusals say that its key is not the one that its name belongs to. */
function refusalReason(error: TalkError): RefusalReason {
  return error.code === "bad-name" ? "malformed" : "key-mismatch";
}
