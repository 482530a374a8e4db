// Outgoing messages: from a name to whoever has it, wherever that program is by the time the message arrives. Owns what is under
// way. Knows nothing of events.
//
//  1. checkSend(): the caller's arguments.
//  2. The recipient: from memory at once, or else found. Messages for one name keep the order of the calls.
//  3. The transport carries the message. Older ones on their way to another address move to this one first.
//  4. While none is confirmed, the server is asked where the recipient is now, less and less often: a program that was restarted
//     gets the message at its new address, also from a sender whom the server tells nothing unasked (`ptalk send`).
//  5. The first confirmation under a name pins its key. A failure gets one of the codes that send() promises.
import { setMaxListeners } from "node:events";
import { abortable } from "../base/async.ts";
import type { PathKind } from "../base/endpoint.ts";
import { FAILED_CODES, type FailedCode, TalkError, type TalkErrorCode } from "../base/errors.ts";
import { foldIfValid } from "../base/names.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import { DEFAULT_SEND_TIMEOUT, MAX_SEND_TIMEOUT } from "../peer/limits.ts";
import type { PeerTransport } from "../peer/transport.ts";
import { MAX_ID_BYTES, MAX_TEXT_BYTES } from "../wire/datagram-message.ts";
import type { AddressBook } from "./address-book.ts";
import type { Recipient } from "./contacts.ts";
import type { MessageStats, SendOptions } from "./types.ts";

/** Messages under way at once; one more fails at once instead of queueing without end. */
export const MAX_UNDER_WAY = 4096;
/**
 * Milliseconds without a confirmation after which the server is asked for a name again: at first, and at most. A program that is
 * killed is back within a second. Only names with messages on their way are asked for: one request in 2 s each.
 */
const LOOK_AGAIN = { firstMs: 250, maxMs: 2_000 };

/** Ends of the session or the transport: what they mean to a message is that nobody has confirmed it. */
const MEANS_NOT_DELIVERED: readonly TalkErrorCode[] = [
  "unreachable",
  "closed",
  "protocol",
  "full",
  "name-taken",
  "refused",
  "bad-data",
];

/** UTF-8 has no bytes for it: the text would arrive damaged and count as delivered. */
const LONE_SURROGATE = /\p{Surrogate}/u;

export interface OutboundParts {
  /** What the sender calls itself. */
  readonly from: string;
  readonly book: Pick<AddressBook, "atOnce" | "find" | "lookup" | "remember" | "objectionTo" | "endpointsOf">;
  readonly transport: Pick<PeerTransport, "send" | "move">;
}

export interface OutboundText {
  readonly id: string;
  readonly to: string;
  readonly text: string;
  /** In which it is said; none: to the recipient alone. */
  readonly room?: string | undefined;
  readonly auto?: boolean;
  readonly repeated?: boolean;
  readonly wall?: boolean;
}

export interface SendLimits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Waits for a recipient that may be on its way back to a server that has restarted. Default: true. */
  readonly awaitsReturn?: boolean;
}

/** The options of send(), checked. */
export interface CheckedSend extends SendLimits {
  /** Undefined: a random one. */
  readonly id: string | undefined;
  readonly repeated: boolean;
  /** Undefined: it fails when no user of that name is on. */
  readonly waitMs: number | undefined;
  readonly leaves: boolean;
  readonly auto: boolean;
}

export interface Delivery {
  readonly recipient: DirectoryEntry;
  readonly via: PathKind;
}

/** Messages under way to one name. Times are monotonic milliseconds. */
interface Lane {
  /** Folded. */
  readonly name: string;
  messages: number;
  /** Messages that wait for their recipient. */
  queued: number;
  /** Fulfilled when the last one of them has its recipient, or is given up. */
  turn: Promise<unknown>;
  /** Where the transport sends; null before the first message. */
  entry: DirectoryEntry | null;
  timer: NodeJS.Timeout | undefined;
  /** Of the last confirmation or question. */
  quietSince: number;
  lookAgainMs: number;
}

export class OutboundMessages {
  readonly #parts: OutboundParts;
  readonly #lanes = new Map<string, Lane>(); // as many as there are messages under way
  readonly #failed = Object.fromEntries(FAILED_CODES.map((code) => [code, 0])) as Record<FailedCode, number>;
  #underWay = 0;
  #delivered = 0;
  #unconfirmed = 0;

  constructor(parts: OutboundParts) {
    this.#parts = parts;
  }

  /**
   * Fulfilled when the recipient's program has the message.
   * @returns who that is, and which way it went
   * @throws TalkError with a FailedCode, or unconfirmed; bad-config (known_peers cannot be read); the signal's reason
   */
  async send(message: OutboundText, limits: SendLimits): Promise<Delivery> {
    try {
      const delivery = await this.#admit(message, limits);
      this.#delivered++;
      return delivery;
    } catch (error) {
      const failure = failureOf(message.to, error, limits.signal);
      if (isUnconfirmed(failure)) this.#unconfirmed++;
      else this.#failed[failedCode(failure)]++;
      throw failure;
    }
  }

