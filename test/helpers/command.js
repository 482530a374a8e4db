// The command that the tests run: bin/ptalk.js on this Node, or the executable that the variable PTALK names.
import { join } from "node:path";

const { PTALK: executable } = process.env;

/** The words that start it. */
export const COMMAND = executable ? [executable] : [process.execPath, join(import.meta.dirname, "../../bin/ptalk.js")];

/** Why a test that needs bin/ptalk.js on this Node is not for the executable; null when there is none. */
export const whyNoScript = executable
  ? "the executable has its Node and its compiled code inside, and ignores NODE_OPTIONS"
  : null;

/** Those words and the arguments, as spawn() takes them. */
export function commandLine(args) {
  const [file, ...words] = COMMAND;
  return [file, [...words, ...args]];
}
