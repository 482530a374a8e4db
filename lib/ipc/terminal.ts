// What Node has no function for: tcflush(3).
import { native } from "../native.ts";

/** Forgets what was typed at a terminal and not read, half a line as well. Nothing happens if it has gone. */
export function discardInput(fd: number): void {
  try {
    native.discardInput(fd);
  } catch {
    // EIO: it has gone; ENOTTY: it is none.
  }
}
