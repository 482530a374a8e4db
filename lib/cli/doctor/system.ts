// What ptalk needs of Node and of the kernel: addon, shared memory, limits.
import { readdirSync, readFileSync, statfsSync, statSync } from "node:fs";
import { userName } from "../../base/users.ts";
import { deadServers } from "../../directory/live-server.ts";
import { type Finding, fail, messageOf, ok, warn } from "./check.ts";

const SHM = "/dev/shm";
/** Room that a server of the usual capacity and one user's local table take, in bytes, with some to spare. */
const SHM_NEEDED = 8 * 1024 * 1024;
const NOFILE_NEEDED = 1024; // a server has one descriptor a client
const PROBE_BYTES = 4096;

export function checkNode(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const good = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
  const detail = `Node ${process.versions.node}, ${process.platform} ${process.arch}`;
  return good ? ok("node", detail) : fail("node", detail, "use Node 20.19 or later, or 22.12 or later");
}

/** Loads the addon, and makes, uses and removes a real object of each kind. */
export async function checkIpc(): Promise<Finding[]> {
  let ipc: typeof import("../../ipc/index.ts");
  try {
    ipc = await import("../../ipc/index.ts");
  } catch (error) {
    return [fail("addon", messageOf(error), "see docs/OPERATIONS.md, Install")];
  }
  const name = `/ptalk-doctor-${process.pid}`;
  const use = (what: string, probe: () => void): Finding => {
    try {
      probe();
      return ok(what, "works");
    } catch (error) {
      return fail(what, messageOf(error), `see that ${SHM} is mounted, has room, and that this user may write there`);
    }
  };
  return [
    ok("addon", "loads"),
    use("shared memory", () => {
      using shm = ipc.SharedMemory.create(name, { size: PROBE_BYTES, mode: 0o600 });
      shm.unlink();
    }),
    use("semaphore", () => {
      using semaphore = ipc.Semaphore.create(name, { value: 1, mode: 0o600 });
      semaphore.unlink();
      if (!semaphore.tryWait()) throw new Error("a semaphore of value 1 could not be taken");
    }),
  ];
}

export function checkShm(): Finding {
  try {
    const { type, bsize, bavail } = statfsSync(SHM);
    const free = bavail * bsize;
    const isTmpfs = type === 0x01021994; // TMPFS_MAGIC, linux/magic.h
    const detail = `${isTmpfs ? "tmpfs" : "not a tmpfs"}, ${(free / 2 ** 20).toFixed(0)} MiB free`;
    if (free < SHM_NEEDED)
      return warn(SHM, detail, "make room there: ptalk ipc --clean, or mount it larger (docker run --shm-size)");
    if (!isTmpfs) return warn(SHM, detail, "glibc keeps POSIX objects there: mount a tmpfs on it");
    if ((statSync(SHM).mode & 0o1000) === 0)
      return warn(SHM, detail, "it has no sticky bit: others can remove your objects (chmod 1777)");
    return ok(SHM, detail);
  } catch (error) {
    return fail(SHM, messageOf(error), "mount a tmpfs there");
  }
}

/** What killed servers have left whose users have no process that would take it away. */
export function checkRemains(): Finding {
  const name = "left behind";
  const owners = new Set(deadServers().map(({ uid }) => uid));
  if (owners.size === 0) return ok(name, "nothing of dead servers");
  const users = [...owners].map(userName).join(", ");
  return warn(
    name,
    `objects of dead servers in ${SHM}, of ${users}: they take memory and harm nobody`,
    "the next ptalk of their user takes them away",
  );
}

export function checkLimits(): Finding[] {
  const limits = readIfAny("/proc/self/limits") ?? "";
  const soft = (label: string): number => {
    const value = new RegExp(`^${label}\\s+(\\S+)`, "m").exec(limits)?.[1];
    return value === "unlimited" || value === undefined ? Number.POSITIVE_INFINITY : Number(value);
  };
  const files = soft("Max open files");
  const signals = soft("Max pending signals");
  return [
    files >= NOFILE_NEEDED
      ? ok("open files", `limit ${files}`)
      : warn("open files", `limit ${files}`, "a server takes no more clients than that: raise it (ulimit -n)"),
    signals > 0
      ? ok("pending signals", `limit ${signals}`)
      : warn("pending signals", "limit 0", "queued signals are refused: raise it (ulimit -i)"),
  ];
}

/** systemd-logind removes a user's objects at the last logout, unless told otherwise (logind.conf(5), RemoveIPC). */
export function checkRemoveIpc(uid: number): Finding {
  const SYSTEM_UID_MAX = 999; // logind spares system users
  if (uid <= SYSTEM_UID_MAX || readIfAny("/run/systemd/seats/seat0") === undefined)
    return ok("RemoveIPC", "does not apply");
  if (/^\s*RemoveIPC\s*=\s*(no|false|0|off)\b/im.test(logindConfiguration())) return ok("RemoveIPC", "off");
  return warn(
    "RemoveIPC",
    "systemd-logind deletes this user's shared memory at the last logout",
    "for a client or server that outlives the session: loginctl enable-linger, or RemoveIPC=no in logind.conf",
  );
}

/** fs.protected_regular matters for objects of others in the sticky /dev/shm; ptalk opens before it creates. */
export function checkProtected(): Finding {
  const value = readIfAny("/proc/sys/fs/protected_regular")?.trim();
  return ok("fs.protected_regular", value === undefined ? "not known" : `${value} (any value works)`);
}

/** What /proc(5) hides of other users' processes, and what that means for List. */
export function checkProc(): Finding {
  const mount = readIfAny("/proc/self/mounts")
    ?.split("\n")
    .map((line) => line.split(" "))
    .findLast(([, point, type]) => point === "/proc" && type === "proc");
  if (mount === undefined)
    return warn(
      "/proc",
      "not mounted",
      "List shows nobody without it, and a dead process cannot be told from a live one",
    );
  const hidden = /(?:^|,)hidepid=([^,]+)/.exec(mount[3] ?? "")?.[1];
  if (hidden === undefined || hidden === "0" || hidden === "off") return ok("/proc", "shows every process");
  return ok(
    "/proc",
    `hidepid=${hidden}: other users' processes are hidden; List shows their clients by the kernel's word that a process of that number is there`,
  );
}

function logindConfiguration(): string {
  const folder = "/etc/systemd/logind.conf.d";
  let extra: string[] = [];
  try {
    extra = readdirSync(folder).map((file) => readIfAny(`${folder}/${file}`) ?? "");
  } catch {
    // Usually there is no such folder.
  }
  return [readIfAny("/etc/systemd/logind.conf") ?? "", ...extra].join("\n");
}

function readIfAny(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
