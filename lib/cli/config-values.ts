// How one setting's value is read, from the command line, the environment or TOML: each names its origin in its error.

import { join } from "node:path";
import { TalkError } from "../base/errors.ts";
import { ownHome } from "../base/files.ts";
import { formatServerAddress, formatServerList, parseServerAddress, parseServerList } from "../base/server-address.ts";
import { checkSocketPath } from "../base/socket-path.ts";
import type { Accept } from "../client/types.ts";
import { bytesOf } from "./byte-size.ts";
import { hasUnknownConversion } from "./times.ts";

/** Where a value came from: `--server`, `PTALK_SERVER`, `/home/ann/.config/ptalk/config.toml: server`. */
export type Origin = string;

function bad(origin: Origin, raw: unknown, expected: string): TalkError {
  return TalkError.usage(`${origin}: expected ${expected}, not ${JSON.stringify(raw)}`);
}

export function text(raw: unknown, origin: Origin): string {
  if (typeof raw !== "string" || raw === "") throw bad(origin, raw, "text");
  return raw;
}

/** Where a directory is that servers share. What stands behind the scheme is read when it is used. */
export function directoryAddress(raw: unknown, origin: Origin): `etcd://${string}` {
  if (typeof raw === "string" && raw.startsWith("etcd://")) return raw as `etcd://${string}`;
  throw bad(origin, raw, "etcd://HOST:PORT[,…]/PREFIX");
}

/** A user's name; whether it is one is not for the settings to say, but how much it is text. */
export function name(raw: unknown, origin: Origin): string {
  if (typeof raw !== "string") throw bad(origin, raw, "a name");
  return raw;
}

/** Login names: "ann,ben", in TOML a list too. Whether there are such accounts is asked when it matters. */
export function logins(raw: unknown, origin: Origin): readonly string[] {
  const words: unknown = typeof raw === "string" ? raw.split(",") : raw;
  const isLogin = (word: unknown): word is string => typeof word === "string" && /^[^\s,:\p{Cc}]+$/u.test(word);
  if (Array.isArray(words) && words.length > 0 && words.every(isLogin)) return words;
  throw bad(origin, raw, "login names, with commas between");
}

/** "~/" is the home of the user. */
export function path(raw: unknown, origin: Origin): string {
  const value = text(raw, origin);
  if (value.includes("\0")) throw bad(origin, raw, "a path");
  if (!value.startsWith("~/")) return value;
  const home = ownHome(process.env);
  if (home === null) throw bad(origin, raw, "a path without ~/, since this user has no home");
  return join(home, value.slice(2));
}

/** A program and its words. The program is found by PATH, or has a path that begins with / or ~/. */
export function command(raw: unknown, origin: Origin): readonly string[] {
  const expected = 'a program and its words: ["notify-send", "ptalk"]; a path begins with / or ~/';
  if (!Array.isArray(raw) || !raw.every((word): word is string => typeof word === "string" && !word.includes("\0"))) {
    throw bad(origin, raw, expected);
  }
  const [program = "", ...words] = raw;
  const isPath = program.includes("/");
  if (program === "" || (isPath && !program.startsWith("/") && !program.startsWith("~/"))) {
    throw bad(origin, raw, expected);
  }
  return [isPath ? path(program, origin) : program, ...words];
}

/** Servers in the order in which they are tried: "A,B,C", in TOML a list too. */
export function servers(raw: unknown, origin: Origin): string {
  const list: unknown = Array.isArray(raw) ? raw : [raw];
  const words = (list as unknown[]).map((word) => text(word, origin));
  return formatServerList(parseServerList(words, origin));
}

export function listen(raw: unknown, origin: Origin): string {
  return formatServerAddress(parseServerAddress(text(raw, origin), origin, 0));
}

/** A path, or "none". */
export function socketPath(raw: unknown, origin: Origin): string {
  if (raw === "none") return raw;
  const value = path(raw, origin);
  checkSocketPath(value, origin);
  return value;
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

const DAY_SECONDS = 86_400;
/** The most that a time may be, mostly. */
export const WEEK_S = 7 * DAY_SECONDS;
export const YEAR_S = 366 * DAY_SECONDS;

/** Bytes: "64M", "1G"; in TOML a number too. */
export function size(raw: unknown, origin: Origin): number {
  const value = typeof raw === "string" ? bytesOf(raw) : raw;
  if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) return value;
  throw bad(origin, raw, "a size such as 500K, 64M or 1G");
}
const UNIT_SECONDS: Readonly<Record<string, number>> = { "": 1, ms: 0.001, s: 1, m: 60, h: 3_600, d: DAY_SECONDS };

/**
 * A time in seconds: "90", "2.5", "500ms", "20s", "5m", "2h", "7d"; in TOML a number too.
 * @param most seconds
 */
export function duration(most: number): (raw: unknown, origin: Origin) => number {
  return (raw, origin) => {
    const [, digits = "", unit = ""] =
      (typeof raw === "string" && /^(\d{1,9}(?:\.\d{1,9})?)(ms|[smhd]|)$/.exec(raw)) || [];
    const value = typeof raw === "string" ? Number(digits || Number.NaN) * (UNIT_SECONDS[unit] ?? Number.NaN) : raw;
    if (typeof value !== "number" || !(value > 0 && value <= most)) {
      throw bad(
        origin,
        raw,
        `a time such as 90, 500ms, 20s, 5m, 2h or 7d: more than 0, and at most ${most / DAY_SECONDS} days`,
      );
    }
    return value;
  };
}

export function boolean(raw: unknown, origin: Origin): boolean {
  if (typeof raw === "boolean") return raw;
  if (raw === "1" || raw === "true" || raw === "yes") return true;
  if (raw === "0" || raw === "false" || raw === "no") return false;
  throw bad(origin, raw, "true or false");
}

/** Whose messages are taken. */
export const ACCEPT_WORDS: readonly Accept[] = ["all", "attested", "known", "none"];

/** When a message rings at a terminal: one for this user, any, none. */
export const BELL_POLICIES = ["direct", "all", "off"] as const;
export type BellPolicy = (typeof BELL_POLICIES)[number];

export function oneOf<T extends string>(words: readonly T[]): (raw: unknown, origin: Origin) => T {
  return (raw, origin) => {
    const word = words.find((known) => known === raw);
    if (word === undefined) throw bad(origin, raw, words.map((known) => JSON.stringify(known)).join(", "));
    return word;
  };
}

/** Columns that a time may take beside each message. */
const MAX_TIME_FORMAT = 32;

/** As in strftime(3), of it what depends on no locale; "off" for no times. */
export function timeFormat(raw: unknown, origin: Origin): string {
  const value = text(raw, origin);
  if (hasUnknownConversion(value) || value.length > MAX_TIME_FORMAT || /[\p{Cc}\p{Cf}]/u.test(value)) {
    throw bad(origin, raw, 'a time format such as "%H:%M" (of %H %I %M %S %p %Y %m %d %%), or "off"');
  }
  return value;
}

export function fileMode(raw: unknown, origin: Origin): number {
  if (typeof raw === "string" && /^0?[0-7]{3}$/.test(raw)) return Number.parseInt(raw, 8);
  throw bad(origin, raw, 'a file mode in octal, as text: "0644"');
}
