// Paths of Unix sockets. Pure text.
import { TalkError } from "./errors.ts";

/** Bytes of a path: sun_path of unix(7) has 108 with the end. Node and libuv cut a longer one without a word. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** Bytes of sun_path. */
const SUN_PATH_BYTES = 108;

/**
 * A name in Linux's abstract namespace, as Node wants it. NULs fill it up: each byte counts there (unix(7)), and Node 20 fills up what it is
 * given, but Node 22 does not.
 * @param name "@" and the name
 */
export const abstractPath = (name: string): string => `\0${name.slice(1)}`.padEnd(SUN_PATH_BYTES, "\0");

/** @param where names the flag, variable or option in the error. @throws TalkError usage */
export function checkSocketPath(path: string, where: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > 0 && bytes <= MAX_SOCKET_PATH_BYTES && !path.includes("\0")) return;
  const reason = `the path of a Unix socket has 1 to ${MAX_SOCKET_PATH_BYTES} bytes, not ${bytes}`;
  throw new TalkError("usage", `${where}: ${reason}`, { subject: where });
}
