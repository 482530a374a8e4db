// The one place that knows the implementations of the directory.
import type {
  Directory,
  DirectoryConfig,
  DirectoryHost,
  DirectoryLog,
  HostMaker,
  HostOptions,
  HostRequest,
  OpenOptions,
  SharedAddress,
} from "./directory.ts";
import type { MemberReport } from "./etcd/etcd-status.ts";
import { HostedDirectory } from "./hosted-directory.ts";
import { MemoryHost } from "./memory-directory.ts";
import { compactNameLog } from "./shm/name-log.ts";
import { hostShm, openShm } from "./shm/shm-host.ts";

export { MAX_CAPACITY } from "./shm/table-layout.ts";

/** `shm`: in shared memory, for any number of worker processes. `memory`: in this process alone. */
export type DirectoryKind = "shm" | "memory";

/** Which directory a server has. */
export interface DirectoryChoice {
  readonly directory: DirectoryKind | "etcd";
  /** Of "etcd". */
  readonly shared: SharedAddress | null;
}

/** @throws TalkError usage, refused, bad-data: the address of a shared directory, or its files */
export async function hostMaker({ directory, shared }: DirectoryChoice): Promise<HostMaker> {
  if (directory !== "etcd" || shared === null)
    return (options) => hostDirectory(directory === "memory" ? "memory" : "shm", options);
  const { etcdHostMaker } = await import("./etcd/etcd-host-maker.ts"); // loaded for a shared directory only
  return etcdHostMaker(shared);
}

/**
 * How the members of a shared directory's engine are, each asked for at most so many ms.
 * @throws TalkError usage, refused, bad-data: its address, or its files
 */
export async function engineMembers(shared: Omit<SharedAddress, "realm">, ms: number): Promise<MemberReport[]> {
  const { etcdMembers } = await import("./etcd/etcd-host-maker.ts"); // loaded for a shared directory only
  return etcdMembers(shared, ms);
}

/** @throws IpcError ENOSPC, EACCES; the system's error for the file of names */
export function hostDirectory(kind: DirectoryKind, options: HostOptions): DirectoryHost {
  return kind === "shm" ? hostShm(options) : new MemoryHost(options);
}

/** Opens, in a worker process, what its primary hosts. */
export function openDirectory(config: DirectoryConfig, options: OpenOptions): Directory {
  const table = openShm(config, options);
  const { ask } = options;
  if (config.hosted === undefined || ask === undefined) return table;
  return new HostedDirectory(table, (request: HostRequest) => ask(request), config.hosted.isAway);
}

/** Makes the file of names and keys ready for a host: one whole line for each name. @returns how many names there are */
export const prepareNames: (path: string, log: DirectoryLog) => Promise<number> = compactNameLog;
