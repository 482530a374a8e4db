// Lines of a pipe: bounded in length, checked to be UTF-8, as they come. Knows bytes only.
import { TalkError } from "../base/errors.ts";

/** Longest line in bytes: a message of 64 KiB after the names it goes to. */
export const LINE_BYTES_LIMIT = 70_000;

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/**
 * Cuts a stream of bytes into lines without their ends (LF or CR LF); the last need not have one. A line that is too long
 * or not UTF-8 comes as the error that says so, in its place, and reading goes on.
 */
export async function* readLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string | TalkError, void> {
  const splitter = new LineSplitter();
  for await (const chunk of chunks) yield* splitter.feed(chunk);
  yield* splitter.end();
}

export class LineSplitter {
  #parts: Uint8Array[] = [];
  /** Bytes of the unfinished line; only the first LINE_BYTES_LIMIT are kept. */
  #length = 0;

  *feed(chunk: Uint8Array): Generator<string | TalkError, void> {
    let start = 0;
    for (let newline = chunk.indexOf(NEWLINE); newline !== -1; newline = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, newline));
      yield this.#take();
      start = newline + 1;
    }
    this.#keep(chunk.subarray(start));
  }

  *end(): Generator<string | TalkError, void> {
    if (this.#length > 0) yield this.#take();
  }

  #keep(bytes: Uint8Array): void {
    // One byte over the limit is for a carriage return, or to know that it was exceeded.
    if (bytes.length > 0 && this.#length <= LINE_BYTES_LIMIT) this.#parts.push(bytes);
    this.#length += bytes.length;
  }

  #take(): string | TalkError {
    const length = this.#length;
    const bytes = length > LINE_BYTES_LIMIT + 1 ? undefined : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#length = 0;
    const line = bytes?.at(-1) === CARRIAGE_RETURN ? bytes.subarray(0, -1) : bytes;
    return line === undefined || line.length > LINE_BYTES_LIMIT
      ? new TalkError("too-long", `a line has ${length} bytes; the limit is ${LINE_BYTES_LIMIT}`)
      : decode(line);
  }
}

/** Bytes as text. The error, if they are not UTF-8, is given back, not thrown. */
export function decode(bytes: Uint8Array): string | TalkError {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    return TalkError.badData("the input is not UTF-8", cause);
  }
}
