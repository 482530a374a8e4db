import { describe, expect, it } from "vitest";
import { parseRecipients, parseTalkInput } from "../../lib/cli/talk/input.ts";

describe("a line of the conversation, without a partner", () => {
  const parse = (line: string) => parseTalkInput(line, null);

  it.each(["All", "all", "ALL", "/all", "/All", "  all  ", "  /all"])("%j is All", (line) => {
    expect(parse(line)).toEqual({ type: "all" });
  });
  it.each([
    ["List", "list"],
    ["/exit", "exit"],
    ["/quit", "exit"],
    ["HELP", "help"],
    ["/r", "reply"],
    ["", "nothing"],
    ["   \t", "nothing"],
    ["\n", "nothing"],
  ])("%j is %s", (line, type) => {
    expect(parse(line)).toEqual({ type });
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
    ["@bob hi", ["bob"], "hi"],
    ["/msg bob hi  there", ["bob"], "hi  there"],
    ["  /msg bob,carol hi", ["bob", "carol"], "hi"],
    ["quit now", ["quit"], "now"],
  ])("%j is a message", (line, to, text) => {
    expect(parse(line)).toEqual({ type: "send", to, text });
  });

  it.each([
    ["/to bob", "bob"],
    ["/TO @bob ", "bob"],
    ["/to", null],
  ])("%j makes %j the partner", (line, name) => {
    expect(parse(line)).toEqual({ type: "to", name });
  });

  it.each([
    ["bob", /no message for "bob"/],
    ["bob   ", /no message/],
    ["/bob hi", /no command "\/bob"/],
    ["all of you", /all is a command/],
    ["/list bob", /is a command/],
    ["bob, hi", /a name is missing/],
    [",bob hi", /a name is missing/],
    ["@ hi", /a name is missing/],
    ["/msg bob", /no message for "bob"/],
    ["/msg", /a name is missing/],
    ["/to bob hi", /takes one name/],
    ["/to no/body", /not a valid name/],
    ["/r see you", /\/r takes no text/],
    ["/a/b", /begins with \/ is written \/\//],
    ["//etc/passwd", /names nobody/],
  ])("%j is a mistake", (line, message) => {
    expect(() => parse(line)).toThrow(message);
  });
});

describe("a line of the conversation, with a partner", () => {
  const parse = (line: string) => parseTalkInput(line, "bob");

  it.each([
    ["hello there", "hello there"],
    ["All", "All"],
    ["exit", "exit"],
    ["carol hi", "carol hi"],
    ["  indented", "  indented"],
    ["one\n/exit", "one\n/exit"],
    ["//etc/passwd", "/etc/passwd"],
    ["@@all", "@all"],
    ["  //x", "/x"],
  ])("%j goes to the partner as %j", (line, text) => {
    expect(parse(line)).toEqual({ type: "send", to: ["bob"], text });
  });

  it.each([
    ["@carol hi", ["carol"], "hi"],
    ["/msg carol hi", ["carol"], "hi"],
  ])("%j goes to somebody else", (line, to, text) => {
    expect(parse(line)).toEqual({ type: "send", to, text });
  });

  it.each([
    ["/list", "list"],
    [" /exit", "exit"],
    ["/help", "help"],
    ["/r", "reply"],
  ])("%j is still a command", (line, type) => {
    expect(parse(line)).toEqual({ type });
  });

  it.each([
    ["/etc/passwd is gone", /is written \/\//],
    ["/lst", /no command "\/lst"/],
    ["/exit\nnow", /is a command/],
    ["@carol", /no message for "carol"/],
  ])("%j goes to nobody", (line, message) => {
    expect(() => parse(line)).toThrow(message);
  });

  it("that is empty is nothing", () => {
    expect(parse(" \n ")).toEqual({ type: "nothing" });
  });
});

it("has a bounded number of recipients", () => {
  expect(() => parseRecipients(Array.from({ length: 101 }, (_, i) => `u${i}`).join(","))).toThrow(/at most 100/);
});
