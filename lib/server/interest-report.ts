// What the clients of one worker watch, as its primary knows it: the primary passes on no other event of the other workers. A WATCH
// is answered when the primary knows of it, so that no event is lost in between.
//
//   1. The announcer notes that the first client has begun to watch a name or room, or that the last one has ended.
//   2. Everything noted while a message is on its way goes into the next one: of what changes to and fro only the last state counts.
//   3. The primary answers each message. The WATCHes that waited for it are answered then.

/** Stands among names and rooms for everybody: no name and no room looks like that. */
export const EVERYBODY = "*";

/** A report to the primary: each name or room once, in one of the two. */
export interface InterestChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

export class InterestReport {
  readonly #isWatched: (interest: string) => boolean;
  readonly #send: (change: InterestChange) => void;
  /** What the primary knows when the last message has arrived. */
  readonly #told = new Set<string>();
  /** May be otherwise than told. */
  readonly #noted = new Set<string>();
  /** Settled by the answer to the next message, and by the answer to the one that is on its way. */
  #waiting: (() => void)[] = [];
  #underway: (() => void)[] | null = null;
  #isScheduled = false;

  /** @param isWatched whether a client here watches this now @param send tells the primary; {@link answered} follows */
  constructor(isWatched: (interest: string) => boolean, send: (change: InterestChange) => void) {
    this.#isWatched = isWatched;
    this.#send = send;
  }

  /** Clients have begun or ended to watch these. */
  note(interests: Iterable<string>): void {
    for (const interest of interests) {
      if (this.#isWatched(interest) !== this.#told.has(interest)) this.#noted.add(interest);
    }
    this.#schedule();
  }

  /** Fulfilled when the primary knows all that has been noted; undefined if it does already. */
  known(): Promise<void> | undefined {
    if (this.#noted.size > 0) return new Promise((resolve) => this.#waiting.push(resolve));
    const underway = this.#underway;
    return underway === null ? undefined : new Promise((resolve) => underway.push(resolve));
  }

  /** The primary knows what the last message said. */
  answered(): void {
    const waited = this.#underway ?? [];
    this.#underway = null;
    for (const resolve of waited) resolve();
    this.#schedule();
  }

  /** Many connections come in one turn of the loop: they share a message. */
  #schedule(): void {
    if (this.#isScheduled || this.#underway !== null || this.#noted.size === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#report();
    });
  }

  #report(): void {
    const changed = [...this.#noted].filter((interest) => this.#isWatched(interest) !== this.#told.has(interest));
    this.#noted.clear();
    const waiting = this.#waiting;
    this.#waiting = [];
    if (changed.length === 0) {
      for (const resolve of waiting) resolve();
      return;
    }
    const added = changed.filter(this.#isWatched);
    const removed = changed.filter((interest) => this.#told.has(interest));
    for (const interest of added) this.#told.add(interest);
    for (const interest of removed) this.#told.delete(interest);
    this.#underway = waiting;
    this.#send({ added, removed });
  }
}
