// The checker of kill runs by itself: each kind of violation, in a journal of a few lines. That it finds faults in programs too:
// `npm run test:mailbox -- --plant all`.
import { expect, it } from "vitest";
import { check, type Line, type Rule } from "./check.ts";

const begins = (n: number, id = `id ${n}`): Line => ({ did: "begins", n, id });
const kept = (n: number): Line => ({ did: "kept", n });
const shows = (n: number, again = false, id = `id ${n}`): Line => ({ did: "shows", n, id, again });
const logs = (n: number): Line => ({ did: "logs", id: `id ${n}` });
const receipt = (n: number, state = "delivered"): Line => ({ did: "receipt", id: `id ${n}`, state });
const dies: Line = { did: "dies", who: "recipient", at: "shown" };

const rules = (lines: readonly Line[], remains: readonly string[] | null = []): Rule[] =>
  check(lines, remains).map(({ rule }) => rule);

it("is content with what may happen: killed in between, shown again with the mark, kept without an answer", () => {
  expect(rules([begins(0), kept(0), shows(0), logs(0), receipt(0), begins(1), shows(1), logs(1)])).toEqual([]);
  expect(rules([begins(0), kept(0), shows(0), dies, shows(0, true), logs(0)])).toEqual([]);
  expect(rules([begins(0), dies, begins(0), kept(0), shows(0, true), shows(0, true)])).toEqual([]);
  expect(rules([begins(0), dies])).toEqual([]);
  // The disk did not say in time whether it had been shown.
  const vain: Line = { did: "looks in vain", id: "id 0" };
  expect(rules([begins(0), shows(0), logs(0), dies, vain, shows(0, true), logs(0)])).toEqual([]);
  expect(rules([begins(0), shows(0), logs(0), dies, vain, shows(0), logs(0)])).toEqual([
    "shown though logged",
    "twice",
  ]);
});

it.each([
  ["lost", [begins(0), kept(0)], []],
  ["twice", [begins(0), kept(0), shows(0), dies, shows(0)], []],
  ["twice", [begins(0), begins(0, "other"), shows(0), shows(0, false, "other")], []],
  ["shown though logged", [begins(0), shows(0), logs(0), dies, shows(0, true)], []],
  ["order", [begins(0), begins(1), shows(1), shows(0)], []],
  ["foreign", [shows(0)], []],
  ["receipt", [begins(0), receipt(0)], []],
  ["receipt", [begins(0), shows(0), logs(0), receipt(0, "expired")], []],
  ["left behind", [], ["new/1"]],
  ["stuck", [], null],
] as [Rule, Line[], string[] | null][])("finds %s", (rule, lines, remains) => {
  expect(rules(lines, remains)).toEqual([rule]);
});
