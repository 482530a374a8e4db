// Which key a name belongs to: a log in the state directory. The first registration or claim of a name adds a line, and a later
// one when the last line is some days old.
//
//     ptalk-names-v1
//     <crc32 of what follows, 8 hex digits> <key, base64, or -> <folded name> <day, since the epoch> [<uid, or munge:uid, or -> [<login> [<keys> [<chain>]]]]
//
// A login, and keys, that there are not are an empty word.
//
// Only the holder of the table's write lock adds a line, so each worker stays up to date by reading on from where it was.
// Readers ignore a line that a crash cut short, and the next writer cuts it off.
import { closeSync, fdatasync, fdatasyncSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { copyFile, readFile } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { replaceFile } from "../../base/files.ts";
import type { DirectoryLog } from "../directory.ts";
import { type NameHolderIds, type NameLine, NameOwnership, NO_KEY, today, UNUSED_DAYS } from "../name-ownership.ts";

export const NAME_LOG_HEADER = "ptalk-names-v1\n";
const LF = 10;
const CHUNK_BYTES = 64 * 1024;
const CRC_DIGITS = 8;
/** In a line with more and without a uid. */
const NO_UID = "-";
const BY_MUNGE = "munge:";
/** Ms until a line is on the disk: many lines share one sync. */
const SYNC_DELAY_MS = 200;
/** Part of the room that is taken when the log warns. */
const NEARLY_FULL = 0.9;

export function nameLine({ folded, key, day, uid, isMunge, login = "", also = "", chain = "" }: NameLine): string {
  // A login may hold anything but ":" and a line's end.
  const holder: (string | number)[] = [encodeURIComponent(login), also, chain];
  while (holder.at(-1) === "") holder.pop();
  if (uid !== undefined || holder.length > 0)
    holder.unshift(uid === undefined ? NO_UID : `${isMunge ? BY_MUNGE : ""}${uid}`);
  const text = [key, folded, day, ...holder].join(" ");
  return `${crc32(text).toString(16).padStart(CRC_DIGITS, "0")} ${text}\n`;
}

/** @returns null for what is not a whole and unharmed line */
export function readNameLine(line: string): NameLine | null {
  const text = line.slice(CRC_DIGITS + 1).replace(/\r$/, ""); // an editor or a copy may have made CR LF of the ends
  const [key, folded, day, uid, login = "", also = "", chain = ""] = text.split(" ");
  if (line[CRC_DIGITS] !== " " || key === undefined || folded === undefined) return null;
  if (crc32(text).toString(16).padStart(CRC_DIGITS, "0") !== line.slice(0, CRC_DIGITS)) return null;
  const bound = { folded, key, day: Number(day ?? 0) };
  const isMunge = uid?.startsWith(BY_MUNGE);
  const digits = isMunge ? uid?.slice(BY_MUNGE.length) : uid;
  const holder = digits === undefined || digits === NO_UID ? {} : { uid: Number(digits) };
  return {
    ...{ ...bound, ...holder, ...(isMunge ? { isMunge } : {}) },
    ...(login === "" ? {} : { login: decodeURIComponent(login) }),
    ...(also === "" ? {} : { also }),
    ...(chain === "" ? {} : { chain }),
  };
}

/** Of the copy of a log with damaged lines; the next one takes its place. */
const DAMAGED_SUFFIX = ".damaged";

export class NameLog {
  #path: string;
  readonly #limit: number;
  readonly #log: DirectoryLog;
  readonly #names: NameOwnership;
  #fd: number;
  #offset = 0;
  #sync: NodeJS.Timeout | null = null;
  #warned = false;

  /** @param path an existing log, see {@link compactNameLog} @param limit names that are remembered at most */
  constructor(path: string, limit: number, log: DirectoryLog) {
    this.#path = path;
    this.#limit = limit;
    this.#log = log;
    this.#names = new NameOwnership(limit);
    this.#fd = openSync(path, "r+");
    this.refresh();
  }

  /** The log is at that path from now on, with the same bytes. Caller holds the write lock, or its holder waits for this. */
  moveTo(path: string): void {
    if (path === this.#path) return;
    const fd = openSync(path, "r+");
    closeSync(this.#fd);
    this.#fd = fd;
    this.#path = path;
  }

  keyOf(folded: string): string | undefined {
    return this.get(folded)?.key;
  }

  get(folded: string): NameLine | undefined {
    return this.#names.get(folded);
  }

  /** @throws DirectoryError `full` if the name is not bound, and there is no room for one more of this key */
  checkRoom(folded: string, key: string, holder?: NameHolderIds): void {
    this.#names.checkRoom(folded, key, holder);
  }

  /** Whether the name is that key's, and a line of the last days says so: then there is nothing to add. */
  isFresh(folded: string, key: string, holder: NameHolderIds = {}): boolean {
    return this.#names.isFresh(folded, key, holder);
  }

  /** Whether others have added something since the last refresh(). */
  get isBehind(): boolean {
    return fstatSync(this.#fd).size > this.#offset;
  }

  /** Reads what others have added. Lines without their end stay unread. Caller holds the write lock. */
  refresh(): void {
    const size = fstatSync(this.#fd).size;
    if (size <= this.#offset) return;
    let left = Buffer.alloc(0);
    let position = this.#offset;
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, size - position));
    for (;;) {
      const read = readSync(this.#fd, chunk, 0, chunk.length, position);
      if (read === 0) return;
      position += read;
      left = this.#take(Buffer.concat([left, chunk.subarray(0, read)]));
    }
  }

  /** Takes whole lines; gives back what is left. A damaged line costs itself, not those behind it. */
  #take(bytes: Buffer): Buffer<ArrayBuffer> {
    let start = 0;
    for (let end = bytes.indexOf(LF); end !== -1; end = bytes.indexOf(LF, start)) {
      const entry = readNameLine(bytes.toString("utf8", start, end));
      if (entry !== null) this.#names.apply(entry);
      start = end + 1;
    }
    this.#offset += start;
    return Buffer.from(bytes.subarray(start));
  }

  /**
   * Notes that the key has registered or claimed the name, which is its own or free. Caller holds the write lock, has called
   * refresh() under it and then checkRoom(). A key that has all names that it may have gets no further one today.
   * @throws the system's error (ENOSPC, EDQUOT…) if a new name could not be written; then it is not bound
   */
  bind(folded: string, key: string, holder: NameHolderIds = {}): void {
    if (this.isFresh(folded, key, holder) || !this.#names.canBind(folded, key, holder)) return;
    const isKnown = this.#names.says({ folded, key, ...holder });
    try {
      this.#append({ folded, key, day: today(), ...holder });
    } catch (error) {
      if (!isKnown) throw error; // a name that is bound only counts as older than it is
    }
  }

  /**
   * Notes that the name is nobody's. Caller holds the write lock, and has called refresh() under it.
   * @returns whether it was bound
   * @throws the system's error if that could not be written
   */
  release(folded: string): boolean {
    if (this.#names.get(folded) === undefined) return false;
    this.#append({ folded, key: NO_KEY, day: today() });
    return true;
  }

  /** Notes what another server has written. Caller holds the write lock, and has called refresh() under it. */
  take(entry: NameLine): void {
    if (entry.key === NO_KEY ? this.#names.get(entry.folded) !== undefined : !this.#isNoted(entry)) this.#append(entry);
  }

  #isNoted(entry: NameLine): boolean {
    return this.#names.says(entry) && this.#names.get(entry.folded)?.day === entry.day;
  }

  #append(entry: NameLine): void {
    const line = Buffer.from(nameLine(entry));
    // A crash cut short what stands behind the last whole line: no other process writes now.
    if (fstatSync(this.#fd).size > this.#offset) ftruncateSync(this.#fd, this.#offset);
    for (let written = 0; written < line.length; ) {
      written += writeSync(this.#fd, line, written, line.length - written, this.#offset + written);
    }
    this.#offset += line.length;
    this.#names.apply(entry);
    this.#warn();
    // From here on the line survives the death of every process. To survive a power cut it has to be on the disk.
    this.#sync ??= setTimeout(() => {
      this.#sync = null;
      fdatasync(this.#fd, (error) => this.#warnOfSync(error));
    }, SYNC_DELAY_MS).unref();
  }

  #warnOfSync(error: NodeJS.ErrnoException | null): void {
    if (error === null || error.code === "EBADF") return; // EBADF: close() came first, and has synced
    this.#log.warn("names: the disk may not have the last lines", { file: this.#path, error });
  }

  #warn(): void {
    if (this.#warned || this.#names.size < this.#limit * NEARLY_FULL) return;
    this.#warned = true;
    this.#log.warn(
      `nearly all names that can be remembered are taken; when there is no room, new ones are refused until others were not registered for ${UNUSED_DAYS} days`,
      { names: this.#names.size, room: this.#limit, file: this.#path },
    );
  }

  close(): void {
    if (this.#sync !== null) {
      clearTimeout(this.#sync);
      try {
        fdatasyncSync(this.#fd);
      } catch (error) {
        this.#warnOfSync(error as NodeJS.ErrnoException);
      }
    }
    closeSync(this.#fd);
  }
}

/**
 * Rewrites the log with one line for each name, and without what a crash left. A reader sees the old log or the new one. No
 * other process uses the file meanwhile. A log with damaged lines, which no crash leaves, is kept beside it: whose name it was, only
 * those lines say.
 * @returns how many names there are
 */
export async function compactNameLog(path: string, log: DirectoryLog): Promise<number> {
  const names = new NameOwnership(Number.POSITIVE_INFINITY);
  let damaged = 0;
  const lines = (await readIfThere(path)).split("\n");
  lines.pop(); // what stands behind the last end of a line was cut short by a crash
  for (const line of lines.slice(lines[0]?.trim() === NAME_LOG_HEADER.trim() ? 1 : 0)) {
    const entry = readNameLine(line);
    if (entry !== null) names.apply(entry);
    else if (line !== "") damaged++;
  }
  if (damaged > 0) {
    const kept = `${path}${DAMAGED_SUFFIX}`;
    await copyFile(path, kept);
    log.warn("names: damaged lines left out; the file is kept", { path, lines: damaged, kept });
  }
  let text = NAME_LOG_HEADER;
  for (const line of names.lines()) text += nameLine(line);
  await replaceFile(path, text);
  return names.size;
}

/** Of a log that no other process uses meanwhile: a line for each name, in the order of their last registrations. */
export async function readNameLog(path: string): Promise<NameLine[]> {
  const names = new NameOwnership(Number.POSITIVE_INFINITY);
  for (const line of (await readIfThere(path)).split("\n")) {
    const entry = readNameLine(line);
    if (entry !== null) names.apply(entry);
  }
  return [...names.lines()];
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}
