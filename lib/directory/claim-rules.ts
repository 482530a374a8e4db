// The rules of names, by which every implementation of the directory decides. Pure.
import { TalkError } from "../base/errors.ts";
import { foldIfValid, validateName } from "../base/names.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { CLAIM_ID_LENGTH, decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import { MAX_NAMES } from "../wire/commands.ts";
import {
  type DirectoryRow,
  type EntryChanges,
  MAX_PAGE_ROWS,
  type NameBinding,
  type RegisterRequest,
} from "./directory.ts";
import { DirectoryError, type NameHolder } from "./directory-error.ts";
import { type DirectoryEntry, type NewEntry, type PackedEntry, packEntry } from "./entry.ts";
import type { NameHolderIds, NameLine } from "./name-ownership.ts";
import { type NameRight, NO_RIGHT } from "./name-right.ts";

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
  const { status, rooms, listed, isUnattestedLogin } = entry;
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
    isUnattestedLogin,
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
 * @param isOwn whether the name is the login name of the caller, see checkRight()
 * @throws DirectoryError `taken`
 */
export function decide(
  { entry, claimId, takeover, replace, right }: RegisterRequest,
  current: DirectoryRow | null,
  isLive: boolean,
  isOwn = false,
): "insert" | "replace" | "done" {
  if (current === null) return "insert";
  // A holder who had the name while it was no login, or under a key that its owner has lost, gives way to the owner.
  if (isOwn && current.entry.key !== entry.key && current.entry.uid !== entry.uid) return "replace";
  // A key that was replaced is the same holder's.
  if (current.entry.key === entry.key || right?.follows?.keys.includes(current.entry.key)) {
    if (current.claimId === claimId) return "done";
    if (replace || takeover === current.claimId || !isLive) return "replace";
  }
  throw inUse(current);
}

/** What comes of a request for a name. */
export interface NameGrant {
  /** The name is the login name of the caller: it goes to no other user, and any other holder gives way. */
  readonly isOwn: boolean;
  /** The key that the name is bound to: the caller's, or the owner's who allows it. */
  readonly key: string;
  /** What the name's line is to say of its holder. */
  readonly holder: NameHolderIds;
}

/** Further keys of one login name. */
export const MAX_ALLOWED_KEYS = 8;

/**
 * Decides whether a key may have a name, whether a client is registered under it or not:
 *
 * - A login name belongs to that uid, whatever the key and the holder before. From elsewhere it takes the key that its
 *   owner has registered with here, and those that the owner has allowed it.
 * - A name that is no login belongs to the key that came first. One that was a login name stays that user's.
 * - A key that its holder has replaced hands its names over to the key that it has signed.
 * - While it is unknown whether the name is a login, an existing binding stays, and no new one is made.
 *
 * @param line the line of the name, if it is bound
 * @param current the row under that name, null if there is none
 * @throws DirectoryError `taken`, `reserved`, `too-many`, `try-again`
 */
export function checkRight(
  line: NameLine | undefined,
  key: string,
  current: DirectoryRow | null,
  right: NameRight = NO_RIGHT,
): NameGrant {
  const { owner, uid, login, isMunge = false, follows, also } = right;
  const munge = isMunge ? ({ isMunge } as const) : {};
  const bound = line !== undefined && follows?.keys.includes(line.key) ? { ...line, key } : line;
  const isAccount = typeof owner === "object";
  // A binding of another login or uid is void: the account has changed hands.
  const isVoid = isAccount && (bound?.uid !== owner.uid || bound.login !== owner.login);
  const isBoundUser = bound?.login !== undefined && bound.uid === uid && (login === null || bound.login === login);
  const allowed = isVoid ? [] : keysIn(bound?.also).map((one) => (follows?.keys.includes(one) ? key : one));
  const chain = follows?.chain ?? (bound?.key === key ? bound.chain : undefined);
  const isOwn = uid !== null && (isAccount ? owner.uid === uid : isBoundUser);
  if (isOwn && !(isMunge && also !== undefined)) {
    const keys = withKey(allowed, also);
    const ids = { uid, ...munge, login: isAccount ? owner.login : (bound?.login as string) };
    return { isOwn: true, key, holder: { ...ids, ...given("also", keys.join(",")), ...given("chain", chain) } };
  }
  if (also !== undefined)
    throw DirectoryError.reserved("only the user whose login name it is allows it a key, on the server's host");
  const isBoundKey = bound?.key === key && !isVoid;
  if (bound !== undefined && !isBoundKey && allowed.includes(key)) {
    const { folded: _folded, key: ownKey, day: _day, ...holder } = bound;
    return { isOwn: false, key: ownKey, holder: { ...holder, also: allowed.join(",") } };
  }
  if (isAccount && !isBoundKey)
    throw DirectoryError.reserved("it is a login name of the server's host, and belongs to that user");
  if (owner === "nobody" && bound?.login !== undefined && !isBoundKey)
    throw DirectoryError.reserved("it was a login name of the server's host, and stays that user's");
  checkOwner(bound?.key, key, current);
  if (owner === "unknown" && bound === undefined && current === null)
    throw DirectoryError.cannotTell(
      "whether it is a login name cannot be told: the server's user database does not answer",
    );
  const { uid: boundUid, isMunge: boundMunge, login: boundLogin, also: boundAlso } = isBoundKey ? bound : {};
  const isNow = boundLogin === undefined && uid !== null;
  const heldBy = isNow ? uid : boundUid;
  const heldByMunge = isNow ? munge : boundMunge ? { isMunge: boundMunge } : {};
  return {
    ...{ isOwn: false, key },
    holder: {
      ...(heldBy === undefined ? {} : { uid: heldBy, ...heldByMunge }),
      ...(boundLogin === undefined ? {} : { login: boundLogin }),
      ...given("also", boundAlso),
      ...given("chain", chain),
    },
  };
}

const keysIn = (text: string | undefined): string[] => (text ?? "").split(",").filter(Boolean);

/** @throws DirectoryError `too-many` */
function withKey(allowed: readonly string[], key: string | undefined): readonly string[] {
  if (key === undefined || allowed.includes(key)) return allowed;
  if (allowed.length < MAX_ALLOWED_KEYS) return [...allowed, key];
  throw DirectoryError.tooMany(`a login name has at most ${MAX_ALLOWED_KEYS} further keys`);
}

function given<F extends "also" | "chain">(field: F, text: string | undefined): { readonly [K in F]?: string } {
  return (text === undefined || text === "" ? {} : { [field]: text }) as { readonly [K in F]?: string };
}

/** The event when a name has this row now: the same client has held it since the same time, or another one has come. */
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

/** A name's line as others see it. */
export function bindingOf(line: NameLine | undefined): NameBinding | null {
  if (line === undefined) return null;
  const { key, uid = null, isMunge, login = null, also, chain } = line;
  return {
    key,
    uid,
    ...(isMunge ? { isMunge } : {}),
    login,
    ...(also === undefined ? {} : { also: keysIn(also) }),
    ...given("chain", chain),
  };
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
