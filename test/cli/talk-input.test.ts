import { describe, expect, it } from "vitest";
import { parseRecipients, parseTalkInput } from "../../lib/cli/talk/input.ts";

describe("a line of the conversation", () => {
  it.each(["All", "all", "ALL", "/all", "/All", "  all  "])("%j is All", (line) => {
    expect(parseTalkInput(line)).toEqual({ type: "all" });
  });
  it.each([
    ["List", "list"],
    ["/exit", "exit"],
    ["HELP", "help"],
    ["", "nothing"],
    ["   \t", "nothing"],
  ])("%j is %s", (line, type) => {
    expect(parseTalkInput(line)).toEqual({ type });
  });

  it.each<[string, string[], string]>([
    ["bob hello  there ", ["bob"], "hello  there "],
    ["bob\thi", ["bob"], "hi"],
    ["  bob  hi", ["bob"], " hi"],
    ["bob,alice,bob hi", ["bob", "alice"], "hi"],
    ["bob,BOB,Élise,élise hi", ["bob", "Élise"], "hi"],
    ["bob all", ["bob"], "all"],
    ["bob one\ntwo", ["bob"], "one\ntwo"],
    ["Élise 漢字", ["Élise"], "漢字"],
  ])("%j is a message", (line, to, text) => {
    expect(parseTalkInput(line)).toEqual({ type: "send", to, text });
  });

  it.each([
    ["bob", /no message for "bob"/],
    ["bob   ", /no message/],
    ["/bob hi", /no command "\/bob"/],
    ["all of you", /all is a command/],
    ["bob, hi", /a name is missing/],
    [",bob hi", /a name is missing/],
  ])("%j is a mistake", (line, message) => {
    expect(() => parseTalkInput(line)).toThrow(message);
  });

  it("has a bounded number of recipients", () => {
    expect(() => parseRecipients(Array.from({ length: 101 }, (_, i) => `u${i}`).join(","))).toThrow(/at most 100/);
  });
});
