// A conversation whose lines come from a pipe, a file or a dumb terminal.
import { TalkError } from "../../base/errors.ts";
import { readLines } from "../line-reader.ts";
import type { Conversation } from "./conversation.ts";
import type { View } from "./view.ts";

/** Takes lines until Exit, the end of input, or the abort of `signal` (whose reason it then throws). */
export async function converse(conversation: Conversation, view: View, signal: AbortSignal): Promise<void> {
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    if (signal.aborted) reject(signal.reason);
  });
  try {
    await Promise.race([takeAll(conversation, view), aborted]);
  } finally {
    process.stdin.destroy(); // a writer that goes on gets EPIPE instead of filling a pipe that nobody reads
  }
}

async function takeAll(conversation: Conversation, view: View): Promise<void> {
  for await (const line of readLines(process.stdin)) {
    if (line instanceof TalkError) view.error(line);
    else if (!(await conversation.take(line))) return;
  }
}
