// The directory in which Linux keeps shared memory objects and named semaphores: shm_overview(7), sem_overview(7).
import { constants } from "node:buffer";
import { type Dirent, lstatSync, readdirSync, readFileSync, statfsSync } from "node:fs";
import { IpcError, isCode } from "./error.ts";

const DIRECTORY = "/dev/shm";
/** glibc's prefix for the files of named semaphores, which are not shared memory objects. */
const SEMAPHORE_PREFIX = "sem.";

/** The POSIX names ("/name", sorted) of one kind of object, of every user, that begin with the prefix (its slash may be left out). */
export function listObjects(kind: "memory" | "semaphore", prefix: string): string[] {
  if (typeof prefix !== "string") throw new TypeError("prefix must be a string");
  const wanted = prefix.startsWith("/") ? prefix : `/${prefix}`;
  const names: string[] = [];
  for (const entry of entries()) {
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

function entries(): Dirent[] {
  try {
    return readdirSync(DIRECTORY, { withFileTypes: true });
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    if (errno === undefined) throw error;
    throw new IpcError(-errno, "opendir", DIRECTORY);
  }
}

/**
 * Runs what maps memory. mmap(2) says ENOMEM, "not enough memory", also when the process has as many mappings as the kernel allows
 * (vm.max_map_count, 65,530 as a rule): that gets words of its own.
 */
export function mapping<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!isCode(error, "ENOMEM")) throw error;
    const [most, held] = mappingCounts();
    if (held < most - SPARE_MAPPINGS) throw error;
    const detail = `this process has ${held} mappings, and the kernel allows ${most} (vm.max_map_count): close what is not needed`;
    throw IpcError.of("ENOMEM", error.syscall, error.path, detail);
  }
}

/** The count of mappings is taken after the failure, and V8 gives some back meanwhile. */
const SPARE_MAPPINGS = 100;

function mappingCounts(): [most: number, held: number] {
  try {
    const most = Number(readFileSync("/proc/sys/vm/max_map_count", "utf8"));
    return [most, readFileSync("/proc/self/maps", "utf8").split("\n").length];
  } catch {
    return [Number.POSITIVE_INFINITY, 0];
  }
}

/** Before memory is spent on it: Node 20 maps at most 4 GiB at once. */
export function checkMappable(name: string, size: number): void {
  if (size <= constants.MAX_LENGTH) return;
  const { bavail, bsize } = statfsSync(DIRECTORY);
  if (size > bavail * bsize) throw IpcError.of("ENOSPC", "posix_fallocate", name);
  throw IpcError.of("EFBIG", "mmap", name, `this Node maps at most ${constants.MAX_LENGTH} bytes at once`);
}
