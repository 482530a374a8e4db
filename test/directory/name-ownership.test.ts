// Which names a key has, and which give way, by the numbers that the documents promise.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { NAMES_PER_KEY, NameOwnership, UNUSED_DAYS } from "../../lib/directory/name-ownership.ts";
import { KEYS } from "./support/entries.ts";

const PROTOCOL = readFileSync(join(import.meta.dirname, "../../docs/PROTOCOL.md"), "utf8");
const promised = (pattern: RegExp) => Number((pattern.exec(PROTOCOL) ?? expect.fail(`no ${pattern}`))[1]);
const [K1, K2, K3] = KEYS as [string, string, string];
const FIRST_DAY = 20_000;
const DAY_MS = 86_400_000;

beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());
const onDay = (day: number) => void vi.setSystemTime((FIRST_DAY + day) * DAY_MS + 1);

describe("the names of a key", () => {
  it("are as many as the protocol's page says", () => {
    expect(NAMES_PER_KEY).toBe(promised(/A key owns at most (\d+) names/));
    expect(UNUSED_DAYS).toBe(promised(/not registered or claimed for (\d+) days gives way/));
    expect([NAMES_PER_KEY, UNUSED_DAYS]).toEqual([64, 90]);
  });

  it("the one that was not used for longest gives way to a further one, but none of the same day", () => {
    const names = new NameOwnership(1000);
    onDay(0);
    for (let i = 0; i < 64; i++) names.bind(`n${i}`, K1);
    names.bind("more", K1);
    expect(names.get("more")).toBeUndefined();
    expect(names.canBind("more", K1)).toBe(false);
    expect(names.canBind("n3", K1)).toBe(true);
    expect(names.canBind("more", K2)).toBe(true);
    onDay(1);
    names.bind("n0", K1); // used again
    names.bind("a", K1);
    names.bind("b", K1);
    expect(names.size).toBe(64);
    for (const gone of ["n1", "n2"]) expect(names.get(gone)).toBeUndefined();
    for (const kept of ["n0", "n3", "a", "b"]) expect(names.get(kept)?.key).toBe(K1);
    names.bind("n1", K2);
    expect(names.get("n1")).toEqual({ folded: "n1", key: K2, day: FIRST_DAY + 1 });
    expect(names.get("n3")?.key).toBe(K1); // another key's name costs this one nothing
  });
});

describe("the room for names", () => {
  it("is there again for a new name once one was not used for 90 days", () => {
    const names = new NameOwnership(2);
    onDay(0);
    names.bind("old", K1);
    onDay(1);
    names.bind("newer", K2);
    for (const day of [1, 89]) {
      onDay(day);
      expect(() => names.bind("third", K3)).toThrow(expect.objectContaining({ code: "full" }));
      expect(() => names.bind("third", K3)).toThrow(/2 names/);
      expect(() => names.checkRoom("old", K1)).not.toThrow();
    }
    onDay(90);
    names.bind("third", K3);
    expect(names.get("old")).toBeUndefined();
    expect(names.get("newer")?.key).toBe(K2);
    expect(() => names.bind("fourth", K3)).toThrow(expect.objectContaining({ code: "full" }));
    expect(names.size).toBe(2);
  });

  it("a name that is used again is as good as new", () => {
    const names = new NameOwnership(2);
    onDay(0);
    names.bind("a", K1);
    names.bind("b", K2);
    onDay(80);
    names.bind("a", K1);
    onDay(100);
    names.bind("c", K3);
    expect([names.get("a")?.key, names.get("b"), names.get("c")?.key]).toEqual([K1, undefined, K3]);
  });

  it("a key with all its names needs no further room", () => {
    const names = new NameOwnership(64);
    onDay(0);
    for (let i = 0; i < 64; i++) names.bind(`n${i}`, K1);
    onDay(1);
    names.bind("more", K1);
    expect(names.size).toBe(64);
    expect(names.get("more")?.key).toBe(K1);
  });
});

it("the same lines in their order give the same names, whoever reads them, and after they were written down anew", () => {
  const line = fc.record({
    folded: fc.nat(12).map((n) => `n${n}`),
    key: fc.constantFrom(K1, K2, K3),
    day: fc.nat(200),
  });
  fc.assert(
    fc.property(fc.array(line, { maxLength: 60, size: "max" }), (lines) => {
      const [one, other] = [new NameOwnership(8), new NameOwnership(8)];
      for (const each of lines) for (const names of [one, other]) names.apply(each);
      expect([...one.lines()]).toEqual([...other.lines()]);
      const again = new NameOwnership(Number.POSITIVE_INFINITY); // as compactNameLog() reads
      for (const each of one.lines()) again.apply(each);
      expect([...again.lines()]).toEqual([...one.lines()]);
    }),
  );
});
