// The server's half of RESP, outgoing: replies written one behind the other into one growing buffer.

/** 2 until `HELLO 3`. */
export type Protocol = 2 | 3;

const CR = 13;
const LF = 10;
const INITIAL_BYTES = 64 * 1024;
const NUMBER_BYTES = 24; // a type, 20 digits at most, CRLF

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

  #header(type: string, value: number): void {
    this.#line(`${type}${value}`);
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
