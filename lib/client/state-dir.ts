// Where a user's key, known peers and logs are. Knows paths and permissions, nothing of what is in the files.
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { makeFolder } from "../make-folder.ts";

/** $XDG_STATE_HOME/ptalk, or ~/.local/state/ptalk (XDG Base Directory Specification: a relative value is ignored). */
export function defaultStateDir(env: NodeJS.ProcessEnv = process.env): string {
  const xdg = env.XDG_STATE_HOME;
  const base = xdg !== undefined && isAbsolute(xdg) ? xdg : join(homedir(), ".local", "state");
  return join(base, "ptalk");
}

/** Makes the folder, for its owner only, if it is not there. @throws the system's error (EACCES, ENOTDIR, ENOSPC...) */
export const ensureStateDir = (dir: string): void => makeFolder(dir);

export const keyFile = (dir: string): string => join(dir, "key");
export const knownPeersFile = (dir: string): string => join(dir, "known_peers");
export const knownServersFile = (dir: string): string => join(dir, "known_servers");
export const serveLogFile = (dir: string): string => join(dir, "serve.log");
