// Arguments and variables as they were given. Node puts U+FFFD in place of bytes that are not UTF-8 and tells nobody: a text would
// arrive damaged, a path would be another one. The kernel has kept the bytes (proc(5): cmdline, environ).
import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { TalkError } from "../base/errors.ts";
import type { Environment } from "../base/files.ts";

const REPLACEMENT = "\ufffd";
const NUL = 0;

/** @throws TalkError bad-data for an argument that is not UTF-8, or that may have been none where the kernel does not tell */
export function refuseDamagedArguments(args: readonly string[]): void {
  if (!args.some(mayBeDamaged)) return;
  const given = entriesOf("/proc/self/cmdline")?.slice(-args.length);
  for (const [index, arg] of args.entries()) {
    if (!mayBeDamaged(arg)) continue;
    const bytes = given?.[index];
    if (bytes?.toString("utf8") !== arg) throw damaged(index, "may not be UTF-8, which cannot be seen without /proc");
    if (!isUtf8(bytes)) throw damaged(index, "is not UTF-8");
  }
}

/** Of those variables that say where something is or what it is called. @throws TalkError bad-config */
export function refuseDamagedVariables(env: Environment): void {
  const suspects = Object.keys(env).filter(
    (name) => /^(PTALK_|XDG_|HOME$)/.test(name) && mayBeDamaged(env[name] ?? ""),
  );
  if (suspects.length === 0) return;
  const given = entriesOf("/proc/self/environ") ?? [];
  for (const name of suspects) {
    const bytes = given.find((entry) => entry.toString("latin1").startsWith(`${name}=`));
    // One that was set since, or that cannot be seen, is what it is: a path that is not there, a name that nobody can have.
    if (bytes !== undefined && !isUtf8(bytes)) throw TalkError.badConfig(name, "it is not UTF-8");
  }
}

const mayBeDamaged = (text: string): boolean => text.includes(REPLACEMENT);

function damaged(index: number, how: string): TalkError {
  return TalkError.badData(`argument ${index + 1} ${how}: give a text on standard input, or in UTF-8 (iconv -t UTF-8)`);
}

/** What a file of the kernel holds, each entry ended by NUL; undefined if it cannot be read. */
function entriesOf(file: string): Buffer[] | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch {
    return undefined;
  }
  const entries: Buffer[] = [];
  for (let start = 0, end = bytes.indexOf(NUL); end !== -1; start = end + 1, end = bytes.indexOf(NUL, start)) {
    entries.push(bytes.subarray(start, end));
  }
  return entries;
}
