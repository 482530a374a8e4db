import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as edit from "../../../lib/cli/terminal/line.ts";

const at = (text: string, cursor = text.length): edit.Line => ({ text, cursor, cut: "" });
const boundaries = (text: string): number[] => {
  const segments = new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(text);
  return [...Array.from(segments, (s) => s.index), text.length];
};

describe("a line", () => {
  it("takes one grapheme at a time", () => {
    const family = "👨‍👩‍👧";
    expect(edit.backspace(at(`a${family}`)).text).toBe("a");
    expect(edit.backspace(at("e\u0301")).text).toBe("");
    expect(edit.left(at(`x${family}y`, 1 + family.length)).cursor).toBe(1);
    expect(edit.right(at(`${family}y`, 0)).cursor).toBe(family.length);
    expect(edit.del(at(`${family}y`, 0)).text).toBe("y");
  });

  it("moves and cuts by words", () => {
    const line = at("bob  hello world", 11);
    expect(edit.wordLeft(line).cursor).toBe(5);
    expect(edit.wordRight(line).cursor).toBe(16);
    expect(edit.cutWordLeft(line)).toEqual({ text: "bob  world", cursor: 5, cut: "hello " });
    expect(edit.yank(edit.cutWordLeft(line)).text).toBe(line.text);
    expect(edit.cutWordRight(line)).toEqual({ text: "bob  hello ", cursor: 11, cut: "world" });
  });

  it("cuts to the start and the end", () => {
    expect(edit.cutToStart(at("abc", 2))).toEqual({ text: "c", cursor: 0, cut: "ab" });
    expect(edit.cutToEnd(at("abc", 1))).toEqual({ text: "a", cursor: 1, cut: "bc" });
    expect(edit.cutToEnd({ ...at("abc"), cut: "kept" }).cut).toBe("kept");
  });

  it("refuses to grow without bound", () => {
    expect(edit.insert(edit.EMPTY, "x".repeat(edit.LINE_LIMIT))?.text.length).toBe(edit.LINE_LIMIT);
    expect(edit.insert(at("x".repeat(edit.LINE_LIMIT)), "y")).toBeNull();
  });

  it("keeps its cursor between graphemes through any sequence of operations", () => {
    const operations = [
      edit.left,
      edit.right,
      edit.home,
      edit.end,
      edit.wordLeft,
      edit.wordRight,
      edit.backspace,
      edit.del,
      edit.cutToStart,
      edit.cutToEnd,
      edit.cutWordLeft,
      edit.cutWordRight,
      edit.yank,
    ];
    const piece = fc.constantFrom(
      "a",
      " ",
      "漢",
      "👨",
      "\u200d",
      "👩",
      "\u0301",
      "🇩",
      "🇪",
      "\ufe0f",
      "\x1b",
      "\n",
      "각",
      "ᆨ",
    );
    const step = fc.oneof(
      fc.constantFrom(...operations),
      piece.map((p) => (line: edit.Line) => edit.insert(line, p) ?? line),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let line = edit.EMPTY;
        for (const operation of steps) {
          line = operation(line);
          expect(boundaries(line.text)).toContain(line.cursor);
        }
      }),
      { numRuns: 500 },
    );
  });
});
