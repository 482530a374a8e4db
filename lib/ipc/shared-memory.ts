// Named shared memory: shm_open(3), posix_fallocate(3), mmap(2).
import { constants } from "node:fs";
import { type FileStatus, native } from "../native.ts";
import { checkMappable, listObjects, mapping } from "./dev-shm.ts";
import { IpcError, isCode } from "./error.ts";
import { checkedName, checkInteger, checkMode, checkSize, type PosixName } from "./names.ts";
import { openOrCreateShared } from "./open-or-create.ts";

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, S_IFMT, S_IFREG } = constants;

const DEFAULT_MODE = 0o600;
const FD_MAX = 2 ** 31 - 1;

/** What a forgotten SharedMemory leaves behind is its descriptor; the mapping goes with its buffer. */
const forgotten = new FinalizationRegistry<number>((fd) => native.closeFd(fd));

// For lib only, not exported from ptalk/ipc.
/** The mapping as 32-bit words, read-only ones included: only Atomics.load may touch those, a store is a SIGSEGV. */
export let wordsOf: (shm: SharedMemory) => Int32Array<ArrayBuffer>;
/** Its descriptor, for record locks. Valid until close. */
export let fdOf: (shm: SharedMemory) => number;
/** Pages that were gone when touched, because somebody truncated the object; they read as zeros. */
export let faultsOf: (shm: SharedMemory) => number;

/** See `SharedMemory.handle`. */
export interface SharedMemoryHandle {
  readonly name: string;
  readonly fd: number;
  readonly dev: number;
  readonly ino: number;
  readonly readOnly: boolean;
}

/** For `SharedMemory.create()`. */
export interface CreateOptions {
  /** Bytes: a whole number from 1 on. The object gets exactly this many, and they are backed by memory. */
  size: number;
  /** Permission bits, less the umask, as in shm_open(3). Default 0o600. */
  mode?: number;
}

/**
 * A POSIX shared memory object, mapped into this process. Other processes, in any language, that open the same name see
 * the same bytes. Throws IpcError for whatever the system refuses.
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/functions/shm_open.html
 */
export class SharedMemory implements Disposable {
  readonly #name: string;
  #size: number;
  readonly #readOnly: boolean;
  readonly #fd: number;
  #buffer: ArrayBuffer | undefined;
  /** The buffer is known outside of this class: Node may be at work on it at any time, until nobody refers to it. */
  #shared = false;
  /** After `close`: the buffer, as long as somebody refers to it. */
  #left: WeakRef<ArrayBuffer> | undefined;

  private constructor(name: string, fd: number, size: number, readOnly: boolean) {
    this.#name = name;
    this.#size = size;
    this.#readOnly = readOnly;
    this.#buffer = mapping(() => native.map(fd, size, !readOnly, name));
    this.#fd = fd;
    forgotten.register(this, fd, this);
  }

  /** The POSIX name: "/name". */
  get name(): string {
    return this.#name;
  }

  /** Bytes mapped: the object's size when it was opened, or at the last `resize`. Stays after `close`. */
  get size(): number {
    return this.#size;
  }

  /** Opened with `readOnly`. */
  get readOnly(): boolean {
    return this.#readOnly;
  }

  /**
   * Creates an object that did not exist, all zeros, and maps it for reading and writing.
   * EEXIST when the name is taken, ENOSPC when the memory is not there, EFBIG beyond what one ArrayBuffer can map.
   */
  static create(name: PosixName, { size, mode = DEFAULT_MODE }: CreateOptions): SharedMemory {
    const text = checkedName(name, "shm_open");
    checkSize(size);
    checkMode(mode);
    checkMappable(text, size);
    const fd = native.shmOpen(text, O_RDWR | O_CREAT | O_EXCL, mode);
    try {
      native.allocate(fd, size, text);
      return new SharedMemory(text, fd, size, false);
    } catch (error) {
      // Only what this call made: with no link left, the name may be somebody else's by now.
      if (native.fstat(fd).nlink > 0) native.shmUnlink(text);
      native.closeFd(fd);
      throw error;
    }
  }

  /**
   * Maps an object that exists, as large as it is. With `readOnly` it takes only read permission, `buffer` is refused and
   * `read` copies, so nothing can crash on a write. ENOENT, EACCES; EAGAIN while it has no size yet.
   */
  static open(name: PosixName, { readOnly = false }: { readOnly?: boolean } = {}): SharedMemory {
    const text = checkedName(name, "shm_open");
    return SharedMemory.#mapAll(text, native.shmOpen(text, readOnly ? O_RDONLY : O_RDWR, 0), readOnly);
  }

