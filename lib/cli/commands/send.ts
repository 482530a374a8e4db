// `ptalk send NAME[,NAME...] [TEXT...]`: one message, and the exit status says what became of it.
import { Command } from "commander";
import { commandContext } from "../command-context.ts";
import { send } from "../send.ts";

const HELP = `
Without TEXT the message is read from stdin. Exit status 0 means that every recipient's program has handed the
message to its output; otherwise it is that of the first recipient (in the order given) who did not get it.`;

export function command(): Command {
  return new Command("send")
    .description("Sends one message and waits until it is delivered.")
    .argument("<names>", "NAME, or NAME,NAME,...")
    .argument("[text...]", "the message; from stdin if left out")
    .option("--timeout <time>", "give up after this long (default: 10)")
    .addHelpText("after", HELP)
    .action(run);
}

async function run(names: string, words: string[], _options: unknown, command: Command): Promise<void> {
  await send(names, words, await commandContext(command));
}
