// The end of every command: what is said, and the exit status.
import { CommandEnded } from "./command-ended.ts";
import { exitStatusOf } from "./exit-status.ts";
import { reportError, wantsJson } from "./output.ts";

const LINGER_MS = 2_000; // after the command's end: what still keeps the event loop then is not worth waiting for

/** Reports what ended a command, if there is anything to say, and sets the exit status. */
export function finish(error: unknown, args: readonly string[]): void {
  if (hasPrintedHelp(error)) return;
  if (!(error instanceof CommandEnded)) reportError(error, wantsJson(args));
  process.exitCode = error instanceof CommandEnded ? error.exitCode : exitStatusOf(error);
}

/** Lets the process end by itself, but not for ever. */
export function linger(): void {
  setTimeout(() => process.exit(), LINGER_MS).unref();
}

// What commander throws when it has printed help or the version. Known by its shape: not every command loads commander.
function hasPrintedHelp(error: unknown): boolean {
  return error instanceof Error && error.name === "CommanderError" && "exitCode" in error && error.exitCode === 0;
}
