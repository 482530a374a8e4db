// Where `ptalk serve` can ask.
import { isatty } from "node:tty";
import type { ConfirmPrompt } from "./confirm-prompt.ts";
import { StdinPrompt } from "./stdin-prompt.ts";
import { TtyPrompt } from "./tty-prompt.ts";

let stdin: StdinPrompt | null = null;

/** At the terminal, if standard input is one, else on standard input. Null where no answer can come. */
export function openPrompt(): ConfirmPrompt | null {
  if (stdin === null && isatty(0)) return TtyPrompt.open();
  stdin ??= new StdinPrompt();
  return stdin.ended ? null : stdin;
}
