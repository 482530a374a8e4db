// Sentences that both views for people use.
import type { TalkErrorCode } from "../../base/errors.ts";
import { serviceUid } from "../../base/users.ts";
import type {
  FoldedEvent,
  KeptEvent,
  MetEvent,
  PeerEvent,
  ReceiptEvent,
  RoomEvent,
  RoomResult,
  ServerEvent,
  StatusEvent,
  TalkConnection,
} from "../../client/types.ts";
import { escapeControls } from "../escape-controls.ts";
import { time } from "../times.ts";
import type { OffOffer } from "./view.ts";

export function welcome({ name, server }: TalkConnection): string {
  return `you are ${escapeControls(name)} on ${server}; /help says what you can type`;
}

/**
 * Whose the server of this host is, where that matters: somebody who is neither root, nor the service's user, nor this user sees who is on, and
 * may refuse anybody. Null where it does not.
 */
export function runnerText({ uid, user }: Pick<ServerEvent, "uid" | "user">, isOfHost: boolean): string | null {
  if (!isOfHost || uid === null || uid === ROOT || uid === process.geteuid?.() || uid === serviceUid()) return null;
  return `the lookup server here is run by ${user === null ? "" : `${escapeControls(user)}, `}uid ${uid}`;
}

const ROOT = 0;

/** The same of the server that a client is at. */
export function runnerOf({ standing: { transport, serverUid: uid, serverUser: user } }: TalkConnection): string | null {
  return runnerText({ uid, user }, transport === "unix");
}

export function partnerText(name: string | null): string {
  return name === null
    ? "you talk to nobody in particular: write NAME message"
    : `you talk to ${escapeControls(name)}: each line goes there; commands need a slash, /to ends it`;
}

export function foldedText({ from, count }: FoldedEvent): string {
  return `${count} more ${count === 1 ? "message" : "messages"} from ${escapeControls(from)}: /history shows them, /ignore ${escapeControls(from)} ends it`;
}

export function ignoredText(names: readonly string[]): string {
  if (names.length === 0) return "you ignore nobody";
  return `you ignore ${names.map(escapeControls).join(", ")}: what they send is declined; /unignore NAME ends that`;
}

export function roomText({ room, state, name, members }: RoomEvent): string {
  const others = state === "left" && members === 0 ? "" : ` (${members} in it)`;
  return `${escapeControls(name)} has ${state} ${escapeControls(room)}${others}`;
}

/** "6 of 7 have it: ann, bob (new key); carol declines; dave: key-mismatch" */
export function roomResultText({ delivered, of, to, declined, failed, newKeys }: RoomResult): string {
  const names = to.map((name) => `${escapeControls(name)}${newKeys.includes(name) ? " (new key)" : ""}`).join(", ");
  const parts = [
    `${delivered} of ${of} have it${names === "" ? "" : `: ${names}`}`,
    ...declined.map((name) => `${escapeControls(name)} declines`),
    ...failed.map(({ to: name, code }) => `${escapeControls(name)}: ${code}`),
  ];
  return parts.join("; ");
}

/** "6 of 7", and the members who do not have it. */
export function roomResultShort(result: RoomResult): string {
  const { delivered, of } = result;
  const missing = roomResultText({ ...result, to: [] }).replace(/^[^;]*;? ?/, "");
  return `${delivered} of ${of}${missing === "" ? "" : `; ${missing}`}`;
}

export function enteredText(room: string, others: readonly { readonly name: string }[]): string {
  if (others.length === 0) return `nobody else is in ${escapeControls(room)} yet`;
  return `with you in ${escapeControls(room)}: ${others.map(({ name }) => escapeControls(name)).join(", ")}`;
}

export function membersText(room: string, members: readonly { readonly name: string }[]): string {
  if (members.length === 0) return `nobody is in ${escapeControls(room)}`;
  const names = members.map(({ name }) => escapeControls(name)).join(", ");
  return `${members.length} ${members.length === 1 ? "is" : "are"} in ${escapeControls(room)}: ${names}`;
}

/** Messages that an agent has taken which are shown at once; /history has them all. */
export const MISSED_SHOWN = 50;

