// What the kernel says of other processes.
import { readdirSync, readFileSync } from "node:fs";

/** Milliseconds of a clock tick, as /proc counts CPU time: USER_HZ is 100 on every Linux that Node runs on. */
const TICK_MS = 10;
const PAGE_BYTES = 4096;

/** The processes whose parent that is; none when it is gone. */
export function childrenOf(pid: number): number[] {
  const numbers = readdirSync("/proc").filter((entry) => /^\d+$/.test(entry));
  return numbers.map(Number).filter((each) => Number(fields(each)[1]) === pid);
}

/** Not gone, and not only waiting to be reaped: pid 1 of a container may never do that for those that lost their parent. */
export function isRunning(pid: number): boolean {
  const [state] = fields(pid);
  return state !== undefined && state !== "Z";
}

/** By SIGSTOP or its like. */
export const isStopped = (pid: number): boolean => fields(pid)[0] === "T";

export function descriptorsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0; // gone
  }
}

export function residentBytes(pid: number): number {
  return Number(fields(pid)[21] ?? 0) * PAGE_BYTES;
}

/** User and system time of the process, milliseconds. */
export function cpuMs(pid: number): number {
  const stat = fields(pid);
  return (Number(stat[11] ?? 0) + Number(stat[12] ?? 0)) * TICK_MS;
}

/** The fields of proc(5)'s stat from the third on: state, ppid, ... Empty when the process is gone. */
function fields(pid: number): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return [];
  }
}
