// Named semaphores: sem_open(3), sem_wait(3), sem_post(3).
import { constants } from "node:fs";
import { native } from "../native.ts";
import { listObjects, mapping } from "./dev-shm.ts";
import { IpcError } from "./error.ts";
import { checkedName, checkInteger, checkMilliseconds, checkMode, type PosixName } from "./names.ts";
import { openOrCreateShared } from "./open-or-create.ts";
import { abortError, Polling, type WaitOptions, waitForToken } from "./semaphore-wait.ts";

const { hotHandle, semWait, semTryWait, semPost, semValue } = native;
const { O_CREAT, O_EXCL } = constants;

/** SEM_VALUE_MAX of Linux: the greatest value a semaphore can have. */
export const SEM_VALUE_MAX = 2 ** 31 - 1;
const DEFAULT_MODE = 0o600;
const CLOSED = -1;

// For lib only, not exported from ptalk/ipc.
/** As waitAsync, for whoever has polled already. */
export let waitOnThread: (semaphore: Semaphore, timeoutMs: number) => Promise<boolean>;

const forgotten = new FinalizationRegistry<number>((handle) => native.semClose(handle));

/** For `Semaphore.create()` and `openOrCreate()`. */
export interface SemaphoreOptions {
  /** Value at creation, 0 to SEM_VALUE_MAX (2^31 - 1). Default 0. */
  value?: number;
  /** Permission bits, less the umask; read and write are both needed to use it. Default 0o600. */
  mode?: number;
}

/**
 * A named POSIX semaphore, shared with every process of any language that opens the same name.
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_open.html
 */
export class Semaphore implements Disposable {
  readonly #name: string;
  #handle: number;
  readonly #polling = new Polling();
  /** Waits that poll: the handle stays theirs when the object is closed meanwhile. */
  #polls = 0;

  private constructor(name: string, handle: number) {
    this.#name = name;
    this.#handle = handle;
    forgotten.register(this, handle, this);
  }

  /** The POSIX name: "/name". */
  get name(): string {
    return this.#name;
  }

  /** Creates a semaphore that did not exist. EEXIST when the name is taken. */
  static create(name: PosixName, { value = 0, mode = DEFAULT_MODE }: SemaphoreOptions = {}): Semaphore {
    const text = checkedName(name, "sem_open");
    checkInteger("value", value, 0, SEM_VALUE_MAX);
    checkMode(mode);
    return new Semaphore(
      text,
      mapping(() => native.semOpen(text, O_CREAT | O_EXCL, mode, value)),
    );
  }

  /** Opens one that exists. ENOENT, EACCES. */
  static open(name: PosixName): Semaphore {
    const text = checkedName(name, "sem_open");
    return new Semaphore(
      text,
      mapping(() => native.semOpen(text, 0, 0, 0)),
    );
  }

  /** Opens the semaphore as it is, or creates it with this value and mode when there is none. */
  static openOrCreate(name: PosixName, options: SemaphoreOptions = {}): Semaphore {
    return openOrCreateShared(
      () => Semaphore.open(name),
      () => Semaphore.create(name, options),
    );
  }

  /** Removes the name. Processes that have it open go on using it. ENOENT, EACCES. */
  static unlink(name: PosixName): void {
    native.semUnlink(checkedName(name, "sem_unlink"));
  }

  /** The names ("/name", sorted) of all named semaphores, of every user, that begin with the prefix. */
  static list(prefix = "/"): string[] {
    return listObjects("semaphore", prefix);
  }

  /** Takes one, and blocks this thread (its event loop too) until there is one. For the loop's sake see `waitAsync`. */
  wait(): void {
    this.#select("sem_wait");
    semWait();
  }

  /** Takes one if there is one; false if not. Never blocks. */
  tryWait(): boolean {
    this.#select("sem_trywait");
    return semTryWait();
  }

  /** Takes one, blocking this thread for at most `ms` milliseconds (monotonic clock); false when they have passed. */
  timedWait(ms: number): boolean {
    checkMilliseconds("ms", ms);
    this.#select("sem_timedwait");
    return native.semTimedWait(this.#handle, ms);
  }

  /**
   * Takes one without blocking the event loop: true when it has one, false when `timeoutMs` have passed. Rejects with an
   * AbortError when `signal` aborts, having taken nothing. What comes within a fraction of a millisecond costs no thread; otherwise a
   * wait occupies one, at most 1024 at once: EAGAIN beyond. The process stays alive while it waits.
   */
  async waitAsync({ timeoutMs = Number.POSITIVE_INFINITY, signal }: WaitOptions = {}): Promise<boolean> {
    checkMilliseconds("timeoutMs", timeoutMs);
    if (signal?.aborted) throw abortError(signal);
    if (this.tryWait()) return true;
    if (timeoutMs === 0) return false;
    const start = performance.now();
    const handle = this.#handle;
    this.#polls++;
    try {
      const attempt = () => {
        hotHandle[0] = handle;
        return semTryWait();
      };
      if (await this.#polling.until(attempt, timeoutMs, signal)) return true;
      if (signal?.aborted) throw abortError(signal);
      return waitForToken(handle, Math.max(0, timeoutMs - (performance.now() - start)), signal);
    } finally {
      if (--this.#polls === 0 && this.#handle === CLOSED) native.semClose(handle);
    }
  }

  /** Gives one back; wakes one who waits. EOVERFLOW at SEM_VALUE_MAX. */
  post(): void {
    this.#select("sem_post");
    semPost();
  }

  /** The value at some instant during the call; 0 while others wait, as on all Linux systems. */
  get value(): number {
    this.#select("sem_getvalue");
    return semValue();
  }

  /** Ends this object's use of the semaphore. The semaphore itself stays. */
  close(): void {
    if (this.#handle === CLOSED) return;
    const handle = this.#handle;
    this.#handle = CLOSED;
    forgotten.unregister(this);
    if (this.#polls === 0) native.semClose(handle);
  }

  /** Removes the name, as the static `unlink`. Works after `close` too. */
  unlink(): void {
    Semaphore.unlink(this.#name);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #select(syscall: string): void {
    if (this.#handle === CLOSED) throw IpcError.of("EBADF", syscall, this.#name, "it is closed");
    hotHandle[0] = this.#handle;
  }

  static {
    waitOnThread = (semaphore, timeoutMs) => waitForToken(semaphore.#handle, timeoutMs);
  }
}
