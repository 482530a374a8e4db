// Questions to somebody who may be slow: the same one is under way only once, and its patience runs from when it was first
// asked, so that ten who ask wait no longer than one.
import { within } from "./waiting.ts";

export interface Question<T> {
  readonly answer: Promise<T>;
  /** Fulfilled with the answer, or with undefined when it failed or the patience is over. */
  readonly inTime: Promise<T | undefined>;
}

export class Questions<T> {
  readonly #patienceMs: number;
  readonly #underWay = new Map<string, Question<T>>();

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** Bounded by what `ask` allows to be under way. */
  put(subject: string, ask: () => Promise<T>): Question<T> {
    const open = this.#underWay.get(subject);
    if (open) return open;
    const answer = ask();
    const unlessItFails = answer.catch(() => undefined);
    const question = { answer, inTime: within(this.#patienceMs, unlessItFails, undefined) };
    this.#underWay.set(subject, question);
    void unlessItFails.then(() => this.#underWay.delete(subject));
    return question;
  }
}
