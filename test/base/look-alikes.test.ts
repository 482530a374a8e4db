// Names that could be read as another are refused, and names that people have are not.
import { describe, expect, it, test } from "vitest";
import { foldIfValid, validateName } from "../../lib/base/names.ts";

describe("a name that looks like one in ASCII", () => {
  it.each([
    ["Cyrillic root", "rооt"],
    ["all Cyrillic", "сосо"],
    ["Greek capitals", "ΑΒΕ"],
    ["dotless i", "ı"],
    ["a ligature that is no compatibility form", "æ"],
  ])("%s is refused", (_, name) => {
    expect(foldIfValid(name)).toBeNull();
    expect(() => validateName(name)).toThrow(/looks like|mixes letters/);
  });

  it("is refused although only its folded form looks so", () => {
    expect(foldIfValid("ВОВ")).toBeNull(); // folded, its first letter looks like no Latin one
  });
});

test("a name that mixes scripts is refused, with the reason", () => {
  expect(() => validateName("bobж")).toThrow(/mixes letters of several scripts/);
  expect(() => validateName("аlice")).toThrow(/mixes letters of several scripts/);
});

describe("names that people have", () => {
  it.each(["Ströhm", "Çağrı2", "Андрей", "Σίσυφος", "李明", "田中さん", "김철수", "नमस्ते", "Łukasz", "ñandú"])(
    "%s is a name",
    (name) => {
      expect(foldIfValid(name)).not.toBeNull();
    },
  );

  it("in ASCII are never compared with each other", () => {
    for (const name of ["l1l", "I1l", "rn", "m", "O0O", "vv"]) expect(foldIfValid(name)).not.toBeNull();
  });
});
