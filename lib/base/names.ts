// Names of users: which are allowed, and when two are the same one. Pure; knows neither network nor memory.
import { TalkError } from "./errors.ts";
import { lookAlikeProblem } from "./look-alikes.ts";

/** Longest name, in bytes of UTF-8. */
export const MAX_NAME_BYTES = 32;

/**
 * Longest folded form, in bytes of UTF-8. Folding can lengthen a name (U+0390, 2 bytes, becomes 3 code points, 6 bytes);
 * a record of the client table has room for this much, so a name that folds to more is refused.
 */
export const MAX_FOLD_BYTES = 64;

/**
 * Words that are commands, of a conversation (`All`, `list`, `/exit`) or of the shell (`ptalk send`): a user of that name
 * could not be written to. Compared folded, like every name.
 */
export const RESERVED_NAMES: ReadonlySet<string> = new Set([
  ...["all", "list", "exit", "help"],
  ...["talk", "serve", "lookup", "send", "recv", "history", "ipc", "key", "doctor", "config"],
]);

const ASCII_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/;
// A combining mark belongs to the letter before it (most scripts of India cannot be written without); what shows as nothing
// (variation selectors, Hangul fillers) is left out, or two different names would look the same.
const NAME = /^(?:\p{L}\p{M}*|\p{Nd})(?:\p{L}\p{M}*|[\p{Nd}._-])*$/u;
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/u;

/**
 * Checks a name by the rule of the directory: 1 to 32 bytes of UTF-8; letters, digits, `.`, `_`, `-`; starting with a letter
 * or digit; no command.
 * @returns the folded form, see {@link foldName}
 * @throws TalkError `bad-name`, saying which rule is broken
 */
export function validateName(name: string): string {
  const problem = nameProblem(name);
  if (problem !== null) throw TalkError.badName(typeof name === "string" ? name : String(typeof name), problem);
  return foldName(name);
}

/** The folded form of a valid name, null for any other text. */
export function foldIfValid(name: string): string | null {
  return foldUnless(nameProblem, name);
}

/**
 * The folded form to look a name up by; null for a text that is no name. The search for look-alikes takes many times as long,
 * and is for those who register: a look-alike that folds like a registered name finds it, any other finds nothing.
 */
export function foldForLookup(name: string): string | null {
  return foldUnless(textProblem, name);
}

function foldUnless(problemOf: (name: unknown) => string | null, name: string): string | null {
  // The common case costs one regular expression; the rest goes through the rule word by word.
  if (typeof name === "string" && ASCII_NAME.test(name)) {
    const folded = name.toLowerCase();
    return RESERVED_NAMES.has(folded) ? null : folded;
  }
  return problemOf(name) === null ? foldName(name) : null;
}

/**
 * The folded form of a valid room, null for any other text: "#" and what is allowed as a name. The word of a command is
 * allowed: the "#" before it tells the two apart.
 */
export function foldRoomIfValid(room: string): string | null {
  if (typeof room !== "string" || room[0] !== "#") return null;
  const name = room.slice(1);
  if (!ASCII_NAME.test(name) && nameProblem(name) !== null) return null;
  return foldRoom(room);
}

/** @returns the folded form. @throws TalkError `bad-name`, saying which rule is broken */
export function validateRoom(room: string): string {
  const folded = foldRoomIfValid(room);
  if (folded !== null) return folded;
  const isMarked = typeof room === "string" && isRoom(room);
  throw TalkError.badName(
    String(room),
    (isMarked && nameProblem(room.slice(1))) || 'a room is a name with "#" before it',
  );
}

/** Whether this is meant as a room, and not as a name. */
export function isRoom(text: string): boolean {
  return text.startsWith("#");
}

/** A name, or a room. @returns the folded form. @throws TalkError `bad-name` */
export function validateTarget(text: string): string {
  return isRoom(text) ? validateRoom(text) : validateName(text);
}

/** The form in which rooms are compared: "#Ops" and "#ops" are one. A text that is no room gives one that no room has. */
export function foldRoom(room: string): string {
  return `#${foldName(room.slice(1))}`;
}

/**
 * The form in which names are compared: two names are the same user if their folded forms are equal.
 *
 * NFKC, full upper case, full lower case, NFKC (ECMA-262 String.prototype.normalize, toUpperCase, toLowerCase, all locale
 * independent). That is Unicode's toNFKC_Casefold (UAX 31) but for a few letters which it merges in addition, such as
 * the dotless i with i: two names more that count as one, never two for one.
 */
export function foldName(name: string): string {
  if (ASCII_NAME.test(name)) return name.toLowerCase();
  let folded = name;
  // A second round changes a handful of letters (U+1E9E by way of its compatibility forms); the third finds it at rest.
  for (let round = 0; round < MAX_FOLD_ROUNDS; round++) {
    const next = folded.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFKC");
    if (next === folded) break;
    folded = next;
  }
  return folded;
}

const MAX_FOLD_ROUNDS = 4; // every code point is at rest after two (test/table/names.test.ts tries them all)

/** Why this cannot be a name, as a clause for {@link TalkError.badName}; null if it can. */
function nameProblem(name: unknown): string | null {
  const problem = textProblem(name);
  if (problem !== null || typeof name !== "string" || ASCII_NAME.test(name)) return problem;
  return lookAlikeProblem([name, name.normalize("NFKC"), foldName(name)]);
}

/** The rules of length and letters. */
function textProblem(name: unknown): string | null {
  if (typeof name !== "string") return "a name is a string";
  if (name.length === 0) return "it is empty";
  if (name.length > MAX_NAME_BYTES || Buffer.byteLength(name) > MAX_NAME_BYTES) {
    return `it is longer than ${MAX_NAME_BYTES} bytes`;
  }
  if (!isNameText(name) || !isNameText(name.normalize("NFKC"))) {
    return "letters, digits, '.', '_' and '-' are allowed, and it starts with a letter or digit";
  }
  const folded = foldName(name);
  if (Buffer.byteLength(folded) > MAX_FOLD_BYTES) return `folded, it is longer than ${MAX_FOLD_BYTES} bytes`;
  if (!isNameText(folded)) return "folded, it holds other characters than letters and digits";
  if (RESERVED_NAMES.has(folded)) return "it is a command";
  return null;
}

function isNameText(text: string): boolean {
  return NAME.test(text) && !INVISIBLE.test(text);
}
