// Folders and files of a user: where they are (XDG base directories), and how they are made. Knows nothing of their contents.
import { closeSync, constants, existsSync, fsyncSync, mkdirSync, openSync, statSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { userInfo } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { TalkError } from "./errors.ts";
import { isShortage, systemCode } from "./system-error.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * $XDG_STATE_HOME/ptalk: the key, known_peers, the server's log.
 * @throws TalkError refused if no variable and no passwd entry names a folder of this user
 */
export function defaultStateDir(env: Environment = process.env): string {
  const base = baseFolder(env, "XDG_STATE_HOME", ".local/state");
  if (base !== null) return join(base, "ptalk");
  throw new TalkError("refused", "there is no home directory that is this user's own, to keep the key in", {
    remedy: "other-state-dir",
  });
}

/**
 * A folder of the XDG base directory specification, which says that a relative path is ignored. One that is another user's is
 * ignored as well: sudo keeps the variables, and root's files in a user's home lock that user out.
 * @returns null where there can be none: this user has no home
 */
export function baseFolder(env: Environment, variable: string, fallback: string): string | null {
  const value = env[variable];
  if (value !== undefined && isAbsolute(value) && isOurs(value)) return value;
  const home = ownHome(env);
  return home && join(home, fallback);
}

/** $HOME if the effective user owns it, else the home of the passwd entry, if that user owns it; null if there is none. */
export function ownHome(env: Environment): string | null {
  const { HOME: home } = env;
  if (home && isAbsolute(home) && isOurs(home)) return home;
  const other = homeByPasswd();
  if (other === null || !isOurs(other)) return null;
  if (home) sayForeignHome(home, other);
  return other;
}

let hasSaidForeignHome = false;

function sayForeignHome(home: string, other: string): void {
  if (hasSaidForeignHome) return;
  hasSaidForeignHome = true;
  process.emitWarning(`HOME is ${home}, which is not yours: ${other} is used`, { code: "PTALK_FOREIGN_HOME" });
}

/**
 * Whether files may be made there: the path, or the nearest folder above it that exists, belongs to the effective user, or is one
 * where everybody makes files of their own (/tmp).
 */
function isOurs(path: string): boolean {
  const uid = process.geteuid?.();
  for (let folder = path; ; folder = dirname(folder)) {
    try {
      const status = statSync(folder);
      return uid === undefined || status.uid === uid || (status.mode & STICKY_FOR_ALL) === STICKY_FOR_ALL;
    } catch (error) {
      if (isShortage(error)) throw error; // not known: with another home the key would be another one
      const code = systemCode(error);
      if ((code !== "ENOENT" && code !== "ENOTDIR") || folder === dirname(folder)) return false;
    }
  }
}

const STICKY_FOR_ALL = 0o1002;

function homeByPasswd(): string | null {
  try {
    return userInfo().homedir;
  } catch {
    return null; // a uid without an entry, as containers have it
  }
}

/**
 * mkdir -p for folders that only their owner may enter. Level by level: Node 20's own recursion never ends where the system
 * says ENOENT under a folder that exists (/proc).
 * @throws TalkError refused where no folder can be; the system's error where something has run out (ENOSPC, EDQUOT, EMFILE)
 */
export function makeFolder(path: string): void {
  try {
    makeLevels(path);
  } catch (error) {
    if (error instanceof TalkError || isShortage(error)) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw TalkError.refused(`the folder ${path} cannot be made: ${reason}`, error);
  }
}

function makeLevels(path: string): void {
  const above = dirname(path);
  if (above !== path && !existsSync(above)) makeLevels(above);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}

/** Atomic on POSIX file systems: write beside it, fsync, rename, fsync the directory. Mode 0600. */
export async function replaceFile(path: string, content: string): Promise<void> {
  const beside = `${path}.new`;
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  const file = await open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  await syncFolder(dirname(path));
}

/** What was linked, renamed or removed in it survives a power cut from then on (fsync(2)). @throws the system's error */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** fsync(2) of a file or folder, at once. @throws the system's error */
export function syncNow(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
