// One line of a journal: what was said, to or by whom, and what became of it. Pure.
import { isUtf8 } from "node:buffer";

/** One message of the history, as `history --json` prints it. */
export interface HistoryRecord {
  /** Milliseconds since the epoch: when it was shown here, or its sender learned what became of it. */
  readonly at: number;
  readonly direction: "in" | "out";
  /** The other one's name. */
  readonly with: string;
  /** "#ops" for what was said there, else null. */
  readonly room: string | null;
  readonly id: string;
  readonly text: string;
  /** "delivered", "failed" or "unconfirmed"; later versions may have others. */
  readonly state: string;
  /** "direct"; null where nothing arrived. */
  readonly via: string | null;
  /** "SHA256:…" of the other one's key; null where none is known. */
  readonly fingerprint: string | null;
}

/** The JSON form, in files and as `ptalk history --json` prints it: the time as ISO 8601 in UTC. */
export type HistoryJson = Omit<HistoryRecord, "at"> & { readonly at: string };

/** Days that what was said is kept, unless told otherwise. */
export const DEFAULT_HISTORY_DAYS = 90;

/** Longest line that is read, in bytes: a text of 64 KiB of which each byte is escaped as \u00XX, and the other fields. */
export const MAX_LINE_BYTES = 512 * 1024;

export function historyJson(record: HistoryRecord): HistoryJson {
  const { at, direction, with: other, room, id, text, state, via, fingerprint } = record;
  return { at: new Date(at).toISOString(), direction, with: other, room, id, text, state, via, fingerprint };
}

/** Null for what is no whole record: a torn line, or one that something else has written. */
export function parseRecord(line: Uint8Array): HistoryRecord | null {
  if (line.length > MAX_LINE_BYTES || !isUtf8(line)) return null;
  try {
    return recordFrom(JSON.parse(Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString("utf8")));
  } catch {
    return null;
  }
}

function recordFrom(value: unknown): HistoryRecord | null {
  if (typeof value !== "object" || value === null) return null;
  const { at, direction, with: other, room, id, text, state, via, fingerprint } = value as Record<string, unknown>;
  const time = typeof at === "string" ? Date.parse(at) : Number.NaN;
  if (Number.isNaN(time) || (direction !== "in" && direction !== "out")) return null;
  if (!isText(other) || !isText(id) || !isText(text) || !isText(state)) return null;
  if (!isTextOrNull(room) || !isTextOrNull(via) || !isTextOrNull(fingerprint)) return null;
  return { at: time, direction, with: other, room, id, text, state, via, fingerprint };
}

const isText = (value: unknown): value is string => typeof value === "string";
const isTextOrNull = (value: unknown): value is string | null => value === null || isText(value);
