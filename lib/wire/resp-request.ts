// The server's half of RESP, incoming: requests as arrays of bulk strings, or inline as a line of words.
// Works in place over the bytes that arrived; makes no strings and no slices, since most requests need neither. That is why
// it is our own: the decoder of node-redis, the quickest maintained one, takes ten times as long for a LOOKUP (420 ns beside
// 40 ns in one run on Node 20), is made for replies, and knows no inline requests.
import { ProtocolError } from "./protocol-error.ts";
import { hasQuotes, isBlank, splitQuoted } from "./quoted-line.ts";
import { MAX_ARGUMENT_BYTES, MAX_ARGUMENTS, MAX_INLINE_BYTES, MAX_REQUEST_BYTES } from "./resp-limits.ts";

const CR = 13;
const LF = 10;
const STAR = 42;
const DOLLAR = 36;
const ZERO = 48;
const NINE = 57;
const MINUS = 45;
const SPACE = 32;

const NEED_MORE = -1; // answer of the number reader when the line's end has not arrived
const MAX_COUNT_DIGITS = 7; // "*64", "$8192" and leading zeros; what is longer is over every bound anyway

const NOTHING = new Uint8Array(0);

/**
 * Takes requests out of a stream of bytes.
 *
 *     parser.open(leftOver, chunk);
 *     while (parser.next()) handle(parser);      // parser.bytes, parser.count, parser.starts, parser.ends
 *     leftOver = parser.rest();
 *
 * One parser serves all connections of a worker, one after the other; what belongs to a connection is only the part of a
 * request that its last chunk left over, at most {@link MAX_REQUEST_BYTES}.
 */
export class RequestParser {
  /** Argument `i` of the current request is `bytes[starts[i]] … bytes[ends[i] - 1]`. */
  bytes: Uint8Array = NOTHING;
  /** How many arguments the current request has, its command's name included; at least 1. */
  count = 0;
  readonly starts = new Int32Array(MAX_ARGUMENTS);
  readonly ends = new Int32Array(MAX_ARGUMENTS);
  /** What is being read. */
  #source: Uint8Array = NOTHING;
  #position = 0;
  #end = 0;
  #after = 0; // where the number that #number read last ends, its CRLF included

  /** Starts over on `chunk`, behind what `rest()` gave for the same connection before (null: nothing). */
  open(leftOver: Uint8Array | null, chunk: Uint8Array): void {
    if (leftOver === null) {
      this.#source = chunk;
    } else {
      // A request cut in two is copied once; both parts are bounded, the first by MAX_REQUEST_BYTES.
      const joined = new Uint8Array(leftOver.length + chunk.length);
      joined.set(leftOver);
      joined.set(chunk, leftOver.length);
      this.#source = joined;
    }
    this.#position = 0;
    this.#end = this.#source.length;
  }

