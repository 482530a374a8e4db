// `ptalk list`: who is on, on this machine, from shared memory. Needs no server.
import { Command } from "commander";
import type { LocalEntry } from "../../client/types.ts";
import { localTable } from "../format.ts";
import { localJson } from "../json.ts";
import { print, printJson } from "../output.ts";
import { painter } from "../style.ts";

export function command(): Command {
  return new Command("list")
    .description("Prints who is on, on this machine, from shared memory: also while no server runs.")
    .action(run);
}

// Reads no settings: it works for users without a home, too.
async function run(_options: unknown, command: Command): Promise<void> {
  const { json } = command.optsWithGlobals<{ json?: boolean }>();
  const { listLocal } = await import("../../presence/local-list.ts");
  const clients: LocalEntry[] = listLocal();
  if (json) await printJson(clients.map(localJson));
  else await print(localTable(clients, painter(process.stdout)).join("\n"));
}
