// The command line's story: find the command, load it, run it, say what went wrong, leave with its exit status.
// Knows no sockets and no terminals.
import { begin } from "./begin.ts";
import { refuseDamagedArguments } from "./damaged-text.ts";
import { finish, linger } from "./finish.ts";
import { withoutHelpWord } from "./help.ts";
import { program } from "./program.ts";

/** @param args the command line after the program's name */
export async function main(args: readonly string[]): Promise<void> {
  begin();
  try {
    refuseDamagedArguments(args);
    const words = withoutHelpWord(args);
    const cli = await program(words);
    await cli.parseAsync([...words], { from: "user" });
  } catch (error) {
    finish(error, args);
  }
  linger();
}
