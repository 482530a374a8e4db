import { describe, expect, it } from "vitest";
import { foldName } from "../../../lib/base/names.ts";
import { complete } from "../../../lib/cli/terminal/completion.ts";
import { History } from "../../../lib/cli/terminal/history.ts";

describe("History", () => {
  it("walks back and forth and returns to what was being written", () => {
    const history = new History();
    for (const line of ["one", "two", "two", "  "]) history.add(line);
    expect([history.older("draft"), history.older("two"), history.older("one")]).toEqual(["two", "one", undefined]);
    expect([history.newer(), history.newer(), history.newer()]).toEqual(["two", "draft", undefined]);
  });

  it("forgets the oldest past its bound", () => {
    const history = new History();
    for (let i = 0; i < 2000; i++) history.add(`line ${i}`);
    let steps = 0;
    while (history.older("") !== undefined) steps++;
    expect(steps).toBe(500);
  });
});

describe("complete", () => {
  const run = (before: string) =>
    complete(before, ["All", "List", "Exit", "Help"], ["alice", "Bob", "bobby", "Élise"], foldName);
  it.each([
    ["ali", "alice "],
    ["/l", "/List "],
    ["alice,él", "alice,Élise "],
    ["BOBB", "bobby "],
    ["e", "Exit "],
  ])("completes %s to %s", (before, after) => {
    expect(run(before)).toEqual({ before: after, choices: [] });
  });

  it("offers what fits when it is not clear, and completes the common start", () => {
    expect(run("b")).toEqual({ before: "bob", choices: ["Bob", "bobby"] });
    expect(run("al")).toEqual({ before: "al", choices: ["All", "alice"] });
    expect(run("alice,al")).toEqual({ before: "alice,alice ", choices: [] });
  });

  it("leaves the message alone", () => {
    expect(run("alice bo")).toEqual({ choices: [] });
    expect(run("zz")).toEqual({ choices: [] });
  });
});
