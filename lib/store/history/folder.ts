// The folder of journals, `history` in the state directory: how its files are called, and which of them go.
import { constants } from "node:fs";
import { type FileHandle, lstat, open, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { ownFileName } from "../own-file-name.ts";
import { MAX_LINE_BYTES, parseRecord } from "./record.ts";

const JOURNAL = /^.+\.[0-9a-f]{16}\.jsonl$/;
const DAY_MS = 86_400_000;
/** Bytes of all journals together: the oldest go when there are more. Some 1,000,000 messages; read in a second or two. */
export const MAX_HISTORY_BYTES = 256 * 1024 * 1024;
/** Bytes at the end of a journal in which its last record is mostly found. */
const SHORT_TAIL_BYTES = 4096;

/** "NAME.HOST.RANDOM.jsonl": no two programs have one, whatever hosts share the folder. @param name a valid ptalk name */
export const journalName = (name: string): string => `${ownFileName(name)}.jsonl`;

/** Paths of the journals; none where the folder is not there. @throws the system's error for one that cannot be read */
export async function journalPaths(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((file) => JOURNAL.test(file)).map((file) => join(folder, file));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

/** Only regular files: a link or a fifo is nobody's journal. @returns null where it is gone or none */
export async function openJournal(path: string): Promise<FileHandle | null> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if ((await file.stat()).isFile()) return file;
    await file.close();
    return null;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT" || code === "ELOOP" || code === "ENXIO") return null;
    throw error;
  }
}

export interface ExpiryOptions {
  /** Days that a journal is kept after its last record. */
  readonly days: number;
  /** The journal that the caller writes. */
  readonly except: string;
  readonly maxBytes?: number;
  /** Milliseconds since the epoch. */
  readonly now?: number;
}

/** Removes whole journals: those whose last record is too old, and the oldest of more than there is room for. */
export async function expireJournals(folder: string, options: ExpiryOptions): Promise<void> {
  const { days, except, maxBytes = MAX_HISTORY_BYTES, now = Date.now() } = options;
  const kept: { path: string; bytes: number; lastAt: number }[] = [];
  for (const path of await journalPaths(folder)) {
    const status = await lstat(path).catch(() => null);
    if (path === except || !status?.isFile()) continue;
    const lastAt = (await lastRecordAt(path, status.size)) ?? status.mtimeMs;
    if (lastAt < now - days * DAY_MS) await remove(path);
    else kept.push({ path, bytes: status.size, lastAt });
  }
  let total = kept.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { path, bytes } of kept.sort((a, b) => a.lastAt - b.lastAt)) {
    if (total <= maxBytes) break;
    await remove(path);
    total -= bytes;
  }
}

/** Null where no record is to be found. */
async function lastRecordAt(path: string, size: number): Promise<number | null> {
  const file = await openJournal(path).catch(() => null);
  if (file === null) return null;
  try {
    for (const length of [SHORT_TAIL_BYTES, MAX_LINE_BYTES]) {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, Math.max(0, size - length));
      const lines = buffer.subarray(0, bytesRead).toString("latin1").split("\n").reverse();
      for (const line of lines) {
        const record = parseRecord(Buffer.from(line, "latin1"));
        if (record !== null) return record.at;
      }
    }
    return null;
  } finally {
    await file.close();
  }
}

/** Another program may have been quicker. */
const remove = (path: string): Promise<void> => unlink(path).catch(() => {});
