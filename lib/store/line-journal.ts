// A journal that this program writes, line by line. It is the only one that ever writes this file: no locks, on no file system. A
// line goes to the file soon after it was added, and to the disk a moment later; callers wait for neither unless they
// ask to. The owner decides on the content of the lines: messages (history/), the ids of shown messages (seen-ids.ts).
//
//  1. add() puts a line into the queue, and the queue into motion.
//  2. The first line makes the folder and a new file in it; then old journals go (expire()).
//  3. The lines that have gathered are written together. SYNC_MS later they are synced.
//  4. A file that is large or a day old is left, and never opened again: the next line makes another. So is one that was removed.
import { constants } from "node:fs";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { withTimeout } from "../base/async.ts";
import { failpoint } from "./failpoint.ts";

/** Milliseconds from the writing of a line to its sync: what a power cut may take. */
const SYNC_MS = 200;
/** Bytes after which another file is begun: whole files expire. */
const MAX_JOURNAL_BYTES = 4 * 1024 * 1024;
/** Milliseconds after which another file is begun. Readers that follow look no longer at older ones. */
export const MAX_JOURNAL_AGE_MS = 86_400_000;
/** Bytes that wait for a disk that does not answer; lines beyond that are dropped. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** Milliseconds after a failure in which nothing is tried. */
const RETRY_MS = 30_000;
/** Milliseconds that close() waits for a disk that does not answer. */
const CLOSE_LIMIT_MS = 1_000;

export interface LineJournalOptions {
  /** In the state directory. */
  readonly folder: string;
  /** Of a file that no other program has, whatever hosts share the folder. */
  readonly newFileName: () => string;
  /** Removes old journals, but not this path. */
  readonly expire: (path: string) => Promise<void>;
  /** Milliseconds in which lines gather before they are written; 0: until the present events are done. */
  readonly gatherMs?: number;
  /** Called once: something could not be written. */
  readonly onFailure: (error: Error) => void;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class LineJournal {
  readonly #options: LineJournalOptions;
  #waiting: string[] = [];
  #waitingBytes = 0;
  /** Of those whose line is to be on the disk. */
  #waiters: Waiter[] = [];
  #running: Promise<void> | undefined;
  #file: FileHandle | undefined;
  #size = 0;
  #openedAt = 0;
  #isDirty = false;
  #syncTimer: NodeJS.Timeout | undefined;
  #failedAt = Number.NEGATIVE_INFINITY;
  #hasTold = false;
  /** Ends the gathering. */
  #gathering: (() => void) | undefined;

  constructor(options: LineJournalOptions) {
    this.#options = options;
  }

  /** Never throws, and does not wait for the disk. @param text without its newline */
  add(text: string): void {
    if (performance.now() - this.#failedAt < RETRY_MS) return;
    const line = `${text}\n`;
    if (this.#waitingBytes + line.length > MAX_WAITING_BYTES) {
      this.#tell(new Error("the disk does not answer"));
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += line.length;
    this.#start();
  }

  /** Fulfilled once the line is on the disk. @throws why it is not */
  addSynced(text: string): Promise<void> {
    const { length } = this.#waiting;
    this.add(text);
    if (this.#waiting.length === length) return Promise.reject(new Error("the journal is not written"));
    this.#gathering?.();
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Fulfilled once everything added before can be read. */
  async written(): Promise<void> {
    this.#gathering?.();
    await this.#running;
  }

  /** Writes and syncs the remaining lines. */
  async close(): Promise<void> {
    await withTimeout(CLOSE_LIMIT_MS, this.#close(), undefined);
  }

  async #close(): Promise<void> {
    this.#gathering?.();
    await this.#running;
    clearTimeout(this.#syncTimer);
    await this.#leaveFile().catch((error) => this.#tell(error));
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#waiting.length > 0) this.#start();
    });
  }

  async #run(): Promise<void> {
    // What was confirmed is on its way to its sender before we begin.
    await this.#gather();
    while (this.#waiting.length > 0) {
      const lines = this.#waiting.join("");
      const waiters = this.#waiters;
      this.#waiting = [];
      this.#waitingBytes = 0;
      this.#waiters = [];
      try {
        await this.#write(lines);
        if (waiters.length > 0) await this.#sync();
        for (const { resolve } of waiters) resolve();
      } catch (error) {
        await this.#fail(error);
        for (const { reject } of waiters) reject(error);
      }
    }
  }

  async #gather(): Promise<void> {
    const { gatherMs = 0 } = this.#options;
    await new Promise<void>((resolve) => {
      if (gatherMs === 0 || this.#waiters.length > 0) setImmediate(resolve);
      else {
        const timer = setTimeout(resolve, gatherMs);
        this.#gathering = () => {
          clearTimeout(timer);
          resolve();
        };
      }
    });
    this.#gathering = undefined;
  }

  async #write(lines: string): Promise<void> {
    const file = await this.#openFile();
    let bytes = Buffer.from(lines);
    this.#size += bytes.length;
    while (bytes.length > 0) bytes = bytes.subarray((await file.write(bytes)).bytesWritten);
    this.#isDirty = true;
    await failpoint("line written");
    this.#syncTimer ??= setTimeout(() => this.#onSyncDue(), SYNC_MS).unref();
  }

  async #openFile(): Promise<FileHandle> {
    if (this.#file !== undefined) {
      const isOld = this.#size >= MAX_JOURNAL_BYTES || Date.now() - this.#openedAt >= MAX_JOURNAL_AGE_MS;
      // Another program may have found its last record too old.
      if (!isOld && (await this.#file.stat()).nlink > 0) return this.#file;
      await this.#leaveFile();
    }
    const { folder, newFileName, expire } = this.#options;
    await makeFolder(folder);
    const path = join(folder, newFileName());
    const { O_WRONLY, O_CREAT, O_EXCL, O_APPEND, O_NOFOLLOW } = constants;
    const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW, 0o600);
    this.#file = file;
    this.#size = 0;
    this.#openedAt = Date.now();
    await syncFolder(folder);
    expire(path).catch(() => {}); // the next program tries it again
    return file;
  }

  #onSyncDue(): void {
    this.#syncTimer = undefined;
    this.#sync().catch((error) => this.#tell(error));
  }

  async #sync(): Promise<void> {
    if (!this.#isDirty || this.#file === undefined) return;
    this.#isDirty = false;
    await this.#file.datasync();
    await failpoint("line synced");
  }

  async #leaveFile(): Promise<void> {
    const file = this.#file;
    try {
      await this.#sync();
    } finally {
      this.#file = undefined;
      await file?.close();
    }
  }

  /** Drops the waiting lines; the end of a written line may be missing, so nothing goes behind it. */
  async #fail(error: unknown): Promise<void> {
    this.#failedAt = performance.now();
    this.#tell(error);
    const file = this.#file;
    this.#file = undefined;
    await file?.close().catch(() => {});
  }

  #tell(error: unknown): void {
    if (this.#hasTold) return;
    this.#hasTold = true;
    this.#options.onFailure(error instanceof Error ? error : new Error(String(error)));
  }
}

/** In the state directory, which is there: the key is in it. Not as a call that waits: the disk may not answer. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } catch {
    // Some network file systems sync no folders.
  } finally {
    await folder.close();
  }
}
