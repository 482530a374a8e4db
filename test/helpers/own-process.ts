// What the kernel says of this process, for tests that count what is left behind.
import { readdirSync, readFileSync } from "node:fs";

/** Open descriptors of this process. */
export function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

/** Mappings of this process whose file's path contains the text. */
export function mappings(text: string): number {
  return readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes(text)).length;
}

export const isRoot = process.getuid?.() === 0;
