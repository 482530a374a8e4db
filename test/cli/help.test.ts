// Help: of every command, with examples that its options allow and its own exit statuses; and colours.
import { afterAll, describe, expect, it } from "vitest";
import { COMMANDS } from "../../lib/cli/commands.ts";
import { explained } from "../../lib/cli/help.ts";
import { User } from "../helpers/cli.ts";
import { commandLine } from "../helpers/command.js";
import { Pty } from "../helpers/pty.ts";

const user = new User();
afterAll(() => user[Symbol.dispose]());

it("has examples of every command", () => {
  expect(Object.keys(COMMANDS).filter((name) => !explained.includes(name))).toEqual([]);
});

/** As ptalk(1) has them, in fewer words. */
const MEANINGS = [
  "0 done",
  "64 usage, or a bad setting",
  "65 a name or text that cannot be",
  "67 no such user or process",
  "69 no server, or something is missing here",
  "70 internal error",
  "73 the name is taken",
  "75 not done in time: try again",
  "76 unconfirmed: it may have arrived",
  "77 refused",
];

describe.each(["talk", "send", "serve", "key", "history"])("%s --help", (name) => {
  it("has examples, exit statuses, and no flag in the examples that the command does not have", async () => {
    const { code, stdout } = await user.run([name, "--help"]);
    expect(code).toBe(0);
    const [, options = "", examples = ""] =
      /^([\s\S]*)\nExamples:\n([\s\S]*?)\n\nExit status:\n {2}0 {2,}done/.exec(stdout) ?? [];
    expect(examples).toContain("ptalk ");
    const statuses = [...stdout.matchAll(/^ {2}(\d+) {2,}(\S.*)$/gm)].map(([, status, text]) => `${status} ${text}`);
    expect(statuses).toContain("70 internal error");
    expect(statuses.filter((line) => !MEANINGS.includes(line))).toEqual([]);
    for (const [flag] of examples.matchAll(/--[a-z-]+/g)) expect(options).toContain(flag);
  });
});

it("serve's names no --server, which it refuses", async () => {
  const { stdout } = await user.run(["serve", "--help"]);
  expect(stdout).not.toContain("--server");
  expect(stdout).toContain("--json");
});

it("`help key forget` is the help of key forget", async () => {
  const asked = await user.run(["help", "key", "forget"]);
  expect(asked.stdout).toContain("Usage: ptalk key forget [options] <name>");
  expect(asked.stdout).toContain("Global Options:");
  expect(asked).toEqual(await user.run(["key", "forget", "--help"]));
});

describe.each([24, 34, 60])("on a terminal of %d columns", (columns) => {
  it.each(["talk", "send", "recv", "serve", "key verify", "admin ban"])("%s --help fits", async (words) => {
    const args = [...words.split(" "), "--help"];
    using pty = new Pty(...commandLine(args), { env: { HOME: user.home }, columns });
    await pty.ended;
    const tooLong = pty.raw.split("\r\n").filter((row) => row.length > columns && /\S\s\S/.test(row));
    expect(tooLong).toEqual([]);
    const { stdout } = await user.run(args);
    expect(pty.raw.split(/\s+/)).toEqual(stdout.split(/\s+/)); // all of it, and nothing else
  });
});

describe("--color", () => {
  it("always colours, on a pipe and with NO_COLOR too; never does not", async () => {
    const env = { NO_COLOR: "1" };
    const always = await user.run(["config", "--show-origin", "--color", "always"], { env });
    const never = await user.run(["config", "--show-origin", "--color=never"], { env });
    const auto = await user.run(["config", "--show-origin"]);
    expect(always.stdout).toContain("\x1b[");
    expect(never.stdout).not.toContain("\x1b[");
    expect(auto.stdout).toBe(never.stdout);
  });

  it("refuses other words", async () => {
    const { code, stderr } = await user.run(["config", "--color", "pink"]);
    expect({ code, stderr }).toEqual({
      code: 64,
      stderr: expect.stringContaining('--color: expected auto, always or never, not "pink"'),
    });
  });
});
