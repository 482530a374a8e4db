// The exit statuses of the commands: the values of BSD's sysexits(3). 1 is left to the shell and to crashes of Node itself, so
// that a script can tell an expected failure from an unexpected one.
import { TalkError, type TalkErrorCode } from "../base/errors.ts";
import { isShortage, systemCode } from "../base/system-error.ts";

export const EXIT = {
  ok: 0,
  usage: 64,
  data: 65,
  noUser: 67,
  unavailable: 69,
  internal: 70,
  cannotCreate: 73,
  tempFail: 75,
  /** It may have arrived, or some have it. No status of sysexits(3) says so. */
  unconfirmed: 76,
  noPermission: 77,
} as const;

const STATUS_OF_CODE: Readonly<Record<TalkErrorCode, number>> = {
  usage: EXIT.usage,
  "bad-config": EXIT.usage,
  "bad-name": EXIT.data,
  "bad-data": EXIT.data,
  "too-long": EXIT.data,
  "no-such-user": EXIT.noUser,
  "no-such-process": EXIT.noUser,
  unreachable: EXIT.unavailable,
  full: EXIT.unavailable,
  "too-many": EXIT.unavailable,
  protocol: EXIT.unavailable,
  "not-understood": EXIT.unavailable,
  internal: EXIT.internal,
  closed: EXIT.internal,
  "name-taken": EXIT.cannotCreate,
  "not-delivered": EXIT.tempFail,
  "mailbox-full": EXIT.tempFail,
  "no-key": EXIT.noUser,
  unconfirmed: EXIT.unconfirmed,
  "try-again": EXIT.tempFail,
  timeout: EXIT.tempFail,
  "key-mismatch": EXIT.noPermission,
  declined: EXIT.noPermission,
  refused: EXIT.noPermission,
  "name-reserved": EXIT.noPermission,
};

/** Files and folders that cannot be used as they are: errno(3). */
const UNUSABLE: ReadonlySet<string | undefined> = new Set([
  ...["EACCES", "EPERM", "EROFS", "EISDIR", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EMLINK", "ENOTSUP", "EOPNOTSUPP"],
]);

/** Exit status for anything thrown: what the system does not allow is 77, what it lacks 69, the unforeseen 70. */
export function exitStatusOf(error: unknown): number {
  if (error instanceof TalkError) return STATUS_OF_CODE[error.code];
  if (UNUSABLE.has(systemCode(error))) return EXIT.noPermission;
  return isShortage(error) ? EXIT.unavailable : EXIT.internal;
}
