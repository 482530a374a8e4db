import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ProtocolError } from "../../lib/wire/protocol-error.ts";
import { encodeCommand } from "../../lib/wire/resp-command.ts";
import { MAX_ARGUMENT_BYTES, MAX_ARGUMENTS, MAX_INLINE_BYTES, MAX_REQUEST_BYTES } from "../../lib/wire/resp-limits.ts";
import { RequestParser } from "../../lib/wire/resp-request.ts";

/** Feeds the chunks one after the other, as a connection does. */
function parse(chunks: readonly Uint8Array[]): string[][] {
  const parser = new RequestParser();
  const requests: string[][] = [];
  let rest: Uint8Array | null = null;
  for (const chunk of chunks) {
    parser.open(rest, chunk);
    while (parser.next()) requests.push(Array.from({ length: parser.count }, (_, i) => parser.text(i)));
    rest = parser.rest();
  }
  return requests;
}

const parseText = (text: string) => parse([Buffer.from(text)]);

describe("requests", () => {
  it("reads arrays of bulk strings, several in one chunk", () => {
    const bytes = Buffer.concat([
      encodeCommand(["LOOKUP", "bob"]),
      encodeCommand(["PING"]),
      encodeCommand(["ECHO", ""]),
    ]);
    expect(parse([bytes])).toEqual([["LOOKUP", "bob"], ["PING"], ["ECHO", ""]]);
  });

  it("reads inline lines as nc sends them, quotes included", () => {
    expect(parseText('PING\nLOOKUP  bob \r\n\r\n\tECHO "two words" x\r\n')).toEqual([
      ["PING"],
      ["LOOKUP", "bob"],
      ["ECHO", "two words", "x"],
    ]);
  });

  it.each([
    [`PING 'a b'`, ["PING", "a b"]],
    [`PING 'it\\'s "so"' x`, ["PING", `it's "so"`, "x"]],
    [`PING "\\n\\r\\t\\b\\a\\x41\\\\\\"\\q"`, ["PING", '\n\r\t\b\u0007A\\"q']],
    [`PING "\\xZZ" '\\n'`, ["PING", "xZZ", "\\n"]],
    [`PING a"b c" "" \\n`, ["PING", "ab c", "", "\\n"]],
  ])("takes %s apart as Redis does", (line, words) => {
    const bytes = Buffer.from(`${line}\r\nCOUNT\n*1\r\n$4\r\nPING\r\n`);
    expect(parse([bytes])).toEqual([words, ["COUNT"], ["PING"]]);
    expect(parse([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual([words, ["COUNT"], ["PING"]]);
    expect(bytes.toString()).toContain(line); // the chunk is its owner's
  });

  it("gives arguments as they came", () => {
    const parser = new RequestParser();
    parser.open(null, Buffer.from([...Buffer.from("*2\r\n$4\r\nECHO\r\n$2\r\n"), 0xff, 0x00, 13, 10]));
    expect(parser.next()).toBe(true);
    expect([...parser.argument(1)]).toEqual([0xff, 0x00]);
  });

  it("skips empty requests", () => expect(parseText("*0\r\n\r\n*-1\r\n*-77\r\nPING\r\n")).toEqual([["PING"]]));

  it("reads the same at every cut, in two and byte by byte", () => {
    const bytes = Buffer.concat([
      encodeCommand(["REGISTER", "bøb", "PORT", 4000]),
      Buffer.from("LOOKUP bob\r\n"),
      encodeCommand(["ECHO", "\r\n*1\r\n$4\r\nPING\r\n"]),
    ]);
    const whole = parse([bytes]);
    expect(whole).toHaveLength(3);
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(parse([bytes.subarray(0, cut), bytes.subarray(cut)])).toEqual(whole);
    }
    expect(parse([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
  });

  it.each([
    ["*1\r\n+PING\r\n", "bulk strings"],
    ["*x\r\n", "digits"],
    ["*\r\n", "digits"],
    ["*-\r\n", "digits"],
    ["*--1\r\n", "digits"],
    ["*1\n", "digits"],
    ["*1\r\n$-1\r\n", "digits"],
    ["*1\r\n$4\r\nPINGxx", "CRLF"],
    ["*1\r\n$4\r\nPINGx", "CRLF"],
    [`*${MAX_ARGUMENTS + 1}\r\n`, "arguments"],
    ["*99999999999999999999\r\n", "length"],
    ["*000000000000001\r\n", "length"],
    [`*1\r\n$${MAX_ARGUMENT_BYTES + 1}\r\n`, "bytes"],
    ["x".repeat(MAX_INLINE_BYTES + 1), "inline"],
    [`${"x ".repeat(MAX_ARGUMENTS + 1)}\n`, "arguments"],
    ['ECHO "open\n', "quotes"],
    ["ECHO 'open\n", "quotes"],
    ['ECHO "a"b\n', "quotes"],
    [`${"'' ".repeat(MAX_ARGUMENTS + 1)}\n`, "arguments"],
    ["\u0016\u0003\u0001 PING\n", "control"],
    ["PING\u0000\n", "control"],
  ])("refuses %j", (text, reason) => {
    expect(() => parseText(text)).toThrow(ProtocolError);
    expect(() => parseText(text)).toThrow(reason);
  });

  it("refuses a request over the bound even if each argument is allowed", () => {
    const bytes = encodeCommand(["ECHO", ...Array.from("abcdefghi", (letter) => letter.repeat(12_000))]);
    expect(bytes.length).toBeGreaterThan(MAX_REQUEST_BYTES);
    expect(() => parse([bytes])).toThrow("too big a request");
    const parts = Array.from({ length: Math.ceil(bytes.length / 1000) }, (_, i) =>
      bytes.subarray(i * 1000, (i + 1) * 1000),
    );
    expect(() => parse(parts)).toThrow("too big a request");
  });

  it("never keeps more than a request's bound, whatever arrives in whatever pieces", () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc
        .constantFrom("*1\r\n", "$4\r\n", "*", "$", "\r\n", "\n", "PING", "*2\r\n$4\r\nECHO\r\n", "9".repeat(9))
        .map((s) => Buffer.from(s)),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (chunks) => {
        const parser = new RequestParser();
        let rest: Uint8Array | null = null;
        try {
          for (const chunk of chunks) {
            parser.open(rest, chunk);
            while (parser.next()) {
              for (let i = 0; i < parser.count; i++) {
                expect(parser.ends[i] as number).toBeGreaterThanOrEqual(parser.starts[i] as number);
              }
            }
            rest = parser.rest();
            expect(rest?.length ?? 0).toBeLessThanOrEqual(MAX_REQUEST_BYTES);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
