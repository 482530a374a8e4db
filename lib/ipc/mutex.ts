// A named mutex between processes. The kernel holds it for its holder (byte-lock.ts), so it dies with it; a segment of
// one line beside it wakes the waiters and says whether the last holder died inside.
//
//   words 0 and 1: line-segment.ts
//   word 2  releases: counts up at each release; waiters sleep on it
//   word 3  holder: its pid from the first instant inside to the last; a pid that the next holder finds there is a
//           death
//
// Release: holder = 0, unlock, releases + 1, wake. Killed between any two of these: the bytes are free, and waiters try
// again after WAKE_SLICE_MS at most.
import { native } from "../native.ts";
import { acquire, type ByteRange, isLockedByOthers, lockTimedOut, unlock, type WaitTurn } from "./byte-lock.ts";
import { IpcError } from "./error.ts";
import { createLine, type LineKind, lineWords, openLine, openOrCreateLine } from "./line-segment.ts";
import { checkMode, exactMode } from "./names.ts";
import { lockIdentity } from "./own-sections.ts";
import { type Gate, nestedSection, type SectionOptions, SectionQueue } from "./section-queue.ts";
import { Polling, pauseWithoutThread, waitForWord } from "./semaphore-wait.ts";
import { fdOf, SharedMemory } from "./shared-memory.ts";

const KIND: LineKind = { what: "a mutex", magic: 0x584d7470, version: 1 }; // "ptMX"
const Word = { releases: 2, holder: 3 } as const;
const DEFAULT_MODE = 0o600;
/** The byte that is locked, beyond the data. */
const LOCK_BYTE = 2 ** 40;
/**
 * The first and the longest sleep of a waiter, in milliseconds: how soon it notices a holder that died and so woke no
 * waiter.
 */
const FIRST_SLICE_MS = 5;
const LONGEST_SLICE_MS = 50;

/** For `Mutex.create()` and `openOrCreate()`. */
export interface MutexOptions {
  /**
   * Permission bits of a new mutex, whatever the umask. Default 0o600. A user who may read it could keep its owner from
   * locking it, so group and others get the read bit only together with the write bit.
   */
  mode?: number;
}

/** The argument of a section. */
export interface MutexEntry {
  /** The last holder died inside: the data may be half-written. Only one section gets this: repair the data there. */
  readonly abandoned: boolean;
}

/**
 * A named mutex between processes and threads: one section at a time. The kernel holds it for its holder: when the
 * holder is killed, the next section gets in (within 50 ms) with `abandoned`. Sections of one instance run in the order
 * of their calls; between processes, the first to try once it is free gets it.
 * @see https://man7.org/linux/man-pages/man2/F_OFD_SETLK.2const.html
 */
export class Mutex implements Disposable {
  readonly #shm: SharedMemory;
  readonly #words: Int32Array;
  readonly #range: ByteRange;
  readonly #sections: SectionQueue;
  readonly #polling = new Polling();
  #closed = false;
  #abandoned = false;

  private constructor(shm: SharedMemory) {
    this.#shm = shm;
    this.#words = lineWords(shm, KIND);
    this.#range = { fd: fdOf(shm), start: LOCK_BYTE, length: 1 };
    this.#sections = new SectionQueue(this.#gate());
  }

  /** The POSIX name: "/name". */
  get name(): string {
    return this.#shm.name;
  }

  /** Creates a mutex that did not exist. EEXIST when the name is taken. */
  static create(name: string, { mode = DEFAULT_MODE }: MutexOptions = {}): Mutex {
    checkMode(mode);
    return new Mutex(createLine(name, exactMode(mode)));
  }

  /** Opens one that exists. ENOENT, EACCES; EINVAL for an object that is no mutex, or of another layout version. */
  static open(name: string): Mutex {
    return openLine(name, (shm) => new Mutex(shm));
  }

  /** Opens the mutex, or creates it when there is none. The mode counts at creation only. */
  static openOrCreate(name: string, options: MutexOptions = {}): Mutex {
    return openOrCreateLine(
      name,
      options.mode ?? DEFAULT_MODE,
      () => Mutex.open(name),
      () => Mutex.create(name, options),
    );
  }

