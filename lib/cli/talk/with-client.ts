// A client for the length of a conversation.
import type { TalkConnection } from "../../client/types.ts";

/** Runs `use` and closes the client whatever happens; `ended` aborts when the session has ended for good. */
export async function withClient(client: TalkConnection, use: (ended: AbortSignal) => Promise<void>): Promise<void> {
  const ended = new AbortController();
  client.on("error", (error) => ended.abort(error));
  try {
    await use(ended.signal);
  } finally {
    await client.close();
  }
}
