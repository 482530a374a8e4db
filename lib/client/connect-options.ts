// The options of connect(), checked before anything is done: a mistake is the caller's, and is told with the option's name. Pure.
import { TalkError } from "../base/errors.ts";
import { validateName } from "../base/names.ts";
import { parseServerList } from "../base/server-address.ts";
import { MAX_UNDER_WAY } from "./outbound.ts";
import type { ConnectOptions } from "./types.ts";

const MAX_PORT = 65_535;

interface Rule {
  /** Completes "OPTION must be". */
  readonly form: string;
  readonly allows: (value: unknown) => boolean;
}

const isText = (value: unknown): boolean => typeof value === "string" && value !== "" && !value.includes("\0");
const BOOLEAN: Rule = { form: "true or false", allows: (value) => typeof value === "boolean" };

function isKeepHistory(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { days = 1, onFailure = () => {}, ...others } = value as Record<string, unknown>;
  const isTime = typeof days === "number" && days > 0 && Number.isFinite(days);
  return isTime && typeof onFailure === "function" && Object.keys(others).length === 0;
}

const RULES: Readonly<Record<keyof ConnectOptions, Rule>> = {
  name: { form: "a string", allows: (value) => typeof value === "string" },
  server: {
    form: '"HOST:PORT", or a list of such',
    allows: (value) => isText(value) || (Array.isArray(value) && value.every(isText)),
  },
  stateDir: { form: "the path of a folder", allows: isText },
  signal: { form: "an AbortSignal", allows: (value) => value instanceof AbortSignal },
  port: {
    form: `a whole number from 0 to ${MAX_PORT}`,
    allows: (value) => typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_PORT,
  },
  portFallback: BOOLEAN,
  insecure: BOOLEAN,
  ca: { form: "the path of a file", allows: isText },
  startServer: BOOLEAN,
  register: { form: '"always" or "never"', allows: (value) => value === "always" || value === "never" },
  recipients: {
    form: `a list of at most ${MAX_UNDER_WAY} names`,
    allows: (value) =>
      Array.isArray(value) && value.length <= MAX_UNDER_WAY && value.every((name) => typeof name === "string"),
  },
  history: {
    form: "true, false, or {days, onFailure}",
    allows: (value) => typeof value === "boolean" || isKeepHistory(value),
  },
  accept: {
    form: '"all", "attested", "known" or "none"',
    allows: (value) => ["all", "attested", "known", "none"].includes(value as string),
  },
  fold: BOOLEAN,
  unattended: BOOLEAN,
  replace: BOOLEAN,
  listed: BOOLEAN,
  relay: BOOLEAN,
  deliver: { form: "a function", allows: (value) => typeof value === "function" },
  receiveAfter: { form: "a promise", allows: (value) => value instanceof Promise },
};

/** @throws TalkError usage, with the option as its subject; bad-name for a name that cannot be one */
export function checkConnectOptions(options: unknown): asserts options is ConnectOptions {
  if (typeof options !== "object" || options === null)
    throw misuse("options", "an object with at least a name", options);
  for (const key in options) {
    if (!Object.hasOwn(RULES, key)) {
      const known = Object.keys(RULES).join(", ");
      throw new TalkError("usage", `connect() has no option ${JSON.stringify(key)}; there are ${known}`, {
        subject: key,
      });
    }
  }
  const given = options as Readonly<Record<string, unknown>>;
  for (const [option, { form, allows }] of Object.entries(RULES)) {
    const value = given[option];
    const isLeftOut = value === undefined && option !== "name";
    if (!isLeftOut && !allows(value)) throw misuse(option, form, value);
  }
  const { name, server } = options as ConnectOptions;
  validateName(name);
  const { fold = false, unattended = false, history = false } = options as ConnectOptions;
  if (fold && history === false)
    throw misuse("fold", "left out without history: it is where folded messages are", fold);
  if (unattended && history === false)
    throw misuse("unattended", "left out without history: it is where the messages go", unattended);
  if (server !== undefined) parseServerList(server, "server");
}

const SHOWN = 64; // characters of a value that is wrong

function misuse(option: string, form: string, value: unknown): TalkError {
  const shown = typeof value === "string" ? JSON.stringify(value.slice(0, SHOWN)) : shownType(value);
  return new TalkError("usage", `connect(): ${option} must be ${form}, not ${shown}`, { subject: option });
}

function shownType(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return typeof value === "number" || typeof value === "boolean" ? String(value) : `a value of type ${typeof value}`;
}
