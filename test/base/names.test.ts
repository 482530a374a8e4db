import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TalkError } from "../../lib/base/errors.ts";
import { foldIfValid, foldName, MAX_FOLD_BYTES, RESERVED_NAMES, validateName } from "../../lib/base/names.ts";
import { NameKey } from "../../lib/directory/shm/name-key.ts";
import { name } from "../directory/support/entries.ts";

const isBad = (text: unknown) => {
  expect(() => validateName(text as string)).toThrow(expect.objectContaining({ code: "bad-name" }));
  expect(foldIfValid(text as string)).toBeNull();
};

describe("names", () => {
  it.each([
    "a",
    "7",
    "Ann",
    "x.y_z-1",
    "ä",
    "日本語",
    "Zoe\u0308",
    "नमस्ते",
    "a".repeat(32),
    "ñ".repeat(16),
    "日".repeat(10),
    "alle",
    "exit1",
  ])("%j is one", (text) => {
    expect(validateName(text)).toBe(foldName(text));
    expect(foldIfValid(text)).toBe(foldName(text));
  });

  it.each(
    [
      ["", ".a", "-a", "_a", "a b", "a/b", "a\n", "a\0", "a\u001b[m", "a@b", "😀", "a\u200d", "a\u202e", "\ud800"],
      ["a".repeat(33), "ñ".repeat(17), "日".repeat(11), "\u0301a", "a\ufe0f", "\u3164", "½", "a²"],
      ["all", "ALL", "List", "exit", "HELP", "ｅｘｉｔ", "eXit", "send", "recv", "Key"],
      [undefined, null, 7, {}, ["a"]],
    ].flat(),
  )("%j is none", (text) => isBad(text));

  it("no command is one, however it is written", () => {
    for (const command of RESERVED_NAMES) {
      isBad(command.toUpperCase());
      isBad([...command].map((letter) => String.fromCodePoint((letter.codePointAt(0) as number) + 0xfee0)).join(""));
    }
  });

  it.each([
    ["Ann", "aNN"],
    ["straße", "STRASSE"],
    ["Σίσυφος", "ΣΊΣΥΦΟΣ"],
    ["Zoe\u0308", "ZOË"],
    ["ﬁn", "FIN"],
    ["Ａbc", "abc"],
    ["K", "k"], // the Kelvin sign
  ])("%j and %j are one user", (a, b) => {
    expect(foldName(a)).toBe(foldName(b));
  });

  it("folding is at rest after one call, for every code point and for random names", () => {
    for (let code = 0; code < 0x110000; code++) {
      if (code >= 0xd800 && code < 0xe000) continue;
      const folded = foldName(String.fromCodePoint(code));
      if (foldName(folded) !== folded) expect.fail(`U+${code.toString(16)}`);
    }
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 12 }), (text) => {
        const folded = foldName(text);
        expect(foldName(folded)).toBe(folded);
        expect(foldName(text.toLowerCase())).toBe(foldName(text.toUpperCase()));
      }),
    );
  });

  it("every string is a name or refused with a reason, and both ways of asking agree", () => {
    const any = fc.oneof(fc.string({ unit: "binary", maxLength: 40 }), fc.string({ maxLength: 34 }), name);
    fc.assert(
      fc.property(any, (text) => {
        let folded: string | null = null;
        try {
          folded = validateName(text);
        } catch (error) {
          if (!(error instanceof TalkError)) throw error;
        }
        expect(foldIfValid(text)).toBe(folded);
        if (folded === null) return;
        expect(Buffer.byteLength(folded)).toBeLessThanOrEqual(MAX_FOLD_BYTES);
        const [a, b] = [new NameKey(1, 2), new NameKey(1, 2)];
        expect(a.set(text)).toBe(true);
        b.setFolded(folded);
        expect([a.hash, a.byteLength, [...a.words.subarray(0, a.wordCount)]]).toEqual([
          b.hash,
          b.byteLength,
          [...b.words.subarray(0, b.wordCount)],
        ]);
      }),
      { numRuns: 3000 },
    );
  });
});
