// Times and durations for people.
import type { EpochMs } from "../client/types.ts";

/** Local time without a zone: "2026-11-23 14:05:09". A hyphen for never. */
export function time(at: EpochMs | null): string {
  if (at === null) return "-";
  const d = new Date(at);
  if (Number.isNaN(d.getTime())) return "?";
  const date = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  return `${date} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** The same in few columns: "14:05" of today, else "11-23". */
export function shortTime(at: EpochMs | null, now: EpochMs = Date.now()): string {
  if (at === null) return "-";
  const [d, today] = [new Date(at), new Date(now)];
  if (Number.isNaN(d.getTime())) return "?";
  return d.toDateString() === today.toDateString() ? strftime("%H:%M", at) : strftime("%m-%d", at);
}

const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"] as const;

/** A local day for people: "Sunday, 2026-11-29". */
export function day(at: EpochMs): string {
  const d = new Date(at);
  return Number.isNaN(d.getTime()) ? "?" : `${WEEKDAYS[d.getDay()]}, ${strftime("%Y-%m-%d", at)}`;
}

const two = (n: number): string => String(n).padStart(2, "0");

/** The conversions of strftime(3) that do not depend on a locale. */
const CONVERSIONS: Readonly<Record<string, (d: Date) => string>> = {
  H: (d) => two(d.getHours()),
  I: (d) => two(d.getHours() % 12 || 12),
  M: (d) => two(d.getMinutes()),
  S: (d) => two(d.getSeconds()),
  p: (d) => (d.getHours() < 12 ? "AM" : "PM"),
  Y: (d) => String(d.getFullYear()),
  m: (d) => two(d.getMonth() + 1),
  d: (d) => two(d.getDate()),
  "%": () => "%",
};

export function hasUnknownConversion(format: string): boolean {
  return [...format.matchAll(/%(.?)/gsu)].some(([, letter = ""]) => !Object.hasOwn(CONVERSIONS, letter));
}

/** A local time by a format as in strftime(3): "%H:%M". */
export function strftime(format: string, at: EpochMs): string {
  const d = new Date(at);
  return format.replace(/%(.)/gsu, (whole, letter: string) => CONVERSIONS[letter]?.(d) ?? whole);
}

/** Milliseconds for people: "0.31 ms", "12 ms", "3.4 s". */
export function duration(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms >= 10 ? ms.toFixed(0) : ms.toFixed(2)} ms`;
}

/** A long time for people, in whole units: "45 s", "3 min", "26 h". */
export function span(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
