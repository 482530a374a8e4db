// What `ptalk send` does, however its command line was read.

import { setMaxListeners } from "node:events";
import { TalkError } from "../base/errors.ts";
import { isRoom } from "../base/names.ts";
import type { RoomResult, SendOptions, SendResult, TalkConnection } from "../client/types.ts";
import { type CommandContext, milliseconds, ownName } from "./command-context.ts";
import { CommandEnded } from "./command-ended.ts";
import { connectClient } from "./connect.ts";
import { Deadline } from "./deadline.ts";
import { escapeControls } from "./escape-controls.ts";
import { EXIT } from "./exit-status.ts";
import { deliveredJson, failedJson, roomResultJson, sentJson } from "./json.ts";
import { describeError, jsonLine, note, print } from "./output.ts";
import { watchShutdown } from "./shutdown.ts";
import { readText } from "./stdin-text.ts";
import { nameMistakes, parseRecipients } from "./talk/input.ts";
import { roomResultText } from "./talk/texts.ts";
import { duration } from "./times.ts";

export interface SendCommandOptions {
  /** Path of a file that goes along. */
  readonly file?: string | undefined;
}

/**
 * @param names "NAME,NAME"
 * @param words the text; none: it is on stdin
 */
export async function send(
  names: string,
  words: readonly string[],
  { config, json }: CommandContext,
  options: SendCommandOptions = {},
): Promise<void> {
  const name = ownName(config);
  const recipients = parseRecipients(names);
  const [mistake, ...more] = nameMistakes(recipients);
  for (const { message } of more) note(message);
  if (mistake !== undefined) throw mistake;
  const { file } = options;
  if (file !== undefined && recipients.some(isRoom))
    throw TalkError.usage("--file: a file goes to people, not to a room");
  // With a file there is a text only if it is given: nobody types one at a program that has all it needs.
  const text = words.length > 0 || file !== undefined ? words.join(" ") : await readText(process.stdin);
  if (text === "" && file === undefined) throw TalkError.badData("the message is empty");
  // Who reads stdout has no say in it: the message goes on, and the exit status tells what became of it.
  using life = watchShutdown({ endsWithOutput: false });
  const { signal } = life;
  setMaxListeners(0, signal); // each recipient listens; their number has a bound
  const deadline = new Deadline(milliseconds(config.timeout));
  const client = await connectClient(config, {
    name,
    register: "never",
    recipients: recipients.filter((to) => !isRoom(to)),
    signal: deadline.with(signal),
  }).catch((error: unknown) => {
    throw deadline.over && !signal.aborted ? unanswered(names, deadline) : error;
  });
  if (json) showJson(client);
  try {
    // Within a hook: an answer that no person has written.
    const auto = process.env.PTALK_ID !== undefined;
    const limits = { signal, auto, ...deadline.left };
    const outcomes =
      text === "" ? [] : await Promise.allSettled(recipients.map((to) => sendOne(client, to, text, { json, limits })));
    signal.throwIfAborted();
    if (!json) report(outcomes);
    const failure = outcomes.find((outcome) => outcome.status === "rejected");
    if (failure !== undefined) throw failure.reason;
    if (file !== undefined) {
      const { sendFiles } = await import("./send-file.ts");
      await sendFiles(client, recipients, file, { json, signal, timeoutMs: milliseconds(config.timeout) });
    }
  } finally {
    await client.close();
  }
}

interface SendOneOptions {
  readonly json: boolean;
  readonly limits: SendOptions;
}

/** @throws as TalkClient.send(); CommandEnded, with all said, for a room of which not everybody has it who wants it */
async function sendOne(
  client: TalkConnection,
  to: string,
  text: string,
  { json, limits }: SendOneOptions,
): Promise<SendResult | RoomResult> {
  if (!isRoom(to)) return await client.send(to, text, limits);
  const result: RoomResult = await client.send(to as `#${string}`, text, limits);
  const status = roomStatus(result);
  if (status === EXIT.ok) return result;
  if (!json) tell(`${escapeControls(result.room)}: ${roomResultText(result)}`);
  throw new CommandEnded("not everybody has it", status);
}

/** 0 when all have it who did not decline; else whether anybody has it. */
function roomStatus({ delivered, failed }: RoomResult): number {
  if (delivered === 0) return EXIT.tempFail;
  return failed.length === 0 ? EXIT.ok : EXIT.unconfirmed;
}

const unanswered = (names: string, { totalMs = 0 }: Deadline): TalkError =>
  TalkError.notDelivered(names, `no answer from the lookup server within ${totalMs / 1000} s`);

function showJson(client: TalkConnection): void {
  const show = (value: unknown): void => tell(jsonLine(value));
  client.on("sent", (event) => show(sentJson(event)));
  client.on("delivered", (event) => show(deliveredJson(event)));
  client.on("failed", (event) => show(failedJson(event)));
  client.on("room-result", (result) => show(roomResultJson(result)));
}

// The first failure is thrown, and so reported by main; the others are told here.
function report(outcomes: readonly PromiseSettledResult<SendResult | RoomResult>[]): void {
  for (const outcome of outcomes) {
    if (outcome.status !== "fulfilled") continue;
    const { value } = outcome;
    if ("room" in value) tell(`${escapeControls(value.room)}: ${roomResultText(value)}`);
    else tell(`delivered to ${escapeControls(value.to)} (${duration(value.ms)})`);
  }
  const failures = outcomes.filter((outcome) => outcome.status === "rejected");
  for (const { reason } of failures.slice(1)) {
    if (!(reason instanceof CommandEnded)) note(describeError(reason).message);
  }
}

/** A failure to print changes nothing: of one that is worth a word stdout's own "error" has told. */
const tell = (line: string): void => void print(line).catch(() => {});
