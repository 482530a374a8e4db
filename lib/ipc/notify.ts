// One datagram to a Unix socket: what sd_notify(3) is, and what Node has no function for.
import { native } from "../native.ts";

/**
 * Sends a datagram to a Unix socket and forgets it.
 * @param path as in NOTIFY_SOCKET: a path, or "@name" in Linux's abstract namespace
 * @throws IpcError ENOENT, ECONNREFUSED, EAGAIN…
 */
export function notifySocket(path: string, text: string): void {
  native.notify(path, text);
}