  /**
   * Reads the next complete request.
   * @returns false when the bytes end before one is complete
   * @throws ProtocolError when they are no request, or one over a bound
   */
  next(): boolean {
    const bytes = this.#source;
    this.bytes = bytes;
    while (this.#position < this.#end) {
      const found = bytes[this.#position] === STAR ? this.#array(bytes) : this.#inline(bytes);
      if (!found) {
        if (this.#end - this.#position > MAX_REQUEST_BYTES) throw new ProtocolError("too big a request");
        return false;
      }
      if (this.count > 0) return true; // an empty line, "*0" or "*-1" is no request: Redis skips it as well
    }
    return false;
  }

  /** What has arrived of the next request, as a copy (the chunk may be reused by its owner); null if nothing has. */
  rest(): Uint8Array | null {
    const rest = this.#position < this.#end ? new Uint8Array(this.#source.subarray(this.#position, this.#end)) : null;
    this.#source = NOTHING;
    this.bytes = NOTHING;
    return rest;
  }

  /** Argument `index` as text. Bytes that are not UTF-8 become U+FFFD, which no name, key or number contains. */
  text(index: number): string {
    const { buffer, byteOffset } = this.bytes;
    const start = this.starts[index] as number;
    return Buffer.from(buffer, byteOffset + start, (this.ends[index] as number) - start).toString("utf8");
  }

  /** Argument `index` as it came: a view, valid until the next request. */
  argument(index: number): Uint8Array {
    return this.bytes.subarray(this.starts[index], this.ends[index]);
  }

  #array(bytes: Uint8Array): boolean {
    const isNegative = bytes[this.#position + 1] === MINUS;
    let count = this.#number(bytes, this.#position + (isNegative ? 2 : 1));
    if (count === NEED_MORE) return false;
    if (isNegative) count = 0;
    if (count > MAX_ARGUMENTS) throw new ProtocolError(`invalid multibulk length: at most ${MAX_ARGUMENTS} arguments`);
    let at = this.#after;
    for (let i = 0; i < count; i++) {
      if (at >= this.#end) return false;
      if (bytes[at] !== DOLLAR) throw new ProtocolError("expected '$': arguments are bulk strings");
      const length = this.#number(bytes, at + 1);
      if (length === NEED_MORE) return false;
      if (length > MAX_ARGUMENT_BYTES) {
        throw new ProtocolError(`invalid bulk length: at most ${MAX_ARGUMENT_BYTES} bytes`);
      }
      const start = this.#after;
      at = start + length + 2;
      if (at > this.#end) {
        // The terminator is looked at as soon as it is there, so that a lie about a length shows early.
        if (start + length < this.#end && bytes[start + length] !== CR) throw new ProtocolError(UNTERMINATED);
        return false;
      }
      if (bytes[at - 2] !== CR || bytes[at - 1] !== LF) throw new ProtocolError(UNTERMINATED);
      this.starts[i] = start;
      this.ends[i] = start + length;
    }
    if (at - this.#position > MAX_REQUEST_BYTES) throw new ProtocolError("too big a request");
    this.count = count;
    this.#position = at;
    return true;
  }

  /** A count in decimal digits with its CRLF, from `at`; sets #after. */
  #number(bytes: Uint8Array, at: number): number {
    const limit = Math.min(this.#end, at + MAX_COUNT_DIGITS + 1);
    let value = 0;
    let i = at;
    for (; i < limit; i++) {
      const byte = bytes[i] as number;
      if (byte < ZERO || byte > NINE) break;
      value = value * 10 + (byte - ZERO);
    }
    if (i === this.#end) {
      if (i - at > MAX_COUNT_DIGITS) throw new ProtocolError("invalid length: too many digits");
      return NEED_MORE;
    }
    if (bytes[i] !== CR || i === at) throw new ProtocolError("invalid length: expected digits and CRLF");
    if (i + 1 === this.#end) return NEED_MORE;
    if (bytes[i + 1] !== LF) throw new ProtocolError("invalid length: expected digits and CRLF");
    this.#after = i + 2;
    return value;
  }

  /** A line of words, which may stand in quotes; ends with LF or CRLF. */
  #inline(bytes: Uint8Array): boolean {
    const line = bytes.indexOf(LF, this.#position);
    const length = (line === -1 ? this.#end : line) - this.#position;
    if (length > MAX_INLINE_BYTES) throw new ProtocolError("too big an inline request");
    if (line === -1) return false;
    const end = bytes[line - 1] === CR && line > this.#position ? line - 1 : line;
    if (hasControls(bytes, this.#position, end)) throw new ProtocolError("a line with control characters");
    this.count = 0;
    if (hasQuotes(bytes, this.#position, end)) {
      this.bytes = new Uint8Array(bytes.subarray(this.#position, end)); // a copy, also of a Buffer
      this.count = splitQuoted(this.bytes, this.starts, this.ends);
    } else {
      for (let at = this.#position; at < end; ) at = isBlank(bytes[at]) ? at + 1 : this.#word(bytes, at, end);
    }
    this.#position = line + 1;
    return true;
  }

  #word(bytes: Uint8Array, from: number, end: number): number {
    if (this.count === MAX_ARGUMENTS) throw new ProtocolError(`at most ${MAX_ARGUMENTS} arguments`);
    let at = from;
    while (at < end && !isBlank(bytes[at])) at++;
    this.starts[this.count] = from;
    this.ends[this.count] = at;
    this.count++;
    return at;
  }
}

/** A TLS or binary handshake holds bytes that its sender chooses, a line feed among them: no line behind one may count. */
function hasControls(bytes: Uint8Array, from: number, end: number): boolean {
  for (let at = from; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte < SPACE && !isBlank(byte)) return true;
  }
  return false;
}

const UNTERMINATED = "expected CRLF behind an argument";
