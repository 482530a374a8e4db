// Who takes part in a shared object, as the kernel sees it. Knows nothing of locks or tables: only of bytes locked on a descriptor.
//
// A participant holds an OFD write lock (fcntl_locking(2), "Open file description locks") on one byte of the object for as long
// as it lives. The kernel drops the lock with the last descriptor, however the process ends, so "is it alive?" has an answer that
// survives SIGKILL, pid reuse and pid namespaces. One more byte, the gate, serialises whoever changes the object's membership.
// Bytes lie far beyond any data, where nothing is ever mapped: locking past the end of a file is allowed and allocates nothing.
//
// The object must not be readable by others than its owner or group that may write it: whoever can open a file for reading can
// hold a read lock on it, and so keep its owner from taking a write lock.

import { constants } from "node:fs";
import { native } from "../native.ts";
import { IpcError, isCode } from "./error.ts";

/** Offset in bytes of the gate; seat i is the byte GATE_BYTE + 1 + i. Part of every layout that uses a roster. */
export const GATE_BYTE = 2 ** 40;
/** How long one sleep lasts, in milliseconds, while `withGate` waits for another process's short turn. */
const GATE_POLL_MS = 1;

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Blocks this thread for `ms` milliseconds. Only for turns that are short by construction. */
export function sleepSync(ms: number): void {
  Atomics.wait(pause, 0, 0, ms);
}

export class LivenessLocks {
  readonly fd: number;
  /** Number of seats: the most participants there can be. */
  readonly seats: number;

  /** `fd` is an open, writable descriptor of the object. It stays the caller's: closing it gives up every seat and the gate. */
  constructor(fd: number, seats: number) {
    this.fd = fd;
    this.seats = seats;
  }

  /** Takes the gate if it is free. Never blocks; not recursive (a second call by the same descriptor succeeds, too). */
  tryGate(): boolean {
    return native.lockBytes(this.fd, GATE_BYTE, 1, true);
  }

  releaseGate(): void {
    native.unlockBytes(this.fd, GATE_BYTE, 1);
  }

  /** Whether someone else holds the gate. */
  gateHeld(): boolean {
    return native.testBytes(this.fd, GATE_BYTE, 1) !== -1;
  }

  /**
   * Runs `turn` holding the gate, and gives the gate back whatever happens. Blocks the thread while another holds it: only for
   * objects all of whose holders keep the gate for microseconds. A holder stopped by SIGSTOP keeps it: after `timeoutMs` this
   * throws IpcError ETIMEDOUT, with `what` naming the object.
   */
  withGate<T>(what: string, timeoutMs: number, turn: () => T): T {
    const deadline = performance.now() + timeoutMs;
    while (!this.tryGate()) {
      if (performance.now() >= deadline)
        throw IpcError.of(
          "ETIMEDOUT",
          "fcntl",
          what,
          `another process has held the gate for ${timeoutMs} ms: is it stopped?`,
        );
      sleepSync(GATE_POLL_MS);
    }
    try {
      return turn();
    } finally {
      this.releaseGate();
    }
  }

  /**
   * Takes seat `seat` if nobody else has it. The descriptor's own seats do not count: taking one again succeeds, so callers
   * remember which they have.
   */
  tryClaim(seat: number): boolean {
    return native.lockBytes(this.fd, GATE_BYTE + 1 + seat, 1, true);
  }

  /**
   * Takes the first seat that is free and that `accept` agrees to (asked twice: before the attempt, so that a refused seat is not
   * held for an instant, and once it is ours). Returns its number, or -1 when there is none.
   */
  claimFirst(accept: (seat: number) => boolean = () => true): number {
    for (let seat = 0; seat < this.seats; seat++) {
      if (!accept(seat) || !this.tryClaim(seat)) continue;
      if (accept(seat)) return seat;
      this.release(seat);
    }
    return -1;
  }

  release(seat: number): void {
    native.unlockBytes(this.fd, GATE_BYTE + 1 + seat, 1);
  }

  /** Whether a live participant other than this descriptor has the seat. */
  isHeld(seat: number): boolean {
    return native.testBytes(this.fd, GATE_BYTE + 1 + seat, 1) !== -1;
  }

  /**
   * Whether a participant other than this descriptor has the seat, for objects that others may read: they can hold read locks, which
   * {@link isHeld} would take for a participant's.
   */
  isOwned(seat: number): boolean {
    return native.isWriteLocked(this.fd, GATE_BYTE + 1 + seat, 1);
  }

  /** The seat of some other live participant, or -1 when this descriptor is alone. One system call. */
  someoneElse(): number {
    const offset = native.testBytes(this.fd, GATE_BYTE + 1, this.seats);
    // A conflicting lock may start before the range asked for (someone locked the whole file): that is someone, too.
    return offset === -1 ? -1 : Math.max(0, offset - GATE_BYTE - 1);
  }

  /** Whether the object still has a name at all. Final once asked under the gate, when everyone who unlinks holds the gate. */
  isLinked(): boolean {
    return native.fstat(this.fd).nlink > 0;
  }

  /** Whether `name` leads to this very object now, rather than to nothing or to a successor. */
  isNamed(name: string): boolean {
    const own = native.fstat(this.fd);
    if (own.nlink === 0) return false;
    let other: number;
    try {
      other = native.shmOpen(name, constants.O_RDONLY, 0);
    } catch (error) {
      if (isCode(error, "ENOENT")) return false;
      throw error;
    }
    try {
      const named = native.fstat(other);
      return named.ino === own.ino && named.dev === own.dev;
    } finally {
      native.closeFd(other);
    }
  }
}
