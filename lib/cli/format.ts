// Records and events as lines for people. Pure: text in, text out.
import stringWidth from "fast-string-width";
import { DEFAULT_SERVER } from "../base/server-address.ts";
import type { DirectoryEntry, LocalEntry, TalkMessage } from "../client/types.ts";
import { escapeControls, escapeControlsByLine } from "./escape-controls.ts";
import { graphemes } from "./graphemes.ts";
import { colourOfName, type Paint } from "./style.ts";
import { shortTime, time } from "./times.ts";

/** A table with a header, columns two spaces apart; the last column is not padded. Cells are made visible. */
export function table(header: readonly string[], rows: readonly (readonly string[])[], paint: Paint): string[] {
  const cells = [header, ...rows].map((row) => row.map(escapeControls));
  const widths = header.map((_, column) => Math.max(...cells.map((row) => stringWidth(row[column] ?? ""))));
  const lines = cells.map((row) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell + " ".repeat((widths[i] ?? 0) - stringWidth(cell) + 2)))
      .join(""),
  );
  return lines.map((line, i) => (i === 0 ? paint("bold", line) : line));
}

/** Columns of a terminal of the usual width. */
const TERMINAL_COLUMNS = 80;
const SHORTEST_CELL = 8;

/** The same within 80 columns: the widest cells are cut, their ends shown as "…". JSON has them whole. */
export function fittedTable(header: readonly string[], rows: readonly (readonly string[])[], paint: Paint): string[] {
  const cells = [header, ...rows].map((row) => row.map(escapeControls));
  const widths = header.map((_, column) => Math.max(...cells.map((row) => stringWidth(row[column] ?? ""))));
  const width = (): number => widths.reduce((sum, each) => sum + each, 2 * (widths.length - 1));
  while (width() > TERMINAL_COLUMNS) {
    const widest = widths.indexOf(Math.max(...widths));
    if ((widths[widest] as number) <= SHORTEST_CELL) break;
    widths[widest] = (widths[widest] as number) - 1;
  }
  const [head = [], ...rest] = cells.map((row) => row.map((cell, column) => cut(cell, widths[column] as number)));
  return table(head, rest, paint);
}

function cut(cell: string, width: number): string {
  if (stringWidth(cell) <= width) return cell;
  let kept = "";
  for (const letter of graphemes(cell)) {
    if (stringWidth(kept + letter) > width - 1) break;
    kept += letter;
  }
  return `${kept}…`;
}

export function clientTable(clients: readonly DirectoryEntry[], paint: Paint): string[] {
  if (clients.length === 0) return ["nobody is on"];
  const header = ["NAME", "ADDRESS", "HOST", "SINCE", "LAST LOOKUP"];
  const rows = clients.map((c) => [markedName(c), endpoint(c), c.host, time(c.startedAt), time(c.lastLookupAt)]);
  const statuses = clients.map(statusCell);
  // Where everybody looks there is nothing to say.
  if (statuses.every((status) => status === "")) return table(header, rows, paint);
  return table(
    [...header, "STATUS"],
    rows.map((row, i) => [...row, statuses[i] ?? ""]),
    paint,
  );
}

export function localTable(clients: readonly LocalEntry[], paint: Paint): string[] {
  if (clients.length === 0) return ["nobody is on, on this machine"];
  // Fits into 80 columns: leaves out columns that are the same for all, and the parts of a time that do not matter.
  const isUsual = clients.every(({ server }) => server === DEFAULT_SERVER);
  const rows = clients.map((c) => [
    ...[c.name, c.user, String(c.pid), c.tty?.replace(/^\/dev\//, "") ?? "-"],
    ...(isUsual ? [] : [c.server]),
    ...[shortTime(c.startedAt), shortTime(c.lastMessageAt), `${c.sent}/${c.received}`],
  ]);
  const header = ["NAME", "USER", "PID", "TTY", ...(isUsual ? [] : ["SERVER"]), "SINCE", "LAST", "SENT/GOT"];
  return table(header, rows, paint);
}

/** "idle", "away", "away: at lunch"; empty for a user who is there. */
function statusCell({ status: { state, text } }: DirectoryEntry): string {
  const word = state === "here" ? "" : state;
  return text === "" ? word : `${word}${word === "" ? "" : ": "}${text}`;
}

/** One client, a field a line. */
export function clientDetails(client: DirectoryEntry): string[] {
  const status = statusCell(client);
  return [
    `name         ${escapeControls(markedName(client))}`,
    `address      ${escapeControls(endpoint(client))}`,
    `host         ${escapeControls(client.host)}`,
    `on since     ${time(client.startedAt)}`,
    `last lookup  ${time(client.lastLookupAt)}`,
    ...(status === "" ? [] : [`status       ${escapeControls(status)}`]),
    `fingerprint  ${escapeControls(client.fingerprint)}`,
    ...userLine(client),
  ];
}

/** The user on the server's host, where something vouches for it. */
function userLine({ user, uid, attested }: DirectoryEntry): string[] {
  if (attested === null) return [];
  return [`user         ${user === null ? "" : `${escapeControls(user)} `}(uid ${uid}), by ${attested}`];
}

/** A login name of the server's host has a tilde before it where nothing vouches for that user. */
function markedName({ name, isUnattestedLogin }: DirectoryEntry): string {
  return isUnattestedLogin ? `~${name}` : name;
}

export type Spoken = Pick<TalkMessage, "from" | "text" | "verified"> &
  Partial<Pick<TalkMessage, "isUnattestedLogin" | "kind" | "room">>;

/** Stands behind the name of a sender who writes to everybody. No name has such letters. */
const WALL = " (to everybody)";

/**
 * "14:05 bob: text", "14:05 #ops bob: text"; further lines of the text are indented to the first. An unverified sender has a question mark behind its name, a
 * login name of the server's host whose user nothing vouches for a tilde before it.
 * @param stamp what stands before, "14:05 "
 */
export function messageLines(message: Spoken, paint: Paint, stamp = ""): string[] {
  const name = `${message.isUnattestedLogin ? "~" : ""}${escapeControls(message.from)}`;
  const room = message.room ? `${escapeControls(message.room)} ` : "";
  const mark = `${message.verified ? "" : "?"}${message.kind === "wall" ? WALL : ""}`;
  const indent = " ".repeat(stringWidth(stamp) + stringWidth(room) + stringWidth(name) + mark.length + 2);
  const [first = "", ...rest] = escapeControlsByLine(message.text);
  const head = `${paint("dim", stamp + room)}${paint(colourOfName(message.from), name)}${paint("yellow", mark)}: ${first}`;
  return [head, ...rest.map((line) => indent + line)];
}

/** "✓ → bob: text"; further lines of the text are indented. @param head what stands before: time and mark */
export function outgoingLines(
  { to, text }: { readonly to: string; readonly text: string },
  head: string,
  marks: { readonly to: string },
  paint: Paint,
): string[] {
  const [first = "", ...rest] = escapeControlsByLine(text);
  const line = `${head}${paint("dim", marks.to)} ${paint(colourOfName(to), escapeControls(to))}: ${first}`;
  return [line, ...rest.map((each) => `    ${each}`)];
}

function endpoint({ address, port }: { address: string; port: number }): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
