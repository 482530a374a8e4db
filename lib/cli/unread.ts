// What `ptalk unread` does, however its command line was read: a prompt asks at each turn, so it loads next to nothing, and reads
// shared memory only. No home, which may be on a mount that does not answer, and no socket.
import { foldName } from "../base/names.ts";
import { type AgentState, listAgents } from "../presence/agent-list.ts";

export interface UnreadOptions {
  /** Only what waits for this name. */
  readonly as?: string | undefined;
  /** %n: how many; %f: the last sender, empty if there is none; %%: a per cent sign. */
  readonly format?: string | undefined;
  readonly json?: boolean | undefined;
}

/** The line to print. */
export function unreadLine({ as: name, format = "%n", json = false }: UnreadOptions): string {
  const agents = listAgents().filter((agent) => name === undefined || foldName(agent.name) === foldName(name));
  const unread = agents.reduce((sum, agent) => sum + waiting(agent), 0);
  const lastFrom = agents.findLast((agent) => waiting(agent) > 0)?.lastFrom ?? null;
  if (json) return JSON.stringify({ type: "unread", unread, lastFrom });
  const words: Readonly<Record<string, string>> = { n: String(unread), f: lastFrom ?? "", "%": "%" };
  return format.replace(/%([nf%])/g, (_, letter: string) => words[letter] as string);
}

/** Of an agent that waits a terminal has shown everything. */
const waiting = ({ state, unread }: AgentState): number => (state === "on" ? unread : 0);
