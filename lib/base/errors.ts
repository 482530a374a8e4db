// The errors a person or a program meets, each with one code and, through one table, one exit status.
// Knows nothing else of ptalk: everything may import it. (Errors of the operating system are IpcError, in lib/ipc.)

/** What went wrong, for programs. `failed.code` of the JSON events is one of {@link FAILED_CODES}. */
export type TalkErrorCode =
  | "no-such-user"
  | "not-delivered"
  | "key-mismatch"
  | "too-long"
  | "bad-name"
  | "bad-data"
  | "name-taken"
  | "unreachable"
  | "full"
  | "protocol"
  | "refused"
  | "timeout"
  | "usage"
  | "bad-config"
  | "closed"
  | "internal";

/** The reasons for which a message can fail (DESIGN: `failed {id,to,code,message}`). */
export const FAILED_CODES = ["no-such-user", "not-delivered", "key-mismatch", "too-long"] as const;
export type FailedCode = (typeof FAILED_CODES)[number];

/**
 * Exit status of each code: the values of BSD's sysexits(3). 1 is left to the shell and to crashes of Node itself,
 * so that a script can tell an expected failure from an unexpected one.
 */
export const EXIT = {
  ok: 0,
  usage: 64,
  data: 65,
  noUser: 67,
  unavailable: 69,
  internal: 70,
  cannotCreate: 73,
  tempFail: 75,
  noPermission: 77,
} as const;

const EXIT_OF_CODE: Readonly<Record<TalkErrorCode, number>> = {
  usage: EXIT.usage,
  "bad-config": EXIT.usage,
  "bad-name": EXIT.data,
  "bad-data": EXIT.data,
  "too-long": EXIT.data,
  "no-such-user": EXIT.noUser,
  unreachable: EXIT.unavailable,
  full: EXIT.unavailable,
  protocol: EXIT.unavailable,
  internal: EXIT.internal,
  closed: EXIT.internal,
  "name-taken": EXIT.cannotCreate,
  "not-delivered": EXIT.tempFail,
  timeout: EXIT.tempFail,
  "key-mismatch": EXIT.noPermission,
  refused: EXIT.noPermission,
};

/** An error that ptalk expects to happen: its message is a sentence for a person, its `code` is for programs. */
export class TalkError extends Error {
  override readonly name = "TalkError";
  readonly code: TalkErrorCode;

  constructor(code: TalkErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** Exit status (sysexits) of a command that ends with this error. */
  get exitCode(): number {
    return EXIT_OF_CODE[this.code];
  }

  static noSuchUser(name: string): TalkError {
    return new TalkError("no-such-user", `no user ${quote(name)} is on`);
  }
  /** @param reason a clause without a full stop: "no answer within 10 s" */
  static notDelivered(to: string, reason: string, cause?: unknown): TalkError {
    return new TalkError("not-delivered", `not delivered to ${quote(to)}: ${reason}`, { cause });
  }
  /** Both fingerprints and the way out are in the message: the person has to decide, ptalk never does. */
  static keyMismatch(name: string, known: string, offered: string): TalkError {
    return new TalkError(
      "key-mismatch",
      `the key of ${quote(name)} has changed: known ${known}, offered ${offered}. Somebody may be pretending to be ` +
        `${quote(name)}. If the change is expected, forget the old key with: ptalk key forget ${printable(name)}`,
    );
  }
  /** @param length and limit in bytes of UTF-8 */
  static tooLong(length: number, limit: number): TalkError {
    return new TalkError("too-long", `the message has ${length} bytes; the limit is ${limit}`);
  }
  static badName(name: string, reason: string): TalkError {
    return new TalkError("bad-name", `${quote(name)} is not a valid name: ${reason}`);
  }
  static badData(reason: string, cause?: unknown): TalkError {
    return new TalkError("bad-data", reason, { cause });
  }
  static nameTaken(name: string): TalkError {
    return new TalkError("name-taken", `the name ${quote(name)} is taken`);
  }
  /** @param server "HOST:PORT" */
  static unreachable(server: string, reason: string, cause?: unknown): TalkError {
    return new TalkError("unreachable", `no lookup server at ${server}: ${reason}`, { cause });
  }
  /** @param capacity in clients */
  static full(capacity?: number): TalkError {
    const room = capacity === undefined ? "" : ` (room for ${capacity} clients)`;
    return new TalkError("full", `the directory is full${room}`);
  }
  static protocol(reason: string, cause?: unknown): TalkError {
    return new TalkError("protocol", `the other side does not speak ptalk's protocol: ${reason}`, { cause });
  }
  static refused(reason: string, cause?: unknown): TalkError {
    return new TalkError("refused", reason, { cause });
  }
  static usage(reason: string): TalkError {
    return new TalkError("usage", reason);
  }
  /** @param where the file, variable or flag that holds the bad value */
  static badConfig(where: string, reason: string, cause?: unknown): TalkError {
    return new TalkError("bad-config", `${where}: ${reason}`, { cause });
  }
  static closed(what: string): TalkError {
    return new TalkError("closed", `${what} is closed`);
  }
  static internal(reason: string, cause?: unknown): TalkError {
    return new TalkError("internal", reason, { cause });
  }
}

/** Files and folders that cannot be used as they are, and a disk without room: errno(3). */
const UNUSABLE = new Set<unknown>(["EACCES", "EPERM", "EROFS", "ENOTDIR", "ELOOP", "ENAMETOOLONG"]);
const NO_ROOM = new Set<unknown>(["ENOSPC", "EDQUOT"]);

/** Exit status for anything thrown: what the system does not allow is 77, a full disk 69, what nobody foresaw 70. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof TalkError) return error.exitCode;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (UNUSABLE.has(code)) return EXIT.noPermission;
  return NO_ROOM.has(code) ? EXIT.unavailable : EXIT.internal;
}

// Names reach messages from the network and the command line: control and format characters are shown, never sent.
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (c) => `<U+${hex(c)}>`);
}

function hex(character: string): string {
  return (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
}

const QUOTED_LIMIT = 64; // characters of foreign text in an error: enough to recognise it, never a screenful

function quote(text: string): string {
  const shown = text.length > QUOTED_LIMIT ? `${text.slice(0, QUOTED_LIMIT)}…` : text;
  return `"${printable(shown)}"`;
}