export function absentText(name: string): string {
  return `nobody is on as ${escapeControls(name)}: what you write there fails until somebody is`;
}

/** "bob is off: /wait sends the message when bob comes, /leave keeps it at the server, sealed for bob" */
export function offText({ name, count, obstacle }: OffOffer): string {
  const who = escapeControls(name);
  const [what, it] = count === 1 ? ["the message", "it"] : [`the ${count} messages`, "them"];
  const wait = `${who} is off: /wait sends ${what} when ${who} comes`;
  if (obstacle === null) return `${wait}, /leave keeps ${it} at the server, sealed for ${who}`;
  const reasons: Partial<Record<TalkErrorCode, string>> = {
    "not-understood": "the server keeps no messages",
    "no-key": `no key of ${who} is known`,
    "key-mismatch": `the key of ${who} has changed`,
  };
  return `${wait} (nothing can be left: ${reasons[obstacle.code] ?? escapeControls(obstacle.message)})`;
}

export function whenOffText(name: string, choice: "wait" | "leave" | null): string {
  const who = escapeControls(name);
  if (choice === null) return `what you write to ${who} fails again while ${who} is off`;
  const becomes = choice === "wait" ? `waits until ${who} comes` : "is left at the server";
  return `while ${who} is off, what you write there ${becomes}; /cancel ends that`;
}

export function metText({ name, fingerprint }: MetEvent): string {
  const shown = escapeControls(name);
  return `first contact with ${shown}: the key is ${fingerprint} (to compare: ptalk key verify ${shown})`;
}

export function missedText(count: number): string {
  const what = count === 1 ? "1 message has come" : `${count} messages have come`;
  return `${what} while you had no terminal${count > MISSED_SHOWN ? `; the last ${MISSED_SHOWN} (/history N shows more)` : ""}:`;
}

export const NOTHING_SAID = "nothing has been said";

/** @param count clients that are on, this one too */
export function crowdText(count: number, command: string): string {
  if (count <= 1) return "nobody else is on";
  return `${count} are on; ${command} lists them`;
}

export function peerText({ name, state }: PeerEvent): string {
  return `${escapeControls(name)} has ${state}`;
}

/** Null for "idle", which is no news. */
export function statusText({ name, state, text }: StatusEvent): string | null {
  if (state === "idle") return null;
  const who = escapeControls(name);
  return state === "here" ? `${who} is back` : `${who} is away${reasonText(text)}`;
}

export function ownStatusText(state: "here" | "away", text: string): string {
  return state === "here" ? "you are back" : `you are away${reasonText(text)}: the others see it; /back ends that`;
}

const reasonText = (text: string): string => (text === "" ? "" : ` (${escapeControls(text)})`);

const SERVER_TEXTS: Readonly<Record<ServerEvent["state"], string>> = {
  lost: "the lookup server is gone; conversations go on, trying to get back",
  back: "the lookup server is back",
  closing: "the lookup server is shutting down; conversations go on",
};

/** @param isOther it is not the server that was left */
export function serverText(event: ServerEvent, isOfHost = false, isOther = false): string {
  const text = isOther ? `you are on at another lookup server: ${event.address}` : SERVER_TEXTS[event.state];
  const runner = event.state === "back" ? runnerText(event, isOfHost) : null;
  return runner === null ? text : `${text}; ${runner}`;
}

/** "kept for bob until 2026-12-05 09:12" */
export function keptText({ to, until, newKey }: KeptEvent): string {
  const key = newKey === null ? "" : `; its key is met for the first time: ${newKey}`;
  return `kept for ${escapeControls(to)} until ${time(until)}${key}`;
}

/** "delivered to bob at 09:12" */
export function receiptText({ to, state, at }: ReceiptEvent): string {
  const who = escapeControls(to);
  switch (state) {
    case "delivered":
      return `delivered to ${who} at ${time(at)}`;
    case "declined":
      return `declined by ${who} at ${time(at)}`;
    case "expired":
      return `not delivered: ${who} has not fetched a message by ${time(at)}, and the server has discarded it`;
    case "lost-key":
      return `not delivered: ${who} has another key now, and could not open a message at ${time(at)}`;
  }
}
