import fc from "fast-check";
import stringWidth from "fast-string-width";
import { describe, expect, it } from "vitest";
import { escapeControls } from "../../../lib/cli/escape-controls.ts";
import { clip, layOut, MIN_COLUMNS } from "../../../lib/cli/terminal/layout.ts";

const anyText = fc
  .array(fc.constantFrom("a", "b ", "漢", "👨‍👩‍👧", "e\u0301", "🇩🇪", "\x1b", "\n", "\u202e", "…", "각"), {
    maxLength: 60,
  })
  .map((p) => p.join(""));
/** A terminal of any height. */
const WHOLE = Number.POSITIVE_INFINITY;
const boundaries = (text: string): number[] => [
  ...Array.from(new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(text), (s) => s.index),
  text.length,
];

describe("layOut", () => {
  it("breaks before a wide character that does not fit", () => {
    expect(layOut("> ", "abcde漢x", 7, 8, WHOLE).rows).toEqual(["> abcde", "漢x"]);
  });

  it("gives the cursor a row of its own when the line fills the last one", () => {
    expect(layOut("> ", "abcdef", 6, 8, WHOLE)).toEqual({
      rows: ["> abcdef", ""],
      promptLength: 2,
      cursorRow: 1,
      cursorColumn: 0,
      cursorPrefix: "",
    });
    expect(layOut("> ", "abcdef", 5, 8, WHOLE).rows).toEqual(["> abcdef"]);
  });

  it("shows control characters of the line", () => {
    expect(layOut("> ", "a\nb", 2, 20, WHOLE)).toMatchObject({ rows: ["> a^Jb"], cursorColumn: 5 });
  });

  it("leaves out a prompt that is too wide", () => {
    expect(layOut("a-very-long-prompt> ", "hi", 2, 10, WHOLE).rows).toEqual(["hi"]);
  });

  it("loses nothing, fits every row, and keeps the cursor on the screen, for all texts and widths", () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 1, max: 50 }), fc.nat(), (text, columns, pick) => {
        const stops = boundaries(text);
        const cursor = stops[pick % stops.length] as number;
        const width = Math.max(columns, MIN_COLUMNS);
        const { rows, cursorRow, cursorColumn, cursorPrefix } = layOut("> ", text, cursor, columns, WHOLE);
        expect(rows.join("")).toBe(
          `> ${Array.from(new Intl.Segmenter().segment(text), (s) => escapeControls(s.segment)).join("")}`,
        );
        for (const row of rows) expect(stringWidth(row)).toBeLessThanOrEqual(width);
        expect(cursorColumn).toBeLessThan(width);
        expect(stringWidth(cursorPrefix)).toBe(cursorColumn);
        expect(rows[cursorRow]?.startsWith(cursorPrefix)).toBe(true);
        const before = rows.slice(0, cursorRow).join("") + cursorPrefix;
        expect(before).toBe(
          `> ${Array.from(new Intl.Segmenter().segment(text.slice(0, cursor)), (s) => escapeControls(s.segment)).join("")}`,
        );
      }),
      { numRuns: 1000 },
    );
  });
});

describe("clip", () => {
  it("fits, and says when something is missing", () => {
    expect(clip("abcdef", 6)).toBe("abcdef");
    expect(clip("abcdefg", 6)).toBe("abcde…");
    expect(clip("漢漢漢", 4)).toBe("漢…");
    expect(clip("a\x1bb", 10)).toBe("a^[b");
  });
});
