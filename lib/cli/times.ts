// Times and durations for people.
import type { EpochMs } from "../client/types.ts";

/** Local time without a zone: "2026-11-23 14:05:09". A hyphen for never. */
export function time(at: EpochMs | null): string {
  if (at === null) return "-";
  const d = new Date(at);
  if (Number.isNaN(d.getTime())) return "?";
  const two = (n: number): string => String(n).padStart(2, "0");
  const date = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  return `${date} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
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
