// Waiting for whichever comes first of several things.
import { Event } from "./event.ts";
import { checkMilliseconds, kindOf } from "./names.ts";
import { type ProcessExit, processExit } from "./process-exit.ts";
import { newsOf, popOrEnd, RingBuffer } from "./ring-buffer.ts";
import { Semaphore } from "./semaphore.ts";
import { abortError, type WaitOptions } from "./semaphore-wait.ts";

/** What can be waited for: a process's end by its number, as `{ pid }`. */
export type Awaitable = Semaphore | Event | RingBuffer | { readonly pid: number };

/** The first that came: its place in the list, and what it gave. */
export interface First {
  readonly index: number;
  /** Of a semaphore true (one was taken), of an event true, of a ring (a reader's) a message or null at its end, of a process how it ended. */
  readonly value: boolean | Buffer | null | ProcessExit;
}

/**
 * Waits for whichever of the sources comes first, and takes of that one only: what another semaphore or ring had given at the same instant stays
 * there for others. null when `timeoutMs` have passed. Rejects with an AbortError when `signal` aborts, and with the first source's error
 * (ESRCH for a process that is gone, ECONNRESET of a ring, EBADF).
 */
export function waitAny(sources: readonly Awaitable[], { timeoutMs, signal }: WaitOptions = {}): Promise<First | null> {
  return new Promise((resolve, reject) => {
    check(sources);
    if (timeoutMs !== undefined) checkMilliseconds("timeoutMs", timeoutMs);
    if (signal?.aborted) throw abortError(signal);
    let decided = false;
    const rest = new AbortController();
    const decide = () => {
      decided = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      rest.abort();
    };
    const onAbort = () => {
      decide();
      reject(abortError(signal));
    };
    // Taking and deciding are one synchronous step: each value that is taken has a receiver.
    const offerOf =
      (index: number): Offer =>
      (take) => {
        if (decided) return false;
        const value = take();
        if (value === undefined) return false;
        decide();
        resolve({ index, value });
        return true;
      };
    const onTimeout = () => {
      decide();
      resolve(null);
    };
    const timer =
      timeoutMs === undefined || timeoutMs === Number.POSITIVE_INFINITY ? undefined : setTimeout(onTimeout, timeoutMs);
    signal?.addEventListener("abort", onAbort, { once: true });
    for (const [index, source] of sources.entries()) {
      if (decided) return;
      awaitOne(source, offerOf(index), rest.signal).catch((error) => {
        if (decided) return;
        decide();
        reject(error);
      });
    }
  });
}

type Value = First["value"];
/** Takes, unless something else has been taken; false: not taken, or there was nothing. */
type Offer = (take: () => Value | undefined) => boolean;

async function awaitOne(source: Awaitable, offer: Offer, signal: AbortSignal): Promise<void> {
  if (source instanceof Semaphore) {
    if (offer(() => source.tryWait() || undefined)) return;
    await source.waitAsync({ signal });
    if (!offer(() => true)) source.post();
  } else if (source instanceof Event) {
    await source.wait({ signal });
    offer(() => true);
  } else if (source instanceof RingBuffer) {
    while (!signal.aborted && !offer(() => popOrEnd(source))) await newsOf(source, signal);
  } else {
    const exit = await processExit(source.pid, { signal });
    offer(() => exit);
  }
}

function check(sources: unknown): void {
  if (!Array.isArray(sources) || sources.length === 0) throw new TypeError("sources must be an array of at least one");
  for (const source of sources) {
    if (source instanceof Semaphore || source instanceof Event || source instanceof RingBuffer) continue;
    if (typeof source !== "object" || source === null || typeof source.pid !== "number")
      throw new TypeError(`a source is a Semaphore, an Event, a RingBuffer or { pid }, not ${kindOf(source)}`);
  }
}