  /**
   * Maps the object that another thread of this process has open, by the `handle` that it posted: also when its name is gone, or another
   * object's. EBADF when that one has been closed since.
   */
  static fromHandle(handle: SharedMemoryHandle): SharedMemory {
    const { fd, dev, ino, name, readOnly } = handle;
    checkInteger("handle.fd", fd, 0, FD_MAX);
    return SharedMemory.#mapAll(name, reopened(fd, readOnly, name), readOnly, (found) => {
      // Of the new descriptor: the old number may have become another file's at any time before.
      if (found.dev !== dev || found.ino !== ino)
        throw IpcError.of("EBADF", "mmap", name, "it was closed by the thread that posted the handle");
    });
  }

  /**
   * Maps the object that a descriptor leads to, one that was received with `receiveDescriptors`, say. The descriptor stays the caller's.
   * EINVAL for a descriptor of no file, EACCES when it may not be opened for reading (and writing, unless `readOnly`).
   */
  static fromDescriptor(
    fd: number,
    { name = `fd:${fd}`, readOnly = false }: { name?: string; readOnly?: boolean } = {},
  ): SharedMemory {
    checkInteger("fd", fd, 0, FD_MAX);
    return SharedMemory.#mapAll(name, reopened(fd, readOnly, name), readOnly);
  }

  /** Owns the descriptor from here on. */
  static #mapAll(
    name: string,
    fd: number,
    readOnly: boolean,
    check: (found: FileStatus) => void = () => {},
  ): SharedMemory {
    try {
      const found = native.fstat(fd);
      check(found);
      checkRegular(found, name);
      const { size } = found;
      if (size === 0) throw noSizeYet(name);
      checkMappable(name, size);
      return new SharedMemory(name, fd, size, readOnly);
    } catch (error) {
      native.closeFd(fd);
      throw error;
    }
  }

  /**
   * Opens the object, or creates it with this size and mode when there is none. An existing one keeps its own size and
   * mode: look at `size`. One without a size is waited for (its creator is at work), then given this size.
   */
  static openOrCreate(name: PosixName, options: CreateOptions): SharedMemory {
    const { size, mode = DEFAULT_MODE } = options;
    const text = checkedName(name, "shm_open");
    checkSize(size);
    checkMode(mode);
    return openOrCreateShared(
      () => SharedMemory.open(text),
      () => SharedMemory.create(text, { size, mode }),
      () => SharedMemory.#adopt(text, size),
    );
  }

  /** Gives a size to an object whose creator died before it did. undefined: somebody else is at it, or it is gone. */
  static #adopt(name: string, size: number): SharedMemory | undefined {
    let fd: number;
    try {
      fd = native.shmOpen(name, O_RDWR, 0);
    } catch (error) {
      if (isCode(error, "ENOENT")) return undefined;
      throw error;
    }
    try {
      if (native.lockBytes(fd, 0, 1, true)) {
        // Still under the lock: a creator that was only slow has finished meanwhile, and its size stands.
        if (native.fstat(fd).size === 0) native.allocate(fd, size, name);
        return SharedMemory.open(name);
      }
      return undefined;
    } finally {
      native.closeFd(fd);
    }
  }

  /** Removes the name. Processes that have the object open keep it; the memory is freed with the last of them. ENOENT, EACCES. */
  static unlink(name: PosixName): void {
    native.shmUnlink(checkedName(name, "shm_unlink"));
  }

  /** The names ("/name", sorted) of all shared memory objects, of every user, that begin with the prefix. */
  static list(prefix = "/"): string[] {
    return listObjects("memory", prefix);
  }

  /**
   * The mapped bytes, for reading and writing: the same ArrayBuffer each time. It cannot be transferred: `transfer()` throws
   * (EBUSY), postMessage with it in the transfer list throws too (Node 20 sends a copy instead). EACCES when opened `readOnly`,
   * EBADF after `close`.
   */
  get buffer(): ArrayBuffer {
    const buffer = this.#mapped();
    if (this.#readOnly)
      throw IpcError.of("EACCES", "mmap", this.#name, "it was opened read-only: use read(offset, length)");
    if (!this.#shared) {
      this.#shared = true;
      refuseTransfer(buffer, this.#name);
    }
    return buffer;
  }

  /**
   * The descriptor, for calls that take one (`fs.fstatSync`, `sendDescriptors`). It stays this object's: never close it. EBADF after
   * `close`.
   */
  get fd(): number {
    this.#mapped();
    return this.#fd;
  }

  /** What another thread of this process needs to map the same object: post it, and give it to `fromHandle`, while this one is open. */
  get handle(): SharedMemoryHandle {
    const { dev, ino } = native.fstat(this.fd);
    return { name: this.#name, fd: this.#fd, dev, ino, readOnly: this.#readOnly };
  }

  /**
   * Makes the object larger, with zeros, or without a size maps it as large as somebody else has made it. `buffer` is a new one then; views
   * of the old one go on showing their part. Never smaller (EINVAL): a process that has the rest mapped would get
   * SIGBUS there. ENOSPC, EFBIG; EBADF for a size when opened `readOnly`.
   * @see https://pubs.opengroup.org/onlinepubs/9799919799/functions/posix_fallocate.html
   */
  resize(size?: number): void {
    const old = this.#mapped();
    if (size !== undefined) this.#grow(size);
    const now = native.fstat(this.#fd).size;
    if (now === this.#size) return;
    checkMappable(this.#name, now);
    this.#buffer = mapping(() => native.map(this.#fd, now, !this.#readOnly, this.#name));
    this.#size = now;
    if (!this.#shared) native.unmap(old);
    this.#shared = false;
  }

  /** A copy of `length` bytes from `offset` on; all that follow by default. RangeError outside of the object. */
  read(offset = 0, length = this.#size - offset): Uint8Array<ArrayBuffer> {
    const buffer = this.#mapped();
    checkInteger("offset", offset, 0, this.#size);
    checkInteger("length", length, 0, this.#size - offset);
    return new Uint8Array(buffer.slice(offset, offset + length));
  }

  /**
   * Ends this object's use of the memory: `buffer` and `read` are EBADF from now on, the descriptor is closed. Whatever Node still
   * does with a view of `buffer` in the background (crypto, zlib, a write to a file or socket) goes on undisturbed: such views have
   * private memory with the bytes of this instant, which goes when nothing refers to them any more. Writes to them do
   * not reach the object. That costs a copy (3 ms for 32 MiB; larger ones are copied page by page as they are written
   * to), unless `buffer` was never read. The object itself stays: see `unlink`.
   */
  close(): void {
    const buffer = this.#buffer;
    if (!buffer) return;
    this.#buffer = undefined;
    forgotten.unregister(this);
    // Detaching would be no better: zlib, for one, asserts in its next step that its input is as long as it was.
    if (this.#shared) this.#leave(buffer);
    else native.unmap(buffer);
    native.closeFd(this.#fd);
  }

  /**
   * As `close`, and copies nothing: every view of `buffer` is detached, its length is 0. Works after `close`, too.
   * Only for buffers on which Node has nothing unfinished: an asynchronous call of crypto, zlib, fs or net that still works on a
   * view of it kills the process (SIGSEGV, or an assertion that fails), or sends a part.
   * @see https://pubs.opengroup.org/onlinepubs/9799919799/functions/munmap.html
   */
  unmapNow(): void {
    const buffer = this.#buffer ?? this.#left?.deref();
    this.close();
    this.#left = undefined;
    if (buffer) native.unmap(buffer);
  }

  /** Removes the name, as the static `unlink`. Works after `close` too. */
  unlink(): void {
    SharedMemory.unlink(this.#name);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #grow(size: number): void {
    checkSize(size);
    if (this.#readOnly) throw IpcError.of("EBADF", "posix_fallocate", this.#name, "it was opened read-only");
    checkMappable(this.#name, size);
    if (size < native.fstat(this.#fd).size)
      throw IpcError.of(
        "EINVAL",
        "posix_fallocate",
        this.#name,
        "an object never gets smaller: others may have it mapped",
      );
    native.allocate(this.#fd, size, this.#name);
  }

  #leave(buffer: ArrayBuffer): void {
    native.leave(buffer, this.#fd);
    this.#left = new WeakRef(buffer);
  }

  #mapped(): ArrayBuffer {
    const buffer = this.#buffer;
    if (!buffer) throw IpcError.of("EBADF", "mmap", this.#name, "it is closed");
    // By ArrayBuffer.prototype.transfer itself: the memory belongs to another ArrayBuffer then, and goes with that.
    if (buffer.byteLength === 0) throw IpcError.of("EBADF", "mmap", this.#name, "its buffer was transferred away");
    return buffer;
  }

  static {
    wordsOf = (shm) => new Int32Array(shm.#mapped(), 0, Math.floor(shm.#size / Int32Array.BYTES_PER_ELEMENT));
    fdOf = (shm) => {
      shm.#mapped();
      return shm.#fd;
    };
    faultsOf = (shm) => native.faults(shm.#mapped());
  }
}

/**
 * A buffer whose memory went to another one would leave its SharedMemory neither open nor closed. Own methods, because Node-API has no
 * way to forbid it; Node itself refuses to transfer the memory of addons with postMessage and structuredClone.
 */
function refuseTransfer(buffer: ArrayBuffer, name: string): void {
  const refuse = {
    value: () => {
      throw IpcError.of(
        "EBUSY",
        "mmap",
        name,
        "mapped memory cannot be transferred: copy it, or open it where it is needed",
      );
    },
  };
  Object.defineProperties(buffer, { transfer: refuse, transferToFixedLength: refuse });
}

/** A descriptor of its own. Looks first at what it is: to open a device again may do something to it. */
function reopened(fd: number, readOnly: boolean, name: string): number {
  checkRegular(native.fstat(fd), name);
  return native.reopenFd(fd, readOnly ? O_RDONLY : O_RDWR);
}

function checkRegular({ mode }: FileStatus, name: string): void {
  if ((mode & S_IFMT) !== S_IFREG) throw IpcError.of("EINVAL", "shm_open", name, "it is no shared memory object");
}

function noSizeYet(name: string): IpcError {
  return IpcError.of("EAGAIN", "shm_open", name, "it has no size yet: its creator has not finished, or died");
}
