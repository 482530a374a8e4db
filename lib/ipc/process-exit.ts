// The end of any process, told by the kernel: pidfd_open(2), poll(2).
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { native } from "../native.ts";
import { checkInteger, PID_MAX } from "./names.ts";
import { readiness } from "./readiness.ts";

/** How a process ended. Both null: the kernel did not tell (before Linux 6.15, or its parent has not asked for its status). */
export interface ProcessExit {
  readonly pid: number;
  /** What it gave to exit(3), 0 to 255; null when a signal ended it. */
  readonly status: number | null;
  /** The signal that ended it: "SIGKILL", "SIGRTMIN+3"; null when it ended by itself. */
  readonly signal: string | null;
}

/** A process has ended before its parent has taken its status: pauses, in milliseconds, before asking the kernel for it again. */
const STATUS_PAUSES_MS = [1, 4, 15, 30];
const NOT_YET = -1;
const FIRST_REALTIME = native.SIGRTMIN;

/**
 * Resolves when that process has ended, whoever's child it is; at once for a zombie. It is that very process from the call on: another one
 * that gets its number later is not waited for. Rejects with IpcError ESRCH when there is none, EINVAL when the number is a thread's,
 * EMFILE, ENOSYS before Linux 5.3; with an AbortError when `signal` aborts. Takes one descriptor and no thread; keeps this process alive meanwhile.
 * @see https://man7.org/linux/man-pages/man2/pidfd_open.2.html
 */
export async function processExit(pid: number, { signal }: { signal?: AbortSignal } = {}): Promise<ProcessExit> {
  checkInteger("pid", pid, 1, PID_MAX);
  const pidfd = native.pidfdOpen(pid);
  try {
    await readiness(pidfd, { signal });
    return { pid, ...(await statusOf(pidfd)) };
  } finally {
    native.closeFd(pidfd);
  }
}

async function statusOf(pidfd: number): Promise<Pick<ProcessExit, "status" | "signal">> {
  let word = native.pidfdStatus(pidfd);
  for (const pause of STATUS_PAUSES_MS) {
    if (word !== NOT_YET) break;
    await sleep(pause);
    word = native.pidfdStatus(pidfd);
  }
  if (word < 0) return { status: null, signal: null };
  const signal = word & 0x7f; // WTERMSIG
  return signal === 0 ? { status: (word >> 8) & 0xff, signal: null } : { status: null, signal: nameOf(signal) };
}

function nameOf(signal: number): string {
  if (signal >= FIRST_REALTIME) return signal === FIRST_REALTIME ? "SIGRTMIN" : `SIGRTMIN+${signal - FIRST_REALTIME}`;
  for (const [name, number] of Object.entries(constants.signals)) if (number === signal) return name;
  return `SIG${signal}`;
}
