// Time, randomness and processes of a simulated world. One event happens at a time; what it sets going without a timer or a socket (ticks,
// promises) is over before the next one. So everything that runs meanwhile belongs to the process of the event: `current`.
import type { Clock } from "../../lib/directory/etcd/clock.ts";
import { Random } from "../directory/support/random.ts";

/** Node's own, before real-time.ts puts the world's in their places. */
const nextTurn = setImmediate;

/** When worlds begin: ms since the epoch. Real files are younger. */
const EPOCH_MS = Date.UTC(2025, 0, 1);
/** What performance.now() begins with. */
const START_MS = 1_000_000;

/** A program that runs: it can be stopped for a while, and killed. */
export class Process {
  readonly name: string;
  /** Of its machine. */
  address: string;
  isDead = false;
  /** When it was killed, or began to leave. */
  endedAt = Number.POSITIVE_INFINITY;
  /** It was stopped at some time. */
  wasStopped = false;
  /** Events that wait for it while it is stopped. */
  #held: Task[] | null = null;

  constructor(name: string, address: string) {
    this.name = name;
    this.address = address;
  }

  get isStopped(): boolean {
    return this.#held !== null;
  }
  /** SIGSTOP */
  stop(): void {
    this.#held ??= [];
    this.wasStopped = true;
  }
  hold(task: Task): void {
    this.#held?.push(task);
  }
  /** SIGCONT. @returns what has waited, in its order */
  go(): readonly Task[] {
    const held = this.#held ?? [];
    this.#held = null;
    return held;
  }
}

export interface Task {
  readonly at: number;
  readonly order: number;
  readonly owner: Process | null;
  readonly run: () => void;
  isOver: boolean;
}

export class World {
  readonly random: Random;
  /** Of the programs in it: what they draw does not move what happens to them. */
  readonly inner: Random;
  now = START_MS;
  steps = 0;
  /** Whose code runs; null: the network's, or the engine's. */
  current: Process | null = null;
  /** An error that nothing has caught, in words. */
  onFailure: (what: string) => void = () => {};
  #order = 0;
  /** A heap: the next one first. */
  readonly #tasks: Task[] = [];

  constructor(seed: number) {
    this.random = new Random(seed);
    this.inner = new Random(seed ^ 0x5eed);
  }

  get date(): number {
    return Math.floor(EPOCH_MS + this.now - START_MS);
  }

  /** Milliseconds since the beginning. */
  get age(): number {
    return this.now - START_MS;
  }

  /** @param owner whose event it is: it waits while that is stopped, and does not happen when that is dead */
  after(ms: number, owner: Process | null, run: () => void): Task {
    const task = { at: this.now + Math.max(0, ms), order: this.#order++, owner, run, isOver: false };
    this.#push(task);
    return task;
  }

  /** A process goes on: what has waited for it happens now. */
  resume(process: Process): void {
    for (const { owner, run, isOver } of process.go()) if (!isOver) this.after(0, owner, run);
  }

  clockOf(owner: Process | null): Clock {
    return {
      now: () => this.now,
      random: () => this.inner.next(),
      after: (ms, callback) => {
        const task = this.after(ms, owner, callback);
        return {
          [Symbol.dispose]: () => {
            task.isOver = true;
          },
        };
      },
    };
  }

  /** Lets so many ms pass, event by event. @param isDone looked at after each */
  async run(ms: number, isDone: () => boolean = () => false): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      const next = this.#tasks[0];
      if (next === undefined || next.at > end) break;
      this.#pop();
      if (next.isOver) continue;
      const { owner } = next;
      this.now = next.at;
      if (owner !== null) {
        if (owner.isDead) continue;
        if (owner.isStopped) {
          owner.hold(next);
          continue;
        }
      }
      next.isOver = true;
      this.current = owner;
      this.steps++;
      try {
        next.run();
      } catch (error) {
        this.onFailure(`${owner?.name ?? "the world"}: ${error instanceof Error ? error.stack : error}`);
      }
      // Ticks and promises.
      await new Promise<void>((resolve) => nextTurn(resolve));
      this.current = null;
      if (isDone()) return;
    }
    this.now = end;
  }

  #push(task: Task): void {
    const heap = this.#tasks;
    let at = heap.push(task) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(task, heap[parent] as Task)) break;
      heap[at] = heap[parent] as Task;
      at = parent;
    }
    heap[at] = task;
  }

  #pop(): void {
    const heap = this.#tasks;
    const last = heap.pop() as Task;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Task, heap[child] as Task)) child++;
      if (!isBefore(heap[child] as Task, last)) break;
      heap[at] = heap[child] as Task;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Task, b: Task): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
