import { describe, expect, it } from "vitest";
import { textFault, utf8Fault } from "../../lib/base/text-file.ts";

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

describe("a text file", () => {
  it.each(["", "a", "a\n", "a\n\nb\tc\n", "bj\xc3\xb6rn\n"])("%j is one", (text) => {
    expect(textFault(bytes(text))).toBeNull();
  });

  it.each<[string, number, RegExp]>([
    ["\xef\xbb\xbfa\n", 1, /byte order mark/],
    ["a\nb\r\n", 2, /carriage return/],
    ["a\n\nb\x00c\n", 3, /control character/],
    ["a\x7f\n", 1, /control character/],
    ["a\nbj\xf6rn\nc\xff\n", 2, /not UTF-8/],
    ["a\nb\xe2\x82", 2, /not UTF-8/],
  ])("%j is none, and the line is told", (text, line, reason) => {
    expect(textFault(bytes(text))).toEqual({ line, reason: expect.stringMatching(reason) });
  });

  it("may have any line ends where only its being UTF-8 counts", () => {
    expect(utf8Fault(bytes("\xef\xbb\xbfa\r\nb\x00\n"))).toBeNull();
    expect(utf8Fault(bytes("a\r\nb\xe9\r\n"))).toEqual({ line: 2, reason: expect.stringMatching(/not UTF-8/) });
  });
});
