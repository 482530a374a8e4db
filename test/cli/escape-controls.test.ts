import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { escapeControls, escapeControlsByLine } from "../../lib/cli/escape-controls.ts";
import { jsonLine } from "../../lib/cli/output.ts";

describe("visible", () => {
  it.each([
    ["\x1b[2J\x07", "^[[2J^G"],
    ["a\x9b31mb", "a<U+009B>31mb"],
    ["\x7f\0\r\n\t", "^?^@^M^J^I"],
    ["abc\u202edef\u2066x", "abc<U+202E>def<U+2066>x"],
    ["a\u200bb\ufeffc\u2060", "a<U+200B>b<U+FEFF>c<U+2060>"],
    ["a\u200db", "a<U+200D>b"],
    ["x\u2028y\u2029", "x<U+2028>y<U+2029>"],
    ["\u3164\u2800", "<U+3164><U+2800>"],
    ["a\u{e0041}\u{e0100}", "a<U+E0041><U+E0100>"],
    ["\ud800x", "\ufffdx"],
  ])("shows %j as %s", (text, shown) => {
    expect(escapeControls(text)).toBe(shown);
  });

  it.each([
    "plain text, naïve e\u0301",
    "漢字 한국어 ไทย हिन्दी",
    "👨‍👩‍👧 👍🏽 🇩🇪 ❤️ 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "می‌خواهم", // Persian is spelt with U+200C
    "क्‍ष",
  ])("leaves %s alone", (text) => {
    expect(escapeControls(text)).toBe(text);
  });

  it("keeps tags that are hidden behind an emoji from staying hidden", () => {
    expect(escapeControls("😀\u{e0068}\u{e0069}")).toContain("<U+E0068><U+E0069>");
  });

  it("shows what smears over other lines", () => {
    expect(escapeControls(`a${"\u0301".repeat(200)}`)).toMatch(/^a(<U\+0301>){200}$/);
  });

  it("lets nothing through that a terminal obeys, whatever it is given", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
        for (const line of escapeControlsByLine(text))
          expect(line).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("escapeControlsByLine", () => {
  it("breaks at newlines only, and widens tabs", () => {
    expect(escapeControlsByLine("a\r\nb\nc\rd\te")).toEqual(["a", "b", "c^Md    e"]);
  });
});

describe("jsonLine", () => {
  it("is the same value to every parser, and nothing to a terminal", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const line = jsonLine({ text });
        expect(line).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]/u);
        expect(JSON.parse(line)).toEqual(JSON.parse(JSON.stringify({ text })));
      }),
    );
  });
});
