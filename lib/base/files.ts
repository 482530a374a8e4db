// Folders and files of a user: where they are (XDG base directories), and how they are made. Knows nothing of their contents.
import { constants, existsSync, mkdirSync, statSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { userInfo } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { TalkError } from "./errors.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * $XDG_STATE_HOME/ptalk: the key, known_peers, the server's log.
 * @throws TalkError bad-config if no variable and no passwd entry says where that is
 */
export function defaultStateDir(env: Environment = process.env): string {
  const base = baseFolder(env, "XDG_STATE_HOME", ".local/state");
  if (base !== null) return join(base, "ptalk");
  throw TalkError.badConfig("no home directory", "set HOME or XDG_STATE_HOME, or name the state folder");
}

/**
 * A folder of the XDG base directory specification, which says that a relative path is ignored.
 * @returns null where there can be none: this user has no home
 */
export function baseFolder(env: Environment, variable: string, fallback: string): string | null {
  const value = env[variable];
  if (value !== undefined && isAbsolute(value)) return value;
  const home = env.HOME || homeByPasswd();
  return home && join(home, fallback);
}

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
 * @throws the system's error (EACCES, ENOENT, ENOTDIR, ENOSPC...)
 */
export function makeFolder(path: string): void {
  const above = dirname(path);
  if (above !== path && !existsSync(above)) makeFolder(above);
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
  const directory = await open(dirname(path), "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
