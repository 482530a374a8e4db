// A bounded queue of messages in shared memory: docs/RING.md tells the steps and why nothing half-written is ever read.
//
//   header, one cache line of 64 bytes each:
//     constants: magic, layout version, capacity in bytes, ready (published last)
//     writers:   their lock, and the tail: bytes ever pushed, modulo 2^32
//     readers:   their lock, and the head: bytes ever popped, modulo 2^32
//     news:      counts pushes; a flag that somebody sleeps until the next; the same for pops
//     ends:      whether there ever was a writer, a reader; how many of each have died
//   64 participants of one line each: role, pid; while it lives, each holds the byte of its slot (liveness-locks.ts)
//   data: a power of two of bytes; a message is a word with its length, its bytes, and padding to whole words; it may wrap
import { native } from "../native.ts";
import { IpcError } from "./error.ts";
import { LivenessLocks, sleepSync } from "./liveness-locks.ts";
import { step } from "./lock/failpoint.ts";
import { checkInteger, checkMilliseconds, checkMode, exactMode, kindOf } from "./names.ts";
import { NOT_READY_MS, openOrCreateShared } from "./open-or-create.ts";
import { abortError, Polling, pauseWithoutThread, type WaitOptions, waitForWord } from "./semaphore-wait.ts";
import { faultsOf, fdOf, SharedMemory, wordsOf } from "./shared-memory.ts";
import { LINE_WORDS, WORD_BYTES } from "./words.ts";

/** "ptRB", little-endian. */
const MAGIC = 0x42527470;
const LAYOUT_VERSION = 1;
const READY = 1;
/** The most writers and readers together; the next one gets EUSERS. */
const CAPACITY = 64;

const Word = {
  magic: 0,
  version: 1,
  capacity: 2,
  ready: 3,
  writeLock: LINE_WORDS,
  tail: LINE_WORDS + 1,
  readLock: 2 * LINE_WORDS,
  head: 2 * LINE_WORDS + 1,
  pushes: 3 * LINE_WORDS,
  awaitingPush: 3 * LINE_WORDS + 1,
  pops: 4 * LINE_WORDS,
  awaitingPop: 4 * LINE_WORDS + 1,
  writersEver: 5 * LINE_WORDS,
  readersEver: 5 * LINE_WORDS + 1,
  writersDied: 5 * LINE_WORDS + 2,
  readersDied: 5 * LINE_WORDS + 3,
} as const;
const FIRST_SLOT = 6 * LINE_WORDS;
const SlotWord = { role: 0, pid: 1 } as const;
const DATA_WORD = FIRST_SLOT + CAPACITY * LINE_WORDS;
const DATA_BYTES = DATA_WORD * WORD_BYTES;

const Role = { none: 0, writer: 1, reader: 2 } as const;
type RoleNumber = (typeof Role)[keyof typeof Role];

const SIZE_MIN = 4096;
/** Positions are 32-bit numbers, and their difference has to tell full from empty. */
const SIZE_MAX = 2 ** 30;
const DEFAULT_MODE = 0o600;
/** A lock word: the owner's slot + 1, or 0, in the low bits; above them the number of times it was taken, so that no two takings look alike. */
const OWNER_BITS = 8;
const OWNER_MASK = (1 << OWNER_BITS) - 1;
/** How often the other's lock is tried before its owner is looked at: about 50 us, far beyond what a copy takes. */
const SPINS = 2000;
/** How often the owner, alive, is given another round; then it is stopped, or this machine is very busy. */
const ROUNDS = 20;
/** How long one sleep lasts, in milliseconds: a waker that was killed before it woke anybody, and the death of the other side, are noticed then. */
const SLICE_MS = 50;
const POLL_MS = 1;

/** Which end of the ring this object is. */
export interface RingRole {
  /** What this object does with the ring. Both sides of a process open it twice. */
  role: "writer" | "reader";
}

/** For `RingBuffer.create()` and `open()`. */
export interface RingOptions extends RingRole {
  /** Bytes for messages, each with 4 of its own and padded to 4: 4,096 to 2^30, rounded up to a power of two. */
  size: number;
  /**
   * Permission bits of a new ring, whatever the umask. Default 0o600. Group and others get the read bit only together with the write bit:
   * readers write, too.
   */
  mode?: number;
}

