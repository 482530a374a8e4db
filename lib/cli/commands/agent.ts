// `ptalk agent [start|stop|status]`: on without a terminal. Without a word in the foreground, as a service manager wants it.
import { resolve } from "node:path";
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import { haveServerInCommon } from "../../base/server-address.ts";
import { processExit } from "../../ipc/index.ts";
import { type AgentState, listAgents } from "../../presence/agent-list.ts";
import { type CommandContext, commandContext, ownName } from "../command-context.ts";
import { CommandEnded } from "../command-ended.ts";
import { escapeControls } from "../escape-controls.ts";
import { EXIT } from "../exit-status.ts";
import { iso } from "../json.ts";
import { note, print, printJson } from "../output.ts";
import { watchShutdown } from "../shutdown.ts";
import { time } from "../times.ts";

const HELP = `
A terminal (ptalk talk) takes the name over from the agent, shows what was unread, and hands the name back.`;

/** Milliseconds that an agent may take to end: it says goodbye and syncs its history. */
const STOP_LIMIT_MS = 10_000;

export function command(): Command {
  const agent = new Command("agent")
    .description("Is on without a terminal: keeps the name, writes the history, runs on-message, is shown as away.")
    .addHelpText("after", HELP)
    .action(run);
  agent.addCommand(new Command("start").description("in the background; returns once it has the name").action(start));
  agent.addCommand(new Command("stop").description("ends it").action(stop));
  agent.addCommand(new Command("status").description("who is on, and what is unread").action(status));
  return agent;
}

async function run(_options: unknown, command: Command): Promise<void> {
  const context = await checked(command);
  const name = ownName(context.config);
  using life = watchShutdown({ endsWithOutput: false });
  const { runAgent } = await import("../agent/agent.ts");
  await runAgent(context.config, {
    name,
    signal: life.signal,
    say: note,
    onReady: (state, server) =>
      note(state === "on" ? `you are ${name} on ${server}, without a terminal` : `a terminal is ${name} on ${server}`),
  });
}

/** @throws TalkError usage without a history, name-taken if there is one already */
async function checked(command: Command): Promise<CommandContext> {
  const context = await commandContext(command);
  const { history, server } = context.config;
  if (!history) throw TalkError.usage("an agent needs the history, where its messages go: set history = true");
  const name = foldName(ownName(context.config));
  const other = listAgents().find((agent) => foldName(agent.name) === name && haveServerInCommon(agent.server, server));
  if (other !== undefined) throw TalkError.nameTaken(other.name, `your agent ${other.pid} is on`);
  return context;
}

async function start(_options: unknown, command: Command): Promise<void> {
  const context = await checked(command);
  using life = watchShutdown();
  const { startAgent, AgentFailed } = await import("../agent/start.ts");
  const { logoutFacts, logoutWarning } = await import("../agent/logout.ts");
  const { stateDir, server, serverConfigured, insecure, ca } = context.config;
  const name = ownName(context.config);
  const args = ["--as", name, "--state-dir", stateDir];
  if (serverConfigured) args.push("--server", server);
  if (insecure) args.push("--insecure");
  if (ca !== undefined) args.push("--ca", resolve(ca));
  const find = (pid: number): AgentState | undefined => listAgents().find((agent) => agent.pid === pid);
  const pid = await startAgent({
    stateDir,
    args,
    isReady: (started) => find(started) !== undefined,
    signal: life.signal,
  }).catch((error: unknown) => {
    if (!(error instanceof AgentFailed)) throw error;
    note(error.message);
    throw new CommandEnded("the agent did not begin", error.status || EXIT.internal);
  });
  const agent = find(pid);
  if (agent !== undefined) await show([agent], context.json);
  const warning = logoutWarning(logoutFacts(pid));
  if (warning !== null) note(warning);
}

async function stop(_options: unknown, command: Command): Promise<void> {
  for (const { pid, name } of chosen(command)) {
    const ended = processExit(pid, { signal: AbortSignal.timeout(STOP_LIMIT_MS) });
    process.kill(pid, "SIGTERM");
    try {
      await ended;
    } catch {
      throw new TalkError("timeout", `the agent of ${name} (process ${pid}) has not ended yet`);
    }
  }
}

async function status(_options: unknown, command: Command): Promise<void> {
  await show(chosen(command), command.optsWithGlobals<{ json?: boolean }>().json === true);
}

/** Those that run, or the one of --as NAME. No settings are read: an agent is found without a home, too. */
function chosen(command: Command): AgentState[] {
  const { as: name } = command.optsWithGlobals<{ as?: string }>();
  const agents = listAgents().filter((agent) => name === undefined || foldName(agent.name) === foldName(name));
  if (agents.length === 0)
    throw new TalkError("no-such-process", "no agent of yours is on; start one with: ptalk agent start");
  return agents;
}

async function show(agents: readonly AgentState[], json: boolean): Promise<void> {
  for (const { name, pid, server, state, startedAt, unread, lastFrom } of agents) {
    if (json) {
      await printJson({ type: "agent", state, name, pid, server, startedAt: iso(startedAt), unread, lastFrom });
      continue;
    }
    const holder =
      state === "on"
        ? `agent ${pid} is ${escapeControls(name)}`
        : `a terminal is ${escapeControls(name)}, agent ${pid} waits`;
    const last = lastFrom === null ? "" : `, last from ${escapeControls(lastFrom)}`;
    await print(`${holder} on ${server} since ${time(startedAt)}; ${unread} unread${last}`);
  }
}
