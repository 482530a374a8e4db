// The program as commander sees it: global options, the one command that will run, and the others by name only.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { TalkError } from "../base/errors.ts";
import { COMMANDS, DEFAULT_COMMAND, firstOperand } from "./commands.ts";

const AFTER_HELP = `
\`ptalk NAME\` is short for \`ptalk talk NAME\`. CommandContext: flags > PTALK_* environment > config.toml > defaults.
Exit status: 0 done, 64 usage, 65 bad name or text, 67 no such user, 69 server unreachable or full,
73 name taken, 75 not delivered in time, 77 refused, 70 internal error. See ptalk(1).`;

/** Builds the program for one command line; only the command that it names is loaded. */
export async function program(args: readonly string[]): Promise<Command> {
  const cli = new Command("ptalk")
    .description("talk to people on this host and this network, from one terminal or script to another")
    .usage("[command] [options]")
    .option("--server <host:port>", "the lookup server (default: 127.0.0.1:5518)")
    .option("--insecure", "plain TCP to a server that is not on this machine")
    .option("--state-dir <dir>", "folder of the key and the known peers")
    .option("--json", "machine-readable results")
    .version(version(), "--version", "print the version")
    .helpOption("--help", "this help")
    .addHelpText("after", AFTER_HELP)
    .configureHelp({ showGlobalOptions: true });
  failInsteadOfExiting(cli);
  const chosen = chosenCommand(args);
  for (const [name, { summary, usage, load }] of Object.entries(COMMANDS)) {
    const command = name === chosen ? (await load()).command() : new Command(usage);
    cli.addCommand(command.summary(summary), { isDefault: name === DEFAULT_COMMAND });
    command.helpOption("--help", "this help").configureHelp({ showGlobalOptions: true });
    failInsteadOfExiting(command);
  }
  return cli;
}

function chosenCommand(args: readonly string[]): string | undefined {
  const operand = firstOperand(args);
  if (operand === "help") {
    const topic = firstOperand(args.slice(args.indexOf("help") + 1));
    if (topic === undefined || Object.hasOwn(COMMANDS, topic)) return topic;
    throw TalkError.usage(`no command ${JSON.stringify(topic)}; there are ${Object.keys(COMMANDS).join(", ")}`);
  }
  if (operand !== undefined && Object.hasOwn(COMMANDS, operand)) return operand;
  return operand === undefined && args.includes("--help") ? undefined : DEFAULT_COMMAND;
}

function failInsteadOfExiting(command: Command): void {
  command.exitOverride((error) => {
    if (error.exitCode === 0) throw error;
    throw TalkError.usage(error.message.replace(/^error: /, ""));
  });
  command.configureOutput({ writeErr: () => {} }); // the error is reported once, by main
}

function version(): string {
  const root = join(import.meta.dirname, "../..");
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  return version;
}
