// Every POSIX object of this host: shared memory and semaphores in /dev/shm, message queues in /dev/mqueue, the
// processes that have them open (proc(5): /proc/PID/fd and maps) and how many locks are held on them (/proc/locks).
import { lstatSync, readdirSync, readFileSync, readlinkSync, type Stats, statSync } from "node:fs";

/** One POSIX object of this host, as `hostObjects()` finds it. */
export interface HostObject {
  /** The POSIX name: "/name". */
  readonly name: string;
  readonly kind: "memory" | "semaphore" | "queue";
  /** Owner. */
  readonly uid: number;
  /** Bytes. Of a queue those of the messages that wait; null where this process may not read it. */
  readonly size: number | null;
  /** Permission bits. */
  readonly mode: number;
  /** Processes that have it open or mapped, in ascending order. Only root sees those of other users. */
  readonly openBy: readonly number[];
  /** Record locks (fcntl, open file description, flock) that are held on it. */
  readonly locks: number;
}

const SHM = "/dev/shm";
/** Where Linux shows queues as files, if it is mounted: mq_overview(7). */
const MQUEUE = "/dev/mqueue";
/** glibc's prefix for the files of named semaphores. */
const SEMAPHORE_PREFIX = "sem.";

/**
 * Every POSIX object that is there at this instant, of every user, sorted by kind and name. Reads the descriptors and mappings of
 * every process: some milliseconds for a hundred of them. What goes away meanwhile is left out, and so are queues where /dev/mqueue is
 * not mounted. Objects of another mount namespace (a private /dev/shm) do not show.
 * @see https://man7.org/linux/man-pages/man7/shm_overview.7.html
 */
export function hostObjects(): HostObject[] {
  const files = [...filesOf(SHM), ...filesOf(MQUEUE)];
  const users = usersOf(new Set(files.map(({ status }) => keyOf(status))));
  const locks = heldLocks();
  const objects = files.map(({ directory, file, status }): HostObject => {
    const isSemaphore = directory === SHM && file.startsWith(SEMAPHORE_PREFIX);
    const key = keyOf(status);
    return {
      name: `/${isSemaphore ? file.slice(SEMAPHORE_PREFIX.length) : file}`,
      kind: directory === MQUEUE ? "queue" : isSemaphore ? "semaphore" : "memory",
      uid: status.uid,
      size: directory === MQUEUE ? waitingBytes(file) : status.size,
      mode: status.mode & 0o7777,
      openBy: [...(users.get(key) ?? [])].sort((a, b) => a - b),
      locks: locks.get(key) ?? 0,
    };
  });
  return objects.sort((a, b) => compare(a.kind, b.kind) || compare(a.name, b.name));
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Names that are not UTF-8 would not be found again: they are read as bytes. */
function* filesOf(directory: string) {
  for (const bytes of namesIn(directory)) {
    const path = Buffer.concat([Buffer.from(`${directory}/`), bytes]);
    const status = unlessGone(() => lstatSync(path));
    if (status?.isFile()) yield { directory, file: bytes.toString(), status };
  }
}

const namesIn = (directory: string): Buffer[] => unlessGone(() => readdirSync(directory, { encoding: "buffer" })) ?? [];

/** By device and inode, not by path: glibc makes a semaphore under another name than it links it to, and tmpfs counts from 1. */
const keyOf = ({ dev, ino }: Pick<Stats, "dev" | "ino">): string => `${dev}:${ino}`;

/** The device as /proc writes it, "00:1b", as the number that stat(2) gives: makedev(3). */
function deviceOf(text: string): number {
  const [major = 0, minor = 0] = text.split(":").map((part) => Number.parseInt(part, 16));
  return major * 0x100 + (minor & 0xff) + (minor & ~0xff) * 0x1000;
}

/** For each of the objects, the processes that have it open or mapped. */
function usersOf(objects: ReadonlySet<string>): Map<string, Set<number>> {
  const users = new Map<string, Set<number>>();
  const note = (key: string, pid: number) => {
    if (objects.has(key)) users.set(key, (users.get(key) ?? new Set()).add(pid));
  };
  for (const process of unlessGone(() => readdirSync("/proc")) ?? []) {
    if (!/^\d+$/.test(process)) continue;
    const pid = Number(process);
    for (const fd of unlessGone(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      const link = `/proc/${pid}/fd/${fd}`;
      const path = unlessGone(() => readlinkSync(link)) ?? "";
      // A queue's path begins at the root of its own file system.
      if (!path.startsWith(`${SHM}/`) && path.lastIndexOf("/") !== 0) continue;
      const status = unlessGone(() => statSync(link));
      if (status !== undefined) note(keyOf(status), pid);
    }
    // proc_pid_maps(5): "address perms offset dev inode path"
    for (const line of textOf(`/proc/${pid}/maps`).split("\n")) {
      if (!line.includes(` ${SHM}/`)) continue;
      const [, , , device = "", inode] = line.split(/ +/);
      note(keyOf({ dev: deviceOf(device), ino: Number(inode) }), pid);
    }
  }
  return users;
}

/** proc_locks(5): "1: OFDLCK ADVISORY WRITE -1 00:1a:42 0 EOF". Those that wait for one have "->" after the number. */
function heldLocks(): Map<string, number> {
  const locks = new Map<string, number>();
  for (const line of textOf("/proc/locks").split("\n")) {
    const [, device = "", inode] = line.includes("->") ? [] : (/ ([\da-f]+:[\da-f]+):(\d+) /.exec(line) ?? []);
    if (inode === undefined) continue;
    const key = keyOf({ dev: deviceOf(device), ino: Number(inode) });
    locks.set(key, (locks.get(key) ?? 0) + 1);
  }
  return locks;
}

/** mq_overview(7): "QSIZE:129     NOTIFY:2    SIGNO:0    NOTIFY_PID:8260" */
function waitingBytes(queue: string): number | null {
  const bytes = /^QSIZE:(\d+)/.exec(textOf(`${MQUEUE}/${queue}`))?.[1];
  return bytes === undefined ? null : Number(bytes);
}

const textOf = (path: string): string => unlessGone(() => readFileSync(path, "utf8")) ?? "";

/** What has gone, or may not be read, is undefined. */
function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Error && "errno" in error) return undefined;
    throw error;
  }
}
