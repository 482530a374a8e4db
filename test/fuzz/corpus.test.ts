// Every input that has broken something once is tried again; and each target takes some others, so that it does not rot.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { corpusOf } from "./corpus.ts";
import { bytesOf, edited, pieces } from "./inputs.ts";
import { type Subject, TARGETS } from "./targets.ts";

describe.each(Object.entries(TARGETS))("%s", (name, target) => {
  let subject: Subject<unknown>;
  beforeAll(async () => {
    subject = await target.open();
  });
  afterAll(() => subject.close?.());

  it.each(corpusOf(name))("%s", async (_file, { input }) => {
    await subject.run(input);
  });

  it("takes inputs as they come back from JSON", async () => {
    for (const input of fc.sample(target.inputs, { numRuns: 3, seed: 1 })) {
      await subject.run(JSON.parse(JSON.stringify(input)));
    }
  });
});

describe("inputs", () => {
  it("are cut into pieces that are the whole", () => {
    const bytes = bytesOf("hello world");
    expect(Buffer.concat(pieces(bytes, [3, 3, 500, 0]))).toEqual(bytes);
    expect(pieces(bytes, [])).toEqual([bytes]);
  });

  it("are edited where they say", () => {
    const change = (does: "set" | "flip" | "delete" | "insert" | "repeat" | "cut", at: number, value: number) =>
      edited(bytesOf("abcd"), [{ does, at, value }]).toString("latin1");
    expect(change("set", 1, 120)).toBe("axcd");
    expect(change("flip", 0, 1)).toBe("cbcd");
    expect(change("delete", 1, 1)).toBe("ad");
    expect(change("insert", 4, 33)).toBe("abcd!");
    expect(change("repeat", 1, 2)).toBe("abcbcd");
    expect(change("cut", 2, 0)).toBe("ab");
    expect(change("set", 6, 120)).toBe("axcd");
  });
});
