// `ptalk send NAME[,NAME...] [TEXT...]`: one message, and the exit status says what became of it.
import { Command } from "commander";
import { commandContext } from "../command-context.ts";
import { type SendCommandOptions, send } from "../send.ts";

const HELP = `
Without TEXT the message is read from stdin. Exit status 0 means that every recipient's program has handed the
message to its output, or has the file on its disk; otherwise it is that of the first recipient (in the order given)
who did not get it. A transfer that was interrupted goes on when the file is sent again.
75: it was not shown and will not appear later. 76: it may have arrived, and sending again may double it. Both print
the message's id: with --id ID it is shown once, however often it is sent.`;

export function command(): Command {
  return new Command("send")
    .description("Sends one message, or a file, and waits until it is delivered.")
    .argument("<names>", "NAME, or NAME,NAME,...")
    .argument("[text...]", "the message; from stdin if left out")
    .option("--file <path>", "send a file; it is offered, and sent once it is accepted")
    .option("--timeout <time>", "give up after this long (default: 10)")
    .option("--wait <time>", "wait this long for recipients who are off, or do not confirm")
    .option("--leave", "keep it at the server for recipients who are off, sealed for their key")
    .option("--id <id>", "repeat the message that an attempt before this one has printed the id of")
    .addHelpText("after", HELP)
    .action(run);
}

async function run(names: string, words: string[], options: SendCommandOptions, command: Command): Promise<void> {
  await send(names, words, await commandContext(command), options);
}
