// The index of names and rooms against plain lists.
import fc from "fast-check";
import { expect, it } from "vitest";
import { EntryIndex, leftRooms, SortedNames } from "../../lib/directory/entry-index.ts";

const letters = fc.array(fc.constantFrom("a", "b", "c", "é", "😀"), { minLength: 1, maxLength: 5 });
const text = letters.map((all) => all.join(""));

it("SortedNames behaves as a sorted list does, whatever comes and goes", () => {
  const step = fc.record({ name: text, adds: fc.boolean(), prefix: text, limit: fc.integer({ min: 1, max: 9 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const names = new SortedNames();
      const model = new Set<string>();
      for (const { name, adds, prefix, limit } of steps) {
        if (adds) names.add(name);
        else names.delete(name);
        if (adds) model.add(name);
        else model.delete(name);
        const expected = [...model].filter((other) => other.startsWith(prefix)).sort();
        expect(names.beginningWith(prefix, limit)).toEqual(expected.slice(0, limit));
      }
      expect(names.beginningWith("", 1000)).toEqual([...model].sort());
    }),
  );
});

it("SortedNames keeps the order over many runs, and forgets all of them", () => {
  const names = new SortedNames();
  const all = Array.from({ length: 5000 }, (_, i) => `n${(i * 7919) % 5000}`);
  for (const name of all) names.add(name);
  expect(names.beginningWith("", 10_000)).toEqual([...all].sort());
  expect(names.beginningWith("n49", 3)).toEqual(["n49", "n490", "n4900"]);
  expect(names.beginningWith("n", 1)).toEqual(["n0"]);
  const sorted = [...all].sort();
  // From within: runs become empty that others stand before and behind.
  while (sorted.length > 2000) {
    for (const name of sorted.splice(1500, 100)) names.delete(name);
    expect(names.beginningWith("", 10_000)).toEqual(sorted);
  }
  for (const name of sorted) names.delete(name);
  expect(names.beginningWith("", 10)).toEqual([]);
});

it("EntryIndex forgets with a client what it has held for it", () => {
  const index = new EntryIndex();
  for (const name of ["b", "a", "c"]) index.set(name, { rooms: ["#Ops", "#ops"], listed: name !== "c" });
  expect(index.members("#OPS")).toEqual(["a", "b", "c"]);
  expect(index.names("", 9)).toEqual(["a", "b"]);
  index.set("c", { rooms: ["#other"], listed: true });
  index.set("a", { rooms: ["#ops"], listed: false });
  expect([index.members("#ops"), index.members("#other")]).toEqual([["a", "b"], ["c"]]);
  expect(index.names("", 9)).toEqual(["b", "c"]);
  for (const name of ["a", "b", "c", "nobody"]) index.delete(name);
  expect([index.members("#ops"), index.members("#other"), index.names("", 9)]).toEqual([[], [], []]);
});

it("an event names the rooms that a client is not in any more", () => {
  const inRooms = (...rooms: string[]) => ({ rooms });
  expect(leftRooms(null, inRooms("#a"))).toEqual({});
  expect(leftRooms(inRooms(), null)).toEqual({});
  expect(leftRooms(inRooms("#A", "#b"), inRooms("#a", "#B"))).toEqual({});
  expect(leftRooms(inRooms("#A", "#b"), inRooms("#b", "#c"))).toEqual({ leftRooms: ["#a"] });
  expect(leftRooms(inRooms("#A", "#b", "#a"), null)).toEqual({ leftRooms: ["#a", "#b"] });
});
