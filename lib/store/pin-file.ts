// A file of pins, subject -> value, that only grows: `pin` appends a line, `forget` appends its retraction. The first pin of
// a subject holds until it is forgotten, so of two processes that pin at once one wins and both read the same winner.
// Knows nothing of keys or certificates.
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { TalkError } from "../base/errors.ts";
import { ensureStateDir } from "./state-paths.ts";

/** Longest file that is read or written, in bytes: some 80,000 pins. Past it the user has to tidy up. */
export const MAX_PIN_FILE_BYTES = 8 * 1024 * 1024;

const RETRACTED = "-";
const WORD = /^[^\s]+$/u;

export class PinFile {
  readonly path: string;
  readonly #pins = new Map<string, string>();
  #readTo = ""; // identity of the file's state at the last reading: device, inode, size

  constructor(path: string) {
    this.path = path;
  }

  /** @throws TalkError bad-config for a line that is no pin (naming it), the system's error for an unreadable file */
  get(subject: string): string | undefined {
    this.#refresh();
    return this.#pins.get(subject);
  }

  /** Every pin in force, in the order in which they were made. */
  entries(): [subject: string, value: string][] {
    this.#refresh();
    return [...this.#pins];
  }

  /**
   * Pins unless pinned.
   * @returns the value that holds afterwards: the given one, or the one that was there first
   * @throws TalkError bad-config if none does
   */
  pin(subject: string, value: string): string {
    const known = this.get(subject);
    if (known !== undefined) return known;
    this.#append(subject, value);
    const held = this.get(subject);
    if (held === undefined)
      throw TalkError.badConfig(this.path, `what was remembered of ${subject} is not in it afterwards`);
    return held;
  }

  /** @returns whether there was such a pin */
  forget(subject: string): boolean {
    if (this.get(subject) === undefined) return false;
    this.#append(subject, RETRACTED);
    return true;
  }

  #append(subject: string, value: string): void {
    if (!WORD.test(subject) || !WORD.test(value)) {
      throw TalkError.internal(`a pin is two words: ${JSON.stringify([subject, value])}`);
    }
    ensureStateDir(dirname(this.path));
    // O_APPEND: one write is one line, whatever other processes of this user append meanwhile (POSIX write()).
    const fd = openSync(this.path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND, 0o600);
    try {
      const before = fstatSync(fd).size;
      const bytes = Buffer.from(`${endsMidLine(fd, before) ? "\n" : ""}${subject} ${value}\n`);
      if (before + bytes.length > MAX_PIN_FILE_BYTES) {
        throw TalkError.badConfig(
          this.path,
          `it has grown past ${MAX_PIN_FILE_BYTES} bytes; remove lines you no longer need`,
        );
      }
      if (writeSync(fd, bytes) < bytes.length) {
        ftruncateSync(fd, before); // a full disk took half a line: better none
        throw TalkError.internal(`${this.path}: no space left`);
      }
    } finally {
      closeSync(fd);
    }
  }

  #refresh(): void {
    let fd: number;
    try {
      fd = openSync(this.path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      this.#pins.clear();
      this.#readTo = "";
      return;
    }
    try {
      const { dev, ino, size, mtimeMs } = fstatSync(fd);
      const state = `${dev}:${ino}:${size}:${mtimeMs}`;
      if (state === this.#readTo) return;
      if (size > MAX_PIN_FILE_BYTES)
        throw TalkError.badConfig(this.path, `it is larger than ${MAX_PIN_FILE_BYTES} bytes`);
      this.#parse(readFileSync(fd, "utf8"));
      this.#readTo = state;
    } finally {
      closeSync(fd);
    }
  }

  #parse(text: string): void {
    this.#pins.clear();
    for (const [index, line] of text.split("\n").entries()) {
      if (line === "" || line.startsWith("#")) continue;
      const [subject, value, ...rest] = line.split(" ");
      if (subject === undefined || value === undefined || value === "" || rest.length > 0) {
        // Fail closed: a pin that cannot be read is a pin that would silently be made anew.
        throw TalkError.badConfig(
          `${this.path}, line ${index + 1}`,
          "it is not SUBJECT VALUE; mend or remove the line",
        );
      }
      if (value === RETRACTED) this.#pins.delete(subject);
      else if (!this.#pins.has(subject)) this.#pins.set(subject, value);
    }
  }
}

// Editors leave the last line without its end: what is appended would be a part of it.
function endsMidLine(fd: number, size: number): boolean {
  const last = Buffer.from("\n");
  if (size > 0) readSync(fd, last, 0, 1, size - 1);
  return last.toString() !== "\n";
}
