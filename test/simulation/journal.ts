// What was sent in a simulated world, what was shown, what the senders were told; and what must not be. Each is looked at as it happens.
import type { Process } from "./world.ts";

/** A program of a person. */
export interface Speaker {
  readonly name: string;
  readonly run: number;
  readonly process: Process;
}

interface Message {
  readonly text: string;
  readonly from: Speaker;
  readonly to: string;
  /** Of its sender's program. */
  readonly number: number;
  readonly shownBy: Speaker[];
  /** It is being sent: its sender does not know yet. */
  isUnderWay: boolean;
  /** It was sent again, under the same id: then it has lost its place in the order. */
  isRepeated: boolean;
  hasFailed: boolean;
  deliveredAt: number;
}

export type Outcome = "delivered" | "failed" | "unconfirmed";

export class Journal {
  /** Nothing happens that lets a message fail, as long as its receiver's program is on. */
  isGentle = false;
  readonly #now: () => number;
  readonly #violated: (what: string) => void;
  readonly #messages = new Map<string, Message>();
  readonly #fingerprints = new Map<string, string>();
  /** Number of the last message that was shown first, by its sender's program and its receiver; and by its receiver's program. */
  readonly #last = new Map<string, number>();
  readonly sums = { sent: 0, shown: 0, delivered: 0, failed: 0, unconfirmed: 0, again: 0 };

  constructor(now: () => number, violated: (what: string) => void) {
    this.#now = now;
    this.#violated = violated;
  }

  /** Whose name that is. */
  met(name: string, fingerprint: string): void {
    this.#fingerprints.set(name, fingerprint);
  }

  sent(from: Speaker, to: string, text: string, number: number): void {
    const known = this.#messages.get(text);
    this.sums.sent++;
    if (known === undefined) {
      const fresh = { isUnderWay: true, isRepeated: false, hasFailed: false, deliveredAt: Number.POSITIVE_INFINITY };
      this.#messages.set(text, { text, from, to, number, shownBy: [], ...fresh });
    } else {
      known.isUnderWay = true;
      known.isRepeated = true;
      known.hasFailed = false;
    }
  }

  /** @param why a failure's code */
  outcome(text: string, outcome: Outcome, why = ""): void {
    const message = this.#messages.get(text) as Message;
    this.sums[outcome]++;
    message.isUnderWay = false;
    if (outcome === "failed") {
      message.hasFailed = true;
      if (message.shownBy.length > 0 && !message.isRepeated) this.#violated(`${text} has failed, and was shown`);
    }
    if (this.isGentle && why === "not-delivered") this.#violated(`${text} was given up`);
    if (outcome !== "delivered") return;
    message.deliveredAt = this.#now();
    if (message.shownBy.length === 0) this.#violated(`${text} is delivered to ${message.to}, and was not shown`);
  }

  shown(by: Speaker, { from, text, fingerprint }: { from: string; text: string; fingerprint: string }): void {
    this.sums.shown++;
    const message = this.#messages.get(text);
    if (message === undefined || message.to !== by.name || message.from.name !== from) {
      this.#violated(`${by.name} shows ${text} of ${from}, who never sent that there`);
      return;
    }
    if (this.#fingerprints.get(from) !== fingerprint) {
      this.#violated(`${by.name} shows ${text} as of ${from}, and the key is another's`);
    }
    if (message.hasFailed && !message.isUnderWay) this.#violated(`${by.name} shows ${text}, which has failed`);
    const before = message.shownBy.at(-1);
    if (before !== undefined) {
      this.sums.again++;
      if (!this.#mayComeAgain(message, before, by)) {
        this.#violated(`${by.process.name} shows ${text} once more, as ${before.process.name} has`);
      }
    }
    this.#checkOrder(message, by);
    message.shownBy.push(by);
  }

  /**
   * To a successor of the program that has shown it and ended before its sender knew. And at one whose name was taken over, and that has
   * not heard of it, what had come there before.
   */
  #mayComeAgain({ deliveredAt }: Message, before: Speaker, by: Speaker): boolean {
    if (before === by) return false;
    return deliveredAt > before.process.endedAt || by.process.endedAt <= this.#now();
  }

  #checkOrder({ from, to, number, text, shownBy, isRepeated }: Message, by: Speaker): void {
    if (isRepeated) return;
    const sender = `${from.name}.${from.run}`;
    const places = [`${sender} ${to}.${by.run}`, ...(shownBy.length === 0 ? [`${sender} ${to}`] : [])];
    for (const place of places) {
      const last = this.#last.get(place) ?? 0;
      if (number <= last) this.#violated(`${by.name} shows ${text} behind ${sender}'s ${last}`);
      else this.#last.set(place, number);
    }
  }

  /** Of programs that could go on: what was sent so long ago, and nothing is known of it. */
  checkSettled(): void {
    for (const { text, from, isUnderWay } of this.#messages.values()) {
      if (isUnderWay && !from.process.isDead && from.process.endedAt === Number.POSITIVE_INFINITY) {
        this.#violated(`nothing became of ${text}`);
      }
    }
  }

  undelivered(texts: readonly string[]): string[] {
    return texts.filter((text) => this.#messages.get(text)?.deliveredAt === Number.POSITIVE_INFINITY);
  }
}
