// The receiving half of a stream: puts fragments together and hands messages over exactly once and in order. There is one
// for each sending process (its key and the stream id that it drew), kept across sessions. Pure: no socket, no clock. It
// never takes the initiative; it answers.
//
// A message's way: onFragment() until it is complete -> take() -> begin() -> settle(). Or its sender gives it up: onRevoke(), which is
// answered "not shown" until begin(), and by settle() from then on; or onBase(), when the sender waits no more.
//
// Why exactly once: a message is handed over only when its number is #next, and #next only grows. The sender forgets a
// message only when it has heard that #next is beyond it.
import {
  FRAGMENT_BYTES,
  fragmentCount,
  MAX_PARTS,
  MAX_REFUSED,
  type Outcome,
  PART_BYTES,
  type Parts,
  partCount,
  type Refusal,
  windowCost,
} from "../../wire/datagram-frames.ts";
import { Ring } from "./ring.ts";
import { BYTE_WINDOW, MESSAGE_WINDOW } from "./stream-limits.ts";

/** The bytes that all inboxes of a process keep together. */
export interface Budget {
  /** False when there is no room: nothing was taken. */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

/** All parts of a fragment have arrived, however many it has. */
const WHOLE = (1 << MAX_PARTS) - 1;

interface KeptMessage {
  readonly number: number;
  readonly body: Buffer;
  arrived: Uint8Array | null; // for each fragment a bit for each part that has; null when there is only one and no part has
  missing: number;
}

export interface Received {
  readonly number: number;
  readonly body: Buffer;
}

/** What became of a fragment. "violation": an honest peer never sends this. "no-room": the process is full. */
export type FragmentOutcome = "kept" | "duplicate" | "violation" | "no-room";

export class Inbox {
  readonly #budget: Budget;
  readonly #messages = new Ring<KeptMessage>(); // from #next on, within MESSAGE_WINDOW

  #bytes = 0; // windowCost of #messages
  #incomplete = 0; // of #messages
  #next = 1; // the lowest number that the application has not taken
  #handing = 0; // the number that it is being given, 0 for none
  #isShowing = false; // its output has begun
  readonly #revoked = new Set<number>(); // from #next on: never taken
  #unanswered: number[] = []; // revokes to be answered "not shown"
  #hasEnded = false; // nothing begins any more
  #refusals: Refusal[] = []; // below #next, until the sender knows

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** Everything up to here is settled. */
  get settledUpTo(): number {
    return this.#next - 1;
  }
  /** Of the messages up to settledUpTo, those that were not accepted, until the sender knows. */
  get refusals(): readonly Refusal[] {
    return this.#refusals;
  }
  /** The application was given something. Otherwise forgetting this inbox loses nothing that will not come again. */
  get hasHandedOver(): boolean {
    return this.#handing > 0;
  }
  /** Bytes kept; 0 means that nothing but `settledUpTo` would be lost by forgetting this inbox. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Revoked messages of which the sender has not been told that they are not shown. They count as told. */
  takeUnanswered(): readonly number[] {
    const numbers = this.#unanswered;
    if (numbers.length > 0) this.#unanswered = [];
    return numbers;
  }
  get hasUnanswered(): boolean {
    return this.#unanswered.length > 0;
  }

