// Reads an object of another process in shared memory as a file, without the addon and without mapping it: its owner may cut it short.
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

export const SHM_DIRECTORY = "/dev/shm";

/**
 * What `read` finds in the file, if that is a regular file of that user with that size. Null otherwise, and for what cannot be read; a link
 * is not followed, and a FIFO not waited for.
 */
export function readOwnedFile<T>(path: string, uid: number, bytes: number, read: (fd: number) => T | null): T | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  try {
    const status = fstatSync(fd);
    return status.isFile() && status.uid === uid && status.size === bytes ? read(fd) : null;
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

/** @param length in bytes. @throws Error if the file is shorter by now */
export function wordsIn(fd: number, offset: number, length: number): Int32Array<ArrayBuffer> {
  const words = new Int32Array(length / Int32Array.BYTES_PER_ELEMENT);
  if (readSync(fd, words, 0, length, offset) !== length) throw new Error("truncated");
  return words;
}
