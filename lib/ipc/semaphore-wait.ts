// Waits that leave the event loop alone: the addon waits on a thread and calls back with the wait's id.
import { native } from "../native.ts";
import { IpcError, isCode } from "./error.ts";

/** For calls that wait. */
export interface WaitOptions {
  /** Gives up, with `false`, after this many milliseconds (monotonic clock). Default: never. */
  timeoutMs?: number;
  /** Aborting rejects with an AbortError, and takes nothing from the semaphore. */
  signal?: AbortSignal;
}

/** Below 0 the addon waits without limit. */
const NO_LIMIT = -1;

const settlers = new Map<number, () => void>();
let listening = false;

function listen(): void {
  if (listening) return;
  listening = true;
  native.waitListen((id) => settlers.get(id)?.());
  // A thread may take a token while the process ends, and nobody would ever give it back.
  process.once("exit", () => {
    if (settlers.size > 0) native.waitAbandon();
  });
}

/** What an aborted wait rejects with, whatever the reason given to abort(): that is its cause. */
export function abortError(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  if (reason instanceof Error && reason.name === "AbortError") return reason;
  const error = new Error("the wait was aborted", { cause: reason });
  error.name = "AbortError";
  return Object.assign(error, { code: "ABORT_ERR" });
}

/**
 * Runs a wait that `start` begins on a thread, for `ms` milliseconds or for ever (Infinity). Resolves with whether it got what it waited
 * for; rejects with the signal's AbortError. EAGAIN when 1024 waits are pending.
 */
function waitOnThread(start: (ms: number) => number, ms: number, signal: AbortSignal | undefined): Promise<boolean> {
  listen();
  const id = started(start, Number.isFinite(ms) ? ms : NO_LIMIT);
  return new Promise((resolve, reject) => {
    const forget = () => {
      settlers.delete(id);
      signal?.removeEventListener("abort", onAbort);
      if (settlers.size === 0) native.waitHold(false);
    };
    const onAbort = () => {
      native.waitCancel(id);
      forget();
      reject(abortError(signal));
    };
    if (settlers.size === 0) native.waitHold(true);
    settlers.set(id, () => {
      forget();
      try {
        resolve(native.waitCollect(id) === true);
      } catch (error) {
        reject(error);
      }
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

function started(start: (ms: number) => number, ms: number): number {
  try {
    return start(ms);
  } catch (error) {
    if (!isCode(error, "EAGAIN")) throw error;
    throw IpcError.of("EAGAIN", error.syscall, undefined, `${settlers.size} waits are pending; at most 1024 can be`);
  }
}

/** Takes one of the semaphore. The handle may be closed meanwhile. */
export function waitForToken(handle: number, ms: number, signal?: AbortSignal): Promise<boolean> {
  return waitOnThread((limit) => native.semWaitStart(handle, limit), ms, signal);
}

/** Until the word is not `expected`, or somebody wakes who waits for it: the caller looks again, whatever it says. */
export function waitForWord(
  words: Int32Array,
  index: number,
  expected: number,
  ms: number,
  signal?: AbortSignal,
): Promise<boolean> {
  return waitOnThread((limit) => native.wordWaitStart(words, index, expected, limit), ms, signal);
}

/** How long a wait polls between turns of the event loop before it takes a thread, in milliseconds: about what hearing from one takes. */
const POLL_MS = 0.1;
/** Polls in vain, in a row, each half as long as the one before, after which only every POLL_AGAINth wait polls. */
const MOST_VAIN = 4;
const POLL_AGAIN = 32;

/**
 * Polls for what comes soon: an answer that is quick costs no thread. Remembers whether that was of use, so that a server whose waits take
 * minutes does not spend POLL_MS of processor time on each.
 */
export class Polling {
  #vain = 0;
  #skipped = 0;

  /** Resolves with true once `attempt` has succeeded; with false if it has not for as long as polling is worth it. Never rejects. */
  until(attempt: () => boolean, ms: number, signal?: AbortSignal): Promise<boolean> {
    const end = performance.now() + Math.min(ms, this.#worthwhile());
    return new Promise((resolve) => {
      const look = () => {
        if (signal?.aborted) return resolve(false);
        if (succeeds(attempt)) {
          this.#vain = 0;
          return resolve(true);
        }
        if (performance.now() < end) {
          native.yieldProcessor(); // to the one that is waited for, perhaps
          return void setImmediate(look);
        }
        this.#vain++;
        resolve(false);
      };
      setImmediate(look);
    });
  }

  #worthwhile(): number {
    if (this.#vain < MOST_VAIN) return POLL_MS / 2 ** this.#vain;
    if (++this.#skipped < POLL_AGAIN) return 0;
    this.#skipped = 0;
    return POLL_MS;
  }
}

/** An error is left to the wait itself to report. */
function succeeds(attempt: () => boolean): boolean {
  try {
    return attempt();
  } catch {
    return false;
  }
}

/**
 * What a failed {@link waitForWord} means to a loop that looks again: without a thread to wait on (EAGAIN, 1024 waits are pending) the wait is a
 * pause of `pauseMs`; the loop itself sees an abort, and an object that was closed meanwhile (EFAULT).
 */
export function pauseWithoutThread(pauseMs: number): (error: unknown) => Promise<void> {
  return async (error) => {
    if (isCode(error, "EFAULT")) return;
    if (isCode(error, "EAGAIN")) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    else if (!(error instanceof Error && error.name === "AbortError")) throw error;
  };
}
