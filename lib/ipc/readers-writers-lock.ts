// The public class. The algorithm is in lock/ (docs/LOCK.md explains it): join, enter, wait, leave, recover.

import { native } from "../native.ts";
import { isCode } from "./error.ts";
import { AcquireDeadline, DEFAULT_LOCK_TIMEOUT_MS, MAX_LOCK_TIMEOUT_MS } from "./lock/acquire-deadline.ts";
import { At, tryEnter } from "./lock/enter.ts";
import { checkNameLength, closeEpoch } from "./lock/epoch.ts";
import { aborted, busy, closed, nested } from "./lock/errors.ts";
import { join } from "./lock/join.ts";
import { leave } from "./lock/leave.ts";
import { type Kind, Kind as Kinds, Phase, SEGMENT_BYTES, Slot } from "./lock/lock-layout.ts";
import { type Participant, type Repair, setPhase } from "./lock/participant.ts";
import { createSegment, discardSegment, openSegment, unlinkSegment } from "./lock/segment.ts";
import { type LockStats, statsOf } from "./lock/stats.ts";
import { type ThreadGuard, threadSeat } from "./lock/thread-guard.ts";
import { enterBefore } from "./lock/wait.ts";
import { checkMode, checkName, kindOf } from "./names.ts";
import { openOrCreateShared } from "./open-or-create.ts";
import { fdOf, SharedMemory } from "./shared-memory.ts";

const DEFAULT_MODE = 0o600;
/** A name's object may be unlinked between being opened and being joined; more often than this in a row, somebody means it. */
const MAX_JOIN_ROUNDS = 100;

export interface LockOptions {
  /**
   * Permission bits of a new lock, whatever the umask. Default 0o600. Who may read the lock's object could keep its owner from
   * locking it, so group and others get the read bit only together with the write bit.
   */
  mode?: number;
  /**
   * Puts the guarded data in order after a writer died inside its section. Called by a survivor that has it, alone in the lock;
   * must be idempotent. While it throws, nobody enters.
   */
  repair?: Repair;
}

export interface SectionOptions {
  /** How long to wait to get in, in milliseconds, 0 to 2^31 - 1. Default 10,000. */
  timeoutMs?: number;
  /** Aborting rejects with an AbortError within 100 ms, unless the section has begun. */
  signal?: AbortSignal;
}

/**
 * A readers-writers lock between processes (and worker threads): many readers, or one writer, in the order they came. It survives
 * SIGKILL of any of them at any instruction; survivors go on within a second. Up to 256 instances take part at a time; each is
 * one participant, so one section at a time each.
 */
export class ReadersWriterLock implements Disposable {
  readonly name: string;
  readonly #shm: SharedMemory;
  readonly #participant: Participant;
  readonly #thread: ThreadGuard;
  #closed = false;

  private constructor(shm: SharedMemory, repair: Repair | undefined) {
    this.name = shm.name;
    this.#shm = shm;
    this.#participant = join(shm, repair);
    this.#thread = threadSeat(native.fstat(fdOf(shm)));
  }

  /** Creates a lock that did not exist. EEXIST when the name is taken. */
  static create(name: string, options: LockOptions = {}): ReadersWriterLock {
    const mode = checked(name, options);
    const shm = createSegment(name, mode);
    try {
      return new ReadersWriterLock(shm, options.repair);
    } catch (error) {
      discardSegment(shm);
      throw error;
    }
  }

  /** Opens one that exists. ENOENT; EINVAL for an object that is no lock, or of another layout version; EUSERS for the 257th. */
  static open(name: string, options: Pick<LockOptions, "repair"> = {}): ReadersWriterLock {
    checked(name, options);
    for (let round = 1; ; round++) {
      const shm = openSegment(name);
      try {
        return new ReadersWriterLock(shm, options.repair);
      } catch (error) {
        shm.close();
        // Unlinked between being opened and being joined: its successor, if there is one, will do.
        if (!isCode(error, "ENOENT") || round === MAX_JOIN_ROUNDS) throw error;
      }
    }
  }

  /** Opens the lock, or creates it when there is none. The mode counts at creation only. */
  static openOrCreate(name: string, options: LockOptions = {}): ReadersWriterLock {
    const mode = checked(name, options);
    return openOrCreateShared(
      () => ReadersWriterLock.open(name, options),
      () => ReadersWriterLock.create(name, options),
      // Its creator died before it gave it a size: this does, and the next round joins it.
      () => void SharedMemory.openOrCreate(name, { size: SEGMENT_BYTES, mode }).close(),
    );
  }