  /**
   * Removes the name. Processes that have the mutex open go on using it; creating the name anew makes another one.
   * ENOENT, EACCES.
   */
  static unlink(name: string): void {
    SharedMemory.unlink(name);
  }

  /**
   * Runs `section` with no other section inside, and returns its result; an async section holds the mutex until it
   * settles. Rejects with IpcError ETIMEDOUT naming the holder; EDEADLK when it is called within a section on this
   * mutex; AbortError.
   */
  withLock<T>(section: (entry: MutexEntry) => T | PromiseLike<T>, options?: SectionOptions): Promise<T> {
    const run = typeof section !== "function" ? section : () => section({ abandoned: this.#abandoned });
    return this.#sections.run(false, run, options);
  }

  /** The pid of the present holder; null when the mutex is free; 0 for a holder that has only just got it. */
  get holder(): number | null {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
    const holder = Atomics.load(this.#words, Word.holder);
    if (isLockedByOthers(this.#range)) return holder;
    return this.#sections.busy && holder === process.pid ? holder : null;
  }

  /** Gives up this instance. EBUSY while a section of it holds or awaits the mutex. */
  close(): void {
    if (this.#closed) return;
    if (this.#sections.busy)
      throw IpcError.of("EBUSY", "close", this.name, "a section holds or awaits the mutex: let it end before closing");
    this.#closed = true;
    this.#shm.close();
  }

  /** As the static `unlink`. Works after `close` too. */
  unlink(): void {
    Mutex.unlink(this.name);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #refusal(): Error | undefined {
    return this.#closed ? IpcError.of("EBADF", "fcntl", this.name, "it is closed") : undefined;
  }

  #gate(): Gate {
    return {
      identity: lockIdentity(native.fstat(this.#range.fd)),
      refusal: () => this.#refusal(),
      enter: (shared, patience) => {
        const timedOut = () => this.#timedOut(patience.timeoutMs);
        const entered = acquire(this.#range, shared, patience, () => this.#turns(), timedOut);
        if (entered !== undefined) return entered.then(() => this.#entered());
        this.#entered();
        return undefined;
      },
      leave: () => this.#leave(),
      mayShare: () => false,
      joined: () => {},
      timedOut: (_, timeoutMs) => this.#timedOut(timeoutMs),
      nested: () => nestedSection(this.name),
    };
  }

  // Caller has the bytes.
  #entered(): void {
    this.#abandoned = Atomics.exchange(this.#words, Word.holder, process.pid) !== 0;
  }

  #leave(): void {
    Atomics.store(this.#words, Word.holder, 0);
    unlock(this.#range);
    Atomics.add(this.#words, Word.releases, 1);
    native.wordWake(this.#words, Word.releases, 1);
  }

  #turns(): WaitTurn {
    let slice = FIRST_SLICE_MS;
    let seen: number | undefined;
    let polled = false;
    return async (ms, signal) => {
      // Loaded before the attempt that follows, so that no release behind that is missed: the first turn is only this.
      const before = seen;
      if (before !== undefined) {
        const moved = () => Atomics.load(this.#words, Word.releases) !== before;
        if (polled || !(await this.#polling.until(moved, ms, signal))) {
          await waitForWord(this.#words, Word.releases, before, Math.min(ms, slice), signal).catch(
            pauseWithoutThread(FIRST_SLICE_MS),
          );
          slice = Math.min(2 * slice, LONGEST_SLICE_MS);
        }
        polled = true;
      }
      seen = Atomics.load(this.#words, Word.releases);
    };
  }

  #timedOut(timeoutMs: number): Error {
    const holder = Atomics.load(this.#words, Word.holder);
    const state = holder === 0 ? undefined : native.processStart(holder)?.state;
    const who = holder === process.pid ? "another section of this process" : `pid ${holder}`;
    const held = holder === 0 ? "nobody is inside" : `held by ${who}${state === "T" ? " (stopped)" : ""}`;
    return lockTimedOut(this.name, "mutex", timeoutMs, held);
  }
}
