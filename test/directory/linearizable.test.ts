// The search for an order, on which the conformance suite rests: it finds one where there is one, and none where there is none.
import { expect, it } from "vitest";
import { isLinearizable, type Operation } from "./support/linearizable.ts";

type Register = { readonly value: number };

/** A write of a value, or a read that saw one; from one time to another. */
const write = (
  by: string,
  called: number,
  answered: number,
  value: number,
  isUnknown = false,
): Operation<Register> => ({
  sequence: by,
  called,
  answered,
  isUnknown,
  apply: () => ({ value }),
});
const read = (by: string, called: number, answered: number, value: number): Operation<Register> => ({
  sequence: by,
  called,
  answered,
  isUnknown: false,
  apply: (state) => (state.value === value ? state : null),
});

it.each<[string, boolean, Operation<Register>[]]>([
  ["nothing", true, []],
  ["a read of what was written", true, [write("a", 1, 2, 7), read("b", 3, 4, 7)]],
  ["a read of what was not written", false, [write("a", 1, 2, 7), read("b", 3, 4, 8)]],
  ["a read of what was there before", false, [write("a", 1, 2, 7), read("b", 3, 4, 0)]],
  ["a read beside the write sees the old", true, [write("a", 1, 4, 7), read("b", 2, 3, 0)]],
  ["or the new", true, [write("a", 1, 4, 7), read("b", 2, 3, 7)]],
  ["but not the new and then the old", false, [write("a", 1, 9, 7), read("b", 2, 3, 7), read("b", 4, 5, 0)]],
  [
    "two readers that disagree on the order",
    false,
    [write("a", 1, 9, 1), write("b", 1, 9, 2), read("c", 10, 11, 1), read("d", 12, 13, 2)],
  ],
  ["an unknown write that happened", true, [write("a", 1, 2, 7, true), read("b", 5, 6, 7)]],
  ["that did not happen", true, [write("a", 1, 2, 7, true), read("b", 5, 6, 0)]],
  ["that happened late", true, [write("a", 1, 2, 7, true), read("b", 5, 6, 0), read("b", 7, 8, 7)]],
  ["but not twice", false, [write("a", 1, 2, 7, true), read("b", 3, 4, 7), write("c", 5, 6, 8), read("b", 7, 8, 7)]],
  [
    "nor after a later call of its sequence",
    false,
    [write("a", 1, 2, 7, true), write("a", 3, 4, 8), read("b", 5, 6, 8), read("b", 7, 8, 7)],
  ],
  [
    "calls of one sequence keep their order, though they overlap",
    false,
    [write("a", 1, 9, 1), write("a", 2, 9, 2), read("b", 10, 11, 1)],
  ],
])("%s: %s", (_what, isThere, operations) => {
  expect(isLinearizable(operations, { value: 0 })).toBe(isThere);
});
