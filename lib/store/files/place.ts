// How a file that has come gets its name in the user's folder: never over another one, never under a name that does
// harm. Knows nothing of the sender.
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, link, open, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { TalkError } from "../../base/errors.ts";
import { syncFolder } from "../../base/files.ts";
import { systemCode } from "../../base/system-error.ts";
import { MAX_FILE_NAME_BYTES } from "../../wire/file-bodies.ts";

/** Files of one name in a folder; more is a mistake or a nuisance. */
const MAX_NAMESAKES = 1_000;
/** What the umask takes away from. */
const MODE_FOR_ALL = 0o666;
const COPY_BYTES = 1 << 20;
const FALLBACK_NAME = "file";
/** What a terminal would obey, or what cannot be seen: no part of a name that a stranger chose. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/**
 * The name that a file from elsewhere gets here: the base name only, without a leading dot or dash, on one line.
 * @param name as its sender wrote it
 */
export function safeFileName(name: string): string {
  const base = (name.split("/").pop() ?? "").replace(UNSAFE, "_").replace(/^[.-]/, "_").trim();
  return shortened(base === "" ? FALLBACK_NAME : base, "");
}

/** `name`, and `suffix` behind it, in the bytes that a name can have; no character is cut in two. */
function shortened(name: string, suffix: string): string {
  let cut = name;
  while (Buffer.byteLength(cut) + Buffer.byteLength(suffix) > MAX_FILE_NAME_BYTES) cut = [...cut].slice(0, -1).join("");
  return `${cut}${suffix}`;
}

/**
 * Gives the file a name in the folder, "name (2)" and so on where there is one already. Its contents and its name are on the disk when
 * this is fulfilled.
 * @param path of the file, in a folder that no other user can write to; it loses this name
 * @param name as {@link safeFileName} gives it
 * @returns the path
 * @throws the system's error: ENOSPC, EDQUOT, EACCES…
 */
export async function placeFile(file: FileHandle, path: string, folder: string, name: string): Promise<string> {
  const mode = MODE_FOR_ALL & ~process.umask();
  if ((await file.stat()).dev === (await stat(folder)).dev) {
    await file.chmod(mode);
    await file.sync();
    const placed = await linkUnderFreeName(path, folder, name);
    if (placed !== null) {
      await syncFolder(folder);
      await unlink(path);
      return placed;
    }
  }
  return await placeCopy(file, path, folder, name, mode);
}

/** Another file system, or one without links: a copy beside its name, under an unused one. */
async function placeCopy(file: FileHandle, path: string, folder: string, name: string, mode: number): Promise<string> {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const beside = join(folder, `.ptalk-${randomBytes(8).toString("hex")}.part`);
  const copy = await open(beside, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    await copyAll(file, copy);
    await copy.chmod(mode);
    await copy.sync();
    const placed =
      (await linkUnderFreeName(beside, folder, name)) ?? (await createUnderFreeName(copy, folder, name, mode));
    await syncFolder(folder);
    await unlink(path);
    return placed;
  } finally {
    await copy.close();
    await unlink(beside).catch(() => {});
  }
}

/** @returns null where the file system has no links */
async function linkUnderFreeName(path: string, folder: string, name: string): Promise<string | null> {
  for (const target of freeNames(folder, name)) {
    try {
      await link(path, target);
      return target;
    } catch (error) {
      const code = systemCode(error);
      if (code === "EPERM" || code === "EOPNOTSUPP" || code === "ENOSYS" || code === "EMLINK" || code === "EXDEV")
        return null;
      if (code !== "EEXIST") throw error;
    }
  }
  throw tooMany(folder, name);
}

async function createUnderFreeName(from: FileHandle, folder: string, name: string, mode: number): Promise<string> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  for (const target of freeNames(folder, name)) {
    let file: FileHandle;
    try {
      file = await open(target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
    } catch (error) {
      if (systemCode(error) === "EEXIST") continue;
      throw error;
    }
    try {
      await copyAll(from, file);
      await file.sync();
      return target;
    } catch (error) {
      await unlink(target).catch(() => {});
      throw error;
    } finally {
      await file.close();
    }
  }
  throw tooMany(folder, name);
}

function* freeNames(folder: string, name: string): Generator<string> {
  yield join(folder, name);
  for (let number = 2; number <= MAX_NAMESAKES; number++) yield join(folder, shortened(name, ` (${number})`));
}

function tooMany(folder: string, name: string): TalkError {
  return TalkError.refused(`there are ${MAX_NAMESAKES} files ${JSON.stringify(name)} in ${folder}`);
}

async function copyAll(from: FileHandle, to: FileHandle): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(COPY_BYTES);
  for (let position = 0; ; ) {
    const { bytesRead } = await from.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return;
    await writeAll(to, [buffer.subarray(0, bytesRead)], position);
    position += bytesRead;
  }
}

/** All of it: a full disk may take a part of a write before it says so. @throws the system's error */
export async function writeAll(file: FileHandle, chunks: readonly Buffer[], position: number): Promise<void> {
  let rest = chunks;
  for (let at = position; rest.length > 0; ) {
    const { bytesWritten } = await file.writev(rest, at);
    at += bytesWritten;
    rest = after(rest, bytesWritten);
  }
}

function after(chunks: readonly Buffer[], written: number): readonly Buffer[] {
  let skip = written;
  for (const [index, chunk] of chunks.entries()) {
    if (skip < chunk.length) return [chunk.subarray(skip), ...chunks.slice(index + 1)];
    skip -= chunk.length;
  }
  return [];
}