/** A ring's state at one instant. */
export interface RingStats {
  /** Bytes of messages that wait, their lengths and padding included. */
  readonly bytes: number;
  readonly writers: number;
  readonly readers: number;
  /** Participants that ended without `close`, since the ring was created, as far as somebody has noticed. */
  readonly died: { readonly writers: number; readonly readers: number };
}

// For lib only, not exported from ptalk/ipc.
/** The next message, null at the end, undefined when there is none now; throws as `pop` does. */
export let popOrEnd: (ring: RingBuffer) => Buffer | null | undefined;
/** Resolves when there may be something to pop, or after a slice; rejects with an AbortError. */
export let newsOf: (ring: RingBuffer, signal: AbortSignal) => Promise<void>;

/**
 * A bounded queue of whole messages between processes: many writers, many readers, in the order they were pushed; each message goes to one
 * reader. A process may be killed at any instruction: what it had not pushed whole is never seen, and the others go on. What a reader has
 * taken dies with it.
 *
 * It ends as a pipe does: `pop` gives null when all is read and every writer has closed, ECONNRESET when one of them died instead; `push` is
 * EPIPE when the ring is full, there were readers, and none is left. Up to 64 participants.
 */
export class RingBuffer implements Disposable, AsyncIterable<Buffer> {
  readonly #shm: SharedMemory;
  readonly #words: Int32Array;
  readonly #bytes: Buffer;
  readonly #liveness: LivenessLocks;
  readonly #size: number;
  readonly #slot: number;
  readonly #role: RoleNumber;
  readonly #polling = new Polling();
  #closed = false;
  /** The other side's position when it was last looked at: it has only moved on since. Spares both sides a cache line a message. */
  #seenHead: number;
  #seenTail: number;
  /** How often the lock of this object's role had been taken when it was released here last. */
  #takings = -1;
  /**
   * No other object has held that lock since: the last seen state of the other side still holds. (Positions wrap after
   * 4 GiB of others' messages.)
   */
  #undisturbed = false;

  private constructor(shm: SharedMemory, role: RoleNumber) {
    this.#shm = shm;
    this.#words = wordsOf(shm);
    this.#size = Atomics.load(this.#words, Word.capacity);
    this.#bytes = Buffer.from(this.#words.buffer, DATA_BYTES, this.#size);
    this.#liveness = new LivenessLocks(fdOf(shm), CAPACITY);
    this.#role = role;
    this.#slot = this.#join();
    this.#seenHead = Atomics.load(this.#words, Word.head);
    this.#seenTail = this.#seenHead;
  }

  /** The POSIX name: "/name". */
  get name(): string {
    return this.#shm.name;
  }

  /** Bytes for messages. */
  get size(): number {
    return this.#size;
  }

  /** The longest message, in bytes. */
  get maxMessage(): number {
    return this.#size - WORD_BYTES;
  }

  /** Creates a ring that did not exist, and takes part in it. EEXIST when the name is taken, ENOSPC. */
  static create(name: string, options: RingOptions): RingBuffer {
    const { role, size, mode } = checked(options);
    const shm = SharedMemory.create(name, { size: DATA_BYTES + size, mode });
    try {
      native.fchmod(fdOf(shm), mode);
      initialise(wordsOf(shm), size);
      return new RingBuffer(shm, role);
    } catch (error) {
      if (native.fstat(fdOf(shm)).nlink > 0) shm.unlink();
      shm.close();
      throw error;
    }
  }

  /**
   * Takes part in one that exists. ENOENT, EACCES; EINVAL for an object that is no ring, or of another layout version;
   * EUSERS for the 65th.
   */
  static open(name: string, options: RingRole): RingBuffer {
    const role = roleNumber(options?.role);
    const shm = SharedMemory.open(name);
    try {
      awaitReady(shm);
      return new RingBuffer(shm, role);
    } catch (error) {
      shm.close();
      throw error;
    }
  }

  /** Takes part in the ring, or creates it when there is none. Size and mode count at creation only. */
  static openOrCreate(name: string, options: RingOptions): RingBuffer {
    const { size, mode } = checked(options);
    return openOrCreateShared(
      () => RingBuffer.open(name, options),
      () => RingBuffer.create(name, options),
      // Its creator died before it gave it a size.
      () => void SharedMemory.openOrCreate(name, { size: DATA_BYTES + size, mode }).close(),
    );
  }

