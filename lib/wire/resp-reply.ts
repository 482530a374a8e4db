// A client's half of RESP, incoming: replies and pushes, RESP2 and RESP3, cut anywhere.
import { ProtocolError } from "./protocol-error.ts";
import { MAX_REPLY_DEPTH, MAX_REPLY_ELEMENTS, MAX_REPLY_LINE_BYTES, MAX_REPLY_STRING_BYTES } from "./resp-limits.ts";

/** An error reply: a value, since it answers one request and leaves the connection in order. */
export class ReplyError extends Error {
  override readonly name = "ReplyError";
  /** The first word: TAKEN, FULL, BADNAME, BADSIG, NOAUTH, ERR… */
  readonly code: string;

  constructor(line: string) {
    const space = line.indexOf(" ");
    super(space === -1 ? line : line.slice(space + 1));
    this.code = space === -1 ? line : line.slice(0, space);
  }
}

export type RespValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | ReplyError
  | Buffer
  | RespValue[]
  | Map<RespValue, RespValue>;

/** `push` is what the server sends unasked after WATCH (RESP3); everything else answers the oldest open request. */
export type RespReply = { push: boolean; value: RespValue };

interface Frame {
  kind: "array" | "map" | "push";
  left: number; // elements still to come; a map counts keys and values
  items: RespValue[];
}

const CR = 13;
const LF = 10;
const EMPTY = Buffer.alloc(0);
const INCOMPLETE = Symbol("the bytes end before the value does");

/**
 * Takes replies out of a stream of bytes.
 *
 *     decoder.push(chunk);
 *     for (let reply = decoder.next(); reply !== undefined; reply = decoder.next()) …
 *
 * Keeps what it has read of an unfinished array, so that a directory of 10,000 clients in fifty chunks is read once.
 */
export class ReplyDecoder {
  #bytes: Buffer = EMPTY;
  #position = 0;
  readonly #open: Frame[] = [];

  /** @param chunk bytes as they arrived. Not copied: the caller leaves them alone until they have been read. */
  push(chunk: Uint8Array): void {
    const fresh = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const left = this.#bytes.length - this.#position;
    // Left over is at most one scalar that the chunk's end cut, never what is finished of an array.
    this.#bytes = left === 0 ? fresh : Buffer.concat([this.#bytes.subarray(this.#position), fresh]);
    this.#position = 0;
  }

  /**
   * @returns the next reply or push, undefined when the bytes end before it does
   * @throws ProtocolError when the bytes are not RESP or break a bound; the connection is of no use any more
   */
  next(): RespReply | undefined {
    for (;;) {
      const value = this.#value();
      if (value === INCOMPLETE) return undefined;
      if (value === undefined) continue; // an array, map or push has begun
      const reply = this.#place(value as RespValue);
      if (reply !== undefined) return reply;
    }
  }

  /** Puts a finished value where it belongs; gives the reply when that was its last part. */
  #place(finished: RespValue): RespReply | undefined {
    let value = finished;
    let push = false;
    for (let frame = this.#open.at(-1); frame !== undefined; frame = this.#open.at(-1)) {
      frame.items.push(value);
      if (--frame.left > 0) return undefined;
      this.#open.pop();
      value = closed(frame);
      push = frame.kind === "push";
    }
    return { push, value };
  }

  /** One scalar; undefined where a filled aggregate begins. */
  #value(): RespValue | undefined | typeof INCOMPLETE {
    const start = this.#position;
    const end = this.#bytes.indexOf(LF, start);
    if ((end === -1 ? this.#bytes.length : end) - start > MAX_REPLY_LINE_BYTES)
      throw new ProtocolError("too long a line");
    if (end === -1) return INCOMPLETE;
    if (this.#bytes[end - 1] !== CR || end - 1 === start) throw new ProtocolError("expected CRLF");
    const line = this.#bytes.toString("utf8", start + 1, end - 1);
    const type = String.fromCharCode(this.#bytes[start] as number);
    if (type === "$" || type === "=" || type === "!") return this.#string(type, length(line), end + 1);
    this.#position = end + 1;
    switch (type) {
      case "+":
        return line;
      case "-":
        return new ReplyError(line);
      case ":":
        return integer(line);
      case "_":
        return null;
      case "#":
        if (line !== "t" && line !== "f") throw new ProtocolError("a boolean is t or f");
        return line === "t";
      case ",":
        return double(line);
      case "(":
        if (!/^[+-]?\d+$/.test(line)) throw new ProtocolError("not a big number");
        return BigInt(line);
      case "*":
      case "~":
        return this.#aggregate("array", length(line));
      case "%":
        return this.#aggregate("map", length(line) * 2);
      case ">":
        return this.#aggregate("push", length(line));
      default:
        throw new ProtocolError(`unknown type of reply ${JSON.stringify(type)}`);
    }
  }

  #string(type: string, size: number, from: number): RespValue | typeof INCOMPLETE {
    if (size === -1) {
      this.#position = from;
      return null;
    }
    if (size > MAX_REPLY_STRING_BYTES) throw new ProtocolError("too long a string");
    const end = from + size;
    if (end + 2 > this.#bytes.length) return INCOMPLETE;
    if (this.#bytes[end] !== CR || this.#bytes[end + 1] !== LF)
      throw new ProtocolError("expected CRLF behind a string");
    this.#position = end + 2;
    if (this.#isBytes()) return Buffer.from(this.#bytes.subarray(from, end));
    const text = this.#bytes.toString("utf8", from, end);
    if (type === "!") return new ReplyError(text);
    return type === "=" ? text.slice(4) : text; // a verbatim string begins with "txt:"
  }

  /** All strings are text, but for one: the datagram of a `relay` push. */
  #isBytes(): boolean {
    const frame = this.#open.at(-1);
    return frame?.kind === "push" && frame.items.length === 2 && frame.items[0] === "relay";
  }

  #aggregate(kind: Frame["kind"], elements: number): RespValue | undefined {
    if (kind === "push" && this.#open.length > 0) throw new ProtocolError("a push inside a reply");
    if (elements < 0 && kind === "array") return null;
    if (elements < 0 || elements > MAX_REPLY_ELEMENTS) throw new ProtocolError("too many elements");
    if (kind === "push" && elements === 0) throw new ProtocolError("an empty push");
    if (elements === 0) return kind === "map" ? new Map() : [];
    if (this.#open.length === MAX_REPLY_DEPTH) throw new ProtocolError("nested too deep");
    this.#open.push({ kind, left: elements, items: [] });
    return undefined;
  }
}

function closed(frame: Frame): RespValue {
  if (frame.kind !== "map") return frame.items;
  const map = new Map<RespValue, RespValue>();
  for (let i = 0; i < frame.items.length; i += 2) {
    map.set(frame.items[i] as RespValue, frame.items[i + 1] as RespValue);
  }
  return map;
}

function length(line: string): number {
  if (!/^(?:-1|\d{1,9})$/.test(line)) throw new ProtocolError("a length is a decimal number");
  return Number(line);
}

function integer(line: string): number | bigint {
  if (!/^[+-]?\d{1,19}$/.test(line)) throw new ProtocolError("not an integer");
  const value = Number(line);
  return Number.isSafeInteger(value) ? value : BigInt(line);
}

function double(line: string): number {
  if (line === "inf") return Infinity;
  if (line === "-inf") return -Infinity;
  const value = Number(line);
  if (line.trim() === "" || (Number.isNaN(value) && line !== "nan")) throw new ProtocolError("not a number");
  return value;
}