  /** The server has told where a client is. Another key is another program: nothing that is on its way is for it. */
  follow(name: string, entry: DirectoryEntry): void {
    const lane = this.#lanes.get(name);
    if (lane === undefined || lane.entry === null || lane.entry === entry || lane.entry.key !== entry.key) return;
    const { book, transport } = this.#parts;
    transport.move(Buffer.from(entry.key, "base64"), book.endpointsOf(lane.entry), book.endpointsOf(entry));
    lane.entry = entry;
  }

  /** Nothing announces a client that was restarted while the server was away. */
  lookAgain(): void {
    for (const { name, entry } of this.#lanes.values()) if (entry !== null) this.#ask(name);
  }

  get stats(): Pick<MessageStats, "underWay" | "delivered" | "failed" | "unconfirmed"> {
    return {
      underWay: this.#underWay,
      delivered: this.#delivered,
      failed: { ...this.#failed },
      unconfirmed: this.#unconfirmed,
    };
  }

  async #admit(message: OutboundText, limits: SendLimits): Promise<Delivery> {
    const { to, text } = message;
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_TEXT_BYTES) throw TalkError.tooLong(bytes, MAX_TEXT_BYTES);
    const name = foldIfValid(to);
    if (name === null) throw TalkError.noSuchUser(to);
    if (this.#underWay >= MAX_UNDER_WAY) {
      throw TalkError.notDelivered(to, `${MAX_UNDER_WAY} messages are already under way`);
    }
    const lane = this.#lanes.get(name) ?? newLane(name);
    this.#lanes.set(name, lane);
    lane.messages++;
    this.#underWay++;
    try {
      const recipient = lane.queued === 0 ? this.#parts.book.atOnce(name) : null;
      if (recipient !== null) return await this.#carry(lane, recipient, message, limits);
      return await this.#findAndCarry(lane, message, limits);
    } finally {
      this.#underWay--;
      if (--lane.messages === 0) {
        clearTimeout(lane.timer);
        this.#lanes.delete(name);
      }
    }
  }

  async #findAndCarry(lane: Lane, message: OutboundText, limits: SendLimits): Promise<Delivery> {
    const { timeoutMs, signal, awaitsReturn = true } = limits;
    const deadline = performance.now() + timeoutMs;
    using limit = limitedSignal(message.to, timeoutMs, signal);
    const before = lane.turn;
    const inTurn = async (): Promise<{ carried: Promise<Delivery> }> => {
      try {
        await before;
        const recipient = await this.#parts.book.find(lane.name, message.to, limit.signal, awaitsReturn);
        limit.signal.throwIfAborted(); // given up: whoever waited for it has gone
        const carried = this.#carry(lane, recipient, message, {
          timeoutMs: Math.max(1, deadline - performance.now()),
          signal,
        });
        carried.catch(() => {}); // awaited below, unless it is given up in this very moment
        return { carried };
      } finally {
        lane.queued--;
      }
    };
    lane.queued++;
    const found = inTurn();
    lane.turn = found.catch(() => {});
    const { carried } = await abortable(found, limit.signal);
    return carried;
  }

  /** Hands the message to the transport before it returns: the order of the calls is that of the messages. */
  async #carry(
    lane: Lane,
    recipient: Recipient,
    { id, text, room, auto = false, repeated = false, wall = false }: OutboundText,
    limits: SendLimits,
  ): Promise<Delivery> {
    const { from, book, transport } = this.#parts;
    const { timeoutMs, signal } = limits;
    this.follow(lane.name, recipient.entry);
    lane.entry = recipient.entry;
    lane.timer ??= this.#watch(lane);
    let via: PathKind;
    const since = performance.now();
    try {
      const message = { from, text, id, room, auto, repeated, wall };
      ({ via } = await transport.send(recipient.peer, message, signal ? { timeoutMs, signal } : { timeoutMs }));
    } catch (error) {
      const isLate = error instanceof TalkError && error.code === "not-delivered";
      throw (isLate && book.objectionTo(lane.name, recipient, since)) || error;
    }
    lane.quietSince = performance.now();
    lane.lookAgainMs = LOOK_AGAIN.firstMs;
    if (!recipient.isRemembered) book.remember(lane.name, recipient);
    return { recipient: recipient.entry, via };
  }

  #watch(lane: Lane): NodeJS.Timeout {
    const dueMs = lane.quietSince + lane.lookAgainMs - performance.now();
    return setTimeout(() => this.#onQuiet(lane), Math.max(1, dueMs));
  }

  /** The timer was set for a confirmation that may have come since. */
  #onQuiet(lane: Lane): void {
    const now = performance.now();
    if (now >= lane.quietSince + lane.lookAgainMs) {
      this.#ask(lane.name);
      lane.quietSince = now;
      lane.lookAgainMs = Math.min(2 * lane.lookAgainMs, LOOK_AGAIN.maxMs);
    }
    lane.timer = this.#watch(lane);
  }

  /** The book calls follow() with the answer; no answer is none. */
  #ask(name: string): void {
    this.#parts.book.lookup(name).catch(() => {});
  }
}

