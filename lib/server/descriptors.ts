// How many connections a process may hold: the system's limit of descriptors, less what a server needs besides. And how few are
// too few for any.
import { readFileSync } from "node:fs";
import { TalkError } from "../base/errors.ts";

/** For Node itself (about 25), the table, the lock, files, and the connections that are just being refused. */
const RESERVED = 40;

/** Node opens the modules of a program nearly all at once: below this a worker dies of its start, with a stack for a reason. */
const NEEDED = 96;

/** @throws TalkError unreachable if no worker process could start with so few descriptors */
export function refuseFewDescriptors(): void {
  const limit = openFilesLimit();
  if (limit >= NEEDED) return;
  throw new TalkError(
    "unreachable",
    `the limit of open files is ${limit}, and a server needs ${NEEDED}: raise it (ulimit -n, LimitNOFILE=)`,
  );
}

/** Connections that this process, or one that it forks, has descriptors for. At least 1. */
export function descriptorsForConnections(): number {
  return Math.max(1, openFilesLimit() - RESERVED);
}

/** Node raises the soft limit to the hard one when it starts, so this is what there is. */
function openFilesLimit(): number {
  const line = /^Max open files\s+(\d+)/m.exec(readLimits());
  return line === null ? Number.POSITIVE_INFINITY : Number(line[1]);
}

function readLimits(): string {
  try {
    return readFileSync("/proc/self/limits", "latin1");
  } catch {
    return ""; // no /proc: the first EMFILE will tell
  }
}
