// The program as commander sees it: global options, the one command that will run, and the others by name only.
import { createRequire } from "node:module";
import { Command, type HelpConfiguration } from "commander";
import { TalkError } from "../base/errors.ts";
import { PEER_PROTOCOL } from "../directory/entry.ts";
import { COMMANDS, DEFAULT_COMMAND, operands, similarCommand } from "./commands.ts";
import { fold } from "./fold.ts";
import { addExamples } from "./help.ts";
import { wantsJson } from "./output.ts";
import { setColours } from "./style.ts";

const AFTER_HELP = `
\`ptalk PEER\` is short for \`ptalk talk PEER\`. Settings: flags > PTALK_* environment > config.toml > defaults.
Exit status: 0 done, 64 usage, 65 bad name or text, 67 no such user, 69 server unreachable or full,
73 name taken, 75 not delivered in time, 76 unconfirmed, 77 refused, 70 internal error. See ptalk(1).`;

/** Wrapped on a narrow terminal, too. */
const HELP_STYLE: HelpConfiguration = { showGlobalOptions: true, minWidthToWrap: 12 };

/** The server is no client. */
const NOT_OF_SERVE = new Set(["--server", "--ca", "--as", "--port", "--no-relay"]);
const SERVE_HELP: HelpConfiguration = {
  ...HELP_STYLE,
  visibleGlobalOptions: (command) =>
    (command.parent?.options ?? []).filter(({ long }) => !NOT_OF_SERVE.has(long ?? "")),
};

/** Builds the program for one command line; only the command that it names is loaded. */
export async function program(args: readonly string[]): Promise<Command> {
  const cli = new Command("ptalk")
    .description("talk to people on this host and this network, from one terminal or script to another")
    .usage("[command] [options]")
    .option("--server <host:port[,…]>", "the lookup server, or several in the order to try (default: 127.0.0.1:5518)")
    .option("--as <name>", "be NAME (default: the login name)")
    .option("--insecure", "plain TCP to a server that is not on this machine")
    .option("--port <n>", "UDP port for messages (default: any)")
    .option("--no-relay", "direct paths only: nothing goes over the server")
    .option("--ca <file>", "authorities that issue the server's certificate (PEM)")
    .option("--state-dir <dir>", "folder of the key and the known peers")
    .option("--json", "machine-readable results")
    .option("--color <when>", "colours: auto, always or never")
    .on("option:color", setColours)
    .version(wantsJson(args) ? versionJson() : version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "this help")
    .addHelpText("after", AFTER_HELP)
    .configureHelp(HELP_STYLE);
  failInsteadOfExiting(cli);
  const chosen = await chosenCommand(args);
  for (const [name, { summary, usage, load }] of Object.entries(COMMANDS)) {
    const command = name === chosen ? (await load()).command() : new Command(usage);
    cli.addCommand(command.summary(summary), { isDefault: name === DEFAULT_COMMAND });
    command.helpOption("-h, --help", "this help").configureHelp(name === "serve" ? SERVE_HELP : HELP_STYLE);
    addExamples(name, command);
    failInsteadOfExiting(command);
    for (const part of command.commands) failInsteadOfExiting(part);
  }
  return cli;
}

/** @throws TalkError usage for a first word that is neither a command nor somebody to talk to */
async function chosenCommand(args: readonly string[]): Promise<string | undefined> {
  const [first, ...more] = operands(args);
  if (first === undefined) return args.includes("--help") || args.includes("-h") ? undefined : DEFAULT_COMMAND;
  if (first === "help") {
    const [topic] = more;
    if (topic === undefined || Object.hasOwn(COMMANDS, topic)) return topic;
    throw TalkError.usage(`no command ${JSON.stringify(topic)}; there are ${Object.keys(COMMANDS).join(", ")}`);
  }
  if (Object.hasOwn(COMMANDS, first)) return first;
  const similar = similarCommand(first);
  const meant = similar === undefined ? "" : `; did you mean ${similar}?`;
  // More words than a name are a command that was mistyped, or the text of a message: nobody is talked to by mistake.
  if (more.length > 0)
    throw TalkError.usage(`no command ${JSON.stringify(first)}${meant || "; to send a message: ptalk send NAME TEXT"}`);
  if (similar === undefined) return DEFAULT_COMMAND;
  const { isKnownPeer } = await import("./known-peer.ts");
  if (await isKnownPeer(first, args)) return DEFAULT_COMMAND;
  throw TalkError.usage(`no command ${JSON.stringify(first)}, and nobody of that name is known${meant}`);
}

function failInsteadOfExiting(command: Command): void {
  command.exitOverride((error) => {
    if (error.exitCode === 0) throw error;
    const words: string[] = [];
    for (let at: Command | null = command; at !== null; at = at.parent) words.unshift(at.name());
    throw TalkError.usage(`${error.message.replace(/^error: /, "")}; see ${words.join(" ")} --help`);
  });
  command.configureOutput({
    writeErr: () => {}, // the error is reported once, by main
    writeOut: (text) => process.stdout.write(fold(text, process.stdout.columns)),
  });
}

function versionJson(): string {
  return JSON.stringify({ name: "ptalk", version: version(), protocol: PEER_PROTOCOL, node: process.version });
}

function version(): string {
  const { version } = createRequire(import.meta.url)("../../package.json") as { version: string };
  return version;
}
