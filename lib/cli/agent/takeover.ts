// How a terminal takes the name over from the user's own agent, and gives it back. Nothing is lost or shown twice in
// between: the agent confirms what it has taken before it says that it waits, and only then does the terminal read the
// unread messages.
import { setTimeout as sleep } from "node:timers/promises";
import { foldName } from "../../base/names.ts";
import { haveServerInCommon } from "../../base/server-address.ts";
import type { HistoryRecord, TalkConnection } from "../../client/types.ts";
import { type AgentState, listAgents } from "../../presence/agent-list.ts";

/** Asks the agent to take the name back. */
export const TAKE_BACK = "SIGUSR2";
/** Milliseconds that the agent may take to confirm what it has; a disk that does not answer holds no terminal up. */
const HAND_OVER_MS = 3_000;
/** Milliseconds that the agent may take to have the name again. */
const HAND_BACK_MS = 2_000;
const LOOK_EVERY_MS = 10;

/** The agent that has this name now, if one does. @param server one, or a list */
export function agentOf(name: string, server: string): AgentState | undefined {
  const folded = foldName(name);
  return listAgents().find(
    (agent) => agent.state === "on" && foldName(agent.name) === folded && haveServerInCommon(agent.server, server),
  );
}

/**
 * The messages that the agent has taken and no terminal has shown, oldest first. Called once the terminal has the name.
 */
export async function unreadOf({ pid, startTime }: AgentState, client: TalkConnection): Promise<HistoryRecord[]> {
  const end = performance.now() + HAND_OVER_MS;
  let agent = stateOf(pid, startTime);
  while (agent?.state === "on" && performance.now() < end) {
    await sleep(LOOK_EVERY_MS);
    agent = stateOf(pid, startTime);
  }
  if (agent === undefined || agent.unreadSince === null) return [];
  const ignored = new Set(client.ignored());
  const unread: HistoryRecord[] = [];
  for await (const record of client.history({ since: agent.unreadSince })) {
    if (record.direction === "in" && !ignored.has(foldName(record.with))) unread.push(record);
  }
  return unread.slice(-agent.unread);
}

/** Has the agent take the name before the terminal leaves it, so that the name always has an owner. */
export async function handBack({ pid, startTime }: AgentState, client: TalkConnection): Promise<void> {
  if (stateOf(pid, startTime)?.state !== "waiting") return; // it has ended meanwhile
  const replaced = new Promise<void>((resolve) => client.on("error", () => resolve()));
  try {
    process.kill(pid, TAKE_BACK);
  } catch {
    return;
  }
  await Promise.race([replaced, sleep(HAND_BACK_MS, undefined, { ref: false })]);
}

const stateOf = (pid: number, startTime: number): AgentState | undefined =>
  listAgents().find((agent) => agent.pid === pid && agent.startTime === startTime);
