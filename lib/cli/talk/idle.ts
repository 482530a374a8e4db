// Tells the others that the person has not typed for a while, and that they type again. /away and /back take
// precedence. Knows no terminal and no client.

/** Milliseconds without a key after which the person counts as idle. */
const IDLE_AFTER_MS = 600_000;
/** Milliseconds between two changes that are sent: each goes to every watcher. */
const TELL_EVERY_MS = 60_000;

export interface IdleOptions {
  readonly tell: (state: "here" | "idle") => void;
  readonly afterMs?: number;
  readonly everyMs?: number;
}

export class Idle implements Disposable {
  readonly #tell: IdleOptions["tell"];
  readonly #afterMs: number;
  readonly #everyMs: number;
  #typedAt = performance.now();
  #told: "here" | "idle" = "here";
  #toldAt = Number.NEGATIVE_INFINITY;
  #isAway = false;
  #timer: NodeJS.Timeout | undefined;

  constructor({ tell, afterMs = IDLE_AFTER_MS, everyMs = TELL_EVERY_MS }: IdleOptions) {
    this.#tell = tell;
    this.#afterMs = afterMs;
    this.#everyMs = everyMs;
    this.#look();
  }

  /** A key was pressed. */
  typed(): void {
    this.#typedAt = performance.now();
    if (this.#told === "idle") this.#look();
  }

  /** The person has said so: sends nothing until back(). */
  away(): void {
    this.#isAway = true;
  }

  /** The person has said so, and the others have heard it. */
  back(): void {
    this.#isAway = false;
    this.#told = "here";
    this.#look();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #look(): void {
    clearTimeout(this.#timer);
    const now = performance.now();
    const idleAt = this.#typedAt + this.#afterMs;
    const state = now >= idleAt ? "idle" : "here";
    const mayTellAt = this.#toldAt + this.#everyMs;
    if (state !== this.#told && !this.#isAway && now >= mayTellAt) {
      this.#told = state;
      this.#toldAt = now;
      this.#tell(state);
    }
    // While idle, typed() looks again, or the timer when a change may be sent.
    const nextAt = state === this.#told || this.#isAway ? idleAt : mayTellAt;
    if (state === "idle" && state === this.#told) return;
    this.#timer = setTimeout(() => this.#look(), Math.max(1, nextAt - now)).unref();
  }
}
