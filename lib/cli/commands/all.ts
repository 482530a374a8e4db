// `ptalk all`: who is on, from the lookup server.
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import { commandContext } from "../command-context.ts";
import { withDirectory } from "../connect.ts";
import { clientTable } from "../format.ts";
import { print, printJson } from "../output.ts";
import { painter } from "../style.ts";

export function command(): Command {
  return new Command("all").description("Prints who is on, as the lookup server knows.").action(run);
}

async function run(_options: unknown, command: Command): Promise<void> {
  const { config, json } = await commandContext(command);
  const clients = await withDirectory(config, (directory) => directory.all()).catch((error: unknown) => {
    if (error instanceof TalkError && error.code === "no-such-user") return [];
    throw error;
  });
  if (json) await printJson(clients);
  else await print(clientTable(clients, painter(process.stdout)).join("\n"));
}
