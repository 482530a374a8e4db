// The one place that knows the implementations of the directory.
import type { Directory, DirectoryConfig, DirectoryHost, DirectoryLog, HostOptions, OpenOptions } from "./directory.ts";
import { MemoryHost } from "./memory-directory.ts";
import { compactNameLog } from "./shm/name-log.ts";
import { hostShm, openShm } from "./shm/shm-host.ts";

export { MAX_CAPACITY } from "./shm/table-layout.ts";

/** `shm`: in shared memory, for any number of worker processes. `memory`: in this process alone. */
export type DirectoryKind = "shm" | "memory";

/** @throws IpcError ENOSPC, EACCES; the system's error for the file of names */
export function hostDirectory(kind: DirectoryKind, options: HostOptions): DirectoryHost {
  return kind === "shm" ? hostShm(options) : new MemoryHost(options);
}

/** Opens, in a worker process, what its primary hosts. */
export function openDirectory(config: DirectoryConfig, options: OpenOptions): Directory {
  return openShm(config, options);
}

/** Makes the file of names and keys ready for a host: one whole line for each name. @returns how many names there are */
export const prepareNames: (path: string, log: DirectoryLog) => Promise<number> = compactNameLog;
