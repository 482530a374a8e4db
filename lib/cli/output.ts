// What the commands print: results on stdout, everything else on stderr; a closed pipe ends the program quietly.
import { writeSync } from "node:fs";
import { debuglog } from "node:util";
import { EXIT, exitCodeOf, TalkError } from "../errors.ts";

const debug = debuglog("ptalk-cli");

/** Listeners for a broken stdout; without any the process ends at once. */
const brokenPipeListeners = new Set<() => void>();

/** `ptalk all | head -1`: the reader has what it wanted, so there is nothing to complain about. */
export function quietBrokenPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE" && error.code !== "EIO") throw error;
      if (brokenPipeListeners.size === 0) process.exit(EXIT.ok);
      for (const listener of brokenPipeListeners) listener();
    });
  }
}

/** Calls back when nobody reads stdout any more, instead of ending the process. */
export function onBrokenPipe(listener: () => void): Disposable {
  brokenPipeListeners.add(listener);
  return { [Symbol.dispose]: () => brokenPipeListeners.delete(listener) };
}

/** Prints one line on stdout; fulfilled once the operating system has it, rejected when it never will. */
export function print(line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(`${line}\n`, (error) => (error ? reject(error) : resolve()));
  });
}

/** Prints one JSON value on one line of stdout. */
export function printJson(value: unknown): Promise<void> {
  return print(jsonLine(value));
}

/** A remark on stderr. */
export function note(line: string): void {
  process.stderr.write(`ptalk: ${line}\n`);
}

// JSON.stringify leaves C1 controls and invisible format characters as they are, and a terminal would obey them.
const UNSAFE_IN_JSON = /[\x7f-\x9f\u2028\u2029\p{Cf}]/gu;

/** JSON on one line that a terminal can show without obeying it: the same value to every parser. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(UNSAFE_IN_JSON, (character) =>
    [...Array(character.length).keys()]
      .map((i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}

/** True if the command line asks for JSON, known even when it cannot be parsed otherwise. */
export function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return args.slice(0, end === -1 ? undefined : end).includes("--json");
}

/** Tells the person (one line), or with `--json` the program, on stderr what ended the command. */
export function reportError(error: unknown, json: boolean): void {
  const { code, message } = describeError(error);
  debug("%s", error instanceof Error ? error.stack : error);
  const line = json ? jsonLine({ type: "error", code, message }) : `ptalk: ${message}`;
  try {
    writeSync(2, `${line}\n`); // synchronous: the process may be about to end
  } catch {
    // stderr is closed: the exit status has to do.
  }
}

/** Code and one-line message of anything thrown. */
export function describeError(error: unknown): { code: string; message: string } {
  if (error instanceof TalkError) return { code: error.code, message: error.message };
  if (!(error instanceof Error)) return { code: "internal", message: String(error) };
  const code = "code" in error && typeof error.code === "string" ? error.code : "internal";
  const foreseen = code !== "internal" && exitCodeOf(error) !== EXIT.internal;
  const hint = foreseen ? "" : " (run with NODE_DEBUG=ptalk-cli for details)";
  return { code, message: `${error.message}${hint}` };
}
