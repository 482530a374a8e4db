// What `ptalk send` does, however its command line was read.

import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import { TalkError, type TalkErrorCode } from "../base/errors.ts";
import { foldName, isRoom } from "../base/names.ts";
import { seconds } from "../base/seconds.ts";
import type { RoomResult, SendOptions, SendResult, TalkConnection } from "../client/types.ts";
import { MAX_ID_BYTES } from "../wire/datagram-message.ts";
import { type CommandContext, milliseconds, ownName } from "./command-context.ts";
import { CommandEnded } from "./command-ended.ts";
import { duration, WEEK_S } from "./config-values.ts";
import { nobodyOn } from "./connect.ts";
import { Deadline } from "./deadline.ts";
import { escapeControls } from "./escape-controls.ts";
import { EXIT } from "./exit-status.ts";
import { deliveredJson, failedJson, keptJson, roomResultJson, sentJson, unconfirmedJson } from "./json.ts";
import { describeError, jsonLine, note, print } from "./output.ts";
import { joinAsSelf } from "./own-name.ts";
import { watchShutdown } from "./shutdown.ts";
import { readText } from "./stdin-text.ts";
import { nameMistakes, parseRecipients } from "./talk/input.ts";
import { keptText, metText, roomResultText } from "./talk/texts.ts";
import { duration as shownDuration } from "./times.ts";

export interface SendCommandOptions {
  /** Prints nothing about delivered messages. */
  readonly quiet?: boolean;
  /** Path of a file that goes along. */
  readonly file?: string | undefined;
  /** Keep it at the server for recipients who are off. */
  readonly leave?: boolean | undefined;
  /** A duration: how long to wait for recipients who are off. */
  readonly wait?: string | undefined;
  /** The id of an earlier attempt: a receiver that has shown that one does not show this one. */
  readonly id?: string | undefined;
}

const waitSeconds = duration(WEEK_S);

/** Failures of which a later attempt is to have the same id. */
const REPEATABLE: readonly TalkErrorCode[] = ["not-delivered", "unconfirmed", "mailbox-full", "try-again"];

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
  const { file, quiet = false, id = randomUUID() } = options;
  const repeated = options.id !== undefined;
  checkId(id);
  if (options.leave && options.wait !== undefined)
    throw TalkError.usage("--wait and --leave are two answers to one question");
  ownName(config); // before stdin is read
  const recipients = checkRecipients(names);
  if (options.wait !== undefined && recipients.some(isRoom)) throw TalkError.usage("--wait: nobody waits for a room");
  if (options.leave && recipients.some(isRoom)) {
    throw TalkError.usage("--leave: nothing is kept for who is not in the room");
  }
  if (file !== undefined && recipients.some(isRoom)) {
    throw TalkError.usage("--file: a file goes to people, not to a room");
  }
  // With a file, a text is sent only if it is an argument: the command then needs no text from stdin.
  const isGiven = words.length > 0 || file !== undefined;
  if (!isGiven && process.stdin.isTTY)
    note(`type the message for ${escapeControls(names)}, and end it with Ctrl-D on a line of its own`);
  const text = isGiven ? words.join(" ") : await readText(process.stdin);
  if (text === "" && file === undefined) throw TalkError.badData("the message is empty");
  // The reader of stdout may go: the message goes on, and the exit status tells the outcome.
  using life = watchShutdown({ endsWithOutput: false });
  const { signal } = life;
  setMaxListeners(0, signal); // each recipient listens; their number has a bound
  const waitMs = milliseconds(options.wait === undefined ? undefined : waitSeconds(options.wait, "--wait"));
  const deadline = new Deadline(waitMs ?? milliseconds(config.timeout));
  const { client } = await joinAsSelf(config, {
    register: "never",
    recipients: recipients.filter((to) => !isRoom(to)),
    startServer: waitMs !== undefined && !config.serverConfigured,
    signal: deadline.with(signal),
  }).catch((error: unknown) => {
    throw deadline.over && !signal.aborted ? withId(unanswered(names, deadline), id) : nobodyOn(config, error);
  });
  if (json) showJson(client);
  else client.on("kept", (event) => tell(keptText(event)));
  // Members of a room are marked where they are named.
  const isRecipient = (name: string): boolean => recipients.some((to) => foldName(to) === foldName(name));
  if (!json) client.on("met", (event) => void (isRecipient(event.name) && note(metText(event))));
  try {
    // Within a hook: an answer that no person has written.
    const auto = process.env.PTALK_ID !== undefined;
    const ifOff = options.leave ? { ifOff: "leave" as const } : {};
    const times = timesOf(deadline, waitMs, milliseconds(config.timeout));
    const limits = { id, repeated, signal, auto, ...times, ...ifOff };
    const outcomes =
      text === "" ? [] : await Promise.allSettled(recipients.map((to) => sendOne(client, to, text, { json, limits })));
    signal.throwIfAborted();
    if (!json) report(outcomes, { id, quiet });
    const failure = outcomes.find((outcome) => outcome.status === "rejected");
    if (failure !== undefined) throw withId(failure.reason, id);
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

/**
 * @throws as TalkClient.send(); CommandEnded, with all printed, if a member of the room wants the message and does not
 * have it
 */
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
  if (!json) tell(`${escapeControls(result.room)}: ${roomResultText(result)} (id ${result.id})`);
  throw new CommandEnded("not everybody has it", status);
}