  /** The program ends: what has not begun is never shown. */
  end(): void {
    this.#hasEnded = true;
  }
  /** After end(): nothing from this number on is shown; 0 before. */
  get endsAt(): number {
    if (!this.#hasEnded) return 0;
    return this.#isInHand && this.#isShowing ? this.#next + 1 : this.#next;
  }

  /** The sender has settled or given up everything below `number`. */
  onBase(number: number): void {
    if (this.#refusals.length > 0) this.#refusals = this.#refusals.filter((refusal) => refusal.number >= number);
    if (number <= this.#next) return;
    this.#next = number;
    this.#messages.forEach((kept) => {
      if (kept.number < number) this.#drop(kept.number);
    });
    for (const revoked of this.#revoked) if (revoked < number) this.#revoked.delete(revoked);
    this.#passRevoked();
  }

  /** The sender asks whether it was shown, and does not want it to be any more. False: an honest peer never sends this. */
  onRevoke(number: number): boolean {
    if (number < this.#next) return true; // SETTLED has the answer
    if (number >= this.#next + MESSAGE_WINDOW) return false;
    if (number === this.#handing && this.#isShowing) return true; // answered neither way until the output is done
    this.#drop(number);
    this.#revoked.add(number);
    this.#unanswered.push(number);
    this.#passRevoked();
    return true;
  }

  /** `bytes` is copied. Caller has checked that it has the length of fragment `index` of a message of `total` bytes. */
  onFragment(number: number, total: number, index: number, bytes: Buffer): FragmentOutcome {
    const message = this.#messageOf(number, total);
    if (typeof message === "string") return message;
    if (message.missing === 0 || message.arrived?.[index] === WHOLE) return "duplicate";
    if (message.arrived) message.arrived[index] = WHOLE;
    this.#onWhole(message);
    bytes.copy(message.body, index * FRAGMENT_BYTES);
    return "kept";
  }

  /** As onFragment(), for some parts of the fragment. */
  onParts(number: number, total: number, index: number, parts: Parts, bytes: Buffer): FragmentOutcome {
    const message = this.#messageOf(number, total);
    if (typeof message === "string") return message;
    message.arrived ??= new Uint8Array(fragmentCount(total));
    const before = message.arrived[index] as number;
    if (message.missing === 0 || before === WHOLE) return "duplicate";
    const after = before | (((1 << parts.count) - 1) << parts.first);
    if (after === before) return "duplicate";
    bytes.copy(message.body, index * FRAGMENT_BYTES + parts.first * PART_BYTES);
    const isWhole = after === (1 << partCount(total, index)) - 1;
    message.arrived[index] = isWhole ? WHOLE : after;
    if (isWhole) this.#onWhole(message);
    return "kept";
  }

  #onWhole(message: KeptMessage): void {
    message.missing--;
    if (message.missing === 0) this.#incomplete--;
  }

  /** The next message for the application, or null. It gets no other one before settle() was called for this one. */
  take(): Received | null {
    if (!this.#mayTake()) return null;
    const message = this.#messages.get(this.#next);
    if (!message || message.missing > 0) return null;
    this.#handing = this.#next;
    this.#isShowing = false;
    return { number: this.#next, body: message.body };
  }

  /** The instant of output. False: it must not be shown, its sender has given it up and may have been told so. */
  begin(number: number): boolean {
    if (number !== this.#handing || !this.#isInHand || this.#hasEnded) return false;
    this.#isShowing = true;
    return true;
  }

  /** Nothing of it was shown after all. */
  release(number: number): void {
    if (number === this.#handing) this.#isShowing = false;
  }

  /** The application has decided. Nothing happens for a number that is not (or no longer) being handed over. */
  settle(number: number, outcome: Outcome): void {
    if (number !== this.#handing || number !== this.#next) return;
    if (outcome !== "accepted") this.#refusals.push({ number, reason: outcome });
    this.#drop(number);
    this.#isShowing = false;
    this.#next++;
    this.#passRevoked();
  }

  /** Frees everything kept: its sender repeats all of it, or has given it up. */
  clear(): void {
    this.#messages.forEach(({ number }) => {
      this.#drop(number);
    });
  }

  get #isInHand(): boolean {
    return this.#handing === this.#next;
  }

  #mayTake(): boolean {
    return this.#handing < this.#next && this.#refusals.length < MAX_REFUSED && !this.#hasEnded;
  }

  // As refused ones, so that SETTLED never calls them accepted.
  #passRevoked(): void {
    while (this.#refusals.length < MAX_REFUSED && this.#revoked.delete(this.#next)) {
      this.#refusals.push({ number: this.#next, reason: "revoked" });
      this.#next++;
    }
  }

  /** The message that a part belongs to, from its first part on; or why there is none. */
  #messageOf(number: number, total: number): KeptMessage | FragmentOutcome {
    if (number < this.#next || this.#revoked.has(number)) return "duplicate";
    if (number >= this.#next + MESSAGE_WINDOW) return "violation";
    const known = this.#messages.get(number);
    if (known === undefined) return this.#begin(number, total);
    return known.body.length === total ? known : "violation";
  }

  #begin(number: number, total: number): KeptMessage | FragmentOutcome {
    const bytes = windowCost(total);
    if (this.#bytes + bytes > BYTE_WINDOW) return "violation";
    if (!this.#budget.take(bytes)) return "no-room";
    this.#bytes += bytes;
    const count = fragmentCount(total);
    // Short bodies come from Buffer's pool: an ArrayBuffer each would cost more than everything else here. Those that have to
    // wait do not: each of them would keep 8 KiB of the pool from being freed.
    const passes = this.#incomplete === 0 && this.#messages.size === number - this.#next && this.#mayTake();
    const body = count === 1 && passes ? Buffer.allocUnsafe(total) : Buffer.allocUnsafeSlow(total);
    const message = { number, body, arrived: count === 1 ? null : new Uint8Array(count), missing: count };
    this.#messages.set(message);
    this.#incomplete++;
    return message;
  }

  #drop(number: number): void {
    const message = this.#messages.delete(number);
    if (!message) return;
    if (message.missing > 0) this.#incomplete--;
    this.#bytes -= windowCost(message.body.length);
    this.#budget.give(windowCost(message.body.length));
  }
}
