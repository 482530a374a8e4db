// Locks over any file: fcntl_locking(2), open file description locks. What a lock file with a heartbeat, or a folder, stands in for.
import { closeSync, constants, openSync } from "node:fs";
import { native } from "../native.ts";
import { acquire, type ByteRange, growingPauses, isLockedByOthers, lockTimedOut, unlock } from "./byte-lock.ts";
import { IpcError } from "./error.ts";
import { checkInteger, checkMode } from "./names.ts";
import { lockIdentity } from "./own-sections.ts";
import { type Gate, nestedSection, type SectionOptions, SectionQueue } from "./section-queue.ts";

const DEFAULT_MODE = 0o600;

/** For `FileLock.open()`. */
export interface FileLockOptions {
  /** Permission bits, less the umask, of a file that does not exist yet. Default 0o600. */
  mode?: number;
  /** Opens for reading only: enough for `withShared`, and for files that may not be written. The file must exist. Default false. */
  readOnly?: boolean;
  /** First byte that is locked; it need not exist. Default 0. */
  start?: number;
  /** Number of bytes; 0, the default, is to the end of the file, however long it becomes. */
  length?: number;
}

const forgotten = new FinalizationRegistry<number>((fd) => closeSync(fd));

/**
 * A lock over a file, or some bytes of it, between processes: one exclusive section, or shared ones together. The kernel holds it for this
 * object's descriptor, so it ends with the process, however that ends: nothing is left behind, and nothing has to be
 * refreshed. It excludes other processes that lock (fcntl's locks of other programs included), not those that read or
 * write without a lock. It belongs to the file, not to its name: lock a file of its own beside one that is replaced by
 * rename.
 * @see https://man7.org/linux/man-pages/man2/F_OFD_SETLK.2const.html
 */
export class FileLock implements Disposable {
  readonly #path: string;
  readonly #range: ByteRange;
  readonly #sections: SectionQueue;
  #closed = false;

  private constructor(path: string, range: ByteRange) {
    this.#path = path;
    this.#range = range;
    this.#sections = new SectionQueue(this.#gate());
    forgotten.register(this, range.fd, this);
  }

  /** The path as it was given. */
  get path(): string {
    return this.#path;
  }

  /** Opens the file, and creates it, empty, when there is none. ENOENT, EACCES, EISDIR, EMFILE. Locks nothing yet. */
  static open(
    path: string | Buffer | URL,
    { mode = DEFAULT_MODE, readOnly = false, start = 0, length = 0 }: FileLockOptions = {},
  ): FileLock {
    checkMode(mode);
    checkInteger("start", start, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("length", length, 0, Number.MAX_SAFE_INTEGER - start);
    const flags = readOnly ? constants.O_RDONLY : constants.O_RDWR | constants.O_CREAT;
    return new FileLock(String(path), { fd: opened(path, flags, mode), start, length });
  }

  /**
   * Runs `section` with no other section inside, and returns its result; an async section holds the lock until it
   * settles. Rejects with IpcError ETIMEDOUT, EDEADLK within a section on the same bytes, EBADF when opened `readOnly`;
   * AbortError.
   */
  withLock<T>(section: () => T | PromiseLike<T>, options?: SectionOptions): Promise<T> {
    return this.#sections.run(false, section, options);
  }

  /** As withLock, beside other shared sections. A stream of those can keep an exclusive one of another process out: the kernel has no queue. */
  withShared<T>(section: () => T | PromiseLike<T>, options?: SectionOptions): Promise<T> {
    return this.#sections.run(true, section, options);
  }

  /** Whether somebody else holds a lock that an exclusive section would have to wait for, at this instant. */
  get heldByOthers(): boolean {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
    return isLockedByOthers(this.#range);
  }

  /** Closes the descriptor. EBUSY while a section holds or awaits the lock. The file stays. */
  close(): void {
    if (this.#closed) return;
    if (this.#sections.busy)
      throw IpcError.of("EBUSY", "close", this.#path, "a section holds or awaits the lock: let it end before closing");
    this.#closed = true;
    forgotten.unregister(this);
    closeSync(this.#range.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #refusal(): Error | undefined {
    return this.#closed ? IpcError.of("EBADF", "fcntl", this.#path, "it is closed") : undefined;
  }

  #gate(): Gate {
    const { fd, start, length } = this.#range;
    return {
      identity: lockIdentity(native.fstat(fd), `${start}+${length}`),
      refusal: () => this.#refusal(),
      enter: (shared, patience) =>
        acquire(this.#range, shared, patience, growingPauses, () => this.#timedOut(shared, patience.timeoutMs)),
      leave: () => unlock(this.#range),
      mayShare: () => true,
      joined: () => {},
      timedOut: (shared, timeoutMs) => this.#timedOut(shared, timeoutMs),
      nested: () => nestedSection(this.#path),
    };
  }

  #timedOut(shared: boolean, timeoutMs: number): Error {
    const held = isLockedByOthers(this.#range) ? "held by somebody else" : "another section of this instance is inside";
    return lockTimedOut(this.#path, shared ? "shared lock" : "lock", timeoutMs, held);
  }
}

/** node:fs opens close-on-exec, and closes what a worker thread leaves open. */
function opened(path: string | Buffer | URL, flags: number, mode: number): number {
  try {
    return openSync(path, flags, mode);
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    if (errno === undefined) throw error;
    throw new IpcError(-errno, "open", String(path));
  }
}
