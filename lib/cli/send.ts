// What `ptalk send` does, however its command line was read.

import { setMaxListeners } from "node:events";
import { TalkError } from "../base/errors.ts";
import type { SendResult, TalkConnection } from "../client/types.ts";
import { failureText } from "./advice.ts";
import { type CommandContext, milliseconds, ownName } from "./command-context.ts";
import { Deadline } from "./deadline.ts";
import { escapeControls } from "./escape-controls.ts";
import { deliveredJson, sentJson } from "./json.ts";
import { describeError, jsonLine, note, print } from "./output.ts";
import { joinAsSelf } from "./own-name.ts";
import { watchShutdown } from "./shutdown.ts";
import { readText } from "./stdin-text.ts";
import { nameMistakes, parseRecipients } from "./talk/input.ts";
import { duration } from "./times.ts";

/**
 * @param names "NAME,NAME"
 * @param words the text; none: it is on stdin
 */
export async function send(names: string, words: readonly string[], { config, json }: CommandContext): Promise<void> {
  ownName(config); // before stdin is read
  const recipients = parseRecipients(names);
  const [mistake, ...more] = nameMistakes(recipients);
  for (const { message } of more) note(message);
  if (mistake !== undefined) throw mistake;
  const text = words.length > 0 ? words.join(" ") : await readText(process.stdin);
  if (text === "") throw TalkError.badData("the message is empty");
  // Who reads stdout has no say in it: the message goes on, and the exit status tells what became of it.
  using life = watchShutdown({ endsWithOutput: false });
  const { signal } = life;
  setMaxListeners(0, signal); // each recipient listens; their number has a bound
  const deadline = new Deadline(milliseconds(config.timeout));
  const { client } = await joinAsSelf(config, {
    register: "never",
    recipients,
    signal: deadline.with(signal),
  }).catch((error: unknown) => {
    throw deadline.over && !signal.aborted ? unanswered(names, deadline) : error;
  });
  if (json) showJson(client);
  try {
    // Within a hook: an answer that no person has written.
    const auto = process.env.PTALK_ID !== undefined;
    const limits = { signal, auto, ...deadline.left };
    const outcomes = await Promise.allSettled(recipients.map((to) => client.send(to, text, limits)));
    signal.throwIfAborted();
    if (!json) report(outcomes);
    const failure = outcomes.find((outcome) => outcome.status === "rejected");
    if (failure !== undefined) throw failure.reason;
  } finally {
    await client.close();
  }
}

const unanswered = (names: string, { totalMs = 0 }: Deadline): TalkError =>
  TalkError.notDelivered(names, `no answer from the lookup server within ${totalMs / 1000} s`);

function showJson(client: TalkConnection): void {
  const show = (value: unknown): void => tell(jsonLine(value));
  client.on("sent", (event) => show(sentJson(event)));
  client.on("delivered", (event) => show(deliveredJson(event)));
  client.on("failed", (event) => {
    const { id, to, code } = event;
    show({ type: "failed", id, to, code, message: failureText(event) });
  });
}

// The first failure is thrown, and so reported by main; the others are told here.
function report(outcomes: readonly PromiseSettledResult<SendResult>[]): void {
  for (const outcome of outcomes) {
    if (outcome.status === "fulfilled")
      tell(`delivered to ${escapeControls(outcome.value.to)} (${duration(outcome.value.ms)})`);
  }
  const failures = outcomes.filter((outcome) => outcome.status === "rejected");
  for (const { reason } of failures.slice(1)) note(describeError(reason).message);
}

/** A failure to print changes nothing: of one that is worth a word stdout's own "error" has told. */
const tell = (line: string): void => void print(line).catch(() => {});
