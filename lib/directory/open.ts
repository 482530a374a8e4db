// The one place that knows the implementations of the directory.
import type { Directory, DirectoryConfig, DirectoryLog, HostReservation, OpenOptions } from "./directory.ts";
import { MemoryHost } from "./memory-directory.ts";
import { compactNameLog } from "./shm/name-log.ts";
import { livingOwner } from "./shm/server-objects.ts";
import { openShm, reserveShm } from "./shm/shm-host.ts";

export { MAX_CAPACITY } from "./shm/table-layout.ts";

/** `shm`: in shared memory, for any number of worker processes. `memory`: in this process alone. */
export type DirectoryKind = "shm" | "memory";

export interface ReserveOptions {
  readonly kind: DirectoryKind;
  /** TCP port of the server: one server a port has the objects in shared memory. */
  readonly port: number;
  readonly log: DirectoryLog;
}

/** @throws TalkError unreachable, naming the pid of the server that has the port's objects; refused if they are another user's */
export function reserveDirectory({ kind, port, log }: ReserveOptions): HostReservation {
  if (kind === "shm") return reserveShm(port, log);
  return { create: (options) => new MemoryHost(options), release: () => {} };
}

/** Opens, in a worker process, what its primary hosts. */
export function openDirectory(config: DirectoryConfig, options: OpenOptions): Directory {
  return openShm(config, options);
}

/** Makes the file of names and keys ready for a host: one whole line for each name. @returns how many names there are */
export const prepareNames: (path: string, log: DirectoryLog) => Promise<number> = compactNameLog;

/** Pid of the server whose objects live on that port, null if there is none. */
export const servingPid: (port: number) => number | null = livingOwner;
