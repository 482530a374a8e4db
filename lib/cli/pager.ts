// Long output for people: through their pager, as git and man do. Without one, or on no terminal, as it is.
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { Environment } from "../base/files.ts";
import { print } from "./output.ts";

/** Statuses of a shell that could not run a command. */
const NOT_RUN = new Set([126, 127]);
/** Code units gathered before they are written. */
const WRITE_LENGTH = 16_384;

export interface Pager {
  /** For the shell. */
  readonly command: string;
  /** It shows colours. */
  readonly isColoured: boolean;
}

/** $PAGER, else less; null where there is none, where "" or "cat" is wanted, and on a terminal that cannot move its cursor. */
export function pagerOf(env: Environment): Pager | null {
  const { PAGER: given, TERM: term } = env;
  if (term === undefined || term === "dumb" || given === "" || given === "cat") return null;
  if (given !== undefined) return { command: given, isColoured: false };
  return isInPath("less", env) ? { command: "less -R", isColoured: true } : null;
}

/** Shows lines; fulfilled when they are printed, or the person has seen enough. @param lines called again if the pager cannot be run */
export async function page(pager: Pager | null, lines: () => AsyncIterable<string>): Promise<void> {
  if (pager === null || !(await showBy(pager, lines()))) await write(lines(), print);
}

/** @returns false if it could not be run */
async function showBy({ command }: Pager, lines: AsyncIterable<string>): Promise<boolean> {
  const ignore = (): void => {}; // Ctrl-C is the pager's
  process.on("SIGINT", ignore);
  try {
    // As git has it: what fits on one screen is printed, and stays there.
    const env = { LESS: "FRX", ...process.env };
    const child = spawn("/bin/sh", ["-c", command], { stdio: ["pipe", "inherit", "inherit"], env });
    const ended = new Promise<number | null>((resolve) => {
      child.once("error", () => resolve(127)).once("close", resolve);
    });
    child.stdin.on("error", () => {}); // enough was seen
    await Promise.race([write(lines, (text) => feed(child, text)).then(() => child.stdin.end()), ended]);
    return !NOT_RUN.has((await ended) ?? 0);
  } finally {
    process.off("SIGINT", ignore);
  }
}

async function write(lines: AsyncIterable<string>, to: (text: string) => Promise<void>): Promise<void> {
  let gathered = "";
  for await (const line of lines) {
    gathered += gathered === "" ? line : `\n${line}`;
    if (gathered.length < WRITE_LENGTH) continue;
    await to(gathered);
    gathered = "";
  }
  if (gathered !== "") await to(gathered);
}

function feed({ stdin }: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve) => {
    if (stdin === null || stdin.destroyed) resolve();
    else stdin.write(`${text}\n`, () => resolve());
  });
}

function isInPath(program: string, { PATH = "" }: Environment): boolean {
  return PATH.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder || ".", program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
