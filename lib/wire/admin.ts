// ADMIN: what an administrator asks of a server that runs. Text and numbers only; who may ask is the server's to decide.
import { isFingerprint } from "../base/fingerprint-text.ts";
import { CommandError } from "./commands.ts";

export type AdminRequest =
  /** Whether the asker is an administrator. */
  | { readonly op: "check" }
  | { readonly op: "clients" }
  | { readonly op: "bans" }
  | { readonly op: "kick"; readonly name: string }
  | { readonly op: "free"; readonly name: string }
  | { readonly op: "ban"; readonly target: string; readonly seconds: number }
  | { readonly op: "unban"; readonly target: string }
  | { readonly op: "drain" };

/** (uid_t)-1 is nobody's. */
const MAX_UID = 2 ** 32 - 2;
/** Seconds that a ban lasts, at most. */
export const MAX_BAN_S = 366 * 86_400;
const ADMIN_FORM =
  "ADMIN CHECK | CLIENTS | BANS | KICK name | FREE name | BAN uid|SHA256:… seconds | UNBAN uid|SHA256:… | DRAIN";

/** The uid or the key that a ban is about: its digits, or its fingerprint. Null for any other text. */
export function banTarget(text: string): string | null {
  if (isFingerprint(text)) return text;
  return /^(?:0|[1-9]\d{0,9})$/.test(text) && Number(text) <= MAX_UID ? text : null;
}

/** @param args behind the command's name */
export function parseAdmin([word = "", ...args]: readonly string[]): AdminRequest {
  const op = word.toLowerCase();
  const [first = "", second] = args;
  if (args.length === 0 && (op === "check" || op === "clients" || op === "bans" || op === "drain")) return { op };
  if (args.length === 1 && (op === "kick" || op === "free")) return { op, name: first };
  if (op === "ban" && args.length === 2) return { op, target: target(first), seconds: time(second) };
  if (op === "unban" && args.length === 1) return { op, target: target(first) };
  throw CommandError.syntax(ADMIN_FORM);
}

function target(text: string): string {
  const found = banTarget(text);
  if (found !== null) return found;
  throw CommandError.syntax(`a ban is of a uid from 0 to ${MAX_UID}, or of a key's fingerprint, SHA256:…`);
}

function time(digits = ""): number {
  const seconds = /^[1-9]\d{0,8}$/.test(digits) ? Number(digits) : 0;
  if (seconds >= 1 && seconds <= MAX_BAN_S) return seconds;
  throw CommandError.syntax(`a ban lasts 1 to ${MAX_BAN_S} seconds`);
}
