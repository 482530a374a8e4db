// Who a process is: its number and when it started, because the kernel gives numbers out again.
import { native } from "../native.ts";
import { checkInteger, PID_MAX } from "./names.ts";

/** Identifies a process of this machine until the next boot. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks (usually 1/100 s) since boot, field 22 of /proc/PID/stat. */
  readonly startTime: number;
}

/**
 * The identity of a process, of this one by default; null when there is none of that number (or /proc hides it).
 * @see https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
 */
export function processIdentity(pid: number = process.pid): ProcessIdentity | null {
  checkInteger("pid", pid, 1, PID_MAX);
  const found = native.processStart(pid);
  return found && { pid, startTime: found.startTime };
}

/** Whether that very process still runs: not another one with its number, and not a zombie waiting to be reaped. */
export function isAlive(identity: ProcessIdentity): boolean {
  const { pid, startTime } = identity;
  checkInteger("pid", pid, 1, PID_MAX);
  checkInteger("startTime", startTime, 0, Number.MAX_SAFE_INTEGER);
  const found = native.processStart(pid);
  if (!found || found.startTime !== startTime) return false;
  // A main thread may end before its others: then the process shows as a zombie with several threads, and lives.
  return !"ZXx".includes(found.state) || found.threads > 1;
}

/** Whether somebody has stopped it (SIGSTOP and the like): it may go on at any moment. False where that cannot be seen. */
export function isStopped(pid: number): boolean {
  try {
    return native.processStart(pid)?.state === "T";
  } catch {
    return false; // no descriptor is left to look with, say
  }
}
