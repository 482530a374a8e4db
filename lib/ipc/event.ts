// A named event for many waiters, in shared memory: set and reset, or a pulse that wakes all present waiters (a
// condition variable's broadcast). futex(2).
//
//   words 0 and 1: line-segment.ts
//   word 2  count: odd while the event is set; counts up at each set, reset and pulse (by 2, so that what it is stays)
//
// No process owns anything, so no death leaves anything to be repaired: each call is one compare-and-exchange and one
// wake. A waker that is killed between the two is made good for by the end of the sleepers' slice.
import { native } from "../native.ts";
import { IpcError } from "./error.ts";
import { createLine, type LineKind, lineWords, openLine, openOrCreateLine } from "./line-segment.ts";
import { checkMilliseconds, checkMode } from "./names.ts";
import { abortError, Polling, pauseWithoutThread, type WaitOptions, waitForWord } from "./semaphore-wait.ts";
import { SharedMemory } from "./shared-memory.ts";

const KIND: LineKind = { what: "an event", magic: 0x56457470, version: 1 }; // "ptEV"
const Word = { count: 2 } as const;
const DEFAULT_MODE = 0o600;
/** How long one sleep lasts, in milliseconds. */
const SLICE_MS = 100;
const EVERYBODY = 2 ** 31 - 1;
const POLL_MS = 2;

/** For `Event.create()` and `openOrCreate()`. */
export interface EventOptions {
  /** Permission bits of a new event, whatever the umask. Default 0o600; waiters need both read and write. */
  mode?: number;
}

/**
 * A named event between processes, for any number of waiters. `set` lets all of them through until `reset`; `pulse`
 * wakes those that wait at that instant, as pthread_cond_broadcast does.
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/functions/pthread_cond_broadcast.html
 */
export class Event implements Disposable {
  readonly #shm: SharedMemory;
  readonly #words: Int32Array;
  readonly #polling = new Polling();
  #closed = false;

  private constructor(shm: SharedMemory) {
    this.#shm = shm;
    this.#words = lineWords(shm, KIND);
  }

  /** The POSIX name: "/name". */
  get name(): string {
    return this.#shm.name;
  }

  /** Creates an event that did not exist; it is not set. EEXIST when the name is taken. */
  static create(name: string, { mode = DEFAULT_MODE }: EventOptions = {}): Event {
    checkMode(mode);
    return new Event(createLine(name, mode));
  }

  /** Opens one that exists. ENOENT, EACCES; EINVAL for an object that is no event, or of another layout version. */
  static open(name: string): Event {
    return openLine(name, (shm) => new Event(shm));
  }

  /** Opens the event as it is, or creates it when there is none. */
  static openOrCreate(name: string, options: EventOptions = {}): Event {
    return openOrCreateLine(
      name,
      options.mode ?? DEFAULT_MODE,
      () => Event.open(name),
      () => Event.create(name, options),
    );
  }

  /** Removes the name. Processes that have the event open go on using it. ENOENT, EACCES. */
  static unlink(name: string): void {
    SharedMemory.unlink(name);
  }

  /** Whether it is set, at this instant. */
  get isSet(): boolean {
    return (this.#count() & 1) === 1;
  }

  /** Lets everybody through, until `reset`. Nothing happens when it is set already. */
  set(): void {
    this.#change((count) => ((count & 1) === 1 ? count : (count + 1) | 0));
  }

  /** From now on, waiters block. No effect when the event is not set. */
  reset(): void {
    this.#change((count) => ((count & 1) === 0 ? count : (count + 1) | 0));
  }

  /** Wakes all present waiters; does not change whether the event is set. */
  pulse(): void {
    this.#change((count) => (count + 2) | 0);
  }

  /**
   * Waits until the event is set, or was set or pulsed since the call began: true. False when `timeoutMs` have passed; rejects with an AbortError
   * when `signal` aborts. The process stays alive while it waits.
   */
  async wait({ timeoutMs = Number.POSITIVE_INFINITY, signal }: WaitOptions = {}): Promise<boolean> {
    checkMilliseconds("timeoutMs", timeoutMs);
    if (signal?.aborted) throw abortError(signal);
    const begun = this.#count();
    if ((begun & 1) === 1) return true;
    const deadline = performance.now() + timeoutMs;
    const happened = () => Atomics.load(this.#words, Word.count) !== begun;
    if (timeoutMs > 0 && (await this.#polling.until(() => this.#closed || happened(), timeoutMs, signal))) {
      this.#count();
      return true;
    }
    for (;;) {
      if (signal?.aborted) throw abortError(signal);
      if (this.#count() !== begun) return true;
      const left = deadline - performance.now();
      if (left <= 0) return false;
      await waitForWord(this.#words, Word.count, begun, Math.min(left, SLICE_MS), signal).catch(
        pauseWithoutThread(POLL_MS),
      );
    }
  }

  /** Ends this object's use of the event. Waits that are pending reject with EBADF. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    native.wordWake(this.#words, Word.count, EVERYBODY); // others look again, and go on sleeping
    this.#shm.close();
  }

  /** As the static `unlink`. Works after `close` too. */
  unlink(): void {
    Event.unlink(this.name);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #count(): number {
    if (this.#closed) throw IpcError.of("EBADF", "mmap", this.name, "it is closed");
    return Atomics.load(this.#words, Word.count);
  }

  #change(next: (count: number) => number): void {
    for (let seen = this.#count(); ; ) {
      const wanted = next(seen);
      if (wanted === seen) return;
      const found = Atomics.compareExchange(this.#words, Word.count, seen, wanted);
      if (found === seen) break;
      seen = found;
    }
    native.wordWake(this.#words, Word.count, EVERYBODY);
  }
}
