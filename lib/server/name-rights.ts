// The owner of a name by the host's accounts, and the user who asks for it. A login name belongs to its uid, and so do
// LOGIN-2, LOGIN-3…, and the name that a login is mapped to (base/login-names.ts). A name is never turned back into a
// login to identify a user: the uid that the kernel saw connect does that, and its login is looked up.
import { loginOfName, nameOfLogin } from "../base/login-names.ts";
import { foldName } from "../base/names.ts";
import { type NameRight, NO_RIGHT } from "../directory/name-right.ts";
import type { Origin } from "./origin.ts";
import type { Account } from "./user-database.ts";

/** Asks the user database, see there. */
export type FindAccount = (user: string | number) => Promise<Account>;

/** BASE-N: a further session of one user. */
const NUMBERED = /^(.+)-([1-9]\d{0,8})$/;

export interface NameQuestion {
  readonly name: string;
  /** The uid that the kernel saw connect; null where it is unknown. */
  readonly uid: number | null;
  /** Logins belong to no particular user. */
  readonly openNames: boolean;
  /** A registration that adds a client, which counts for its user or address; null for any other request. */
  readonly adds?: Entering | null;
}

/** A client that is not on yet, at this connection. */
export interface Entering {
  readonly origin: Origin;
  /** It says that it was on before. */
  readonly isBack: boolean;
}

export async function rightTo({ name, uid, openNames }: NameQuestion, find: FindAccount): Promise<NameRight> {
  const speaker: Account = uid === null ? { is: "no" } : await find(uid);
  const login = speaker.is === "yes" ? speaker.login : null;
  const own = uid === null || login === null ? null : { uid, login };
  let owner = await ownerOf(name, own, find);
  const base = owner === "nobody" ? NUMBERED.exec(name)?.[1] : undefined;
  if (base !== undefined) owner = await ownerOf(base, own, find);
  const isOthers = owner === "unknown" || (owner !== "nobody" && owner.uid !== uid);
  return { ...NO_RIGHT, uid, login, owner: openNames && isOthers ? "nobody" : owner };
}

/** @param own uid and login of the caller */
async function ownerOf(
  name: string,
  own: { readonly uid: number; readonly login: string } | null,
  find: FindAccount,
): Promise<NameRight["owner"]> {
  const folded = foldName(name);
  const isOwn = own !== null && foldName(nameOfLogin(own.login)) === folded;
  // Of logins that fold alike the lower-case one has the name.
  if (isOwn && nameOfLogin(own.login) === folded) return own;
  const logins = new Set([folded, name, ...mappedLogins(name), ...mappedLogins(folded)]);
  let isUnknown = false;
  for (const login of logins) {
    const account = await find(login);
    if (account.is === "yes") return { uid: account.uid, login: account.login };
    if (account.is === "unknown") isUnknown = true;
    if (login === folded && isOwn && !isUnknown) return own;
  }
  return isUnknown ? "unknown" : "nobody";
}

function mappedLogins(name: string): string[] {
  const login = loginOfName(name);
  return login === null ? [] : [login];
}
