// How long one acquisition may take, and how it gives up: the deadline, the caller's AbortSignal, and sleeping between looks.

import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { abortedWait } from "../section-queue.ts";
import { type Semaphore, waitOnThread } from "../semaphore.ts";
import { timedOut } from "./errors.ts";
import type { Kind } from "./lock-layout.ts";
import type { Participant } from "./participant.ts";

/** The first and the longest slice of a wait, in milliseconds: how soon a death is noticed, and how often it is looked for. */
const FIRST_SLICE_MS = 10;
const LONGEST_SLICE_MS = 100;
/** When no thread can be had to wait in, the semaphore is tried this often. */
const POLL_MS = 2;

/**
 * How long, in milliseconds, a wait polls between turns of the event loop before it takes a thread: about what starting a thread
 * and hearing from it takes, so polling at most doubles the cost of a wait, and mostly spares it.
 */
export const EAGER_MS = 0.3;

export { nextTurn };

export class AcquireDeadline {
  readonly #participant: Participant;
  readonly #kind: Kind;
  readonly #timeoutMs: number;
  readonly #deadline: number;
  readonly #signal: AbortSignal | undefined;
  #sliceMs = FIRST_SLICE_MS;

  /** `since`: when it began to queue, by performance.now(); null: the time begins now. */
  constructor(
    participant: Participant,
    kind: Kind,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    since: number | null,
  ) {
    this.#participant = participant;
    this.#kind = kind;
    this.#timeoutMs = timeoutMs;
    this.#deadline = (since ?? performance.now()) + timeoutMs;
    this.#signal = signal;
  }

  /** Throws AbortError, or IpcError ETIMEDOUT that names who is in the way. Caller then undoes what it holds. */
  check(): void {
    if (this.#signal?.aborted) throw abortedWait(this.#signal);
    if (performance.now() >= this.#deadline) throw timedOut(this.#participant, this.#kind, this.#timeoutMs);
  }

  /** The beginning of a wait: tries between turns of the event loop for EAGER_MS. */
  async eager(semaphore: Semaphore): Promise<boolean> {
    for (const end = performance.now() + EAGER_MS; performance.now() < end; await nextTurn())
      if (semaphore.tryWait()) return true;
    return false;
  }

  /**
   * One slice of a wait. Always runs to its end: a wait given up halfway could still be handed the token, and dying in that
   * instant, with the phase already IDLE, would lose it unseen.
   */
  async slice(semaphore: Semaphore): Promise<boolean> {
    const timeoutMs = Math.min(this.#sliceMs, Math.max(0, this.#deadline - performance.now()));
    this.#sliceMs = Math.min(2 * this.#sliceMs, LONGEST_SLICE_MS);
    try {
      return semaphore.tryWait() || (await waitOnThread(semaphore, timeoutMs));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      await this.sleep(POLL_MS);
      return semaphore.tryWait();
    }
  }

  /** Sleeps `ms` milliseconds, or less when the deadline is nearer. */
  async sleep(ms: number): Promise<void> {
    await sleep(Math.min(ms, Math.max(0, this.#deadline - performance.now())));
  }
}
