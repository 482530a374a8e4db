// What a directory refuses, in the directory's own words. The lookup server maps them to RESP words in one place.

export type DirectoryErrorCode =
  /** Another key has the name, or another registration of the same key is on under it. */
  | "taken"
  /** The name belongs to somebody by a rule, not by who came first. */
  | "reserved"
  /** One user, or one address, has all that it may have. */
  | "too-many"
  /** No room for one more. */
  | "full"
  /** Unknown: the change may or may not have happened. */
  | "try-again"
  /** The claim's row is another's by now. */
  | "replaced"
  | "bad-name"
  | "bad-entry";

/** Who holds a name, as far as it may be told. */
export interface NameHolder {
  /** Fingerprint of the key. */
  readonly by: string;
  /** The holder's host and the time (ms since the epoch) of its registration; null while it is not on. */
  readonly host: string | null;
  readonly since: number | null;
}

export class DirectoryError extends Error {
  override readonly name = "DirectoryError";
  readonly code: DirectoryErrorCode;
  readonly holder: NameHolder | null;

  constructor(code: DirectoryErrorCode, message: string, options: ErrorOptions & { holder?: NameHolder } = {}) {
    super(message, options);
    this.code = code;
    this.holder = options.holder ?? null;
  }

  static taken(reason: string, holder: NameHolder): DirectoryError {
    const since = holder.since === null ? "" : ` since ${new Date(holder.since).toISOString()}`;
    const where = holder.host === null ? "" : ` on host ${holder.host || "?"}${since}`;
    return new DirectoryError("taken", `${reason}: key ${holder.by}${where}`, { holder });
  }
  static full(reason: string): DirectoryError {
    return new DirectoryError("full", reason);
  }
  static replaced(name: string): DirectoryError {
    return new DirectoryError("replaced", `the registration of ${JSON.stringify(name)} is not this one any more`);
  }
  /** @param cause why the outcome is not known */
  static tryAgain(reason: string, cause?: unknown): DirectoryError {
    return new DirectoryError("try-again", reason, { cause });
  }
}
