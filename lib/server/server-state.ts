// The server's memory between two runs: which name belongs to which key, its own identity, its certificate.
import { randomBytes } from "node:crypto";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TalkError } from "../base/errors.ts";
import { defaultStateDir, makeFolder, replaceFile } from "../base/files.ts";
import { isShortage, systemMessage } from "../base/system-error.ts";
import { Identity, loadOrCreateIdentity, SEED_BYTES } from "../crypto/identity.ts";
import { readSeedFile } from "../crypto/key-file.ts";
import { hostDirectoryId, isKeptId, newDirectoryId } from "../directory/directory-id.ts";
import { prepareNames } from "../directory/open.ts";
import { LivenessLocks } from "../ipc/liveness-locks.ts";
import type { Log } from "./log.ts";

export interface StateDir {
  /** Null where nothing is kept. */
  readonly path: string | null;
  /** The log of names, compacted; null where names go with the server. */
  readonly names: string | null;
  /** The server's own Ed25519 key, and the secret that it comes from, base64. */
  readonly serverKey: string;
  readonly serverSeed: string;
  /** Of its directory. */
  readonly directoryId: string;
  /** Lets another server use it. */
  release(): void;
}

/**
 * @param path null: the default, one for each port, so that servers of one user do not meet
 * @param port null: the system picked one, and picks another for the next server: the directory goes when the server goes
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
      await prepareNames(names, log);
      const keyFile = join(directory, "server-key");
      const identity = loadOrCreateIdentity(keyFile);
      const serverKey = identity.publicKey.toString("base64");
      const serverSeed = (readSeedFile(keyFile) as Buffer).toString("base64");
      const directoryId = await keptId(join(directory, "server-id"), identity.fingerprint, log);
      return { path: directory, names, serverKey, serverSeed, directoryId, release };
    } catch (error) {
      release();
      throw error;
    }
  } catch (error) {
    if (error instanceof TalkError) throw error;
    throw directoryError(directory, error);
  }
}

/** Of a server that keeps nothing beyond its life. */
export function passingState(): StateDir {
  const seed = randomBytes(SEED_BYTES);
  const serverKey = new Identity(seed).publicKey.toString("base64");
  const directoryId = hostDirectoryId();
  return { path: null, names: null, serverKey, serverSeed: seed.toString("base64"), directoryId, release: () => {} };
}

const ID_HEAD = "ptalk-directory-1";

/**
 * The directory's id, made at the first start. It belongs to the server's key, without which clients refuse it: a server with another key is another
 * directory.
 */
async function keptId(path: string, keyPrint: string, log: Log): Promise<string> {
  const [head, id = "", owner] = (await readFile(path, "utf8").catch(passOverMissing)).trim().split(" ");
  if (head === ID_HEAD && isKeptId(id) && owner === keyPrint) return id;
  if (head !== "") {
    log.warn("the directory has a new id, since the server has another key, or the file of the old one is damaged", {
      path,
    });
  }
  const made = newDirectoryId();
  await replaceFile(path, `${ID_HEAD} ${made} ${keyPrint}\n`);
  return made;
}

function passOverMissing(error: NodeJS.ErrnoException): string {
  if (error.code === "ENOENT") return "";
  throw error;
}

function directoryError(directory: string, error: unknown): TalkError {
  const message = error instanceof Error ? systemMessage(error) : String(error);
  const code = isShortage(error) ? "unreachable" : "refused";
  return new TalkError(code, `state directory ${directory}: ${message}`, { cause: error });
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
  throw new TalkError("unreachable", `another server is using the state directory ${directory}`, {
    remedy: "other-state-dir",
  });
}
