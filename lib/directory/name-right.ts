// The owner of a name by the accounts of the server's host, and the user who asks for it. The server finds out; the
// directory decides by it, together with what it remembers (claim-rules.ts). Pure.

/** An account of the server's host. */
export interface Login {
  readonly uid: number;
  readonly login: string;
}

export interface NameRight {
  /** The caller's uid, as the kernel says; null where it is unknown. */
  readonly uid: number | null;
  /** The login of that uid; null when it has none, or when that is unknown. */
  readonly login: string | null;
  /** Whose login name it is; "unknown": the user database does not answer. */
  readonly owner: Login | "nobody" | "unknown";
  /** A MUNGE credential vouches for the uid, not this host's kernel. */
  readonly isMunge?: boolean;
  /** How the caller's key follows those before it: the keys, oldest first, and the chain that proves it. */
  readonly follows?: { readonly keys: readonly string[]; readonly chain: string } | undefined;
  /** A further key (base64) that the caller allows its own login name. */
  readonly also?: string | undefined;
}

/** An unknown caller, and a name that is no login. */
export const NO_RIGHT: NameRight = { uid: null, login: null, owner: "nobody" };
