// The command's sentences: failures, durations, clients.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { seconds } from "../../lib/base/seconds.ts";
import { User } from "../helpers/cli.ts";
import { commandLine } from "../helpers/command.js";
import type { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
let alice: User;
let bob: User;
let inbox: Program;
beforeAll(async () => {
  server = await Serving.start();
  alice = new User({ PTALK_SERVER: server.address, PTALK_NAME: "alice" });
  bob = new User({ PTALK_SERVER: server.address, PTALK_NAME: "bob" });
  inbox = bob.start(["recv", "--json"]);
  await inbox.line();
});
afterAll(async () => {
  await inbox.kill();
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

function definedOf(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((e): e is [string, string] => e[1] !== undefined));
}

it("times have no more digits than anybody reads", () => {
  expect([250, 1_000, 2_965, 9_600, 12_400, 600_000].map(seconds)).toEqual([
    "0.25 s",
    "1 s",
    "3 s",
    "9.6 s",
    "12 s",
    "600 s",
  ]);
});

it("a text that is too long, and a name that is missing, are said as they are", async () => {
  const long = await alice.run(["send", "bob"], { input: "x".repeat(1_000_000) });
  expect(long).toMatchObject({
    code: 65,
    stderr: "ptalk: the message has more than 65536 bytes, which is the limit\n",
  });
  expect(await alice.run(["send", "", "hi"])).toMatchObject({
    code: 64,
    stderr: "ptalk: the name is missing: to whom?\n",
  });
});

it("talk says when the partner is not on", async () => {
  const env = definedOf(alice.env);
  using pty = new Pty(...commandLine(["talk", "nobody"]), { env, columns: 80, rows: 24 });
  await pty.shows("nobody is on as nobody: what you write there fails until somebody is");
  pty.type("/to bob\r");
  await pty.shows("bob>");
  pty.type("/to stranger\r");
  await pty.shows("nobody is on as stranger: what you write there fails until somebody is");
  expect(pty.raw).not.toContain("nobody is on as bob");
});

it("the first contact shows the key, the second one does not", async () => {
  using carol = new User({ PTALK_SERVER: server.address, PTALK_NAME: "carol" });
  const talk = () => carol.run(["talk"], { input: "bob hello\nExit\n" });
  expect((await talk()).stderr).toMatch(
    /first contact with bob: the key is SHA256:\S+ \(to compare: ptalk key verify bob\)/,
  );
  expect((await talk()).stderr).not.toContain("first contact");
});

describe("a dumb terminal", () => {
  it("does not glue what arrives to a line that is half typed", async () => {
    using pty = new Pty(...commandLine([]), {
      env: { ...definedOf(alice.env), TERM: "dumb" },
      columns: 80,
      rows: 24,
    });
    await pty.shows("you are alice");
    pty.type("bob half a li");
    await pty.shows("bob half a li");
    expect(await bob.run(["send", "--as", "bob", "alice", "boo"])).toMatchObject({ code: 0 });
    await pty.shows(/^\d\d:\d\d bob: boo$/);
    pty.type("ne\r");
    let heard: { from: string; text: string };
    do heard = JSON.parse(await inbox.line());
    while (heard.from !== "alice"); // another test's
    expect(heard.text).toBe("half a line");
  });
});
