// Whom `ptalk serve` can ask, and what counts as yes.
import { isatty } from "node:tty";
import { StdinPrompt } from "./stdin-prompt.ts";
import { TtyPrompt } from "./tty-prompt.ts";

/** Asked once, then released. */
export interface ConfirmPrompt {
  readonly atTerminal: boolean;
  print(text: string): void;
  /** The next line; null when there will be none. Everything else goes on meanwhile. */
  readLine(done: (line: string | null) => void): void;
  /** Done with, answered or not: nobody is called any more. */
  release(): void;
}

export const isYes = (readLine: string | null): boolean => readLine !== null && /^\s*y(es)?\s*$/i.test(readLine);

let stdin: StdinPrompt | null = null;

/** Who could readLine: at the terminal, if standard input is one, else whoever writes to it. Null if nobody can. */
export function openPrompt(): ConfirmPrompt | null {
  if (stdin === null && isatty(0)) return TtyPrompt.open();
  stdin ??= new StdinPrompt();
  return stdin.ended ? null : stdin;
}
