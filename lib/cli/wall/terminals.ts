// A text on other users' terminals, as wall(1) does it: only on those whose owners let it (mesg(1)), and nothing in it is obeyed.
import { closeSync, constants, fstatSync, openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isatty } from "node:tty";
import { systemCode } from "../../base/system-error.ts";
import { escapeControlsByLine } from "../escape-controls.ts";
import { strftime } from "../times.ts";

/** A terminal's line: no path leads elsewhere, and "seat0" is none. */
const LINE = /^(?:pts\/\d{1,7}|tty[A-Za-z0-9]{1,16})$/;
/** Milliseconds that a terminal may take: a stopped one takes nothing. */
const LIMIT_MS = 2_000;
const AGAIN_MS = 20;
const GROUP_WRITES = 0o020;
const OTHERS_WRITE = 0o002;

/** @returns on how many it stands */
export async function writeToTerminals(lines: Iterable<string>, from: string, text: string): Promise<number> {
  const bytes = Buffer.from(shown(from, text));
  const written = await Promise.all([...new Set(lines)].map((line) => writeTo(line, bytes)));
  return written.filter(Boolean).length;
}

function shown(from: string, text: string): string {
  const head = `Message to everybody from ${from} at ${strftime("%H:%M", Date.now())}:`;
  return ["", ...escapeControlsByLine(head), ...escapeControlsByLine(text), ""].map((line) => `${line}\r\n`).join("");
}

async function writeTo(line: string, bytes: Buffer): Promise<boolean> {
  if (!LINE.test(line)) return false;
  const { O_WRONLY, O_NOCTTY, O_NONBLOCK, O_NOFOLLOW } = constants;
  let fd: number;
  try {
    fd = openSync(`/dev/${line}`, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
  } catch {
    return false; // it has gone
  }
  try {
    const { mode } = fstatSync(fd);
    // Group-write is what mesg y sets; one that everybody may write is no terminal that login(1) has prepared.
    if (!isatty(fd) || (mode & GROUP_WRITES) === 0 || (mode & OTHERS_WRITE) !== 0) return false;
    return await writeAll(fd, bytes);
  } finally {
    closeSync(fd);
  }
}

async function writeAll(fd: number, bytes: Buffer): Promise<boolean> {
  const end = performance.now() + LIMIT_MS;
  for (let rest = bytes; rest.length > 0; ) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if (systemCode(error) !== "EAGAIN" || performance.now() > end) return false;
      await sleep(AGAIN_MS);
    }
  }
  return true;
}
