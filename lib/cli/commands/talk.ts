// `ptalk [talk] [PEER]`: a conversation, at a terminal or on a pipe.
import { Command } from "commander";
import { validateTarget } from "../../base/names.ts";
import { sigaction } from "../../ipc/index.ts";
import { agentOf, unreadOf } from "../agent/takeover.ts";
import { type CommandContext, commandContext, milliseconds, ownName } from "../command-context.ts";
import { keepHistory } from "../connect.ts";
import { note } from "../output.ts";
import { joinAsSelf } from "../own-name.ts";
import { type Shutdown, watchShutdown } from "../shutdown.ts";
import type { TalkOptions } from "../talk/at-terminal.ts";
import { Conversation } from "../talk/conversation.ts";
import { TALK_HELP } from "../talk/input.ts";
import { jsonView } from "../talk/json-view.ts";
import { converse } from "../talk/pipe.ts";
import { plainView } from "../talk/plain-view.ts";
import type { View } from "../talk/view.ts";
import { startHook, withClient } from "../talk/with-client.ts";

export function command(): Command {
  return new Command("talk")
    .description("Talks to people: with PEER, a line goes to PEER as it is; without, type NAME message.")
    .argument("[peer]", "whom to talk to, or #ROOM")
    .option("--timeout <time>", "give a message up after this long (default: 10s)")
    .addHelpText("after", `\n${TALK_HELP.join("\n")}`)
    .action(run);
}

async function run(peer: string | undefined, _options: unknown, command: Command): Promise<void> {
  const context = await commandContext(command);
  const name = ownName(context.config);
  const partner = peer ?? null;
  if (partner !== null) validateTarget(partner);
  using _interrupt = sigaction("SIGINT", "ignore"); // Ctrl-C of any terminal this process shares
  using life = watchShutdown({ signals: ["SIGTERM", "SIGHUP"] });
  if (isForPeople(context)) {
    const { talkAtTerminal } = await import("../talk/at-terminal.ts");
    await talkAtTerminal({ name, partner }, context.config, life);
  } else await talkOnPipe({ name, partner }, context, life);
}

/** The line editor needs a terminal on both sides, one that can move its cursor. */
function isForPeople({ json }: CommandContext): boolean {
  return !json && process.stdin.isTTY && process.stdout.isTTY && process.env.TERM !== "dumb";
}

async function talkOnPipe(
  { name, partner }: TalkOptions,
  { config, json }: CommandContext,
  life: Shutdown,
): Promise<void> {
  using view: View = json ? jsonView() : plainView(config);
  try {
    let registered = (): void => {};
    const ready = new Promise<void>((resolve) => {
      registered = resolve;
    });
    const agent = agentOf(name, config.server);
    const { client, requested } = await joinAsSelf(config, {
      isNumbered: true,
      replace: agent !== undefined,
      signal: life.signal,
      startServer: !config.serverConfigured,
      fold: config.history && !json && process.stdout.isTTY,
      history: keepHistory(config, note),
      receiveAfter: ready,
      deliver: (message) => view.message(message),
    });
    await withClient(client, agent, async (ended) => {
      using _hook = await startHook(client, config, note);
      view.registered(client, requested);
      if (agent !== undefined) view.missed(await unreadOf(agent, client));
      registered();
      const signal = AbortSignal.any([life.signal, ended]);
      const conversation = new Conversation(client, view, {
        signal,
        timeoutMs: milliseconds(config.timeout),
        partner,
      });
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
