// Why a server could not make its objects in shared memory, for people.
import { type Remedy, TalkError } from "../base/errors.ts";
import { isShortage } from "../base/system-error.ts";
import { IpcError } from "../ipc/index.ts";

/** The system's errors as TalkError, with what can be done; all else as it is. */
export function startError(error: unknown, capacity: number): unknown {
  if (!(error instanceof IpcError)) return error;
  const file = `/dev/shm${error.path ?? ""}`;
  switch (error.code) {
    case "ENOSPC":
    case "ENOMEM":
    case "EDQUOT":
      return unavailable(`shared memory has no room for ${capacity} clients`, error, "smaller-capacity");
    case "EROFS":
    case "EACCES":
    case "EPERM":
      return TalkError.refused(`cannot make ${file}: ${error.message}`, error);
    case "EISDIR":
    case "EINVAL":
    case "ELOOP":
      return unavailable(`${file} is something else, not shared memory: remove it, or choose another port`, error);
    default: {
      const missing = error.code === "ENOENT" || isShortage(error);
      return missing
        ? unavailable(`cannot make ${file}: ${error.message}`, error)
        : TalkError.internal(error.message, error);
    }
  }
}

function unavailable(reason: string, cause: IpcError, remedy?: Remedy): TalkError {
  return new TalkError("unreachable", reason, remedy === undefined ? { cause } : { cause, remedy });
}
