// A client for the length of a conversation, and the user's program for its messages.
import type { TalkConnection } from "../../client/types.ts";
import type { AgentState } from "../../presence/agent-list.ts";
import { hookLogFile } from "../../store/state-paths.ts";
import { handBack } from "../agent/takeover.ts";
import type { Config } from "../config.ts";

/**
 * Runs `use` and closes the client whatever happens; `ended` aborts when the session has ended for good.
 * @param agent from which the name was taken over: it gets it back
 */
export async function withClient(
  client: TalkConnection,
  agent: AgentState | undefined,
  use: (ended: AbortSignal) => Promise<void>,
): Promise<void> {
  const ended = new AbortController();
  client.on("error", (error) => ended.abort(error));
  try {
    await use(ended.signal);
  } finally {
    if (agent !== undefined) await handBack(agent, client);
    await client.close();
  }
}

/** Runs the `on-message` program, if there is one, for the messages of this client. @param tell hears once that it fails */
export async function startHook(
  client: TalkConnection,
  { onMessage: command, stateDir }: Pick<Config, "onMessage" | "stateDir">,
  tell: (text: string) => void,
): Promise<Disposable | null> {
  if (command === undefined) return null;
  const { MessageHook } = await import("./hook.ts");
  const hook = new MessageHook({ command, log: hookLogFile(stateDir), onFailure: tell });
  client.on("message", (message) => hook.onMessage(message));
  return hook;
}
