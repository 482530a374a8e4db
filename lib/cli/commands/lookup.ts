// `ptalk lookup NAME`: the address of one user, from the lookup server.
import { Command } from "commander";
import { TalkError } from "../../errors.ts";
import { validateName } from "../../names.ts";
import { withDirectory } from "../connect.ts";
import { clientDetails } from "../format.ts";
import { clientJson } from "../json.ts";
import { print, printJson } from "../output.ts";
import { settings } from "../settings.ts";

export function command(): Command {
  return new Command("lookup")
    .description("Prints where NAME can be reached, as the lookup server knows.")
    .argument("<name>", "the user's name")
    .action(run);
}

async function run(name: string, _options: unknown, command: Command): Promise<void> {
  validateName(name);
  const { config, json } = await settings(command);
  const client = await withDirectory(config, (directory) => directory.lookup(name));
  if (client === null) throw TalkError.noSuchUser(name);
  if (json) await printJson(clientJson(client));
  else await print(clientDetails(client).join("\n"));
}
