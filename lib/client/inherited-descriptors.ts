// Descriptors that a program started by this process would inherit beside the standard streams: a shell's `exec 200>lock` for
// flock(1), a pipe of `$(…)`. A background program that kept them would hold the lock, and the reader of the pipe, for its life.
import { readdirSync, readFileSync } from "node:fs";

const FIRST_BEYOND_STREAMS = 3;
/** Without /proc, descriptors up to here are taken to be open: the usual limit of a process. */
const USUAL_LIMIT = 1024;
/** O_CLOEXEC in the flags of proc_pid_fdinfo(5): the kernel closes such a one by itself. */
const CLOSE_ON_EXEC = 0o2000000;

/** Node opens its own with O_CLOEXEC, and marks the first ones that it finds; one behind a gap keeps what its opener gave it. */
export function inheritedDescriptors(): number[] {
  let open: string[];
  try {
    open = readdirSync("/proc/self/fd");
  } catch {
    return Array.from({ length: USUAL_LIMIT - FIRST_BEYOND_STREAMS }, (_, i) => FIRST_BEYOND_STREAMS + i);
  }
  return open
    .map(Number)
    .filter((fd) => fd >= FIRST_BEYOND_STREAMS && isInherited(fd))
    .sort((a, b) => a - b);
}

/**
 * `streams` for spawn(), with `nothing` (a descriptor of /dev/null) in the place of each inherited one. Between fork and exec, so
 * the program never has them; a descriptor that was closed meanwhile does no harm.
 */
export function withoutInherited(streams: readonly ("ignore" | number)[], nothing: number): ("ignore" | number)[] {
  const stdio = [...streams];
  for (const fd of inheritedDescriptors()) {
    while (stdio.length < fd) stdio.push("ignore");
    stdio[fd] = nothing;
  }
  return stdio;
}

function isInherited(fd: number): boolean {
  try {
    const flags = /^flags:\s+([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))?.[1] ?? "0";
    return (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) === 0;
  } catch {
    return false; // closed since it was listed
  }
}
