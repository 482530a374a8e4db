// A lock that the kernel holds for an open file description, on some of its bytes: fcntl_locking(2), F_OFD_SETLK. It goes with the
// descriptor, however the process ends. The kernel does not announce that it is free again, so a waiter tries again
// when `wait` returns.
import { setTimeout as sleep } from "node:timers/promises";
import { native } from "../native.ts";
import { IpcError } from "./error.ts";
import { abortedWait, type Patience } from "./section-queue.ts";

export interface ByteRange {
  readonly fd: number;
  readonly start: number;
  /** 0: to the end of the file, however long it becomes. */
  readonly length: number;
}

/** One turn of waiting, `ms` at most; may return at any time. */
export type WaitTurn = (ms: number, signal: AbortSignal | undefined) => Promise<void>;

/**
 * Takes the lock, at once or within the caller's patience. `turn` waits between two attempts. ETIMEDOUT says what `inTheWay` says. Caller's own
 * lock on the bytes would be changed, not waited for: one at a time.
 */
export function acquire(
  range: ByteRange,
  shared: boolean,
  patience: Patience,
  turn: () => WaitTurn,
  timedOut: () => Error,
): undefined | Promise<void> {
  return tryLock(range, shared) ? undefined : acquireLater(range, shared, patience, turn(), timedOut);
}

async function acquireLater(
  range: ByteRange,
  shared: boolean,
  { timeoutMs, signal, since }: Patience,
  turn: WaitTurn,
  timedOut: () => Error,
): Promise<void> {
  const deadline = (since ?? performance.now()) + timeoutMs;
  for (;;) {
    const left = deadline - performance.now();
    if (left <= 0) throw timedOut();
    await turn(left, signal);
    if (signal?.aborted) throw abortedWait(signal);
    if (tryLock(range, shared)) return;
  }
}

export function tryLock({ fd, start, length }: ByteRange, shared: boolean): boolean {
  return native.lockBytes(fd, start, length, !shared);
}

export function unlock({ fd, start, length }: ByteRange): void {
  native.unlockBytes(fd, start, length);
}

/** Whether somebody else's lock is in the way of an exclusive one. */
export function isLockedByOthers({ fd, start, length }: ByteRange): boolean {
  return native.testBytes(fd, start, length) !== -1;
}

/** The first and the longest pause between two attempts where no process wakes the waiter, in milliseconds. */
const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 25;

/** Growing pauses, each of random length, so that the waiters do not all try at once. */
export function growingPauses(): WaitTurn {
  let longest = FIRST_PAUSE_MS;
  return async (ms, signal) => {
    const pause = Math.min(ms, longest * (0.5 + Math.random() / 2));
    longest = Math.min(2 * longest, LONGEST_PAUSE_MS);
    await sleep(pause, undefined, signal ? { signal } : {}).catch(() => {}); // aborted: the caller sees
  };
}

export function lockTimedOut(name: string, what: string, timeoutMs: number, inTheWay: string): IpcError {
  return IpcError.of("ETIMEDOUT", "fcntl", name, `no ${what} within ${timeoutMs} ms; ${inTheWay}`);
}
