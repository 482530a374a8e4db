// `ptalk config [--show-origin]`: the settings that hold, and where each comes from.
import { Command } from "commander";
import { givenFlags } from "../command-context.ts";
import { type SettingOrigin, settingOrigins } from "../config.ts";
import { escapeControls } from "../escape-controls.ts";
import { table } from "../format.ts";
import { print, printJson } from "../output.ts";
import { painter } from "../style.ts";

const HELP = `
Settings come from, in this order: flags, PTALK_* variables, ~/.config/ptalk/config.toml, /etc/ptalk/config.toml, defaults.
Exit status 77: a config file cannot be read, or others than you and root can write it.`;

export function command(): Command {
  return new Command("config")
    .description("Prints the settings that hold.")
    .option("--show-origin", "say where each comes from")
    .addHelpText("after", HELP)
    .action(run);
}

async function run({ showOrigin = false }: { readonly showOrigin?: boolean }, command: Command): Promise<void> {
  const { json, showOrigin: _, as: name, ...flags } = givenFlags(command);
  const settings = await settingOrigins({ ...flags, name });
  if (json === true) return printJson(settings);
  if (!showOrigin) return print(settings.map(line).join("\n"));
  const rows = settings.map((setting) => [line(setting), setting.origin, setting.where ?? "-"]);
  await print(table(["SETTING", "ORIGIN", "WHERE"], rows, painter(process.stdout)).join("\n"));
}

/** As it would stand in a file; what only the host decides is left open. */
function line({ key, value }: SettingOrigin): string {
  return `${key} = ${value === null ? "(not set)" : escapeControls(JSON.stringify(value))}`;
}
