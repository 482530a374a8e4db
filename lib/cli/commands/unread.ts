// `ptalk unread [--format F]`: how many messages wait with the agent, for a prompt.
import { Command } from "commander";
import { print } from "../output.ts";
import { type UnreadOptions, unreadLine } from "../unread.ts";

const HELP = `
In FORMAT, %n is the number, %f who wrote last (empty if nobody did), %% a per cent sign. Only shared memory is read.`;

export function command(): Command {
  return new Command("unread")
    .description("Prints how many messages have come to the agent since a terminal last had the name.")
    .option("--format <format>", "what to print (default: %n)")
    .addHelpText("after", HELP)
    .action(run);
}

async function run(_options: unknown, command: Command): Promise<void> {
  await print(unreadLine(command.optsWithGlobals<UnreadOptions>()));
}
