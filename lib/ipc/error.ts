// The one error of ptalk/ipc: what a system call reported, under the name POSIX gives it.
import { constants } from "node:os";
import { getSystemErrorMap } from "node:util";
import { native } from "../native.ts";

/** errno(3) of Linux, the same on x64 and arm64, where Node has no name or text. */
const BEYOND_NODE = {
  EDEADLK: [35, "resource deadlock avoided"],
  ENOLCK: [37, "no locks available"],
  EUSERS: [87, "too many users"],
  ESTALE: [116, "stale file handle"],
  EDQUOT: [122, "disk quota exceeded"],
} as const;

/** A symbolic name of errno(3). */
export type ErrorCode = keyof typeof constants.errno | keyof typeof BEYOND_NODE;

/**
 * A system call failed, or would have: `code` "EEXIST", `errno` 17, `syscall` "shm_open", `path` "/name".
 * The codes are those of errno(3); each method names the ones it can meet.
 */
export class IpcError extends Error {
  /** The symbolic name of the error, as in errno(3): "EEXIST". */
  readonly code: string;
  /** Its positive number on this system: 17. */
  readonly errno: number;
  /** The function that failed, as POSIX names it: "shm_open". */
  readonly syscall: string;
  /** The POSIX name ("/name") that it was about, where there is one. */
  readonly path: string | undefined;

  /** `errno` is positive, as in C. `detail` replaces the system's wording where more is known. */
  constructor(errno: number, syscall: string, path?: string, detail?: string) {
    const [code, text] = getSystemErrorMap().get(-errno) ?? beyondNode(errno);
    super(`${code}: ${detail ?? text}, ${syscall}${path === undefined ? "" : ` '${path}'`}`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    this.path = path;
  }

  /** The same by symbolic name: `IpcError.of("EBADF", "mmap", "/x", "it is closed")`. */
  static of(code: ErrorCode, syscall: string, path?: string, detail?: string): IpcError {
    const errno = code in BEYOND_NODE ? BEYOND_NODE[code as keyof typeof BEYOND_NODE][0] : undefined;
    return new IpcError(errno ?? constants.errno[code as keyof typeof constants.errno], syscall, path, detail);
  }
}

function beyondNode(errno: number): [code: string, text: string] {
  for (const [code, [number, text]] of Object.entries(BEYOND_NODE)) if (number === errno) return [code, text];
  return [`E${errno}`, "unknown error"];
}

// On the prototype, as Error's own are, so that it does not show as a property of each error.
Object.defineProperty(IpcError.prototype, "name", { value: "IpcError", writable: true, configurable: true });

native.setErrorClass(IpcError);

/** Whether something caught is an IpcError with this code. */
export function isCode(error: unknown, code: ErrorCode): error is IpcError {
  return error instanceof IpcError && error.code === code;
}
