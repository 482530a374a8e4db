// `ptalk history`, /history, and the last lines at the start of a conversation: real processes, a real terminal.

import { spawnSync } from "node:child_process";
import { appendFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { readSince } from "../../lib/cli/since.ts";
import { TalkClient } from "../../lib/client/talk-client.ts";
import { User } from "../helpers/cli.ts";
import { COMMAND, commandLine } from "../helpers/command.js";
import { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

type Event = { readonly type?: string; readonly [field: string]: unknown };

let server: Serving;
/** Of one key each: a name belongs to it. */
const alice = new User();
const bob = new User();
const programs: Program[] = [];
const screens: Pty[] = [];
beforeAll(async () => {
  server = await Serving.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});
beforeEach(() => {
  for (const user of [alice, bob]) rmSync(folderOf(user), { recursive: true, force: true });
});
afterEach(async () => {
  for (const screen of screens.splice(0)) {
    screen[Symbol.dispose]();
    await screen.ended;
  }
  for (const program of programs.splice(0)) await program.kill();
});

const CAN_TRACE = spawnSync("strace", ["-qq", "-o", "/dev/null", "true"]).status === 0;

const folderOf = (user: User): string => join(user.home, "state/ptalk/history");

function start(user: User, ...args: string[]): Program {
  const program = user.start([...args, "--server", server.address]);
  programs.push(program);
  return program;
}

async function next(program: Program, type: string): Promise<Event> {
  for (;;) {
    const event: Event = JSON.parse(await program.line());
    if (event.type === type) return event;
  }
}

async function talk(user: User, name: string): Promise<Program> {
  const program = start(user, "--as", name, "--json");
  await next(program, "registered");
  return program;
}

function atTerminal(user: User, args: readonly string[], more: Record<string, string> = {}): Pty {
  const env = Object.entries({ ...user.env, LANG: "C.UTF-8", ...more });
  const known = env.filter((e): e is [string, string] => e[1] !== undefined);
  const screen = new Pty(...commandLine(args), { env: Object.fromEntries(known) });
  screens.push(screen);
  return screen;
}

/** What an earlier program of the user has left. */
function earlier(user: User, ...lines: (Partial<Record<string, unknown>> | string)[]): void {
  const usual = { at: "2026-11-27T10:00:00.000Z", direction: "in", with: "bob", room: null, id: "1", text: "hello" };
  const rest = { state: "delivered", via: "direct", fingerprint: null };
  mkdirSync(folderOf(user), { recursive: true, mode: 0o700 });
  const text = lines.map((line) => (typeof line === "string" ? line : JSON.stringify({ ...usual, ...rest, ...line })));
  writeFileSync(join(folderOf(user), "alice.host.0123456789abcdef.jsonl"), `${text.join("\n")}\n`);
}

async function textsOf(user: User, ...args: string[]): Promise<unknown[]> {
  const { code, stdout } = await user.run(["history", "--json", ...args]);
  expect(code).toBe(0);
  return stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line).text);
}

