// What the client keeps of what was said, and how it is read: journals in the state directory, see lib/store/history.
import { TalkError } from "../base/errors.ts";
import { foldIfValid, foldRoomIfValid } from "../base/names.ts";
import type { HistoryJournal } from "../store/history/journal.ts";
import type { HistoryRecord } from "../store/history/record.ts";
import { historyFolder } from "../store/state-paths.ts";
import type { ConnectOptions, HistoryOptions } from "./types.ts";

/** Undefined where nothing is kept. The modules are loaded only by programs that keep something. */
export async function openHistory({
  history = false,
  name,
  stateDir,
}: Pick<ConnectOptions, "history" | "name"> & { readonly stateDir: string }): Promise<HistoryJournal | undefined> {
  if (history === false) return undefined;
  const { HistoryJournal } = await import("../store/history/journal.ts");
  const { days, onFailure = warn } = history === true ? {} : history;
  return new HistoryJournal({ stateDir, name, days, onFailure });
}

function warn({ message }: Error): void {
  process.emitWarning(`what is said is not kept: ${message}`, { code: "PTALK_NO_HISTORY" });
}

/** @throws TalkError usage, with the option as its subject */
export async function* readKept(stateDir: string, options: HistoryOptions): AsyncGenerator<HistoryRecord, void> {
  checkHistoryOptions(options);
  const { readHistory } = await import("../store/history/read.ts");
  const { since, until } = options;
  yield* readHistory(historyFolder(stateDir), { ...options, since: since?.valueOf(), until: until?.valueOf() });
}

function checkHistoryOptions(options: HistoryOptions): void {
  const { with: other, since, until, last, grep } = options;
  if (other !== undefined && !isPartner(other)) throw misuse("with", "a name or a room");
  if (!isTimeOrNone(since)) throw misuse("since", "a time");
  if (!isTimeOrNone(until)) throw misuse("until", "a time");
  if (last !== undefined && !(Number.isInteger(last) && last > 0)) throw misuse("last", "a whole number above 0");
  if (grep !== undefined && !(grep instanceof RegExp)) throw misuse("grep", "a regular expression");
}

function isPartner(other: unknown): boolean {
  return typeof other === "string" && (foldIfValid(other) ?? foldRoomIfValid(other)) !== null;
}

function isTimeOrNone(time: unknown): boolean {
  if (time === undefined) return true;
  const ms = time instanceof Date ? time.valueOf() : time;
  return typeof ms === "number" && Number.isFinite(ms);
}

const misuse = (subject: string, rule: string): TalkError =>
  new TalkError("usage", `history(): ${subject} must be ${rule}`, { subject });