/** 0 when all members who did not decline have it; else the status says whether any member may have it. */
function roomStatus({ delivered, failed }: RoomResult): number {
  if (failed.length === 0 && delivered > 0) return EXIT.ok;
  const mayHaveIt = delivered > 0 || failed.some(({ code }) => code === "unconfirmed");
  return mayHaveIt ? EXIT.unconfirmed : EXIT.tempFail;
}

/** With --wait the timeout is that of each attempt. */
function timesOf({ left }: Deadline, waitMs: number | undefined, timeoutMs: number | undefined) {
  if (waitMs === undefined) return left;
  const each = timeoutMs === undefined ? {} : { timeoutMs };
  return { ifOff: "wait" as const, waitMs: left.timeoutMs ?? waitMs, ...each };
}

/** @throws TalkError usage */
function checkId(id: string): void {
  const bytes = Buffer.byteLength(id);
  if (bytes >= 1 && bytes <= MAX_ID_BYTES) return;
  throw TalkError.usage(
    `--id takes 1 to ${MAX_ID_BYTES} bytes, as an attempt before this one has printed it, not ${bytes}`,
  );
}

/** The next attempt needs it. */
function withId(error: unknown, id: string): unknown {
  if (!(error instanceof TalkError) || !REPEATABLE.includes(error.code)) return error;
  const { remedy, subject, tried } = error;
  const about = remedy === null || subject === null ? {} : { remedy, subject };
  return new TalkError(error.code, `${error.message} (id ${id})`, { cause: error, ...about, tried });
}

/** @throws TalkError usage, bad-name: one invalid name, and nothing is sent */
export function checkRecipients(names: string): string[] {
  const recipients = parseRecipients(names);
  const [mistake, ...more] = nameMistakes(recipients);
  for (const { message } of more) note(message);
  if (mistake !== undefined) throw mistake;
  return recipients;
}

const unanswered = (names: string, { totalMs = 0 }: Deadline): TalkError =>
  TalkError.notDelivered(names, `no answer from the lookup server within ${seconds(totalMs)}`);

function showJson(client: TalkConnection): void {
  const show = (value: unknown): void => tell(jsonLine(value));
  client.on("sent", (event) => show(sentJson(event)));
  client.on("delivered", (event) => show(deliveredJson(event)));
  client.on("failed", (event) => show(failedJson(event)));
  client.on("unconfirmed", (event) => show(unconfirmedJson(event)));
  client.on("kept", (event) => show(keptJson(event)));
  client.on("room-result", (result) => show(roomResultJson(result)));
}

// The first failure is thrown, and so reported by main; the others are told here.
function report(
  outcomes: readonly PromiseSettledResult<SendResult | RoomResult>[],
  { id, quiet }: { id: string; quiet: boolean },
): void {
  for (const outcome of outcomes) {
    if (outcome.status !== "fulfilled" || quiet) continue;
    const { value } = outcome;
    if ("room" in value) tell(`${escapeControls(value.room)}: ${roomResultText(value)}`);
    else if (value.state === "delivered") tell(`delivered to ${escapeControls(value.to)} (${shownDuration(value.ms)})`);
  }
  const failures = outcomes.filter((outcome) => outcome.status === "rejected");
  for (const { reason } of failures.slice(1)) {
    if (!(reason instanceof CommandEnded)) note(describeError(withId(reason, id)).message);
  }
}

/** A failure to print changes nothing: of one that is worth a word stdout's own "error" has told. */
const tell = (line: string): void => void print(line).catch(() => {});
