// A point in time as people write it: "2h" (ago), "14:05", "2026-11-28", "2026-11-28 14:05", ISO 8601. Pure.

import { TalkError } from "../base/errors.ts";
import { duration } from "./config-values.ts";

/** Seconds: some hundred years. */
const LONG_S = 3_155_760_000;
const CLOCK = /^(\d{1,2}):(\d\d)(?::(\d\d))?$/;
const DAY = /^\d{4}-\d\d-\d\d$/;
const LOCAL = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)$/;
const ZONED = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)$/;

/**
 * Milliseconds since the epoch. Without a zone it is local time; a time without a day is today's.
 * @throws TalkError usage
 */
export function readSince(text: string, now = Date.now()): number {
  const at = DAY.test(text) ? Date.parse(`${text}T00:00`) : (clockTime(text, now) ?? dateTime(text));
  if (at !== null && !Number.isNaN(at)) return at;
  if (/^\d/.test(text) && /[smhd]?$/.test(text) && !/[-:]/.test(text)) {
    return now - duration(LONG_S)(text, "--since") * 1000;
  }
  throw TalkError.usage(
    `--since: expected a time such as 2h (ago), 14:05, 2026-11-28 or "2026-11-28 14:05", not ${JSON.stringify(text)}`,
  );
}

function clockTime(text: string, now: number): number | null {
  const [whole, hours = "", minutes = "", seconds = "0"] = CLOCK.exec(text) ?? [];
  if (whole === undefined) return null;
  if (Number(hours) > 23 || Number(minutes) > 59 || Number(seconds) > 59) return null;
  return new Date(now).setHours(Number(hours), Number(minutes), Number(seconds), 0);
}

function dateTime(text: string): number | null {
  if (ZONED.test(text)) return Date.parse(text);
  const [whole, day = "", time = ""] = LOCAL.exec(text) ?? [];
  return whole === undefined ? null : Date.parse(`${day}T${time}`);
}
