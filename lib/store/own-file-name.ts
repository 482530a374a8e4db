// Names of files that one program writes and no other: on one host, and on all that share a folder.
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";

const RANDOM_BYTES = 8;
const MAX_HOST_LENGTH = 64;

/** "NAME.HOST.RANDOM", whatever the PID. @param name a valid ptalk name */
export function ownFileName(name: string): string {
  const host = hostname()
    .replace(/[^A-Za-z0-9.-]/g, "_")
    .slice(0, MAX_HOST_LENGTH);
  return `${name}.${host}.${randomBytes(RANDOM_BYTES).toString("hex")}`;
}
