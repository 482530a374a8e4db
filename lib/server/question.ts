// Whom `ptalk serve` can ask, and what counts as yes.
import { isatty } from "node:tty";
import { StdinLines } from "./stdin-lines.ts";
import { Terminal } from "./terminal.ts";

/** Asked once, then released. */
export interface Person {
  readonly atTerminal: boolean;
  tell(text: string): void;
  /** The next line; null when there will be none. Everything else goes on meanwhile. */
  answer(done: (line: string | null) => void): void;
  /** Done with, answered or not: nobody is called any more. */
  release(): void;
}

export const isYes = (answer: string | null): boolean => answer !== null && /^\s*y(es)?\s*$/i.test(answer);

let stdin: StdinLines | null = null;

/** Who could answer: at the terminal, if standard input is one, else whoever writes to it. Null if nobody can. */
export function findPerson(): Person | null {
  if (stdin === null && isatty(0)) return Terminal.open();
  stdin ??= new StdinLines();
  return stdin.ended ? null : stdin;
}
