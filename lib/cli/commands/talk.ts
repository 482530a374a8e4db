// `ptalk talk [NAME]`: a conversation, at a terminal or on a pipe.
import { Command } from "commander";
import { sigaction } from "../../ipc/index.ts";
import { type CommandContext, commandContext, milliseconds, ownName } from "../command-context.ts";
import { connectClient } from "../connect.ts";
import { type Shutdown, watchShutdown } from "../shutdown.ts";
import { Conversation } from "../talk/conversation.ts";
import { TALK_HELP } from "../talk/input.ts";
import { jsonView } from "../talk/json-view.ts";
import { converse } from "../talk/pipe.ts";
import { plainView } from "../talk/plain-view.ts";
import type { View } from "../talk/view.ts";
import { withClient } from "../talk/with-client.ts";

export function command(): Command {
  return new Command("talk")
    .description("Talks as NAME: type NAME message, or a command.")
    .argument("[name]", "your name (default: the login name)")
    .addHelpText("after", `\n${TALK_HELP.join("\n")}`)
    .action(run);
}

async function run(name: string | undefined, _options: unknown, command: Command): Promise<void> {
  const chosen = await commandContext(command, { name });
  const own = ownName(chosen.config);
  using _interrupt = sigaction("SIGINT", "ignore"); // Ctrl-C of any terminal this process shares
  using life = watchShutdown({ signals: ["SIGTERM", "SIGHUP"] });
  if (isForPeople(chosen)) {
    const { talkAtTerminal } = await import("../talk/at-terminal.ts");
    await talkAtTerminal(own, chosen.config, life);
  } else await talkOnPipe(own, chosen, life);
}

/** The line editor needs a terminal on both sides, one that can move its cursor. */
function isForPeople({ json }: CommandContext): boolean {
  return !json && process.stdin.isTTY && process.stdout.isTTY && process.env.TERM !== "dumb";
}

async function talkOnPipe(name: string, { config, json }: CommandContext, life: Shutdown): Promise<void> {
  using view: View = json ? jsonView() : plainView();
  try {
    let registered = (): void => {};
    const ready = new Promise<void>((resolve) => {
      registered = resolve;
    });
    const client = await connectClient(config, {
      name,
      signal: life.signal,
      startServer: !config.serverConfigured,
      deliver: (message) => ready.then(() => view.message(message)),
    });
    await withClient(client, async (ended) => {
      view.registered(client);
      registered();
      const signal = AbortSignal.any([life.signal, ended]);
      const conversation = new Conversation(client, view, { signal, timeoutMs: milliseconds(config.timeout) });
      await converse(conversation, view, signal);
      await conversation.drain();
    });
  } catch (error) {
    if (json && !life.signal.aborted) view.error(error);
    throw error;
  } finally {
    view.exit();
  }
}
