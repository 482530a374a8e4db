// A conversation on a person's terminal: what is under way stands above the prompt and moves up, marked, when its fate is
// known. Knows the terminal and the texts; nothing of the client.

import { withTimeout } from "../../base/async.ts";
import type { Environment } from "../../base/files.ts";
import { foldName } from "../../base/names.ts";
import type { PeerEvent } from "../../client/types.ts";
import { failureText } from "../advice.ts";
import type { BellPolicy } from "../config-values.ts";
import { escapeControls, escapeControlsByLine } from "../escape-controls.ts";
import { type FileNews, fileText, progressBar } from "../files.ts";
import { clientTable, localTable, messageLines, outgoingLines } from "../format.ts";
import { describeError } from "../output.ts";
import { painter, plain } from "../style.ts";
import { DEFAULT_COLUMNS, Terminal } from "../terminal/terminal.ts";
import { duration } from "../times.ts";
import { Bell } from "./bell.ts";
import { DayClock } from "./day-clock.ts";
import { SLASH_COMMANDS, TALK_COMMANDS, TALK_HELP } from "./input.ts";
import { type Marks, marksFor } from "./marks.ts";
import { PastLines, type PastStyle, pastLines } from "./past.ts";
import { ServerNews } from "./server-news.ts";
import { statsLines } from "./stats-text.ts";
import {
  absentText,
  crowdText,
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
  roomResultShort,
  roomText,
  runnerOf,
  statusText,
  welcome,
  whenOffText,
} from "./texts.ts";
import type { View } from "./view.ts";

/** Messages under way that are shown one by one; of the others only the number. */
const PENDING_SHOWN = 5;
const PROMPT = "> ";
/** Names remembered for Tab. */
const NAMES_LIMIT = 10_000;

/** Ms for which an answer about a beginning counts. */
const ASKED_MS = 5_000;
/** Ms that Tab waits for the server: a person does. */
const ASK_MS = 1_000;
/** Beginnings whose answers are remembered. */
const ASKED_LIMIT = 100;

/** Partners that Tab goes through first. */
const PARTNERS_LIMIT = 50;

const CLEARED = "Ctrl-C has cleared the line (Ctrl-Y brings it back); it does not leave";

interface Outgoing {
  readonly to: string;
  readonly text: string;
  /** Its recipient is off. */
  readonly waits: boolean;
}

export interface TerminalViewOptions {
  readonly onLine: (line: string) => void;
  readonly onEnd: () => void;
  /** The person has said whether they are there. */
  readonly onStatus?: (state: "here" | "away") => void;
  readonly timeFormat: string;
  readonly bell: BellPolicy;
  readonly env?: Environment;
  /** Names that begin so, and whether these are all; null while know() gets all that come. */
  readonly namesThatBegin?: (beginning: string) => Promise<FoundNames> | null;
}

export interface FoundNames {
  readonly names: readonly string[];
  readonly areAll: boolean;
}

export interface TerminalView extends View {
  /** Adds names that Tab completes. */
  know(names: Iterable<string>): void;
  /** Says how many are on. */
  crowd(count: number): void;
}

