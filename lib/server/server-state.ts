// The server's memory between two runs: which name belongs to which key, its own identity, its certificate.
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TalkError } from "../base/errors.ts";
import { defaultStateDir, makeFolder, replaceFile } from "../base/files.ts";
import { loadOrCreateIdentity } from "../crypto/identity.ts";
import { NameOwnership } from "../directory/name-ownership.ts";
import { NAME_LOG_HEADER, nameLine, readNameLine } from "../directory/shm/name-log.ts";
import { LivenessLocks } from "../ipc/liveness-locks.ts";
import type { Log } from "./log.ts";

export interface StateDir {
  readonly path: string;
  /** The log of names, compacted. */
  readonly names: string;
  /** The server's own Ed25519 key, base64. */
  readonly serverKey: string;
  /** Lets another server use it. */
  release(): void;
}

/**
 * @param path null: the default, one for each port, so that servers of one user do not meet
 * @param port null: the system picked one, which nobody will ask for again: the directory goes when the server goes
 */
export async function openStateDir(path: string | null, port: number | null, log: Log): Promise<StateDir> {
  const directory = path ?? (port === null ? passingDirectory() : join(defaultStateDir(), `server-${port}`));
  try {
    makeFolder(directory);
    const unlock = lockDirectory(directory);
    const release = () => {
      if (path === null && port === null) rmSync(directory, { recursive: true, force: true });
      unlock();
    };
    try {
      const names = join(directory, "server-names");
      await compactNames(names, log);
      const { publicKey } = loadOrCreateIdentity(join(directory, "server-key"));
      return { path: directory, names, serverKey: publicKey.toString("base64"), release };
    } catch (error) {
      release();
      throw error;
    }
  } catch (error) {
    if (error instanceof TalkError) throw error;
    throw directoryError(directory, error);
  }
}

function directoryError(directory: string, error: unknown): TalkError {
  const { code, message } = error as NodeJS.ErrnoException;
  const full = code === "ENOSPC" || code === "EDQUOT";
  return new TalkError(full ? "unreachable" : "refused", `state directory ${directory}: ${message}`, { cause: error });
}

/** Where the system tidies up if we are killed. */
function passingDirectory(): string {
  const prefix = join(tmpdir(), "ptalk-server-");
  try {
    return mkdtempSync(prefix);
  } catch (error) {
    throw directoryError(`${prefix}*`, error);
  }
}

/** The names of two servers would mix: their write locks are two. The kernel drops the lock with the process. */
function lockDirectory(directory: string): () => void {
  const fd = openSync(
    join(directory, "server-lock"),
    constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW,
    0o600,
  );
  if (new LivenessLocks(fd, 1).tryClaim(0)) return () => closeSync(fd);
  closeSync(fd);
  throw new TalkError(
    "unreachable",
    `another server is using the state directory ${directory}: give --state-dir another`,
  );
}

/**
 * Rewrites the log with one line for each name and without what a crash left; whoever reads sees the old one or the new one.
 * Caller is the only one who uses the directory.
 */
export async function compactNames(path: string, log: Log): Promise<number> {
  const book = new NameOwnership(Number.POSITIVE_INFINITY);
  let damaged = 0;
  const lines = (await readIfThere(path)).split("\n");
  for (const line of lines.slice(lines[0] === NAME_LOG_HEADER.trim() ? 1 : 0)) {
    const entry = readNameLine(line);
    if (entry !== null) book.take(entry);
    else if (line !== "") damaged++;
  }
  if (damaged > 0) log.warn("names: damaged lines left out", { path, lines: damaged });
  let text = NAME_LOG_HEADER;
  for (const line of book.lines()) text += nameLine(line);
  await replaceFile(path, text);
  return book.size;
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}