  /** Removes the name. Participants go on. ENOENT, EACCES. */
  static unlink(name: string): void {
    SharedMemory.unlink(name);
  }

  /**
   * Pushes a message if there is room now; false if not (or if a process is stopped in the middle of pushing). EMSGSIZE for one longer than
   * `maxMessage`, EPIPE without readers, EBADF when opened as a reader.
   */
  tryPush(message: Uint8Array | string): boolean {
    this.#check(Role.writer);
    const bytes = bytesOf(message);
    if (bytes.byteLength > this.maxMessage) throw tooLong(this.name, bytes.byteLength, this.maxMessage);
    return this.#tryPush(bytes);
  }

  /** As tryPush, and waits for room: ETIMEDOUT after `timeoutMs`, an AbortError when `signal` aborts; then nothing was pushed. */
  async push(message: Uint8Array | string, { timeoutMs, signal }: WaitOptions = {}): Promise<void> {
    if (this.tryPush(message)) return;
    const bytes = bytesOf(message);
    const attempt = () => this.#tryPush(bytes) || undefined;
    const pushed = await this.#until(attempt, Word.pops, Word.awaitingPop, timeoutMs, signal, () => {
      if (this.#isDeserted(Role.reader)) throw noReaders(this.name);
    });
    if (pushed === undefined) throw IpcError.of("ETIMEDOUT", "futex", this.name, `no room within ${timeoutMs} ms`);
  }

  /** Takes the next message if there is one; null if there is none now. EBADF when opened as a writer. */
  tryPop(): Buffer | null {
    this.#check(Role.reader);
    return this.#tryPop() ?? null;
  }

  /**
   * As tryPop, into memory of the caller's: how many bytes it has now, or -1 when there is no message. Long messages take half the time, or
   * less, without memory of their own. ERANGE for a message that is longer than `target`: it stays.
   */
  tryPopInto(target: Uint8Array): number {
    this.#check(Role.reader);
    let taken = -1;
    this.#take((head, length) => {
      if (length > target.byteLength)
        throw IpcError.of(
          "ERANGE",
          "mmap",
          this.name,
          `the next message has ${length} bytes, the target ${target.byteLength}`,
        );
      this.#read(head, target, length);
      taken = length;
    });
    return taken;
  }

  /**
   * The next message; null at the end, when all writers that there ever were have closed. ECONNRESET at the end when one of them died
   * without, ETIMEDOUT after `timeoutMs`; an AbortError when `signal` aborts, with nothing taken.
   */
  async pop({ timeoutMs, signal }: WaitOptions = {}): Promise<Buffer | null> {
    this.#check(Role.reader);
    if (signal?.aborted) throw abortError(signal);
    const attempt = () => this.#tryPop();
    const message = attempt();
    if (message !== undefined) return message;
    const popped = await this.#until<Buffer | null>(attempt, Word.pushes, Word.awaitingPush, timeoutMs, signal, () =>
      this.#end(attempt),
    );
    if (popped === undefined) throw IpcError.of("ETIMEDOUT", "futex", this.name, `no message within ${timeoutMs} ms`);
    return popped;
  }

  /** Message after message until the end; ECONNRESET is thrown as by `pop`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Buffer> {
    // Not an async generator: a message that is there already costs one promise instead of three.
    const later = async (): Promise<IteratorResult<Buffer, undefined>> => {
      const message = this.#closed ? null : await this.pop();
      return message === null ? { done: true, value: undefined } : { done: false, value: message };
    };
    const next = (): Promise<IteratorResult<Buffer, undefined>> => {
      const message = this.#closed ? undefined : this.#tryPop();
      return message === undefined ? later() : Promise.resolve({ done: false, value: message });
    };
    this.#check(Role.reader);
    const iterator = { next, [Symbol.asyncIterator]: () => iterator };
    return iterator;
  }

  /** A snapshot, taken without stopping anybody. */
  stats(): RingStats {
    this.#check();
    const count = (role: RoleNumber) => this.#participants(role).length + (this.#role === role ? 1 : 0);
    return {
      bytes: this.#used(),
      writers: count(Role.writer),
      readers: count(Role.reader),
      died: { writers: this.#load(Word.writersDied), readers: this.#load(Word.readersDied) },
    };
  }

  /** Leaves the ring: pushed messages stay. Waits of this object that are pending reject with EBADF. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    Atomics.store(this.#words, this.#slotWord(this.#slot, SlotWord.role), Role.none);
    this.#liveness.release(this.#slot);
    this.#wakeAll();
    this.#shm.close();
  }

  /** As the static `unlink`. Works after `close` too. */
  unlink(): void {
    RingBuffer.unlink(this.name);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // --- push and pop: the steps of docs/RING.md -----------------------------------------------------------------------------------

  #tryPush(bytes: Uint8Array): boolean {
    if (this.#closed) throw closed(this.name);
    const words = this.#words;
    if (!this.#lock(Word.writeLock)) return false; // W1
    step("W1");
    let hasRoom: boolean;
    try {
      const tail = Atomics.load(words, Word.tail);
      const length = WORD_BYTES + padded(bytes.byteLength);
      hasRoom = this.#hasRoom(tail, length);
      if (hasRoom) {
        this.#write(tail, bytes); // W2
        Atomics.store(words, Word.tail, (tail + length) | 0); // W3
        step("W3");
      }
    } finally {
      this.#unlock(Word.writeLock); // W4
    }
    if (!hasRoom) {
      if (this.#isDeserted(Role.reader)) throw noReaders(this.name);
      return false;
    }
    step("W4");
    this.#tell(Word.pushes, Word.awaitingPush, true); // W5
    return true;
  }

  #tryPop(): Buffer | undefined {
    let message: Buffer | undefined;
    this.#take((head, length) => {
      message = Buffer.allocUnsafe(length);
      this.#read(head, message, length);
    });
    return message;
  }

  /** Pops a message, whose position and length `copy` is given. False when there is none now. */
  #take(copy: (head: number, length: number) => void): boolean {
    if (this.#closed) throw closed(this.name);
    const words = this.#words;
    if (this.#looksEmpty()) return false;
    if (!this.#lock(Word.readLock)) return false; // R1
    step("R1");
    let left: number;
    try {
      const head = Atomics.load(words, Word.head);
      if (!this.#undisturbed) this.#seenTail = Atomics.load(words, Word.tail);
      const used = this.#waiting(head);
      if (used === 0) return false;
      const length = Atomics.load(words, this.#wordAt(head)) >>> 0;
      const whole = WORD_BYTES + padded(length);
      left = used - whole;
      if (length > this.#size || whole > used) throw damaged(this.name);
      copy(head, length); // R2
      step("R2");
      Atomics.store(words, Word.head, (head + whole) | 0); // R3
      step("R3");
    } finally {
      this.#unlock(Word.readLock); // R4
    }
    step("R4");
    // A writer that was woken for every message would push one and sleep again.
    this.#tell(Word.pops, Word.awaitingPop, left <= this.#size / 2); // R5
    return true;
  }

  // W2. Caller holds the writers' lock, and there is room: no other process accesses these bytes.
  #write(tail: number, bytes: Uint8Array): void {
    Atomics.store(this.#words, this.#wordAt(tail), bytes.byteLength);
    step("W2.length");
    const from = (tail + WORD_BYTES) & (this.#size - 1);
    const first = Math.min(bytes.byteLength, this.#size - from);
    this.#bytes.set(first === bytes.byteLength ? bytes : bytes.subarray(0, first), from);
    step("W2.half");
    if (first < bytes.byteLength) this.#bytes.set(bytes.subarray(first), 0);
    step("W2");
  }

  // R2. Caller has the readers' lock.
  #read(head: number, target: Buffer | Uint8Array, length: number): void {
    const from = (head + WORD_BYTES) & (this.#size - 1);
    const first = Math.min(length, this.#size - from);
    this.#bytes.copy(target, 0, from, from + first);
    if (first < length) this.#bytes.copy(target, first, 0, length - first);
  }

  /**
   * W1, R1. False when a living owner keeps it for long: that process is stopped. A dead owner's lock is taken over:
   * nothing needs repair.
   */
  #lock(at: number): boolean {
    const words = this.#words;
    for (let round = 0; round < ROUNDS; round++) {
      let word = Atomics.load(words, at);
      for (let spin = 0; spin < SPINS; spin++) {
        if ((word & OWNER_MASK) === 0) {
          const seen = Atomics.compareExchange(words, at, word, this.#taken(word));
          if (seen === word) return this.#holds(word);
          word = seen;
        } else word = Atomics.load(words, at);
      }
      const owner = (word & OWNER_MASK) - 1;
      if (owner >= 0 && owner !== this.#slot && this.#liveness.isHeld(owner)) continue;
      // The word first, then the owner's byte: dead for certain, unless the word has changed since.
      if (Atomics.compareExchange(words, at, word, this.#taken(word)) === word) return this.#holds(word);
    }
    return false;
  }

  #holds(before: number): true {
    this.#undisturbed = before >> OWNER_BITS === this.#takings;
    this.#takings = this.#taken(before) >> OWNER_BITS;
    return true;
  }

  #taken(word: number): number {
    return (((word >> OWNER_BITS) + 1) << OWNER_BITS) | (this.#slot + 1) | 0;
  }

  #unlock(at: number): void {
    Atomics.store(this.#words, at, Atomics.load(this.#words, at) & ~OWNER_MASK);
  }

  /** W5, R5. Killed before it woke anybody: the sleepers look again after SLICE_MS. */
  #tell(news: number, flag: number, wake: boolean): void {
    Atomics.add(this.#words, news, 1);
    step(news === Word.pushes ? "W5" : "R5");
    if (!wake || Atomics.load(this.#words, flag) === 0) return;
    Atomics.store(this.#words, flag, 0);
    native.wordWake(this.#words, news, 2 ** 31 - 1);
  }

  #wakeAll(): void {
    this.#tell(Word.pushes, Word.awaitingPush, true);
    this.#tell(Word.pops, Word.awaitingPop, true);
  }

  // --- waiting ------------------------------------------------------------------------------------------------------------------

  /** Attempts until one succeeds, or `atRest`, asked when nothing has happened for a slice, gives something. undefined: timed out. */
  async #until<T>(
    attempt: () => T | undefined,
    news: number,
    flag: number,
    timeoutMs: number | undefined,
    signal: AbortSignal | undefined,
    atRest: () => T | undefined,
  ): Promise<T | undefined> {
    if (timeoutMs !== undefined) checkMilliseconds("timeoutMs", timeoutMs);
    const deadline = performance.now() + (timeoutMs ?? Number.POSITIVE_INFINITY);
    let got: T | undefined;
    const moved = Atomics.load(this.#words, news);
    const polled = () => {
      if (!this.#closed && Atomics.load(this.#words, news) !== moved) got = attempt();
      return this.#closed || got !== undefined;
    };
    if ((await this.#polling.until(polled, timeoutMs ?? SLICE_MS, signal)) && got !== undefined) return got;
    for (;;) {
      if (signal?.aborted) throw abortError(signal);
      if (this.#closed) throw closed(this.name);
      if (faultsOf(this.#shm) > 0) throw damaged(this.name); // truncated: it is not shared with anybody any more
      // In this order: what comes behind the attempt changes the word, or finds the flag.
      const seen = Atomics.load(this.#words, news);
      Atomics.store(this.#words, flag, 1);
      got = attempt() ?? atRest();
      if (got !== undefined) return got;
      const left = deadline - performance.now();
      if (left <= 0) return undefined;
      await waitForWord(this.#words, news, seen, Math.min(left, SLICE_MS), signal).catch(pauseWithoutThread(POLL_MS));
    }
  }

  /**
   * null at the end; ECONNRESET at an end that is a death; undefined when it is no end; or the message pushed just
   * before it.
   */
  #end(attempt: () => Buffer | undefined): Buffer | null | undefined {
    if (!this.#isDeserted(Role.writer)) return undefined;
    const last = attempt();
    if (last !== undefined) return last;
    if (this.#load(Word.writersDied) === 0) return null;
    throw IpcError.of(
      "ECONNRESET",
      "futex",
      this.name,
      "a writer ended without closing; all that was pushed has been read",
    );
  }

  // --- participants --------------------------------------------------------------------------------------------------

  #join(): number {
    const slot = this.#liveness.claimFirst();
    if (slot === -1) throw IpcError.of("EUSERS", "fcntl", this.name, `all ${CAPACITY} places of the ring are taken`);
    // What bears this slot's number is a dead predecessor's, from the instant the byte is ours.
    for (const at of [Word.writeLock, Word.readLock]) {
      const word = Atomics.load(this.#words, at);
      if ((word & OWNER_MASK) === slot + 1) Atomics.compareExchange(this.#words, at, word, word & ~OWNER_MASK);
    }
    this.#bury(slot);
    Atomics.store(this.#words, this.#slotWord(slot, SlotWord.pid), process.pid);
    Atomics.store(this.#words, this.#slotWord(slot, SlotWord.role), this.#role);
    Atomics.store(this.#words, this.#role === Role.writer ? Word.writersEver : Word.readersEver, 1);
    return slot;
  }

  /** Notes a death. Caller knows that the slot's owner is dead, or holds the slot's byte. */
  #bury(slot: number): void {
    const at = this.#slotWord(slot, SlotWord.role);
    const role = Atomics.load(this.#words, at);
    if (role === Role.none || Atomics.compareExchange(this.#words, at, role, Role.none) !== role) return;
    Atomics.add(this.#words, role === Role.writer ? Word.writersDied : Word.readersDied, 1);
  }

  /** The slots of the living with that role, but for this one; the dead are noted. */
  #participants(role: RoleNumber): number[] {
    const living: number[] = [];
    for (let slot = 0; slot < CAPACITY; slot++) {
      if (slot === this.#slot || Atomics.load(this.#words, this.#slotWord(slot, SlotWord.role)) !== role) continue;
      if (this.#liveness.isHeld(slot)) living.push(slot);
      else this.#bury(slot);
    }
    return living;
  }

  /** There were participants with that role, and none is left. */
  #isDeserted(role: RoleNumber): boolean {
    if (this.#load(role === Role.writer ? Word.writersEver : Word.readersEver) === 0) return false;
    return this.#participants(role).length === 0;
  }

  // --- words --------------------------------------------------------------------------------------------------------------------

  #check(role?: RoleNumber): void {
    if (this.#closed) throw closed(this.name);
    if (role === undefined || role === this.#role) return;
    const opened = this.#role === Role.writer ? "writing" : "reading";
    throw IpcError.of("EBADF", "mmap", this.name, `it was opened for ${opened} only`);
  }

  #load(at: number): number {
    return Atomics.load(this.#words, at);
  }

  // Caller has the writers' lock.
  #hasRoom(tail: number, length: number): boolean {
    if (this.#undisturbed && ((tail - this.#seenHead) >>> 0) + length <= this.#size) return true;
    this.#seenHead = Atomics.load(this.#words, Word.head);
    return this.#sizeOf(tail, this.#seenHead) + length <= this.#size;
  }

  /**
   * A look without the lock: true when nothing is there. The head first, then the tail: while this thread stands between the two, others may
   * move both by more than the ring holds, so only "equal" means anything.
   */
  #looksEmpty(): boolean {
    const head = Atomics.load(this.#words, Word.head);
    const known = (this.#seenTail - head) >>> 0;
    if (known > 0 && known <= this.#size) return false;
    this.#seenTail = Atomics.load(this.#words, Word.tail);
    return this.#seenTail === head;
  }

  /** Bytes of messages from `head` on that are known to be there; all of them when none is known. Caller has the readers' lock. */
  #waiting(head: number): number {
    const known = (this.#seenTail - head) >>> 0;
    if (known > 0 && known <= this.#size) return known;
    this.#seenTail = Atomics.load(this.#words, Word.tail);
    return this.#sizeOf(this.#seenTail, head);
  }

  /** Bytes of messages at some instant; without a lock, so in the order and with the care of #looksEmpty. */
  #used(): number {
    const head = this.#load(Word.head);
    return Math.min((this.#load(Word.tail) - head) >>> 0, this.#size);
  }

  /**
   * Bytes between the positions; EIO when they cannot be: somebody has truncated the segment, or written into it. Caller has the lock of one of
   * the two, so that one stands still.
   */
  #sizeOf(tail: number, head: number): number {
    const used = (tail - head) >>> 0;
    if (used > this.#size) throw damaged(this.name);
    return used;
  }

  #wordAt(position: number): number {
    return DATA_WORD + ((position & (this.#size - 1)) >>> 2);
  }

  #slotWord(slot: number, word: number): number {
    return FIRST_SLOT + slot * LINE_WORDS + word;
  }

  static {
    popOrEnd = (ring) => {
      ring.#check(Role.reader);
      const attempt = () => ring.#tryPop();
      return attempt() ?? ring.#end(attempt);
    };
    newsOf = async (ring, signal) => {
      const seen = Atomics.load(ring.#words, Word.pushes);
      Atomics.store(ring.#words, Word.awaitingPush, 1);
      if (ring.#closed || ring.#used() > 0) return;
      await waitForWord(ring.#words, Word.pushes, seen, SLICE_MS, signal).catch(pauseWithoutThread(POLL_MS));
    };
  }
}

const padded = (bytes: number): number => (bytes + WORD_BYTES - 1) & ~(WORD_BYTES - 1);

function bytesOf(message: Uint8Array | string): Uint8Array {
  if (typeof message === "string") return Buffer.from(message);
  if (message instanceof Uint8Array) return message;
  throw new TypeError(`a message must be a Uint8Array or a string, not ${kindOf(message)}`);
}

function roleNumber(role: unknown): RoleNumber {
  if (role === "writer") return Role.writer;
  if (role === "reader") return Role.reader;
  throw new TypeError(`role must be "writer" or "reader", not ${JSON.stringify(role) ?? kindOf(role)}`);
}

function checked({ role, size, mode = DEFAULT_MODE }: RingOptions): { role: RoleNumber; size: number; mode: number } {
  checkInteger("size", size, 1, SIZE_MAX);
  checkMode(mode);
  const rounded = Math.max(SIZE_MIN, 2 ** Math.ceil(Math.log2(size)));
  return { role: roleNumber(role), size: rounded, mode: exactMode(mode) };
}

// The same from any process, and however often: a creator may die in the middle.
function initialise(words: Int32Array, size: number): void {
  Atomics.store(words, Word.capacity, size);
  Atomics.store(words, Word.version, LAYOUT_VERSION);
  Atomics.store(words, Word.magic, MAGIC);
  step("J1.header");
  Atomics.store(words, Word.ready, READY);
}

function awaitReady(shm: SharedMemory): void {
  const words = wordsOf(shm);
  const refuse = (found: string) => IpcError.of("EINVAL", "mmap", shm.name, `not a ring: ${found}`);
  const size = shm.size - DATA_BYTES;
  const load = (at: number) => Atomics.load(words, at);
  if (size < SIZE_MIN || size > SIZE_MAX || 2 ** Math.round(Math.log2(size)) !== size)
    throw refuse(`it has ${shm.size} bytes`);
  for (const deadline = performance.now() + NOT_READY_MS; load(Word.ready) !== READY; sleepSync(POLL_MS)) {
    if (load(Word.magic) !== 0 && load(Word.magic) !== MAGIC) throw refuse("it begins with other bytes");
    if (performance.now() < deadline) continue;
    initialise(words, size); // its creator died
    break;
  }
  if (load(Word.magic) !== MAGIC) throw refuse("it begins with other bytes");
  const version = load(Word.version);
  if (version !== LAYOUT_VERSION)
    throw refuse(`it has layout version ${version}, this ptalk understands ${LAYOUT_VERSION}`);
  if (load(Word.capacity) !== size) throw refuse(`it has ${size} bytes for messages and says ${load(Word.capacity)}`);
}

const closed = (name: string): IpcError => IpcError.of("EBADF", "mmap", name, "it is closed");
const noReaders = (name: string): IpcError => IpcError.of("EPIPE", "futex", name, "no reader is left");
const tooLong = (name: string, length: number, most: number): IpcError =>
  IpcError.of("EMSGSIZE", "mmap", name, `a message of ${length} bytes; this ring takes at most ${most}`);
const damaged = (name: string): IpcError =>
  IpcError.of(
    "EIO",
    "mmap",
    name,
    "another process has truncated the ring or written into it: unlink it and make a new one",
  );
