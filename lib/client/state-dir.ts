// Where a user's key, known peers and logs are. Knows paths and permissions, nothing of what is in the files.
import { mkdirSync } from "node:fs";
import { join } from "node:path";

/** Makes the folder, for its owner only, if it is not there. @throws the system's error (EACCES, ENOTDIR, ENOSPC...) */
export function ensureStateDir(dir: string): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
}

export const keyFile = (dir: string): string => join(dir, "key");
export const knownPeersFile = (dir: string): string => join(dir, "known_peers");
export const knownServersFile = (dir: string): string => join(dir, "known_servers");
export const serveLogFile = (dir: string): string => join(dir, "serve.log");
/** As `ptalk serve` has it by default, beside the log. */
export const embeddedServerDir = (dir: string, port: number): string => join(dir, `server-${port}`);