export function terminalView(options: TerminalViewOptions): TerminalView {
  const { onLine, onEnd, onStatus = () => {}, env = process.env } = options;
  const clock = new DayClock(options.timeFormat, Date.now());
  const paint = painter(process.stdout, env);
  const marks = marksFor(env);
  const past: PastStyle = { timeFormat: options.timeFormat, marks, paint };
  const names = new Map<string, string>();
  /** The partners of this conversation, the latest at the end. */
  /** Beginnings that were asked for lately, folded: until when the answer counts, and whether it holds all names. */
  const asked = new Map<string, { until: number; areAll: boolean }>();
  const partners = new Map<string, string>();
  const pending = new Map<string, Outgoing>();
  const files = new Map<string, FileNews>();
  let hasPartner = false;
  const terminal = new Terminal({
    input: process.stdin,
    output: process.stdout,
    prompt: PROMPT,
    style: { prompt: (text) => paint("bold", text), status: (text) => paint("dim", text) },
    completion: {
      commands: TALK_COMMANDS,
      slashCommands: SLASH_COMMANDS,
      names: () => names.values(),
      ask: (beginning) => ask(beginning),
      isPartial: (beginning) => asked.get(foldName(beginning))?.areAll === false,
      partners: () => [...partners.values()].reverse(),
      prefix: () => (hasPartner ? "@" : ""), // to a partner a name is text
      fold: foldName,
    },
    onLine,
    onEnd,
    onInterrupt: (cleared) => {
      const leave = `type ${hasPartner ? "/exit" : "Exit"} or press Ctrl-D`;
      say(cleared ? `${CLEARED}: ${leave}` : `Ctrl-C is disabled here: ${leave} to leave`);
    },
    onCutPaste: () => say("the end of the paste has not arrived: see what there is of it before you press Enter"),
  });
  const columns = (): number => process.stdout.columns || DEFAULT_COLUMNS;
  const show = (lines: readonly string[]): void => void terminal.print(lines).catch(() => {});
  const say = (text: string): void => show(escapeControlsByLine(text).map((line) => paint("dim", `* ${line}`)));
  const know = (name: string): void => {
    names.delete(foldName(name)); // to the end
    names.set(foldName(name), name);
    const [oldest] = names.keys();
    if (names.size > NAMES_LIMIT && oldest !== undefined) names.delete(oldest);
  };
  const ask = (beginning: string): Promise<void> | null => {
    const folded = foldName(beginning);
    if ((asked.get(folded)?.until ?? 0) > performance.now()) return null;
    const question = options.namesThatBegin?.(beginning) ?? null;
    if (question === null) return null;
    const none: FoundNames = { names: [], areAll: true };
    return withTimeout(ASK_MS, question, none)
      .catch(() => none)
      .then((found) => {
        for (const name of found.names) know(name);
        asked.delete(folded);
        asked.set(folded, { until: performance.now() + ASKED_MS, areAll: found.areAll });
        const [oldest] = asked.keys();
        if (asked.size > ASKED_LIMIT && oldest !== undefined) asked.delete(oldest);
      });
  };
  const talksWith = (name: string): void => {
    know(name);
    partners.delete(foldName(name));
    partners.set(foldName(name), name);
    const [oldest] = partners.keys();
    if (partners.size > PARTNERS_LIMIT && oldest !== undefined) partners.delete(oldest);
  };
  const showPending = (): void => {
    const moving = [...files.values()].slice(-PENDING_SHOWN).map((file) => progressBar(file, columns()));
    terminal.setStatus([...statusRows(pending, marks), ...moving]);
  };
  const settle = (id: string, mark: string, at: number): string[] => {
    const message = pending.get(id);
    pending.delete(id);
    showPending();
    if (message === undefined) return [];
    return spoken(at, outgoingLines(message, `${paint("dim", clock.stamp(at))}${mark} `, marks, paint));
  };
  /** Lines of the conversation, below the day if that is another one. */
  const spoken = (at: number, lines: readonly string[]): string[] => {
    const turned = clock.turn(at);
    return [...(turned === null ? [] : [paint("dim", `* ${turned}`)]), ...lines];
  };
  const bell = new Bell(options.bell, () => terminal.ring());
  const news = new ServerNews(say);
  let isOfHost = (): boolean => false;
  terminal.open();
  return {
    registered: (client) => {
      isOfHost = () => client.standing.transport === "unix";
      say(welcome(client));
      const runner = runnerOf(client);
      if (runner !== null) say(runner);
    },
    message: (message) => {
      talksWith(message.from);
      const printed = terminal.print(spoken(message.at, messageLines(message, paint, clock.stamp(message.at))));
      bell.onMessage(performance.now(), message.room === null, message.via === "mailbox");
      return printed;
    },
    sent: ({ id, to }, text, waits = false) => {
      pending.set(id, { to, text, waits });
      showPending();
    },
    delivered: ({ id, to, ms, at, room }) => {
      if (room !== null) return; // roomResult() tells of all of them
      talksWith(to);
      const lines = settle(id, paint("green", marks.delivered), at);
      const last = lines.pop() ?? "";
      show([...lines, `${last} ${paint("dim", duration(ms))}`]);
    },
    room: (event) => {
      know(event.room);
      if (event.state === "joined") know(event.name);
      say(roomText(event));
    },
    roomResult: (result) => {
      talksWith(result.room);
      const mark = result.delivered > 0 ? paint("green", marks.delivered) : paint("red", marks.failed);
      const lines = settle(result.id, mark, Date.now());
      const last = lines.pop() ?? "";
      show([...lines, `${last} ${paint(result.failed.length > 0 ? "red" : "dim", roomResultShort(result))}`]);
    },
    entered: (room, others) => {
      for (const { name } of others) know(name);
      say(enteredText(room, others));
    },
    members: (room, members) => {
      for (const { name } of members) know(name);
      say(membersText(room, members));
    },
    failed: (event) => {
      if (event.room !== null) return;
      const text = escapeControls(failureText(event));
      show([...settle(event.id, paint("red", marks.failed), Date.now()), paint("red", `  ${text}`)]);
    },
    path: () => {},
    kept: (event) => {
      show([...settle(event.id, paint("dim", marks.pending), event.at), paint("dim", `  ${keptText(event)}`)]);
    },
    receipt: (event) => say(receiptText(event)),
    unconfirmed: ({ id, at, message, room }) => {
      if (room !== null) return;
      const text = escapeControls(message);
      show([...settle(id, paint("yellow", marks.unconfirmed), at), paint("yellow", `  ${text}`)]);
    },
    all: (clients) => {
      for (const { name } of clients) know(name);
      show(clientTable(clients, paint));
    },
    list: (clients) => show(localTable(clients, paint)),
    stats: (stats) => show(statsLines(stats)),
    file: (news, command) => {
      const { id, state, with: other } = news;
      const isOffer = state === "offered" && news.direction === "in";
      if (!isOffer && (state === "offered" || state === "accepted" || state === "progress")) files.set(id, news);
      else files.delete(id);
      showPending();
      talksWith(other);
      const text = fileText(news);
      if (text !== null) say(command === undefined ? text : `${text}: ${command}`);
      if (isOffer) bell.onMessage();
    },
    folded: (event) => say(foldedText(event)),
    ignored: (names) => say(ignoredText(names)),
    history: (records) => show(records.length === 0 ? [NOTHING_SAID] : pastLines(records, past)),
    missed: (records) => {
      if (records.length === 0) return;
      say(missedText(records.length));
      for (const { with: from } of records) talksWith(from);
      show(pastLines(records.slice(-MISSED_SHOWN), past));
    },
    past: (records) => {
      if (records.length === 0) return;
      const lines = new PastLines({ ...past, paint: plain });
      // And the day on which the conversation goes on.
      show(
        [...records.flatMap((record) => lines.of(record)), ...lines.turn(Date.now())].map((line) => paint("dim", line)),
      );
    },
    help: () => show(TALK_HELP),
    peer: (event: PeerEvent) => {
      if (event.state === "joined") know(event.name);
      else names.delete(foldName(event.name));
      say(peerText(event));
    },
    status: (event) => {
      const text = statusText(event);
      if (text !== null) say(text);
    },
    ownStatus: (state, text) => {
      say(ownStatusText(state, text));
      onStatus(state);
    },
    server: (event) => news.hear(event, isOfHost()),
    error: (error) => show([paint("red", `* ${escapeControls(describeError(error).message)}`)]),
    partner: (name) => {
      hasPartner = name !== null;
      if (name !== null) talksWith(name);
      terminal.setPrompt(name === null ? PROMPT : `${escapeControls(name)}${PROMPT}`);
      say(partnerText(name));
    },
    off: (offer) => say(offText(offer)),
    whenOff: (name, choice) => say(whenOffText(name, choice)),
    absent: (name) => say(absentText(name)),
    met: (event) => say(metText(event)),
    restore: (line) => terminal.restore(line),
    exit: () => {},
    crowd: (count) => say(crowdText(count, hasPartner ? "/all" : "All")),
    know: (more) => {
      for (const name of more) know(name);
    },
    [Symbol.dispose]: () => {
      news[Symbol.dispose]();
      terminal[Symbol.dispose]();
    },
  };
}

function statusRows(pending: ReadonlyMap<string, Outgoing>, marks: Marks): string[] {
  const shown = [...pending.values()].slice(-PENDING_SHOWN);
  const rows = shown.map(
    ({ to, text, waits }) => `${marks.pending} ${marks.to} ${to}${waits ? " (waits)" : ""}: ${text}`,
  );
  const hidden = pending.size - rows.length;
  return hidden > 0 ? [`${marks.pending} ${hidden} more under way`, ...rows] : rows;
}
