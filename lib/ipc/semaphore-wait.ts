// Waits that leave the event loop alone: the addon waits on a thread and announces the wait's id through a pipe.
import { native } from "../native.ts";
import { IpcError, isCode } from "./error.ts";
import { RecordPipe } from "./record-pipe.ts";

export interface WaitOptions {
  /** Gives up, with `false`, after this many milliseconds (monotonic clock). Default: never. */
  timeoutMs?: number;
  /** Aborting rejects with an AbortError, and takes nothing from the semaphore. */
  signal?: AbortSignal;
}

/** Below 0 the addon waits without limit. */
const NO_LIMIT = -1;
const ID_BYTES = 4;

const settlers = new Map<number, () => void>();
let pipe: RecordPipe | undefined;

function openPipe(): RecordPipe {
  if (pipe) return pipe;
  pipe = new RecordPipe(native.completionFd(), ID_BYTES, (words) => settlers.get(words[0] ?? 0)?.());
  // A thread may take a token while the process ends, and nobody would ever give it back.
  process.once("exit", () => {
    if (settlers.size > 0) native.semWaitAbandon();
  });
  return pipe;
}

function start(handle: number, ms: number): number {
  try {
    return native.semWaitStart(handle, ms);
  } catch (error) {
    if (!isCode(error, "EAGAIN")) throw error;
    throw IpcError.of("EAGAIN", error.syscall, undefined, `${settlers.size} waits are pending; at most 1024 can be`);
  }
}

/** What an aborted wait rejects with, whatever the reason given to abort(): that is its cause. */
export function abortError(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  if (reason instanceof Error && reason.name === "AbortError") return reason;
  const error = new Error("the wait was aborted", { cause: reason });
  error.name = "AbortError";
  return Object.assign(error, { code: "ABORT_ERR" });
}

/** Resolves with whether it got one; rejects with the signal's AbortError. `ms` may be Infinity. The handle may be closed meanwhile. */
export function waitOnThread(handle: number, ms: number, signal?: AbortSignal): Promise<boolean> {
  const completions = openPipe();
  const id = start(handle, Number.isFinite(ms) ? ms : NO_LIMIT);
  return new Promise((resolve, reject) => {
    const forget = () => {
      settlers.delete(id);
      signal?.removeEventListener("abort", onAbort);
      if (settlers.size === 0) completions.release();
    };
    const onAbort = () => {
      native.semWaitCancel(id);
      forget();
      reject(abortError(signal));
    };
    settlers.set(id, () => {
      forget();
      try {
        resolve(native.semWaitCollect(id) === true);
      } catch (error) {
        reject(error);
      }
    });
    completions.hold();
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
