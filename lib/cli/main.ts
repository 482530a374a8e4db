// The command line's story: find the command, load it, run it, say what went wrong, leave with its exit status.
// Knows no sockets and no terminals.
import { exitCodeOf } from "../errors.ts";
import { Ended } from "./lifetime.ts";
import { quietBrokenPipes, reportError, wantsJson } from "./output.ts";
import { isDone, program } from "./program.ts";

const LINGER_MS = 2_000; // after the command's end: what still keeps the event loop then is not worth waiting for

/** @param args the command line after the program's name */
export async function main(args: readonly string[]): Promise<void> {
  quietBrokenPipes();
  try {
    const cli = await program(args);
    await cli.parseAsync([...args], { from: "user" });
  } catch (error) {
    process.exitCode = conclude(error, args);
  }
  setTimeout(() => process.exit(), LINGER_MS).unref();
}

function conclude(error: unknown, args: readonly string[]): number {
  if (isDone(error)) return 0;
  if (error instanceof Ended) return error.exitCode;
  reportError(error, wantsJson(args));
  return exitCodeOf(error);
}
