// Files that are coming: parts in the user's state directory, so that a transfer that breaks off goes on where it was. A part is known by its
// sender's key and the file's size and SHA-256. Nothing in it is trusted: it is hashed again before a transfer goes on, and the whole is
// checked before the file gets its name.
//
//  open()    an old part if there is a fit one, else a new one; locked, so that no other program of the user writes to it
//  resume()  hashes the bytes that are there
//  write()   in order
//  place()   checks the hash and gives the file its name: place.ts
//  keep(), or discard()
import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, lstat, open, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { TalkError } from "../../base/errors.ts";
import { makeFolder } from "../../base/files.ts";
import { systemCode } from "../../base/system-error.ts";
import { isLockedByOthers, tryLock } from "../../ipc/byte-lock.ts";
import { placeFile, safeFileName, writeAll } from "./place.ts";

/** Milliseconds after its last byte that a part is kept. */
const KEPT_MS = 7 * 24 * 3_600_000;
/** Parts of one user, and their bytes in all: as many transfers as break off in a bad week. The oldest make room. */
const MAX_PARTS = 32;
const MAX_PARTS_BYTES = 8 * 1024 ** 3;
const READ_BYTES = 1 << 20;
const SUFFIX = ".part";

/** What tells one file from another. */
export interface FileIdentity {
  /** The sender's. */
  readonly key: Uint8Array;
  readonly size: number;
  readonly sha256: Uint8Array;
}

export class PartFile {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #size: number;
  readonly #sha256: Uint8Array;
  #hash = createHash("sha256");
  #length = 0;

  private constructor(file: FileHandle, path: string, { size, sha256 }: FileIdentity) {
    this.#file = file;
    this.#path = path;
    this.#size = size;
    this.#sha256 = sha256;
  }

  /**
   * @param folder of the parts; made if it is not there
   * @throws TalkError refused for a part that another program is receiving, or a folder that cannot be made; the system's error
   */
  static async open(folder: string, identity: FileIdentity): Promise<PartFile> {
    makeFolder(folder);
    const { key, size, sha256 } = identity;
    const name = createHash("sha256").update(key).update(sha256).update(`:${size}`).digest("hex");
    await sweep(folder, `${name}${SUFFIX}`);
    const path = join(folder, `${name}${SUFFIX}`);
    const file = (await openExisting(path)) ?? (await openNew(path));
    if (!isFree(file)) {
      await file.close();
      throw TalkError.refused("another program of this user is receiving that file");
    }
    return new PartFile(file, path, identity);
  }

  /** Bytes that are there, and hashed. */
  get length(): number {
    return this.#length;
  }

  /** Hashes what an earlier transfer has left. @returns how much that is */
  async resume(): Promise<number> {
    const { size } = await this.#file.stat();
    if (size > this.#size) await this.#file.truncate(0); // not what we wrote
    const end = size > this.#size ? 0 : size;
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    while (this.#length < end) {
      const { bytesRead } = await this.#file.read(buffer, 0, Math.min(READ_BYTES, end - this.#length), this.#length);
      if (bytesRead === 0) break;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#length += bytesRead;
    }
    return this.#length;
  }

  /** The bytes that are there are of no use. */
  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = createHash("sha256");
    this.#length = 0;
  }

  /** Appends. Caller waits for one call before the next. @throws the system's error: ENOSPC, EDQUOT, EFBIG, EIO… */
  async write(chunks: readonly Buffer[]): Promise<void> {
    await writeAll(this.#file, chunks, this.#length);
    for (const chunk of chunks) {
      this.#hash.update(chunk);
      this.#length += chunk.length;
    }
  }

  /** Whether all of it is there, and what the sender's SHA-256 says. */
  isWhole(): boolean {
    return this.#length === this.#size && finish(this.#hash).equals(this.#sha256);
  }

  /**
   * Gives the file its name, see {@link placeFile}. The part is gone then. Caller knows that it is whole.
   * @param name as its sender wrote it
   */
  async place(folder: string, name: string): Promise<string> {
    const path = await placeFile(this.#file, this.#path, folder, safeFileName(name));
    await this.#file.close();
    return path;
  }

  /** For the next time. */
  async keep(): Promise<void> {
    await this.#file.close();
  }

  async discard(): Promise<void> {
    await unlink(this.#path).catch(() => {});
    await this.#file.close();
  }
}

/** Takes the lock. Where there are none (NFS without lockd) two programs may meet: the hash finds what they do to each other. */
function isFree(file: FileHandle): boolean {
  try {
    return tryLock({ fd: file.fd, start: 0, length: 0 }, false);
  } catch {
    return true;
  }
}

function finish(hash: Hash): Buffer {
  return hash.copy().digest();
}

const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants;

/** Null if there is none, or one that is none of ours: it is removed then. */
async function openExisting(path: string): Promise<FileHandle | null> {
  let file: FileHandle | null = null;
  try {
    file = await open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    const status = await file.stat();
    if (status.isFile() && status.uid === process.geteuid?.() && status.nlink === 1) {
      await file.chmod(0o600);
      return file;
    }
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
  }
  await file?.close();
  await unlink(path);
  return null;
}

function openNew(path: string): Promise<FileHandle> {
  return open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
}

/**
 * Removes the parts that are too old, and the oldest of those above the limit.
 * @param wanted stays, if it is not too old
 */
async function sweep(folder: string, wanted: string): Promise<void> {
  const parts: { path: string; mtimeMs: number; size: number }[] = [];
  for (const name of await readdir(folder)) {
    if (!name.endsWith(SUFFIX)) continue;
    const path = join(folder, name);
    const status = await lstat(path).catch(() => null); // another program sweeps too
    if (status === null) continue;
    const { mtimeMs, size } = status;
    if (mtimeMs < Date.now() - KEPT_MS) await removeIfIdle(path);
    else if (name !== wanted) parts.push({ path, mtimeMs, size });
  }
  parts.sort((a, b) => b.mtimeMs - a.mtimeMs);
  let bytes = 0;
  for (const [index, part] of parts.entries()) {
    bytes += part.size;
    if (index + 1 >= MAX_PARTS || bytes > MAX_PARTS_BYTES) await removeIfIdle(part.path);
  }
}

/** Not while another program receives it. */
async function removeIfIdle(path: string): Promise<void> {
  try {
    const file = await open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    try {
      if (isLockedByOthers({ fd: file.fd, start: 0, length: 0 })) return;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemCode(error) === "ENOENT") return;
  }
  await unlink(path).catch(() => {});
}
