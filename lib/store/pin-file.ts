// A file of pins, subject -> value, that only grows: `pin` appends a line, `forget` appends its retraction. The first pin of
// a subject holds until it is forgotten, so of two processes that pin at once one wins and both read the same winner.
// A file that cannot be read to its last line is no file of pins: a pin that is passed over would silently be made anew.
// Knows nothing of keys or certificates.
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { TalkError } from "../base/errors.ts";
import { textFault } from "../base/text-file.ts";
import { ensureStateDir } from "./state-paths.ts";

/** Longest file that is read or written, in bytes: some 80,000 pins. Past it the user has to tidy up. */
export const MAX_PIN_FILE_BYTES = 8 * 1024 * 1024;

/**
 * Milliseconds for which a pin that agrees counts without another look at the file. Each message asks several times, and where
 * homes are on NFS a look may take as long as the message.
 */
export const PIN_FRESH_MS = 1_000;

const RETRACTED = "-";
const WORD = /^[^\s\p{Cc}\p{Cf}]+$/u;

/** What stands in the file, where it is not just any two words. */
export interface PinFormat {
  readonly subject: (text: string) => boolean;
  /** The one spelling of a subject. A line in another one, by an older version or by hand, counts as if it were in this. */
  readonly spelling: (subject: string) => string;
  readonly value: (text: string) => boolean;
  /** For the error: "SERVER/NAME KEY" */
  readonly shown: string;
}

const ANY: PinFormat = { subject: () => true, spelling: (text) => text, value: () => true, shown: "SUBJECT VALUE" };

export class PinFile {
  readonly path: string;
  readonly #format: PinFormat;
  readonly #pins = new Map<string, string>();
  /** The file's state at the last reading: device, inode, size, times. */
  #readTo = "";
  /** When that was last seen to be its state, on the clock of performance.now(). */
  #seenAt = Number.NEGATIVE_INFINITY;

  constructor(path: string, format = ANY) {
    this.path = path;
    this.#format = format;
  }

  /**
   * Whether just that value is pinned. Only a yes may be {@link PIN_FRESH_MS} old: another process may have forgotten the pin
   * since. A no is the file's as it is now.
   * @throws as get()
   */
  agrees(subject: string, value: string): boolean {
    if (performance.now() - this.#seenAt < PIN_FRESH_MS && this.#pins.get(subject) === value) return true;
    return this.get(subject) === value;
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
    const status = statSync(this.path, { bigint: true, throwIfNoEntry: false });
    if (status === undefined) {
      this.#pins.clear();
      this.#readTo = "";
    } else if (stateOf(status) !== this.#readTo) this.#read();
    this.#seenAt = performance.now();
  }

  #read(): void {
    this.#readTo = ""; // whatever goes wrong, the next question reads again
    const fd = openSync(this.path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const status = fstatSync(fd, { bigint: true });
      // A fifo or a device would read as a file without pins.
      if (!status.isFile()) throw TalkError.badConfig(this.path, "it is not a regular file");
      if (status.size > MAX_PIN_FILE_BYTES)
        throw TalkError.badConfig(this.path, `it is larger than ${MAX_PIN_FILE_BYTES} bytes`);
      this.#parse(readFileSync(fd));
      this.#readTo = stateOf(status);
    } finally {
      closeSync(fd);
    }
  }

  #parse(bytes: Buffer): void {
    this.#pins.clear();
    const fault = textFault(bytes);
    if (fault !== null) throw this.#unreadable(fault.line, fault.reason);
    for (const [index, line] of bytes.toString("utf8").split("\n").entries()) {
      if (line === "" || line.startsWith("#")) continue;
      const [subject = "", value = "", ...rest] = line.split(" ");
      const whole = rest.length === 0 && WORD.test(subject) && WORD.test(value);
      const { shown, ...is } = this.#format;
      if (!whole || !is.subject(subject) || !(value === RETRACTED || is.value(value))) {
        throw this.#unreadable(index + 1, `it is not ${shown}; mend or remove the line`);
      }
      const spelled = is.spelling(subject);
      if (value === RETRACTED) this.#pins.delete(spelled);
      else if (!this.#pins.has(spelled)) this.#pins.set(spelled, value);
    }
  }

  #unreadable(line: number, reason: string): TalkError {
    this.#pins.clear();
    return TalkError.badConfig(`${this.path}, line ${line}`, reason);
  }
}

function stateOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}

// Editors leave the last line without its end: what is appended would be a part of it.
function endsMidLine(fd: number, size: number): boolean {
  const last = Buffer.from("\n");
  if (size > 0) readSync(fd, last, 0, 1, size - 1);
  return last.toString() !== "\n";
}
