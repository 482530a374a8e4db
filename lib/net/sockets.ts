// What Node has no functions for: a datagram to a Unix socket (sd_notify(3)), and TCP_USER_TIMEOUT (tcp(7), RFC 5482).
import type { Socket } from "node:net";
import { native } from "../native.ts";

/**
 * Sends a datagram to a Unix socket and forgets it.
 * @param path as in NOTIFY_SOCKET: a path, or "@name" in Linux's abstract namespace
 * @throws IpcError ENOENT, ECONNREFUSED, EAGAIN…
 */
export function notifySocket(path: string, text: string): void {
  native.notify(path, text);
}

/**
 * How long data that was sent may stay unacknowledged before the kernel gives the connection up, in ms. Keepalive finds out only
 * about connections on which nothing is under way; without this the others last a quarter of an hour.
 * @returns false if that could not be set: the connection works all the same
 */
export function setUserTimeout(socket: Socket, ms: number): boolean {
  const { fd } = (socket as unknown as { _handle?: { fd?: number } | null })._handle ?? {};
  if (fd === undefined || fd < 0) return false;
  try {
    native.setUserTimeout(fd, ms);
    return true;
  } catch {
    return false; // it has ended already, or is no TCP connection
  }
}
