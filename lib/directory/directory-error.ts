// What a directory refuses, in its own words. The lookup server maps them to words of RESP, in one place.

export type DirectoryErrorCode =
  /** Another key has the name, or another registration of the same key is there under it. */
  | "taken"
  /** A rule gives the name to another user, whoever came first. */
  | "reserved"
  /** One user, or one address, has all that it may have. */
  | "too-many"
  /** There is no room for one more. */
  | "full"
  /** The outcome is unknown: the change may have happened, may happen later, or not at all. */
  | "try-again"
  /** The claim has no row (any more). */
  | "replaced"
  | "bad-name"
  | "bad-entry";

/** What others may know of the holder of a name. */
export interface NameHolder {
  /** Fingerprint of the key. */
  readonly by: string;
  /** The holder's host and the time (ms since the epoch) of its registration; null while it is not registered. */
  readonly host: string | null;
  readonly since: number | null;
}

interface DirectoryErrorOptions extends ErrorOptions {
  readonly holder?: NameHolder;
  readonly isRefusal?: boolean;
}

export class DirectoryError extends Error {
  override readonly name = "DirectoryError";
  readonly code: DirectoryErrorCode;
  readonly holder: NameHolder | null;
  /** The change has not happened, and will not: of a `try-again`, too, that came before it. */
  readonly isRefusal: boolean;

  constructor(
    code: DirectoryErrorCode,
    message: string,
    { isRefusal = code !== "try-again", ...options }: DirectoryErrorOptions = {},
  ) {
    super(message, options);
    this.code = code;
    this.isRefusal = isRefusal;
    this.holder = options.holder ?? null;
  }

  static taken(reason: string, holder: NameHolder): DirectoryError {
    const since = holder.since === null ? "" : ` since ${new Date(holder.since).toISOString()}`;
    const where = holder.host === null ? "" : ` on host ${holder.host || "?"}${since}`;
    return new DirectoryError("taken", `${reason}: key ${holder.by}${where}`, { holder });
  }
  static reserved(reason: string): DirectoryError {
    return new DirectoryError("reserved", reason);
  }
  static tooMany(reason: string): DirectoryError {
    return new DirectoryError("too-many", reason);
  }
  /** @param capacity in clients */
  static full(capacity: number): DirectoryError {
    return new DirectoryError("full", `there is room for ${capacity} clients: try again when one has left`);
  }
  /** @param limit names that the directory remembers */
  static noMoreNames(limit: number): DirectoryError {
    const way = "take one that you had before, or ask whoever runs the server";
    return new DirectoryError("full", `the server remembers ${limit} names and no more: ${way}`);
  }
  static replaced(name: string): DirectoryError {
    return new DirectoryError("replaced", `${JSON.stringify(name)} is not registered with this claim any more`);
  }
  /** A rule cannot be applied yet: nothing has changed. */
  static cannotTell(reason: string): DirectoryError {
    return new DirectoryError("try-again", reason, { isRefusal: true });
  }
  /** @param cause why the outcome is not known */
  static tryAgain(reason: string, cause?: unknown): DirectoryError {
    return new DirectoryError("try-again", reason, { cause });
  }
}