describe("ptalk history", () => {
  it("has what was said, on both sides, and what has failed", async () => {
    const b = await talk(bob, "bob");
    const a = await talk(alice, "alice");
    a.say("bob hello");
    const { id } = await next(a, "delivered");
    b.say("alice two\tlines");
    await next(a, "message");
    a.say("nobody there?");
    await next(a, "failed");
    a.say("Exit");
    await a.ended;
    const { stdout, stderr, code } = await alice.run(["history", "--json"]);
    expect([code, stderr]).toEqual([0, ""]);
    const lines = stdout.trim().split("\n");
    expect(lines[0]).toMatch(
      /^\{"at":"[^"]+Z","direction":"out","with":"bob","room":null,"id":"[^"]+","text":"hello","state":"delivered","via":"direct","fingerprint":"SHA256:[^"]+"\}$/,
    );
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ id }),
      expect.objectContaining({ direction: "in", with: "bob", text: "two\tlines", state: "delivered" }),
      expect.objectContaining({ direction: "out", with: "nobody", state: "failed", via: null, fingerprint: null }),
    ]);
    const shown = await alice.run(["history", "BOB"], { env: { LANG: "C.UTF-8" } });
    expect(shown.stdout).toMatch(/^\* \w+day, [\d-]+\n\d\d:\d\d → bob: hello\n\d\d:\d\d bob: two {4}lines\n$/);
    expect((await alice.run(["history"], { env: { LANG: "C", LC_ALL: "C" } })).stdout).toMatch(
      /!! -> nobody: there\?\n$/,
    );
    b.say("Exit");
    await b.ended;
    expect(await textsOf(bob)).toEqual(["hello", "two\tlines"]);
  });

  it("by partner, time and text; what is broken is counted on stderr", async () => {
    earlier(alice, { text: "old" }, { text: "new", at: "2026-11-28T10:00:00.000Z" }, '{"at":"2026-11-28T10:0', {
      text: "another",
      with: "carol",
      at: "2026-11-28T11:00:00.000Z",
    });
    expect(await textsOf(alice, "bob")).toEqual(["old", "new"]);
    expect(await textsOf(alice, "--since", "2026-11-28T00:00:00Z")).toEqual(["new", "another"]);
    expect(await textsOf(alice, "--grep", "^(n|an)")).toEqual(["new", "another"]);
    expect((await alice.run(["history"])).stderr).toBe("ptalk: 1 broken line in the history left out\n");
    expect(await alice.run(["history", "--grep", "("])).toMatchObject({ code: 64 });
    expect(await alice.run(["history", "--since", "soon"])).toMatchObject({ code: 64 });
    expect(await alice.run(["history", "no/body"])).toMatchObject({ code: 65 });
  });

  it("is empty where nothing was said", async () => {
    expect(await alice.run(["history"])).toMatchObject({ code: 0, stdout: "", stderr: "" });
  });

  it("is not written with history = false", async () => {
    const b = await talk(bob, "bob");
    const a = alice.start(["--as", "alice", "--json", "--server", server.address], { PTALK_HISTORY: "false" });
    programs.push(a);
    await next(a, "registered");
    a.say("bob hello");
    await next(a, "delivered");
    a.say("Exit");
    await a.ended;
    expect(() => readdirSync(folderOf(alice))).toThrow("ENOENT");
    b.say("Exit");
    await b.ended;
  });

  it("--follow shows what is said from now on, by programs that begin later too", async () => {
    earlier(alice, { text: "past" });
    const follower = alice.start(["history", "--follow", "--json"]);
    programs.push(follower);
    expect(JSON.parse(await follower.line())).toMatchObject({ text: "past" });
    await talk(bob, "bob");
    const a = await talk(alice, "alice");
    a.say("bob hello");
    expect(JSON.parse(await follower.line())).toMatchObject({ direction: "out", with: "bob", text: "hello" });
    // As it is on a network file system: nobody tells of what another host has written.
    appendFileSync(join(folderOf(alice), "alice.host.0123456789abcdef.jsonl"), "half a line");
    a.say("bob more");
    expect(JSON.parse(await follower.line())).toMatchObject({ text: "more" });
    follower.child.kill("SIGTERM");
    expect(await follower.ended).toMatchObject({ code: 143 });
  });

  it("goes through the pager at a terminal, and is plain where that cannot be run", async () => {
    earlier(alice, { text: "hello" });
    const paged = atTerminal(alice, ["history"], { PAGER: "sed 's/^/paged: /'" });
    await paged.shows(/^paged: \d\d:\d\d bob: hello$/);
    expect(await paged.ended).toEqual({ exitCode: 0, signal: 0 });
    for (const PAGER of ["/nonexistent/pager", "", "cat"]) {
      const unpaged = atTerminal(alice, ["history"], { PAGER });
      await unpaged.shows(/^\d\d:\d\d bob: hello$/);
      expect(await unpaged.ended).toEqual({ exitCode: 0, signal: 0 });
    }
  });

  it.skipIf(!CAN_TRACE)("a disk that answers no sync delays no message", async () => {
    const b = await talk(bob, "bob");
    await alice.run(["key"]); // a new key is synced before it is used
    const hang = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"];
    const inject = ["-e", "inject=fsync,fdatasync:delay_enter=600s"];
    const command = [...COMMAND, "--as", "alice", "--json", "--server", server.address];
    const a = new Program("strace", [...hang, ...inject, ...command], { env: alice.env });
    programs.push(a);
    await next(a, "registered");
    for (const text of ["one", "two", "three"]) {
      a.say(`bob ${text}`);
      await next(a, "delivered");
      expect(await next(b, "message")).toMatchObject({ text });
      b.say(`alice ${text} back`);
      expect(await next(a, "message")).toMatchObject({ text: `${text} back` });
    }
    expect(readdirSync(folderOf(alice))).toHaveLength(1); // it did begin to write
  });

  it("a pager that is left early ends it", async () => {
    earlier(alice, ...Array.from({ length: 5_000 }, (_, n) => ({ text: `${n} ${"x".repeat(100)}` })));
    const paged = atTerminal(alice, ["history"], { PAGER: "head -n 2" });
    expect(await paged.ended).toEqual({ exitCode: 0, signal: 0 });
    expect(paged.lines()).toHaveLength(2);
  });
});

