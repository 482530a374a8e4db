// Checks users of this host without trusting the server: a client that claims to be one, or has a login name of this
// host, must have a key that this user's programs use (presence/local-keys.ts). Without a segment no client is suspect.
import { loginOfName } from "../base/login-names.ts";
import { loginUid } from "../base/users.ts";
import { keysOfUser } from "../presence/local-keys.ts";

/** Ms for which a user who was no impostor counts as none without another check. */
const FRESH_MS = 1_000;
/** How many those are, at most. */
const MAX_KEPT = 256;

/** A user, as the server describes them. */
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
  /** Users who were no impostors, and until when that counts (monotonic ms). */
  readonly #cleared = new Map<string, number>();

  /** Whether the segment of that user shows keys, and not this one. */
  isImpostor({ name, key, uid, isHere }: ClaimedUser): boolean {
    const asked = `${uid ?? (isHere ? "here" : "")} ${key} ${name}`;
    // Each message asks. Only this no may be old: a program may show a first key, or another one, at any time.
    if ((this.#cleared.get(asked) ?? 0) > performance.now()) return false;
    const claimed = uid ?? (isHere ? loginUid(name) : null);
    const keys = claimed === null ? null : keysOfUser(claimed);
    if (claimed === null || keys?.has(key) === true) this.#clear(asked);
    return keys !== null && !keys.has(key);
  }

  /** Whether the name is a login name of this host, or LOGIN-N, and that user's segment shows the key. The server has no say in it. */
  vouchesFor(name: string, key: string): boolean {
    const base = NUMBERED.exec(name)?.[1];
    const login = [name, ...(base === undefined ? [] : [base])].map((one) => loginOfName(one) ?? one).find(isLogin);
    const uid = login === undefined ? null : loginUid(login);
    return uid !== null && keysOfUser(uid)?.has(key) === true;
  }

  #clear(asked: string): void {
    this.#cleared.delete(asked);
    if (this.#cleared.size >= MAX_KEPT) this.#cleared.delete(this.#cleared.keys().next().value as string);
    this.#cleared.set(asked, performance.now() + FRESH_MS);
  }
}
