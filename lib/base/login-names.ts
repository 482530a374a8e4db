// From a login name of the system to a name of ptalk. Every login gets a valid name, and another login another name:
//
//   - A login that is a valid name, and not what another login is mapped to, is its own name.
//   - Otherwise each byte that no name may hold becomes an escape: "_" and two hex digits. So does the "_" of what reads as an
//     escape already, and all bytes beyond ASCII of a login that could be taken for another (look-alikes.ts).
//   - "u." goes before a name that begins wrongly or is a command word. A login that reads like that has its "u" escaped.
//   - Past 32 bytes: the first 23 bytes, "_", and 8 hex digits of the login's SHA-256.
//
// A name is never mapped back to give an identity: loginOfName() only tells which login has a name to itself.
import { createHash } from "node:crypto";
import { foldIfValid, foldName, MAX_NAME_BYTES, RESERVED_NAMES } from "./names.ts";

const PREFIX = "u.";
const HASH_DIGITS = 8;
const HEAD_BYTES = MAX_NAME_BYTES - HASH_DIGITS - 1;
const ESCAPE = /_([0-9a-f]{2})/g;
const ASCII_LETTER = /^[A-Za-z0-9._-]$/;
const OTHER_LETTER = /^[\p{L}\p{M}\p{Nd}]$/u;

/** @param login as the system has it; bytes that are no UTF-8 are allowed */
export function nameOfLogin(login: string | Uint8Array): string {
  const bytes = Buffer.from(login as string);
  const text = bytes.toString("utf8");
  const isText = Buffer.from(text, "utf8").equals(bytes);
  if (isText && isOwnName(text)) return text;
  const kept = isText ? finished(escapeUnits([...text], "utf8"), bytes) : null;
  if (kept !== null && foldIfValid(kept) !== null) return kept;
  return finished(escapeUnits([...bytes.toString("latin1")], "latin1"), bytes);
}

/** The login that is mapped to this name, null if there is none or it cannot be told (a hash). */
export function loginOfName(name: string): string | null {
  if (isOwnName(name)) return name;
  const body = name.startsWith(PREFIX) && needsPrefix(name.slice(PREFIX.length)) ? name.slice(PREFIX.length) : name;
  const bytes = body.replace(ESCAPE, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
  // Letters that were kept stand as themselves, escaped bytes as their Latin-1 characters: put together as bytes.
  const login = Buffer.concat([...bytes].map((unit) => Buffer.from(unit, unit < "\u0100" ? "latin1" : "utf8")));
  return [login.toString("utf8"), body].find((candidate) => nameOfLogin(candidate) === name) ?? null;
}

/** Whether the login is a name that no other login is mapped to. */
function isOwnName(login: string): boolean {
  if (foldIfValid(login) === null || login.search(ESCAPE) !== -1 || isLongForm(login)) return false;
  return !readsAsPrefixed(login);
}

/** @param units characters of a text, or bytes as Latin-1 */
function escapeUnits(units: readonly string[], encoding: "utf8" | "latin1"): string {
  const text = units.join("");
  let name = "";
  for (const [index, unit] of units.entries()) {
    const readsAsEscape = unit === "_" && /^[0-9a-f]{2}$/.test(units.slice(index + 1, index + 3).join(""));
    const isLetter = ASCII_LETTER.test(unit) || (encoding === "utf8" && OTHER_LETTER.test(unit));
    const isKept = isLetter && !readsAsEscape && !(index === 0 && readsAsPrefixed(text));
    name += isKept ? unit : [...Buffer.from(unit, encoding)].map(escapeByte).join("");
  }
  return name;
}

const escapeByte = (byte: number): string => `_${byte.toString(16).padStart(2, "0")}`;

function finished(body: string, login: Buffer): string {
  const name = needsPrefix(body) ? `${PREFIX}${body}` : body;
  if (Buffer.byteLength(name) <= MAX_NAME_BYTES && !isLongForm(name)) return name;
  const head = Buffer.from(name)
    .subarray(0, HEAD_BYTES)
    .toString("utf8")
    .replace(/\ufffd+$/, "");
  return `${head}_${createHash("sha256").update(login).digest("hex").slice(0, HASH_DIGITS)}`;
}

function needsPrefix(body: string): boolean {
  return !/^[\p{L}\p{Nd}]/u.test(body) || RESERVED_NAMES.has(foldName(body));
}

function readsAsPrefixed(login: string): boolean {
  return login.startsWith(PREFIX) && needsPrefix(login.slice(PREFIX.length));
}

function isLongForm(name: string): boolean {
  return Buffer.byteLength(name) > HEAD_BYTES && /_[0-9a-f]{8}$/.test(name);
}
