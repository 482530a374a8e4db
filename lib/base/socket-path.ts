// Paths of Unix sockets. Pure text.
import { TalkError } from "./errors.ts";

/** Bytes of a path: sun_path of unix(7) has 108 with the end. Node and libuv cut a longer one without a word. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** @param where names the flag, variable or option in the error. @throws TalkError usage */
export function checkSocketPath(path: string, where: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > 0 && bytes <= MAX_SOCKET_PATH_BYTES && !path.includes("\0")) return;
  const reason = `the path of a Unix socket has 1 to ${MAX_SOCKET_PATH_BYTES} bytes, not ${bytes}`;
  throw new TalkError("usage", `${where}: ${reason}`, { subject: where });
}
