// The public class. The algorithm is in lock/ (docs/LOCK.md explains it): join, enter, wait, leave, recover.

import { native } from "../native.ts";
import { isCode } from "./error.ts";
import { AcquireDeadline } from "./lock/acquire-deadline.ts";
import { At, tryEnter } from "./lock/enter.ts";
import { checkNameLength, closeEpoch } from "./lock/epoch.ts";
import { busy, closed, timedOut } from "./lock/errors.ts";
import { inspect } from "./lock/inspect.ts";
import { join } from "./lock/join.ts";
import { leave } from "./lock/leave.ts";
import { type Kind, Kind as Kinds, Phase, SEGMENT_BYTES, Slot, slotAt } from "./lock/lock-layout.ts";
import { type Participant, type Repair, setPhase } from "./lock/participant.ts";
import { createSegment, discardSegment, openSegment, unlinkSegment } from "./lock/segment.ts";
import { type LockStats, statsOf, writerWaits } from "./lock/stats.ts";
import { enterBefore } from "./lock/wait.ts";
import { checkMode, checkName, exactMode, kindOf } from "./names.ts";
import { openOrCreateShared } from "./open-or-create.ts";
import { lockIdentity } from "./own-sections.ts";
import { type Gate, nestedSection, type SectionOptions, SectionQueue } from "./section-queue.ts";
import { fdOf, SharedMemory } from "./shared-memory.ts";

const DEFAULT_MODE = 0o600;
/** A name's object may be unlinked between being opened and being joined; more often than this in a row, somebody means it. */
const MAX_JOIN_ROUNDS = 100;

/** For `ReadersWriterLock.create()`, `open()` and `openOrCreate()`. */
export interface LockOptions {
  /**
   * Permission bits of a new lock, whatever the umask. Default 0o600. A user who may read the lock's object could keep its owner from
   * locking it, so group and others get the read bit only together with the write bit.
   */
  mode?: number;
  /**
   * Puts the guarded data in order after a writer died inside its section. Called by a survivor that has it, alone in the lock;
   * must be idempotent. While it throws, nobody enters.
   */
  repair?: Repair;
}

/**
 * A readers-writers lock between processes (and worker threads): many readers, or one writer, in the order they came. It survives
 * SIGKILL of any of them at any instruction; survivors go on within a second. Up to 256 instances take part at a time. Sections of
 * one instance queue for it in the order they came; its readers share one entry, unless a writer waits, here or elsewhere.
 */
export class ReadersWriterLock implements Disposable {
  readonly #shm: SharedMemory;
  readonly #participant: Participant;
  readonly #sections: SectionQueue;
  #closed = false;

  private constructor(shm: SharedMemory, repair: Repair | undefined) {
    this.#shm = shm;
    this.#participant = join(shm, repair);
    this.#sections = new SectionQueue(this.#gate());
  }

  /** The POSIX name: "/name". */
  get name(): string {
    return this.#shm.name;
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

  /** Removes the name and the semaphores. Processes that use the lock can go on until one dies in it. ENOENT. */
  static unlink(name: string): void {
    checkName(name, "shm_open");
    unlinkSegment(name);
  }

  /**
   * Counts, holders and waiters at this instant of a lock that this process does not take part in. Takes no slot in it,
   * and read permission is enough. ENOENT, EACCES; EINVAL for an object that is no lock; EAGAIN while it is being made.
   */
  static inspect(name: string): LockStats {
    checkName(name, "shm_open");
    return inspect(name);
  }

  /**
   * Runs `section` beside other readers, never beside a writer, and returns what it returns; an async section holds the lock
   * until it settles. Rejects with IpcError ETIMEDOUT naming the holders; EDEADLK when it is called within a section on this lock,
   * which would wait for itself.
   */
  withRead<T>(section: () => T | PromiseLike<T>, options?: SectionOptions): Promise<T> {
    return this.#sections.run(true, section, options);
  }

  /** As withRead, with nobody else inside. If the section throws, the data is as it left it. */
  withWrite<T>(section: () => T | PromiseLike<T>, options?: SectionOptions): Promise<T> {
    return this.#sections.run(false, section, options);
  }

  /** Counts, and who is inside or waits at this instant. */
  stats(): LockStats {
    if (this.#closed) throw closed(this.name);
    return statsOf(this.#participant.ledger);
  }

  /** Gives up this instance's place. EBUSY while a section of it holds or awaits the lock. */
  close(): void {
    if (this.#closed) return;
    const { semaphores, ledger, slot } = this.#participant;
    if (this.#sections.busy) throw busy(this.name);
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

  #gate(): Gate {
    const participant = this.#participant;
    return {
      identity: lockIdentity(native.fstat(fdOf(this.#shm))),
      refusal: () => (this.#closed ? closed(this.name) : undefined),
      enter: (shared, { timeoutMs, signal, since }) => {
        const kind = kindFor(shared);
        let at: At;
        try {
          at = tryEnter(participant, kind);
        } catch (error) {
          setPhase(participant, Phase.idle);
          throw error;
        }
        if (at === At.inside) return undefined;
        return enterBefore(participant, kind, at, new AcquireDeadline(participant, kind, timeoutMs, signal, since));
      },
      leave: (shared) => leave(participant, kindFor(shared)),
      mayShare: () => !writerWaits(participant.ledger),
      joined: () => participant.ledger.count(slotAt(participant.slot) + Slot.readsLow),
      timedOut: (shared, timeoutMs) => timedOut(participant, kindFor(shared), timeoutMs),
      nested: () => nestedSection(this.name),
    };
  }
}

const kindFor = (shared: boolean): Kind => (shared ? Kinds.read : Kinds.write);

function checked(name: string, { mode = DEFAULT_MODE, repair }: LockOptions): number {
  checkName(name, "sem_open");
  checkNameLength(name);
  checkMode(mode);
  if (repair !== undefined && typeof repair !== "function")
    throw new TypeError(`repair must be a function, not ${kindOf(repair)}`);
  return exactMode(mode);
}
