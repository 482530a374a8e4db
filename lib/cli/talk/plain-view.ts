// A conversation on a pipe or a dumb terminal, for people: messages and lists on stdout, remarks on stderr.

import { failureText } from "../advice.ts";
import type { BellPolicy } from "../config-values.ts";
import { escapeControls } from "../escape-controls.ts";
import { fileText } from "../files.ts";
import { clientTable, localTable, messageLines } from "../format.ts";
import { describeError, note, print } from "../output.ts";
import { plain } from "../style.ts";
import { duration } from "../times.ts";
import { BEL, Bell } from "./bell.ts";
import { DayClock } from "./day-clock.ts";
import { TALK_HELP } from "./input.ts";
import { marksFor } from "./marks.ts";
import { pastLines } from "./past.ts";
import { ServerNews } from "./server-news.ts";
import { statsLines } from "./stats-text.ts";
import {
  absentText,
  enteredText,
  foldedText,
  ignoredText,
  keptText,
  MISSED_SHOWN,
  membersText,
  metText,
  missedText,
  NOTHING_SAID,
  offText,
  ownStatusText,
  partnerText,
  peerText,
  receiptText,
  roomResultText,
  roomText,
  runnerOf,
  statusText,
  welcome,
  whenOffText,
} from "./texts.ts";
import type { View } from "./view.ts";

export interface PlainViewOptions {
  readonly timeFormat: string;
  readonly bell: BellPolicy;
}

export function plainView({ timeFormat, bell: policy }: PlainViewOptions): View {
  const show = (lines: readonly string[]): void => void print(lines.join("\n")).catch(() => {});
  const clock = new DayClock(timeFormat, Date.now());
  const bell = new Bell(policy, () => {
    if (process.stdout.isTTY) process.stdout.write(BEL);
  });
  // On a dumb terminal a line may be half typed: what arrives does not stand behind it.
  const fresh = process.stdin.isTTY && process.stdout.isTTY ? "\n" : "";
  const past = { timeFormat, marks: marksFor(process.env), paint: plain };
  const news = new ServerNews(note);
  let isOfHost = (): boolean => false;
  return {
    registered: (client) => {
      isOfHost = () => client.standing.transport === "unix";
      note(welcome(client));
      const runner = runnerOf(client);
      if (runner !== null) note(runner);
    },
    message: (message) => {
      const turned = clock.turn(message.at);
      const lines = messageLines(message, plain, clock.stamp(message.at));
      const printed = print(fresh + [...(turned === null ? [] : [`* ${turned}`]), ...lines].join("\n"));
      bell.onMessage(performance.now(), message.room === null, message.via === "mailbox");
      return printed;
    },
    sent: () => {},
    delivered: ({ to, ms, room }) => {
      if (room === null) note(`delivered to ${escapeControls(to)} (${duration(ms)})`);
    },
    failed: (event) => {
      if (event.room === null) note(failureText(event));
    },
    unconfirmed: ({ message, room }) => {
      if (room === null) note(message);
    },
    room: (event) => note(roomText(event)),
    roomResult: (result) => note(`${result.room}: ${roomResultText(result)}`),
    entered: (room, others) => note(enteredText(room, others)),
    members: (room, members) => show([membersText(room, members)]),
    path: () => {},
    kept: (event) => note(keptText(event)),
    receipt: (event) => note(receiptText(event)),
    all: (clients) => show(clientTable(clients, plain)),
    list: (clients) => show(localTable(clients, plain)),
    stats: (stats) => show(statsLines(stats)),
    file: (news, command) => {
      const text = fileText(news);
      if (text !== null) note(command === undefined ? text : `${text}: ${command}`);
    },
    folded: (event) => note(foldedText(event)),
    ignored: (names) => note(ignoredText(names)),
    history: (records) => show(records.length === 0 ? [NOTHING_SAID] : pastLines(records, past)),
    past: () => {}, // what is printed may be for a program
    missed: (records) => {
      if (records.length === 0) return;
      note(missedText(records.length));
      show(pastLines(records.slice(-MISSED_SHOWN), past));
    },
    help: () => show(TALK_HELP),
    peer: (event) => note(peerText(event)),
    status: (event) => {
      const text = statusText(event);
      if (text !== null) note(text);
    },
    ownStatus: (state, text) => note(ownStatusText(state, text)),
    server: (event) => news.hear(event, isOfHost()),
    error: (error) => note(describeError(error).message),
    partner: (name) => note(partnerText(name)),
    off: (offer) => note(offText(offer)),
    whenOff: (name, choice) => note(whenOffText(name, choice)),
    absent: (name) => note(absentText(name)),
    met: (event) => note(metText(event)),
    restore: () => {},
    exit: () => {},
    [Symbol.dispose]: () => news[Symbol.dispose](),
  };
}