  /** Removes the name and the semaphores. Who is using the lock can go on until somebody dies in it. ENOENT. */
  static unlink(name: string): void {
    checkName(name, "shm_open");
    unlinkSegment(name);
  }

  /**
   * Runs `section` beside other readers, never beside a writer, and returns what it returns; an async section holds the lock
   * until it settles. Rejects with IpcError ETIMEDOUT naming the holders, EDEADLK when this thread holds or awaits the lock already.
   */
  withRead<T>(section: () => T | PromiseLike<T>, options?: SectionOptions): Promise<T> {
    return this.#with(Kinds.read, section, options);
  }

  /** As withRead, with nobody else inside. If the section throws, the data is as it left it. */
  withWrite<T>(section: () => T | PromiseLike<T>, options?: SectionOptions): Promise<T> {
    return this.#with(Kinds.write, section, options);
  }

  /** Counts, and who is inside or waits at this instant. */
  stats(): LockStats {
    if (this.#closed) throw closed(this.name);
    return statsOf(this.#participant.ledger);
  }

  /** Gives up this instance's place. EBUSY while it holds or awaits the lock. */
  close(): void {
    if (this.#closed) return;
    const { semaphores, ledger, slot } = this.#participant;
    if (this.#thread.user === this) throw busy(this.name);
    this.#closed = true;
    ledger.store(slot, Slot.pid, 0);
    if (semaphores !== null) closeEpoch(semaphores);
    this.#shm.close();
  }

  /** As the static `unlink`. Works after `close` too. */
  unlink(): void {
    ReadersWriterLock.unlink(this.name);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // Not an async function: an uncontended section of synchronous code costs one promise, and that only for its result.
  #with<T>(kind: Kind, section: () => T | PromiseLike<T>, options: SectionOptions | undefined): Promise<T> {
    const refusal = this.#refusal(section, options);
    if (refusal !== undefined) return Promise.reject(refusal);
    this.#thread.user = this;
    try {
      const at = tryEnter(this.#participant, kind);
      if (at !== At.inside) return this.#enterThenRun(kind, at, section, options);
    } catch (error) {
      setPhase(this.#participant, Phase.idle);
      this.#thread.user = null;
      return Promise.reject(error);
    }
    return this.#run(kind, section);
  }

  #refusal(section: unknown, options: SectionOptions | undefined): Error | undefined {
    if (typeof section !== "function") return new TypeError(`the section must be a function, not ${kindOf(section)}`);
    if (this.#closed) return closed(this.name);
    if (this.#thread.user !== null) return nested(this.name);
    return options === undefined ? undefined : invalidOptions(options);
  }

  async #enterThenRun<T>(
    kind: Kind,
    at: At,
    section: () => T | PromiseLike<T>,
    { timeoutMs = DEFAULT_LOCK_TIMEOUT_MS, signal }: SectionOptions = {},
  ): Promise<T> {
    try {
      await enterBefore(this.#participant, kind, at, new AcquireDeadline(this.#participant, kind, timeoutMs, signal));
    } catch (error) {
      this.#thread.user = null;
      throw error;
    }
    return this.#run(kind, section);
  }

  // Caller is INSIDE.
  #run<T>(kind: Kind, section: () => T | PromiseLike<T>): Promise<T> {
    let result: T | PromiseLike<T>;
    try {
      result = section();
    } catch (error) {
      this.#leave(kind);
      return Promise.reject(error);
    }
    if (isPromiseLike(result)) return Promise.resolve(result).finally(() => this.#leave(kind));
    this.#leave(kind);
    return Promise.resolve(result);
  }

  #leave(kind: Kind): void {
    this.#thread.user = null;
    leave(this.#participant, kind);
  }
}

function checked(name: string, { mode = DEFAULT_MODE, repair }: LockOptions): number {
  checkName(name, "sem_open");
  checkNameLength(name);
  checkMode(mode);
  if (repair !== undefined && typeof repair !== "function")
    throw new TypeError(`repair must be a function, not ${kindOf(repair)}`);
  const unwritable = ~mode & 0o022;
  return mode & ~(unwritable << 1);
}

function invalidOptions({ timeoutMs, signal }: SectionOptions): Error | undefined {
  if (signal?.aborted) return aborted(signal);
  if (timeoutMs === undefined) return undefined;
  if (typeof timeoutMs !== "number") return new TypeError(`timeoutMs must be a number, not ${kindOf(timeoutMs)}`);
  if (!(timeoutMs >= 0 && timeoutMs <= MAX_LOCK_TIMEOUT_MS))
    return new RangeError(`timeoutMs must be from 0 to ${MAX_LOCK_TIMEOUT_MS}, not ${timeoutMs}`);
  return undefined;
}

function isPromiseLike<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
