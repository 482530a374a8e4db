// What the commands print: results on stdout, everything else on stderr. When the reader of stdout has gone, the program
// ends quietly. A stdout that cannot be written is reported once; a stderr that cannot be written is passed over.
import { writeSync } from "node:fs";
import { debuglog } from "node:util";
import { TalkError } from "../base/errors.ts";
import { systemCode, systemMessage } from "../base/system-error.ts";
import { withAdvice } from "./advice.ts";
import { CommandEnded } from "./command-ended.ts";
import { escapeControls } from "./escape-controls.ts";
import { EXIT, exitStatusOf } from "./exit-status.ts";

const debug = debuglog("ptalk-cli");

type OutputListener = (ended: CommandEnded) => void;

/** Called when stdout takes no more, to go on or to end in order; without any the process ends at once. */
const outputListeners = new Set<OutputListener>();

/** `ptalk all | head -1`: the reader has what it wanted, so there is nothing to complain about. Nor is it a crash when the disk is full. */
export function quietBrokenPipes(): void {
  process.stdout.on("error", (error) => {
    const ended = outputEnd(error);
    // Told late, the command may have come to its end already: that counts then.
    if (outputListeners.size === 0) process.exit(process.exitCode ?? ended.exitCode);
    for (const listener of outputListeners) listener(ended);
  });
  process.stderr.on("error", () => {});
}

/** Calls back when stdout takes no more, instead of ending the process. */
export function onOutputEnd(listener: OutputListener): Disposable {
  outputListeners.add(listener);
  return { [Symbol.dispose]: () => outputListeners.delete(listener) };
}

let outputFailureTold = false;

/** What an error of stdout means to the command; says so, once, if it is not only that the reader has gone. */
function outputEnd(error: NodeJS.ErrnoException): CommandEnded {
  // EIO of a terminal: it was hung up.
  if (error.code === "EPIPE" || (error.code === "EIO" && process.stdout.isTTY))
    return new CommandEnded("stdout was closed", EXIT.ok);
  if (!outputFailureTold) {
    outputFailureTold = true;
    const failure = TalkError.internal(`cannot write: ${systemCode(error) ?? error.message}`, error);
    reportError(failure, wantsJson(process.argv.slice(2)));
  }
  return new CommandEnded("stdout cannot be written", EXIT.internal);
}

/**
 * Prints one line on stdout; fulfilled once the operating system has it.
 * @throws CommandEnded when it never will
 */
export function print(line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(`${line}\n`, (error) => (error ? reject(outputEnd(error)) : resolve()));
  });
}

/** Prints one JSON value on one line of stdout. */
export function printJson(value: unknown): Promise<void> {
  return print(jsonLine(value));
}

/** A remark on stderr, one line. What others may have put into it is made visible. */
export function note(line: string): void {
  process.stderr.write(`ptalk: ${escapeControls(line)}\n`);
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
  const line = json ? jsonLine({ type: "error", code, message }) : `ptalk: ${escapeControls(message)}`;
  try {
    writeSync(2, `${line}\n`); // synchronous: the process may be about to end
  } catch {
    // stderr is closed: the exit status has to do.
  }
}

/** Code and one-line message of anything thrown. */
export function describeError(error: unknown): { code: string; message: string } {
  if (error instanceof TalkError) return { code: error.code, message: oneLine(withAdvice(error)) };
  if (!(error instanceof Error)) return { code: "internal", message: oneLine(String(error)) };
  // Its sentence says what to do; by its code, because the module that has the constant is the one that does not load.
  if ("code" in error && error.code === "ERR_PTALK_ADDON")
    return { code: "internal", message: oneLine(error.message).replace(/^ptalk's/, "the") };
  const code = systemCode(error) ?? "internal";
  const foreseen = code !== "internal" && exitStatusOf(error) !== EXIT.internal;
  const hint = foreseen ? "" : " (run with NODE_DEBUG=ptalk-cli for details)";
  return { code, message: `${oneLine(systemMessage(error))}${hint}` };
}

const oneLine = (text: string): string => text.trim().replace(/\s*\n\s*/g, " ");
