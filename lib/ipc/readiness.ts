// Waiting, on the event loop, until a descriptor can be read or written.
import { native } from "../native.ts";
import { IpcError } from "./error.ts";
import { abortError } from "./semaphore-wait.ts";

export interface ReadinessOptions {
  /** Gives up after so many milliseconds. Default: never. */
  readonly ms?: number;
  readonly signal?: AbortSignal | undefined;
  /** Waits for room to write instead. */
  readonly writable?: boolean;
}

/**
 * Resolves with true when the descriptor can be read (or written): poll(2); with false when `ms` have passed. Rejects with an AbortError when
 * `signal` aborts. Keeps the process alive meanwhile.
 */
export function readiness(
  fd: number,
  { ms = Number.POSITIVE_INFINITY, signal, writable = false }: ReadinessOptions = {},
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortError(signal));
    const forget = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    const onAbort = () => {
      native.watchStop(id);
      forget();
      reject(abortError(signal));
    };
    const onTimeout = () => {
      native.watchStop(id);
      forget();
      resolve(false);
    };
    const id = native.watchStart(fd, writable, (status) => {
      forget();
      if (status < 0) reject(new IpcError(-status, "poll"));
      else resolve(true);
    });
    const timer = Number.isFinite(ms) ? setTimeout(onTimeout, Math.min(ms, LONGEST_TIMER_MS)) : undefined;
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** What a timer can hold: 24.8 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