const SEND_OPTIONS: ReadonlySet<string> = new Set(["id", "repeated", "timeoutMs", "ifOff", "waitMs", "signal", "auto"]);

/**
 * The arguments of send(), checked before anything is said or begun.
 * @returns the limits, the time in whole milliseconds
 * @throws TalkError usage, with the argument as its subject
 */
export function checkSend(to: unknown, text: unknown, options: unknown): CheckedSend {
  if (typeof to !== "string") throw misuse("to", `a name, not ${typeof to}`);
  if (typeof text !== "string") throw misuse("text", `a string, not ${typeof text}`);
  if (LONE_SURROGATE.test(text)) throw misuse("text", "whole characters: it holds half of a surrogate pair");
  if (typeof options !== "object" || options === null) throw misuse("options", "an object");
  for (const key in options) {
    if (!SEND_OPTIONS.has(key)) throw misuse(key, `left out: send() takes ${[...SEND_OPTIONS].join(", ")}`);
  }
  const { id, repeated = id !== undefined, auto = false, ...limits } = options as SendOptions;
  const { timeoutMs = DEFAULT_SEND_TIMEOUT, signal } = limits;
  const whole = typeof timeoutMs === "number" ? Math.ceil(timeoutMs) : Number.NaN;
  if (!(whole > 0 && whole <= MAX_SEND_TIMEOUT)) {
    throw misuse("timeoutMs", `more than 0 and at most ${MAX_SEND_TIMEOUT}, not ${String(timeoutMs)}`);
  }
  if (signal !== undefined) {
    if (!(signal instanceof AbortSignal)) throw misuse("signal", "an AbortSignal");
    // One signal may end everything that is under way. Node warns of the eleventh listener, which is no leak here.
    setMaxListeners(MAX_UNDER_WAY, signal);
  }
  if (typeof auto !== "boolean") throw misuse("auto", "true or false");
  checkIfOff(limits);
  if (typeof repeated !== "boolean") throw misuse("repeated", "true or false");
  if (id !== undefined && !isId(id)) throw misuse("id", `1 to ${MAX_ID_BYTES} bytes of text`);
  return { timeoutMs: whole, signal, auto, id, repeated, waitMs: limits.waitMs, leaves: limits.ifOff === "leave" };
}

function checkIfOff({ ifOff = "fail", waitMs }: Pick<SendOptions, "ifOff" | "waitMs">): void {
  if (ifOff !== "fail" && ifOff !== "wait" && ifOff !== "leave") throw misuse("ifOff", '"fail", "wait" or "leave"');
  if (ifOff !== "wait" && waitMs === undefined) return;
  if (ifOff !== "wait") throw misuse("waitMs", 'left out unless ifOff is "wait"');
  const isTime = typeof waitMs === "number" && waitMs > 0 && waitMs <= MAX_SEND_TIMEOUT;
  if (!isTime) throw misuse("waitMs", `more than 0 and at most ${MAX_SEND_TIMEOUT}, not ${String(waitMs)}`);
}

function isId(id: unknown): boolean {
  if (typeof id !== "string" || LONE_SURROGATE.test(id)) return false;
  return id !== "" && Buffer.byteLength(id) <= MAX_ID_BYTES;
}

function misuse(subject: string, rule: string): TalkError {
  return new TalkError("usage", `send(): ${subject} must be ${rule}`, { subject });
}

function newLane(name: string): Lane {
  const quietSince = performance.now();
  const idle = { messages: 0, queued: 0, turn: Promise.resolve(), entry: null, timer: undefined };
  return { name, ...idle, quietSince, lookAgainMs: LOOK_AGAIN.firstMs };
}

/** Aborts with the caller's reason, or when the time is over. */
function limitedSignal(
  to: string,
  timeoutMs: number,
  given: AbortSignal | undefined,
): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const late = (): void => {
    const seconds = Number((timeoutMs / 1000).toPrecision(2));
    controller.abort(TalkError.notDelivered(to, `nothing is known of its address after ${seconds} s`));
  };
  const timer = setTimeout(late, timeoutMs);
  const onAbort = (): void => controller.abort(given?.reason);
  given?.addEventListener("abort", onAbort, { once: true });
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      given?.removeEventListener("abort", onAbort);
    },
  };
}

/** What send() rejects with: the caller's abort stays what it is. */
function failureOf(to: string, error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted && error === signal.reason) return error;
  const means = error instanceof TalkError && MEANS_NOT_DELIVERED.includes(error.code);
  return means ? TalkError.notDelivered(to, error.message, error) : error;
}

/** The text may have arrived. */
export function isUnconfirmed(error: unknown): error is TalkError {
  return error instanceof TalkError && error.code === "unconfirmed";
}

/** The `code` of the "failed" event. */
export function failedCode(error: unknown): FailedCode {
  const code = error instanceof TalkError ? error.code : "";
  return FAILED_CODES.find((known) => known === code) ?? "not-delivered";
}
