// Which key a name belongs to: a log in the state directory, one line for each name's first registration or claim.
//
//     ptalk-names-v1
//     <crc32 of what follows, 8 hex digits> <key, base64> <folded name>
//
// Lines are only ever added, by whoever holds the table's write lock, so each worker stays up to date by reading on from
// where it was. A line that a crash cut short is no line: it is ignored by readers and cut off by the next writer.
import { closeSync, fdatasync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";

export const NAMES_HEADER = "ptalk-names-v1\n";
const LF = 10;
const CHUNK_BYTES = 64 * 1024;
const CRC_DIGITS = 8;
const SYNC_DELAY_MS = 200;

export function nameLine(folded: string, key: string): string {
  const text = `${key} ${folded}`;
  return `${crc32(text).toString(16).padStart(CRC_DIGITS, "0")} ${text}\n`;
}

/** @returns folded name and key, or null for what is not a whole and unharmed line */
export function readNameLine(line: string): [string, string] | null {
  const text = line.slice(CRC_DIGITS + 1);
  const space = text.indexOf(" ");
  if (line[CRC_DIGITS] !== " " || space === -1) return null;
  if (crc32(text).toString(16).padStart(CRC_DIGITS, "0") !== line.slice(0, CRC_DIGITS)) return null;
  return [text.slice(space + 1), text.slice(0, space)];
}

export class Bindings {
  readonly #keys = new Map<string, string>();
  readonly #limit: number;
  readonly #fd: number;
  #offset = 0;
  #sync: NodeJS.Timeout | null = null;

  /** @param path an existing log, see {@link compactNames} */
  constructor(path: string, limit: number) {
    this.#limit = limit;
    this.#fd = openSync(path, "r+");
    this.refresh();
  }

  /** Names that are remembered. */
  get count(): number {
    return this.#keys.size;
  }

  get full(): boolean {
    return this.#keys.size >= this.#limit;
  }

  keyOf(folded: string): string | undefined {
    return this.#keys.get(folded);
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
      if (entry !== null) this.#keys.set(entry[0], entry[1]);
      start = end + 1;
    }
    this.#offset += start;
    return Buffer.from(bytes.subarray(start));
  }

  /**
   * Binds a name that has no key yet. Caller holds the write lock and has called refresh() under it.
   * @throws the system's error (ENOSPC, EDQUOT…) if the line could not be written; then the name is not bound
   */
  add(folded: string, key: string): void {
    const line = Buffer.from(nameLine(folded, key));
    // Whatever stands behind the last whole line was cut short by a crash: nobody else writes now.
    if (fstatSync(this.#fd).size > this.#offset) ftruncateSync(this.#fd, this.#offset);
    for (let written = 0; written < line.length; ) {
      written += writeSync(this.#fd, line, written, line.length - written, this.#offset + written);
    }
    this.#offset += line.length;
    this.#keys.set(folded, key);
    // The line survives the death of every process at once; for a power cut it needs the disk, which may take its time.
    this.#sync ??= setTimeout(() => {
      this.#sync = null;
      fdatasync(this.#fd, () => {});
    }, SYNC_DELAY_MS).unref();
  }

  close(): void {
    if (this.#sync !== null) clearTimeout(this.#sync);
    closeSync(this.#fd);
  }
}
