import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ReplyDecoder, type RespValue } from "../../lib/wire/resp-reply.ts";
import { ReplyWriter } from "../../lib/wire/resp-writer.ts";

/** What a decoder makes of what was written. */
function readBack(write: (out: ReplyWriter) => void): RespValue[] {
  const out = new ReplyWriter(8); // it has to grow
  write(out);
  const decoder = new ReplyDecoder();
  decoder.push(out.bytes());
  const values: RespValue[] = [];
  for (let next = decoder.next(); next !== undefined; next = decoder.next()) values.push(next.value);
  return values;
}

const written = (write: (out: ReplyWriter) => void) => {
  const out = new ReplyWriter(8);
  write(out);
  return out.bytes().toString();
};

describe("texts", () => {
  it.each([
    ["", "$0\r\n\r\n"],
    ["bob", "$3\r\nbob\r\n"],
    ["é", "$2\r\né\r\n"],
    ["\u007f", "$1\r\n\u007f\r\n"],
    ["\u0080", "$2\r\n\u0080\r\n"],
    ["x\r\ny", "$4\r\nx\r\ny\r\n"],
    ["😀", "$4\r\n😀\r\n"],
    [`${"x".repeat(9)}é`, `$11\r\n${"x".repeat(9)}é\r\n`],
  ])("%j", (text, bytes) => expect(written((out) => out.bulk(text))).toBe(bytes));

  it("of any length and any letters, one behind the other, have as many bytes as UTF-8 needs", () => {
    const text = fc.oneof(
      fc.string({ maxLength: 200, unit: "binary-ascii" }),
      fc.string({ maxLength: 200, unit: "grapheme" }),
      fc.integer({ min: 60, max: 70 }).map((length) => "y".repeat(length)),
      fc.integer({ min: 60, max: 70 }).map((length) => `${"y".repeat(length - 1)}é`),
    );
    fc.assert(
      fc.property(fc.array(text, { maxLength: 8 }), (texts) => {
        expect(readBack((out) => texts.map((one) => out.bulk(one)))).toEqual(texts);
        const bytes = texts.map((one) => `$${Buffer.byteLength(one)}\r\n${one}\r\n`).join("");
        expect(written((out) => texts.map((one) => out.bulk(one)))).toBe(bytes);
      }),
    );
  });

  it("taken back leave what was before", () => {
    const out = new ReplyWriter(8);
    out.bulk("before");
    const length = out.length;
    out.bulk("taken back, é");
    out.truncate(length);
    expect(out.bytes().toString()).toBe("$6\r\nbefore\r\n");
    out.clear();
    expect(out.length).toBe(0);
  });
});

describe("numbers", () => {
  it.each([0, 1, 9, 10, 11, 99, 100, 101, 4711, 2 ** 53 - 1, -1, -10])("%d", (value) => {
    expect(written((out) => out.integer(value))).toBe(`:${value}\r\n`);
  });

  it("of elements stand before them", () => {
    for (const count of [0, 1, 9, 10, 26, 99, 100, 1000]) {
      expect(written((out) => out.array(count))).toBe(`*${count}\r\n`);
      expect(written((out) => out.push(count))).toBe(`>${count}\r\n`);
      expect(written((out) => out.map(count, 3))).toBe(`%${count}\r\n`);
      expect(written((out) => out.map(count, 2))).toBe(`*${2 * count}\r\n`);
    }
  });
});

it("nulls and errors are one line each, whatever is in the sentence", () => {
  expect(written((out) => out.null(3))).toBe("_\r\n");
  expect(written((out) => out.null(2))).toBe("$-1\r\n");
  expect(written((out) => out.error("ERR a\r\nb\nc: é"))).toBe("-ERR a b c: é\r\n");
  expect(written((out) => out.simple("OK"))).toBe("+OK\r\n");
});

it("bytes are given away with the memory that they are in", () => {
  const out = new ReplyWriter(8);
  out.bulk("kept");
  const bytes = out.bytes();
  out.detach();
  out.bulk("something else");
  expect(bytes.toString()).toBe("$4\r\nkept\r\n");
});
