// Protocol Buffers' wire format (protobuf.dev, "Encoding"), as far as etcd's messages need it: varints, and fields with a length.

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;
/** Bytes of a varint of 64 bits. */
const MAX_VARINT_BYTES = 10;
const HIGH = 2 ** 32;
const EMPTY = new Uint8Array(0);

export class ProtobufError extends Error {
  override readonly name = "ProtobufError";
}

/** Builds one message. Fields with their default value are left out, as proto3 does. */
export class MessageWriter {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  /** @param value 0 to 2^53, an `int64`, `uint64`, `enum` or `bool` */
  number(field: number, value: number): this {
    if (value !== 0) this.#varints(field * 8 + VARINT, value);
    return this;
  }

  /** @param digits decimal, 64 bits, maybe with a sign */
  decimal(field: number, digits: string): this {
    let rest = BigInt.asUintN(64, BigInt(digits));
    if (rest === 0n) return this;
    const bytes: number[] = [];
    for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
    bytes.push(Number(rest));
    this.#varints(field * 8 + VARINT);
    this.#add(Uint8Array.from(bytes));
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    return value.length === 0 ? this : this.#sized(field, value);
  }

  text(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value));
  }

  /** A message that is there although it may be empty: one of a `oneof`, or of a list. */
  message(field: number, value: MessageWriter): this {
    this.#varints(field * 8 + LENGTH, value.#length);
    this.#parts.push(...value.#parts);
    this.#length += value.#length;
    return this;
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts, this.#length);
  }

  #sized(field: number, value: Uint8Array): this {
    this.#varints(field * 8 + LENGTH, value.length);
    this.#add(value);
    return this;
  }

  #varints(...values: readonly number[]): void {
    const bytes: number[] = [];
    for (const value of values) {
      let rest = value;
      for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
      bytes.push(rest);
    }
    this.#add(Uint8Array.from(bytes));
  }

  #add(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#length += bytes.length;
  }
}

/**
 * Walks over the fields of one message: `while (reader.next()) switch (reader.field) …`. The reader skips a field whose value the caller does not take: newer
 * servers send more. Of the wrong kind it is refused.
 * @throws ProtobufError
 */
export class MessageReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #isPending = false;
  #kind = VARINT;
  field = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  next(): boolean {
    if (this.#isPending) this.#skip();
    if (this.#at >= this.#bytes.length) return false;
    const tag = this.#varint();
    this.field = Math.floor(tag / 8);
    this.#kind = tag % 8;
    if (this.field === 0) throw new ProtobufError("a field has no number");
    this.#isPending = true;
    return true;
  }

  /** Exact up to 2^53. Negative numbers of 64 bits, too. */
  number(): number {
    this.#take(VARINT);
    return this.#varint();
  }

  /** Of 64 bits without a sign, exactly. */
  decimal(): string {
    this.#take(VARINT);
    const from = this.#at;
    const rounded = this.#varint();
    if (rounded >= 0 && Number.isSafeInteger(rounded)) return String(rounded);
    let exact = 0n;
    for (let at = this.#at - 1; at >= from; at--) exact = (exact << 7n) | BigInt((this.#bytes[at] ?? 0) & 0x7f);
    return BigInt.asUintN(64, exact).toString();
  }

  boolean(): boolean {
    return this.number() !== 0;
  }

  /** A view: valid as long as the message is. */
  bytes(): Uint8Array {
    this.#take(LENGTH);
    const length = this.#varint();
    const end = this.#at + length;
    if (length < 0 || end > this.#bytes.length) throw new ProtobufError("a field ends behind its message");
    const value = length === 0 ? EMPTY : this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return value;
  }

  text(): string {
    const { buffer, byteOffset, byteLength } = this.bytes();
    return Buffer.from(buffer, byteOffset, byteLength).toString("utf8");
  }

  message(): MessageReader {
    return new MessageReader(this.bytes());
  }

  #take(kind: number): void {
    if (!this.#isPending || this.#kind !== kind) throw new ProtobufError(`field ${this.field} is of another kind`);
    this.#isPending = false;
  }

  #skip(): void {
    this.#isPending = false;
    switch (this.#kind) {
      case VARINT:
        this.#varint();
        break;
      case LENGTH:
        this.#move(this.#varint());
        break;
      case FIXED64:
        this.#move(8);
        break;
      case FIXED32:
        this.#move(4);
        break;
      default:
        throw new ProtobufError(`field ${this.field} is of an unknown kind`);
    }
  }

  #move(length: number): void {
    this.#at += length;
    if (length < 0 || this.#at > this.#bytes.length) throw new ProtobufError("a field ends behind its message");
  }

  #varint(): number {
    let low = 0;
    let high = 0;
    for (let i = 0; i < MAX_VARINT_BYTES; i++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new ProtobufError("a number ends behind its message");
      const part = byte & 0x7f;
      if (i < 4) low |= part << (7 * i);
      else if (i === 4) {
        low |= (part & 0xf) << 28;
        high = part >> 4;
      } else high |= part << (7 * i - 32);
      if (byte < 0x80) return (high | 0) * HIGH + (low >>> 0);
    }
    throw new ProtobufError("a number is longer than 64 bits");
  }
}
