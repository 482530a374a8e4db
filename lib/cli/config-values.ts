// How one setting's value is read, from the command line, the environment or TOML: each names its origin in its error.
import { TalkError } from "../base/errors.ts";
import { formatServerAddress, parseServerAddress } from "../base/server-address.ts";

/** Where a value came from: `--server`, `PTALK_SERVER`, `/home/ann/.config/ptalk/config.toml: server`. */
export type Origin = string;

function bad(origin: Origin, raw: unknown, expected: string): TalkError {
  return TalkError.usage(`${origin}: expected ${expected}, not ${JSON.stringify(raw)}`);
}

export function text(raw: unknown, origin: Origin): string {
  if (typeof raw !== "string" || raw === "") throw bad(origin, raw, "text");
  return raw;
}

/** A user's name; whether it is one is not for the settings to say, but how much it is text. */
export function name(raw: unknown, origin: Origin): string {
  if (typeof raw !== "string") throw bad(origin, raw, "a name");
  return raw;
}

export function path(raw: unknown, origin: Origin): string {
  const value = text(raw, origin);
  if (value.includes("\0")) throw bad(origin, raw, "a path");
  return value;
}

export function server(raw: unknown, origin: Origin): string {
  return formatServerAddress(parseServerAddress(text(raw, origin), origin));
}

export function listen(raw: unknown, origin: Origin): string {
  return formatServerAddress(parseServerAddress(text(raw, origin), origin, 0));
}

export function integer(min: number, max: number): (raw: unknown, origin: Origin) => number {
  return (raw, origin) => {
    const value = typeof raw === "string" && /^\d{1,9}$/.test(raw) ? Number(raw) : raw;
    if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
      throw bad(origin, raw, `a whole number from ${min} to ${max}`);
    }
    return value;
  };
}

const MAX_SECONDS = 86_400; // a day: beyond it a timeout is a mistake, and timers overflow at 24 days

export function seconds(raw: unknown, origin: Origin): number {
  const value = typeof raw === "string" && /^\d{1,9}(\.\d{1,9})?$/.test(raw) ? Number(raw) : raw;
  if (typeof value !== "number" || !(value > 0 && value <= MAX_SECONDS)) {
    throw bad(origin, raw, `seconds, more than 0 and at most ${MAX_SECONDS}`);
  }
  return value;
}

export function boolean(raw: unknown, origin: Origin): boolean {
  if (typeof raw === "boolean") return raw;
  if (raw === "1" || raw === "true" || raw === "yes") return true;
  if (raw === "0" || raw === "false" || raw === "no") return false;
  throw bad(origin, raw, "true or false");
}

export function fileMode(raw: unknown, origin: Origin): number {
  if (typeof raw === "string" && /^0?[0-7]{3}$/.test(raw)) return Number.parseInt(raw, 8);
  throw bad(origin, raw, 'a file mode in octal, as text: "0644"');
}
