// How many connections a process may hold: the system's limit of descriptors, less what a server needs besides.
import { readFileSync } from "node:fs";

/** For Node itself (about 25), the table, the lock, files, and the connections that are just being refused. */
const RESERVED = 40;

/** Connections that this process, or one that it forks, has descriptors for. At least 1. */
export function descriptorsForConnections(): number {
  const line = /^Max open files\s+(\d+)/m.exec(readLimits());
  // Node raises the soft limit to the hard one when it starts, so this is what there is.
  return line === null ? Number.POSITIVE_INFINITY : Math.max(1, Number(line[1]) - RESERVED);
}

function readLimits(): string {
  try {
    return readFileSync("/proc/self/limits", "latin1");
  } catch {
    return ""; // no /proc: the first EMFILE will tell
  }
}
