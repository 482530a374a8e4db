// The end of a process that is no child of this one, for `ptalk when PID`: which program it was, how it ended, how long
// it lived.
//
//  1. The process is held first (pidfd_open(2)); only then /proc is read, so that both are about the same one.
//  2. Its end is waited for.
import { readFileSync } from "node:fs";
import { uptime } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { TalkError } from "../../base/errors.ts";
import { systemCode } from "../../base/system-error.ts";
import { isAlive, processExit, processIdentity } from "../../ipc/index.ts";

/** How something ended. All null but `pid` and `ms` where the kernel says no more. */
export interface End {
  readonly pid: number;
  /** The command line as far as it is known: words joined by spaces. */
  readonly command: string | null;
  readonly status: number | null;
  readonly signal: string | null;
  /** Milliseconds that it lived, as far as that can be seen; else that were waited. */
  readonly ms: number;
}

/** Clock ticks of /proc/PID/stat in a second: USER_HZ is 100 on every Linux that Node runs on. */
const TICKS_PER_S = 100;
/** Milliseconds between two looks where the kernel lets no process be held. */
const LOOK_EVERY_MS = 500;
/** The kernel gives no higher number: PID_MAX_LIMIT. */
const MAX_PID = 4_194_304;
const MAX_COMMAND_BYTES = 4_096;

/** @throws TalkError no-such-process; the signal's reason */
export async function endOf(pid: number, signal: AbortSignal): Promise<End> {
  if (pid < 1 || pid > MAX_PID) throw TalkError.noSuchProcess(pid);
  const askedAt = performance.now();
  const held = holdUntilEnd(pid, signal);
  // Read at once, before anything is awaited: the pid still names the process that is held, or its zombie.
  held.catch(() => {}); // awaited below
  const command = commandOf(pid);
  const startedAgoMs = age(pid);
  const { status, signal: killedBy } = await held;
  signal.throwIfAborted();
  return { pid, command, status, signal: killedBy, ms: Math.round(startedAgoMs + performance.now() - askedAt) };
}

async function holdUntilEnd(pid: number, signal: AbortSignal): Promise<Pick<End, "status" | "signal">> {
  try {
    return await processExit(pid, { signal });
  } catch (error) {
    signal.throwIfAborted();
    switch (systemCode(error)) {
      case "ESRCH":
      case "EINVAL": // the number of a thread, or of no process ever
      case "ENOENT":
        throw TalkError.noSuchProcess(pid);
      case "EPERM": // it is there, but a sandbox lets no process hold it
      case "ENOSYS":
        return untilGone(pid, signal);
      default:
        throw error;
    }
  }
}

/** Without a descriptor of the process: by its number and start time, and where /proc hides it by its number alone. */
async function untilGone(pid: number, signal: AbortSignal): Promise<Pick<End, "status" | "signal">> {
  const identity = processIdentity(pid);
  while (identity === null ? isThere(pid) : isAlive(identity)) await sleep(LOOK_EVERY_MS, undefined, { signal });
  return { status: null, signal: null };
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === "EPERM";
  }
}

/** The command line, or what the kernel calls a program without one (a zombie, a thread of the kernel); null if that is hidden. */
function commandOf(pid: number): string | null {
  for (const file of ["cmdline", "comm"]) {
    try {
      const text = readFileSync(`/proc/${pid}/${file}`).subarray(0, MAX_COMMAND_BYTES).toString("utf8");
      const words = text.replace(/[\0\n]+$/, "").replaceAll("\0", " ");
      if (words !== "") return words;
    } catch {
      // Hidden from us, or gone meanwhile.
    }
  }
  return null;
}

/** Milliseconds since it started; 0 if that is hidden. */
function age(pid: number): number {
  const found = pidIdentity(pid);
  return found === null ? 0 : Math.max(0, (uptime() - found.startTime / TICKS_PER_S) * 1000);
}

function pidIdentity(pid: number): ReturnType<typeof processIdentity> {
  try {
    return processIdentity(pid);
  } catch {
    return null;
  }
}
