// The rules of names, by which every implementation of the directory decides. Pure.
import { TalkError } from "../base/errors.ts";
import { foldIfValid, validateName } from "../base/names.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { CLAIM_ID_LENGTH, decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import { MAX_NAMES } from "../wire/commands.ts";
import { type DirectoryRow, type EntryChanges, MAX_PAGE_ROWS, type RegisterRequest } from "./directory.ts";
import { DirectoryError, type NameHolder } from "./directory-error.ts";
import { type DirectoryEntry, type NewEntry, type PackedEntry, packEntry } from "./entry.ts";

const CLAIM_ID = new RegExp(`^[A-Za-z0-9+/]{${CLAIM_ID_LENGTH}}$`);

/** @returns the entry's stored form. @throws DirectoryError `bad-name`, `bad-entry` */
export function checkedRequest({ entry, claimId }: RegisterRequest): PackedEntry {
  if (typeof claimId !== "string" || !CLAIM_ID.test(claimId)) {
    throw new DirectoryError("bad-entry", `a claim id must be ${CLAIM_ID_LENGTH} characters of base64`);
  }
  return checkedEntry(entry);
}

/** @returns the stored form of the entry with these changes. @throws DirectoryError `bad-entry` */
export function changedEntry(entry: DirectoryEntry, changes: EntryChanges): PackedEntry {
  const { name, key, startedAt, endpoints, host, protocol, server, user, uid, attested } = entry;
  const { status, rooms, listed } = entry;
  const fields = {
    name,
    key,
    startedAt,
    endpoints,
    host,
    protocol,
    server,
    user,
    uid,
    attested,
    status,
    rooms,
    listed,
  };
  return checkedEntry({ ...fields, ...changes });
}

function checkedEntry(entry: NewEntry): PackedEntry {
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

/** @throws DirectoryError `bad-entry` */
export function checkKey(key: string): void {
  if (decodeBase64(key, KEY_BYTES) !== null) return;
  throw new DirectoryError("bad-entry", `a key must be the base64 text of ${KEY_BYTES} bytes`);
}

/**
 * What a registration does to the row under its name. A row with the same claim id is the same registration, whose answer was
 * lost. Otherwise only the same key may replace a row: by naming the row's claim id, because a person asked for it, or because
 * the worker that served the row is dead.
 * @param current the row under that name, null if there is none
 * @param isLive whether that row's worker is alive
 * @throws DirectoryError `taken`
 */
export function decide(
  { entry, claimId, takeover, replace }: RegisterRequest,
  current: DirectoryRow | null,
  isLive: boolean,
): "insert" | "replace" | "done" {
  if (current === null) return "insert";
  if (current.entry.key === entry.key) {
    if (current.claimId === claimId) return "done";
    if (replace || takeover === current.claimId || !isLive) return "replace";
  }
  throw inUse(current);
}

/** What has happened when a name has this row now: the same client has it since the same time, or another one has come. */
export function kindOfChange(before: DirectoryEntry | null, { key, startedAt }: PackedEntry): "on" | "changed" {
  return before?.key === key && before.startedAt === startedAt ? "changed" : "on";
}

/**
 * Checks that the key may have the name. A name without an owner still belongs to the client that is registered under it.
 * @param owner the key that the name is bound to
 * @param current the row under that name, null if there is none
 * @throws DirectoryError `taken`
 */
export function checkOwner(owner: string | undefined, key: string, current: DirectoryRow | null): void {
  if (owner === undefined) {
    if (current !== null && current.entry.key !== key) throw inUse(current);
    return;
  }
  if (owner === key) return;
  const holder =
    current?.entry.key === owner ? holderOf(current) : { by: fingerprintOf(owner), host: null, since: null };
  throw DirectoryError.taken("the name belongs to another key on this server", holder);
}

function inUse(row: DirectoryRow): DirectoryError {
  return DirectoryError.taken("the name is in use", holderOf(row));
}

function holderOf({ entry }: DirectoryRow): NameHolder {
  return { by: entry.fingerprint, host: entry.host, since: entry.startedAt };
}

const fingerprintOf = (key: string): string => fingerprint(Buffer.from(key, "base64"));

/** @throws RangeError */
export function checkPage(cursor: number, limit: number): void {
  if (!Number.isInteger(cursor) || cursor < 0) throw new RangeError(`cursor must be a whole number, not ${cursor}`);
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE_ROWS) {
    throw new RangeError(`limit must be a whole number from 1 to ${MAX_PAGE_ROWS}, not ${limit}`);
  }
}

/** @throws RangeError */
export function checkNames(limit: number): void {
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_NAMES) return;
  throw new RangeError(`limit must be a whole number from 1 to ${MAX_NAMES}, not ${limit}`);
}

/** Versions count modulo this plus one. Compared versions of one name are a few apart. */
export const VERSION_MASK = 2 ** 30 - 1;

/** Versions wrap around. */
export function isLaterVersion(a: number, b: number): boolean {
  const ahead = (a - b) & VERSION_MASK;
  return ahead !== 0 && ahead <= VERSION_MASK >>> 1;
}
