// `ptalk lookup NAME`: the address of one user, from the lookup server.
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import { validateName } from "../../base/names.ts";
import { commandContext } from "../command-context.ts";
import { withDirectory } from "../connect.ts";
import { clientDetails } from "../format.ts";
import { print, printJson } from "../output.ts";

export function command(): Command {
  return new Command("lookup")
    .description("Prints where NAME can be reached, as the lookup server knows.")
    .argument("<name>", "the user's name")
    .action(run);
}

async function run(name: string, _options: unknown, command: Command): Promise<void> {
  validateName(name);
  const { config, json } = await commandContext(command);
  const client = await withDirectory(config, (directory) => directory.lookup(name));
  if (client === null) throw TalkError.noSuchUser(name);
  if (json) await printJson(client);
  else await print(clientDetails(client).join("\n"));
}
