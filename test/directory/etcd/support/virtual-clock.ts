// Time that passes only when somebody says so: minutes of life in milliseconds, and the same again for the same seed.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "../../../../lib/directory/etcd/clock.ts";
import type { Random } from "../../support/random.ts";

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

export class VirtualClock implements Clock {
  #now = 0;
  #order = 0;
  /** A heap: the next one first. */
  readonly #timers: Timer[] = [];
  readonly #gone = new Set<Timer>();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  now(): number {
    return this.#now;
  }

  random(): number {
    return this.#random.below(1_000_000) / 1_000_000;
  }

  after(ms: number, callback: () => void): Disposable {
    const timer = { at: this.#now + Math.max(0, ms), order: this.#order++, callback };
    this.#push(timer);
    return { [Symbol.dispose]: () => this.#gone.add(timer) };
  }

  /** Lets so many ms pass, timer by timer. @param step called after each */
  async run(ms: number, step: () => void = () => {}): Promise<void> {
    const end = this.#now + ms;
    await nextTurn();
    for (;;) {
      const next = this.#timers[0];
      if (next === undefined || next.at > end) break;
      this.#pop();
      if (this.#gone.delete(next)) continue;
      this.#now = next.at;
      next.callback();
      await nextTurn();
      step();
    }
    this.#now = end;
  }

  #push(timer: Timer): void {
    const heap = this.#timers;
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(timer, heap[parent] as Timer)) break;
      heap[at] = heap[parent] as Timer;
      at = parent;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#timers;
    const last = heap.pop() as Timer;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Timer, heap[child] as Timer)) child++;
      if (!isBefore(heap[child] as Timer, last)) break;
      heap[at] = heap[child] as Timer;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** A process's share of the clock: while it is stopped (SIGSTOP), nothing of it runs, and time goes on. */
export class ProcessClock implements Clock {
  readonly #clock: VirtualClock;
  #held: (() => void)[] | null = null;
  isDead = false;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }
  random(): number {
    return this.#clock.random();
  }
  after(ms: number, callback: () => void): Disposable {
    let isGone = false;
    const timer = this.#clock.after(ms, () => {
      if (this.isDead || isGone) return;
      if (this.#held === null) callback();
      else this.#held.push(() => isGone || callback());
    });
    return {
      [Symbol.dispose]: () => {
        isGone = true;
        timer[Symbol.dispose]();
      },
    };
  }

  stop(): void {
    this.#held ??= [];
  }
  go(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const callback of held) callback();
  }
}
