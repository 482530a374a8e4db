// How many connections a process may hold: the system's limit of descriptors, less what a server needs besides.
import { readFileSync } from "node:fs";
import { TalkError } from "../base/errors.ts";

/**
 * For Node itself (about 25), the table, the lock, files, the connections that are just being refused, and those that are kept for
 * administrators.
 */
const RESERVED = 48;

/**
 * Descriptors with which Node, a server and one worker process start and serve. Measured: 68, and 64 are too few. Each further worker
 * takes one more of the primary's.
 */
const NEEDED = 72;

/** A process that cannot open what it needs dies in the middle of its start, with the runtime's stack for an explanation. */
export function checkDescriptors(workers: number): void {
  const limit = openFilesLimit();
  const needed = NEEDED + Math.max(0, workers - 1);
  if (limit >= needed) return;
  throw new TalkError(
    "unreachable",
    `this process may have ${limit} files open at once, and a lookup server with ${workers} workers needs ${needed}`,
    { remedy: "more-descriptors" },
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
