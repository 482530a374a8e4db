// The character set of the user's terminal.
import type { Environment } from "../../base/files.ts";

/** POSIX: LC_ALL over LC_CTYPE over LANG decides the character set. */
export function speaksUtf8(env: Environment): boolean {
  return /utf-?8/i.test(env.LC_ALL || env.LC_CTYPE || env.LANG || "");
}