describe("in a conversation", () => {
  it("/history has the last messages, of the partner or of all", async () => {
    earlier(alice, { text: "one" }, { text: "two", with: "carol" }, { text: "three" });
    const a = await talk(alice, "alice");
    a.say("/history");
    const { records } = (await next(a, "history")) as unknown as { records: Event[] };
    expect(records.map(({ text }) => text)).toEqual(["one", "two", "three"]);
    expect(records[0]).toEqual({
      at: "2026-11-27T10:00:00.000Z",
      direction: "in",
      with: "bob",
      room: null,
      id: "1",
      text: "one",
      state: "delivered",
      via: "direct",
      fingerprint: null,
    });
    a.say("/to bob");
    a.say("/history 1");
    expect(await next(a, "history")).toMatchObject({ records: [{ text: "three" }] });
    for (const wrong of ["0", "1001", "many"]) {
      a.say(`/history ${wrong}`);
      expect(await next(a, "error")).toMatchObject({ code: "usage" });
    }
  });

  it("begins with the last lines of the partner, once, without a bell", async () => {
    earlier(alice, ...["1", "2", "3", "4", "5", "6"].map((text) => ({ text })), { text: "hi", with: "carol" });
    const screen = atTerminal(alice, ["bob", "--as", "alice", "--server", server.address], { TZ: "UTC" });
    await screen.shows("10:00 bob: 6");
    const lines = screen.lines();
    const first = lines.indexOf("* Friday, 2026-11-27");
    expect(lines.slice(first, first + 7)).toEqual([
      "* Friday, 2026-11-27",
      ...["2", "3", "4", "5", "6"].map((text) => `10:00 bob: ${text}`),
      expect.stringMatching(/^\* \w+day, /),
    ]);
    expect(screen.raw).not.toContain("\x07");
    screen.type("/to carol\r");
    await screen.shows("10:00 carol: hi");
    screen.type("/to bob\r");
    await screen.until((s) => s.cursor().row.trimEnd() === "bob>");
    screen.type("/history 1\r");
    await screen.until((s) => s.lines().filter((line) => line === "10:00 bob: 6").length === 2);
    expect(screen.lines().filter((line) => line === "10:00 bob: 5")).toHaveLength(1);
  });
});

describe("TalkClient", () => {
  it("keeps and gives what was said", async () => {
    const stateDir = join(alice.home, "state/ptalk");
    const options = { server: server.address, stateDir };
    await using a = await TalkClient.connect({ ...options, name: "alice", history: true });
    const b = await talk(bob, "bob");
    await a.send("bob", "one");
    await a.send("bob", "two");
    await next(b, "message");
    const texts: string[] = [];
    for await (const { text } of a.history({ with: "bob", last: 1 })) texts.push(text);
    expect(texts).toEqual(["two"]);
    const stop = new AbortController();
    const followed: string[] = [];
    for await (const { text } of a.history({ follow: true, signal: stop.signal, since: new Date(0) })) {
      followed.push(text);
      if (text === "two") void a.send("bob", "three");
      if (text === "three") stop.abort();
    }
    expect(followed).toEqual(["one", "two", "three"]);
    for (const [wrong, subject] of [
      [{ last: 0 }, "last"],
      [{ since: Number.NaN }, "since"],
      [{ with: "no/body" }, "with"],
    ] as const) {
      await expect(a.history(wrong).next()).rejects.toMatchObject({ code: "usage", subject });
    }
    await expect(TalkClient.connect({ ...options, name: "x", history: { days: 0 } })).rejects.toMatchObject({
      code: "usage",
      subject: "history",
    });
  });

  it("keeps nothing unless it is told to", async () => {
    const stateDir = join(alice.home, "state/ptalk");
    await using a = await TalkClient.connect({ server: server.address, stateDir, name: "alice" });
    await talk(bob, "bob");
    await a.send("bob", "one");
    for await (const record of a.history()) expect.unreachable(record.text);
  });
});

describe("--since", () => {
  const now = new Date(2026, 10, 28, 15, 0, 0).getTime();
  it.each([
    ["90", now - 90_000],
    ["2h", now - 7_200_000],
    ["7d", now - 7 * 86_400_000],
    ["14:05", new Date(2026, 10, 28, 14, 5).getTime()],
    ["2026-11-27", new Date(2026, 10, 27).getTime()],
    ["2026-11-27 14:05", new Date(2026, 10, 27, 14, 5).getTime()],
    ["2026-11-27T14:05:06", new Date(2026, 10, 27, 14, 5, 6).getTime()],
    ["2026-11-27T14:05:06.789Z", Date.parse("2026-11-27T14:05:06.789Z")],
    ["2026-11-27T14:05+02:00", Date.parse("2026-11-27T12:05Z")],
  ])("%s", (text, at) => {
    expect(readSince(text, now)).toBe(at);
  });
  it.each(["", "soon", "24:00", "12:60", "2026-13-01", "-2h", "2w", "0x10", "2026-11-27 25:00"])("not %j", (text) => {
    expect(() => readSince(text, now)).toThrow("--since");
  });
});
