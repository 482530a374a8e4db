// Where a user's key, known peers and logs are. Knows paths and permissions, nothing of what is in the files.
import { join } from "node:path";
import { makeFolder } from "../base/files.ts";

/** Makes the folder, for its owner only, if it is not there. @throws the system's error (EACCES, ENOTDIR, ENOSPC...) */
export const ensureStateDir = (dir: string): void => makeFolder(dir);

export const keyFile = (dir: string): string => join(dir, "key");
/** Who signed which key of this user, see own-keys.ts. */
export const keyChainsFile = (dir: string): string => join(dir, "key-chains");
export const oldKeysFolder = (dir: string): string => join(dir, "old-keys");
export const knownPeersFile = (dir: string): string => join(dir, "known_peers");
export const verifiedFile = (dir: string): string => join(dir, "verified");
export const knownDirectoriesFile = (dir: string): string => join(dir, "known_directories");
export const knownServersFile = (dir: string): string => join(dir, "known_servers");
export const serveLogFile = (dir: string): string => join(dir, "serve.log");
export const agentLogFile = (dir: string): string => join(dir, "agent.log");
export const hookLogFile = (dir: string): string => join(dir, "on-message.log");
export const ignoredFile = (dir: string): string => join(dir, "ignored");
/** Files that are coming, see files/parts.ts. */
export const partsFolder = (dir: string): string => join(dir, "parts");
/** One journal a program, see history/journal.ts. */
export const historyFolder = (dir: string): string => join(dir, "history");
/** Logs of the ids of shown messages, one a program, see seen-ids.ts. */
export const seenFolder = (dir: string): string => join(dir, "seen");
