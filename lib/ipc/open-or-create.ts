// Opening what may or may not exist yet, for shared memory and semaphores alike.
import { IpcError, isCode } from "./error.ts";

/** How long somebody else's object may stay without a size before its creator counts as dead. */
export const NOT_READY_MS = 1000;
const POLL_MS = 2;
/** Each round lost means that somebody removed or made the object between two calls. */
const MAX_ROUNDS = 1000;

const sleepWord = new Int32Array(new SharedArrayBuffer(4));

/**
 * Opens before it creates: with fs.protected_regular, O_CREAT on another user's object in the sticky /dev/shm is EACCES.
 * `adopt` is tried when the object has had no size for NOT_READY_MS; undefined from it means look again.
 */
export function openOrCreateShared<T>(open: () => T, create: () => T, adopt?: () => T | undefined): T {
  let unfinishedSince: number | undefined;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    try {
      return open();
    } catch (error) {
      if (isCode(error, "EAGAIN") && adopt) {
        unfinishedSince ??= performance.now();
        if (performance.now() - unfinishedSince > NOT_READY_MS) {
          const adopted = adopt();
          if (adopted !== undefined) return adopted;
        }
        Atomics.wait(sleepWord, 0, 0, POLL_MS);
        continue;
      }
      if (!isCode(error, "ENOENT")) throw error;
    }
    try {
      return create();
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error;
    }
  }
  throw IpcError.of("EBUSY", "open", undefined, `it was removed and made again ${MAX_ROUNDS} times meanwhile`);
}
