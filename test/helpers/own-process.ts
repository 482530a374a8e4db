// What the kernel says of this process, for tests that count what is left behind.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Open descriptors of this process. */
export function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

/** Open descriptors of this process whose file's path contains the text. Others may be closed by the test runner's threads meanwhile. */
export function descriptorsOf(text: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes(text);
    } catch {
      return false; // closed since it was listed
    }
  }).length;
}

/** Mappings of this process whose file's path contains the text. */
export function mappings(text: string): number {
  return readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes(text)).length;
}

export const isRoot = process.getuid?.() === 0;
