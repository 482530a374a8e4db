import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { graphemes } from "../../lib/cli/graphemes.ts";

const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });
const wanted = (text: string): string[] => Array.from(segmenter.segment(text), ({ segment }) => segment);

describe("graphemes", () => {
  it("are those of Unicode, however a text falls into pieces", () => {
    const part = fc.oneof(
      fc.string({ unit: "binary", maxLength: 4 }),
      fc.constantFrom(
        "a",
        "é",
        "漢",
        "각",
        "\r",
        "\n",
        "\r\n",
        "\u0301",
        "\u200d",
        "👨‍👩‍👧",
        "🇩🇪",
        "🇩",
        "❤️",
        "क्षि",
        "ᄀ",
        "ᅡ",
        "ᆨ",
      ),
      fc
        .tuple(fc.constantFrom("x", "\u0301", "🇩🇪", "👨‍👩‍👧", "ᄀ", "क्", "\r\n"), fc.nat(200))
        .map(([unit, n]) => unit.repeat(n)),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
        const text = parts.join("");
        expect([...graphemes(text)]).toEqual(wanted(text));
      }),
      { numRuns: 1000 },
    );
  });

  it("are those of Unicode for every character beside others", () => {
    const AT_ONCE = 16;
    for (let code = 0; code <= 0xffff; code += AT_ONCE) {
      const characters = Array.from({ length: AT_ONCE }, (_, i) => String.fromCharCode(code + i));
      for (const beside of ["a", "漢", "가", "é", "\n"]) {
        const text = beside + characters.join(beside) + characters.reverse().join("");
        expect([...graphemes(text)]).toEqual(wanted(text));
      }
    }
  });
});
