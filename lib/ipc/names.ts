// What POSIX refuses, refused before any system call, with a sentence: names, sizes, modes, counts.
import { isUtf8 } from "node:buffer";
import { IpcError } from "./error.ts";

/** NAME_MAX: bytes of a shared memory object's name after its slash. */
const SHM_NAME_MAX = 255;
/** glibc keeps semaphores as "sem.NAME" in the same directory. */
const SEM_NAME_MAX = SHM_NAME_MAX - "sem.".length;
const NAME_MAX = {
  mq_open: SHM_NAME_MAX,
  mq_unlink: SHM_NAME_MAX,
  shm_open: SHM_NAME_MAX,
  shm_unlink: SHM_NAME_MAX,
  sem_open: SEM_NAME_MAX,
  sem_unlink: SEM_NAME_MAX,
};

/** shm_open(3): "for portable use, a shared memory object should be identified by a name of the form /somename". */
export function checkName(name: unknown, syscall: keyof typeof NAME_MAX): asserts name is string {
  if (typeof name !== "string") throw new TypeError(`name must be a string like "/name", not ${kindOf(name)}`);
  const reason = whyInvalid(name);
  if (reason) throw IpcError.of("EINVAL", syscall, name, reason);
  const length = Buffer.byteLength(name) - 1;
  const longest = NAME_MAX[syscall];
  if (length > longest) {
    throw IpcError.of(
      "ENAMETOOLONG",
      syscall,
      name,
      `a name has at most ${longest} bytes after its slash, not ${length}`,
    );
  }
}

function whyInvalid(name: string): string | undefined {
  if (name === "") return "a name must not be empty";
  if (!name.startsWith("/")) return "a name must begin with a slash";
  if (name === "/") return "a name must have something after its slash";
  if (name.includes("/", 1)) return "a name must have no slash but the first";
  if (name === "/." || name === "/..") return "a name must not be a directory";
  if (name.includes("\0")) return "a name must not contain a NUL character";
  // It would be replaced by U+FFFD on the way to the kernel, and two different names would be one object.
  if (/\p{Surrogate}/u.test(name)) return "a name must be well-formed Unicode";
  return undefined;
}

/** A POSIX name: "/name", as text or as its bytes in UTF-8. */
export type PosixName = string | Uint8Array;

/** The name as text, checked. EILSEQ for bytes that are no UTF-8: they could not be listed or shown. */
export function checkedName(name: unknown, syscall: keyof typeof NAME_MAX): string {
  if (name instanceof Uint8Array) {
    if (!isUtf8(name)) throw IpcError.of("EILSEQ", syscall, undefined, "a name given as bytes must be UTF-8");
    return checkedName(Buffer.from(name).toString(), syscall);
  }
  checkName(name, syscall);
  return name;
}

/** The greatest process number there can be. */
export const PID_MAX = 2 ** 31 - 1;

/** A size in bytes: a whole number from 1 to 2^53 - 1. */
export function checkSize(size: unknown): asserts size is number {
  checkInteger("size", size, 1, Number.MAX_SAFE_INTEGER);
}

/** Permission bits, as in chmod(2). */
export function checkMode(mode: unknown): asserts mode is number {
  checkInteger("mode", mode, 0, 0o777);
}

/**
 * The mode of an object that lies under byte locks: a user who may read it could hold a read lock on it, and so keep
 * its owner from locking it. So group and others get the read bit only together with the write bit.
 */
export function exactMode(mode: number): number {
  const unwritable = ~mode & 0o022;
  return mode & ~(unwritable << 1);
}

/** TypeError unless it is a number, RangeError unless it is a whole one in [least, most]. */
export function checkInteger(what: string, value: unknown, least: number, most: number): asserts value is number {
  if (typeof value !== "number") throw new TypeError(`${what} must be a number, not ${kindOf(value)}`);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${what} must be a whole number from ${least} to ${most}, not ${value}`);
  }
}

/** Milliseconds to wait: any number from 0 on, fractions and Infinity included. */
export function checkMilliseconds(what: string, value: unknown): asserts value is number {
  if (typeof value !== "number") throw new TypeError(`${what} must be a number of milliseconds, not ${kindOf(value)}`);
  if (!(value >= 0)) throw new RangeError(`${what} must be 0 milliseconds or more, not ${value}`);
}

export function kindOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "an array" : typeof value;
}
