// Users of this host, checked without trusting the server: who is said to be one, or has one's login name here, has a key that this user's
// programs use (presence/local-keys.ts). Without a segment nothing is said against anybody.
import { loginOfName } from "../base/login-names.ts";
import { loginUid } from "../base/users.ts";
import { keysOfUser } from "../presence/local-keys.ts";

/** Ms for which a key that was shown counts without another look: each message asks. */
const FRESH_MS = 1_000;
/** Users whose keys are kept. */
const MAX_KEPT = 256;

/** Somebody, as the server has it. */
export interface ClaimedUser {
  /** Folded. */
  readonly name: string;
  /** base64 */
  readonly key: string;
  /** On the server's host, which is this one; null when the server says none. */
  readonly uid: number | null;
  /** It is to be reached on this host. */
  readonly isHere: boolean;
}

/** A further session of one user. */
const NUMBERED = /^(.+)-[1-9]\d*$/;

const isLogin = (login: string): boolean => loginUid(login) !== null;

export class LocalUsers {
  readonly #kept = new Map<number, { readonly keys: ReadonlySet<string>; readonly until: number }>();

  /** Whether the segment of that user shows keys, and not this one. */
  isImpostor({ name, key, uid, isHere }: ClaimedUser): boolean {
    const claimed = uid ?? (isHere ? loginUid(name) : null);
    if (claimed === null) return false;
    const kept = this.#kept.get(claimed);
    if (kept !== undefined && kept.until > performance.now() && kept.keys.has(key)) return false;
    // Only a yes may be old: a program may have shown another key since.
    const keys = keysOfUser(claimed);
    if (keys === null) return false;
    this.#keep(claimed, keys);
    return !keys.has(key);
  }

  /** Whether the name is a login name of this host, or LOGIN-N, and that user's segment shows the key. The server has no say in it. */
  vouchesFor(name: string, key: string): boolean {
    const base = NUMBERED.exec(name)?.[1];
    const login = [name, ...(base === undefined ? [] : [base])].map((one) => loginOfName(one) ?? one).find(isLogin);
    const uid = login === undefined ? null : loginUid(login);
    return uid !== null && keysOfUser(uid)?.has(key) === true;
  }

  #keep(uid: number, keys: ReadonlySet<string>): void {
    this.#kept.delete(uid);
    if (this.#kept.size >= MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value as number);
    this.#kept.set(uid, { keys, until: performance.now() + FRESH_MS });
  }
}
