// The directory in which Linux keeps shared memory objects and named semaphores: shm_overview(7), sem_overview(7).
import { constants } from "node:buffer";
import { lstatSync, readdirSync, statfsSync } from "node:fs";
import { IpcError } from "./error.ts";

const DIRECTORY = "/dev/shm";
/** glibc's prefix for the files of named semaphores, which are not shared memory objects. */
const SEMAPHORE_PREFIX = "sem.";

/** The POSIX names ("/name", sorted) of one kind of object, of every user, that begin with the prefix (its slash may be left out). */
export function listObjects(kind: "memory" | "semaphore", prefix: string): string[] {
  if (typeof prefix !== "string") throw new TypeError("prefix must be a string");
  const wanted = prefix.startsWith("/") ? prefix : `/${prefix}`;
  const names: string[] = [];
  for (const entry of readdirSync(DIRECTORY, { withFileTypes: true })) {
    const isSemaphore = entry.name.startsWith(SEMAPHORE_PREFIX);
    if (!entry.isFile() || isSemaphore !== (kind === "semaphore")) continue;
    const name = `/${isSemaphore ? entry.name.slice(SEMAPHORE_PREFIX.length) : entry.name}`;
    if (name.startsWith(wanted)) names.push(name);
  }
  return names.sort();
}

/** Which shared memory object has the name now, as text to compare; "" for none. */
export function objectBehind(name: string): string {
  const status = lstatSync(`${DIRECTORY}${name}`, { throwIfNoEntry: false });
  return status === undefined ? "" : `${status.dev}:${status.ino}`;
}

/** Before memory is spent on it: Node 20 maps at most 4 GiB at once. */
export function checkMappable(name: string, size: number): void {
  if (size <= constants.MAX_LENGTH) return;
  const { bavail, bsize } = statfsSync(DIRECTORY);
  if (size > bavail * bsize) throw IpcError.of("ENOSPC", "posix_fallocate", name);
  throw IpcError.of("EFBIG", "mmap", name, `this Node maps at most ${constants.MAX_LENGTH} bytes at once`);
}
