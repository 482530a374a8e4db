// The server's half of RESP, outgoing: replies written one behind the other into one growing buffer.

/** 2 until `HELLO 3`. */
export type Protocol = 2 | 3;

const CR = 13;
const LF = 10;
const ZERO = 48;
const MAX_ASCII = 127;
const INITIAL_BYTES = 64 * 1024;
const NUMBER_BYTES = 24; // a type, 20 digits at most, CRLF
/** Characters up to which a loop is quicker than Node's call into C++, measured with names and keys. */
const SHORT_TEXT = 64;
/** Small numbers are most of all lengths and counts. */
const ONE_DIGIT = 10;
const TWO_DIGITS = 100;

/**
 * Collects replies. `bytes()` looks at them, `clear()` starts over in the same memory, `detach()` hands the memory away.
 * RESP2 has no maps, nulls and booleans of their own: there they are arrays, null strings and integers, as Redis does it.
 */
export class ReplyWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(initialBytes = INITIAL_BYTES) {
    this.#buffer = Buffer.allocUnsafeSlow(initialBytes);
  }

  /** Bytes written since the last clear. */
  get length(): number {
    return this.#length;
  }

  /** A view, valid until the next write. */
  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
  }

  /** Takes back what was written since `length` was that. */
  truncate(length: number): void {
    this.#length = length;
  }

  /** Like clear, in new memory: for when somebody still reads what `bytes()` gave. */
  detach(): void {
    this.#buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
    this.#length = 0;
  }

  /** Bytes that are complete replies, or part of one, already. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** @param text without CR and LF */
  simple(text: string): void {
    this.#line(`+${text}`);
  }

  /** @param line code word, space, sentence; line breaks in it become spaces */
  error(line: string): void {
    this.#line(`-${line.replace(/[\r\n]+/g, " ")}`);
  }

  integer(value: number): void {
    this.#header(":", value);
  }

  bulk(text: string): void {
    if (text.length <= SHORT_TEXT && this.#shortBulk(text)) return;
    const size = Buffer.byteLength(text);
    this.#reserve(size + NUMBER_BYTES);
    this.#header("$", size);
    this.#length += this.#buffer.write(text, this.#length, "utf8");
    this.#end();
  }

  bulkBytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length + NUMBER_BYTES);
    this.#header("$", bytes.length);
    this.raw(bytes);
    this.#end();
  }

  null(protocol: Protocol): void {
    this.#line(protocol === 3 ? "_" : "$-1");
  }

  array(elements: number): void {
    this.#header("*", elements);
  }

  /** @param pairs keys with their values; each is written after this */
  map(pairs: number, protocol: Protocol): void {
    if (protocol === 3) this.#header("%", pairs);
    else this.#header("*", pairs * 2);
  }

  /** Only for a connection that has said HELLO 3. */
  push(elements: number): void {
    this.#header(">", elements);
  }

  /** @returns false, with nothing written, if the text is not ASCII */
  #shortBulk(text: string): boolean {
    const before = this.#length;
    this.#reserve(text.length + NUMBER_BYTES);
    this.#header("$", text.length);
    const buffer = this.#buffer;
    let at = this.#length;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > MAX_ASCII) {
        this.#length = before;
        return false;
      }
      buffer[at++] = code;
    }
    this.#length = at;
    this.#end();
    return true;
  }

  #header(type: string, value: number): void {
    if (!(value >= 0 && value < TWO_DIGITS && Number.isInteger(value))) {
      this.#line(`${type}${value}`);
      return;
    }
    this.#reserve(NUMBER_BYTES);
    const buffer = this.#buffer;
    let at = this.#length;
    buffer[at++] = type.charCodeAt(0);
    if (value >= ONE_DIGIT) buffer[at++] = ZERO + Math.trunc(value / ONE_DIGIT);
    buffer[at++] = ZERO + (value % ONE_DIGIT);
    this.#length = at;
    this.#end();
  }

  #line(text: string): void {
    this.#reserve(text.length * 3 + 2); // UTF-8 takes at most three bytes for a UTF-16 unit
    this.#length += this.#buffer.write(text, this.#length, "utf8");
    this.#end();
  }

  #end(): void {
    this.#reserve(2);
    this.#buffer[this.#length++] = CR;
    this.#buffer[this.#length++] = LF;
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.#length + size));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = grown;
  }
}
