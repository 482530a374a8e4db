// Who may have a name: the rules that every implementation of the directory decides by. Pure.
import { TalkError } from "../base/errors.ts";
import { foldIfValid, validateName } from "../base/names.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import type { DirectoryRow, RegisterRequest } from "./directory.ts";
import { DirectoryError, type NameHolder } from "./directory-error.ts";
import { type NewEntry, type PackedEntry, packEntry } from "./entry.ts";

/** @throws DirectoryError `bad-name`, `bad-entry` */
export function checkedEntry(entry: NewEntry): PackedEntry {
  checkedName(entry.name);
  try {
    return packEntry(entry);
  } catch (error) {
    if (!(error instanceof TalkError)) throw error;
    throw new DirectoryError("bad-entry", error.message, { cause: error });
  }
}

/** @returns the folded name. @throws DirectoryError `bad-name`, saying which rule is broken */
export function checkedName(name: string): string {
  const folded = foldIfValid(name);
  if (folded !== null) return folded;
  try {
    return validateName(name);
  } catch (error) {
    throw new DirectoryError("bad-name", error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/**
 * What a registration does to the row that is there under its name. A row with the same claim id is the same registration, whose
 * answer was lost. A row may be replaced by its own client only: by the one that names its claim id, by one that a person has
 * told to, or, when the worker that served it is dead, by any with its key.
 * @param current the row under that name, null if there is none
 * @param isLive whether its worker is alive
 * @throws DirectoryError `taken`
 */
export function decide(
  request: RegisterRequest,
  current: DirectoryRow | null,
  isLive: boolean,
): "insert" | "replace" | "done" {
  if (current === null) return "insert";
  const { entry, claimId, takeover, replace } = request;
  const isSameKey = current.entry.key === entry.key;
  if (isSameKey && current.claimId === claimId) return "done";
  if (isSameKey && (replace || takeover === current.claimId || !isLive)) return "replace";
  throw DirectoryError.taken("the name is in use", holderOf(current));
}

/** @param owner the key that the name is bound to. @throws DirectoryError `taken` */
export function checkOwner(owner: string | undefined, key: string, current: DirectoryRow | null): void {
  if (owner === undefined || owner === key) return;
  const holder =
    current?.entry.key === owner ? holderOf(current) : { by: fingerprintOf(owner), host: null, since: null };
  throw DirectoryError.taken("the name belongs to another key on this server", holder);
}

function holderOf({ entry }: DirectoryRow): NameHolder {
  return { by: entry.fingerprint, host: entry.host, since: entry.startedAt };
}

const fingerprintOf = (key: string): string => fingerprint(Buffer.from(key, "base64"));

/** Versions count modulo this; those of one name that are compared are a few apart. */
export const VERSION_MASK = 2 ** 30 - 1;

/** Versions wrap around. */
export function isLaterVersion(a: number, b: number): boolean {
  const ahead = (a - b) & VERSION_MASK;
  return ahead !== 0 && ahead <= VERSION_MASK >>> 1;
}
