// Waiting, on the event loop, until a descriptor can be read or written.
import { native } from "../native.ts";
import { IpcError } from "./error.ts";
import { abortError } from "./semaphore-wait.ts";

/**
 * Resolves when the descriptor can be read (or written): poll(2). Rejects with an AbortError when `signal` aborts. Keeps the process
 * alive meanwhile.
 */
export function readiness(fd: number, signal?: AbortSignal, writable = false): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortError(signal));
    const onAbort = () => {
      native.watchStop(id);
      reject(abortError(signal));
    };
    const id = native.watchStart(fd, writable, (status) => {
      signal?.removeEventListener("abort", onAbort);
      if (status < 0) reject(new IpcError(-status, "poll"));
      else resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
