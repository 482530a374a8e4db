// `ptalk talk` on a pipe and at a terminal: real processes, a real server, a real pseudo-terminal.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { COMMAND, commandLine } from "../helpers/command.js";
import type { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

type Event = { readonly type: string; readonly [field: string]: unknown };

let server: Serving;
const users = new Map<string, User>();
const programs: Program[] = [];
const screens: Pty[] = [];

beforeAll(async () => {
  server = await Serving.start();
});
afterEach(async () => {
  for (const screen of screens.splice(0)) {
    screen[Symbol.dispose]();
    await screen.ended;
  }
  for (const program of programs.splice(0)) await program.kill();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of users.values()) user[Symbol.dispose]();
});

function userOf(name: string): User {
  const user = users.get(name) ?? new User();
  users.set(name, user);
  return user;
}

async function talk(name: string, address = server.address): Promise<Program> {
  const program = userOf(name).start(["talk", "--as", name, "--json", "--server", address]);
  programs.push(program);
  expect(await event(program)).toMatchObject({ type: "registered", name });
  return program;
}

interface AtTerminal {
  readonly columns?: number;
  readonly rows?: number;
  readonly peer?: string;
  /** A command that runs the one given as its arguments. */
  readonly wrapper?: readonly string[];
}

function envOf(name: string): Record<string, string> {
  const known = Object.entries(userOf(name).env).filter((e): e is [string, string] => e[1] !== undefined);
  return { ...Object.fromEntries(known), LANG: "C.UTF-8" };
}

async function atTerminal(name: string, { peer, wrapper = [], ...options }: AtTerminal = {}): Promise<Pty> {
  const words = ["--as", name, "--server", server.address, ...(peer === undefined ? [] : [peer])];
  const [file = "", ...args] = [...wrapper, ...COMMAND, ...words];
  const screen = new Pty(file, args, { ...options, env: envOf(name) });
  screens.push(screen);
  await screen.shows(`you are ${name} on`);
  return screen;
}

async function event(program: Program): Promise<Event> {
  return JSON.parse(await program.line());
}

/** The next event of that type; others in between are passed over. */
async function next(program: Program, type: string): Promise<Event> {
  for (;;) {
    const found = await event(program);
    if (found.type === type) return found;
  }
}

describe("on a pipe with --json", () => {
  it("tells everything that happens, in order", async () => {
    const bob = await talk("bob");
    const alice = await talk("alice");
    expect(await next(bob, "peer")).toEqual({ type: "peer", name: "alice", state: "joined" });
    alice.say("bob hello");
    const sent = await event(alice);
    expect(sent).toEqual({ type: "sent", id: expect.any(String), to: "bob", at: expect.stringMatching(/\.\d{3}Z$/) });
    expect(await event(alice)).toEqual({
      type: "delivered",
      id: sent.id,
      to: "bob",
      at: expect.any(String),
      ms: expect.any(Number),
      room: null,
      via: "direct",
    });
    expect(await event(bob)).toMatchObject({
      type: "message",
      id: sent.id,
      from: "alice",
      text: "hello",
      verified: true,
    });
    alice.say("/ALL");
    expect(await event(alice)).toMatchObject({
      type: "all",
      clients: [{ name: expect.any(String) }, { name: expect.any(String) }],
    });
    alice.say("list");
    const { clients } = (await event(alice)) as unknown as { clients: Event[] };
    expect(
      clients
        .filter((c) => c.server === server.address)
        .map((c) => c.name)
        .sort(),
    ).toEqual(["alice", "bob"]);
    alice.say("nobody hi");
    expect(await event(alice)).toMatchObject({ type: "sent", to: "nobody" });
    expect(await event(alice)).toMatchObject({ type: "failed", to: "nobody", code: "no-such-user" });
    alice.say("bob");
    expect(await event(alice)).toMatchObject({ type: "error", code: "usage" });
    alice.say("no/body hi");
    expect(await event(alice)).toMatchObject({ type: "error", code: "bad-name" });
    alice.say("Exit");
    expect(await event(alice)).toEqual({ type: "exit" });
    expect(await alice.ended).toMatchObject({ code: 0 });
    expect(await next(bob, "peer")).toEqual({ type: "peer", name: "alice", state: "left" });
  });

  it("ptalk PEER sends each line to PEER", async () => {
    const bob = await talk("bob");
    const alice = userOf("alice").start(["bob", "--as", "alice", "--json", "--server", server.address]);
    programs.push(alice);
    alice.say("List");
    alice.say("/exit");
    expect(await next(bob, "message")).toMatchObject({ from: "alice", text: "List" });
    expect(await alice.ended).toMatchObject({ code: 0 });
  });

  it("/stats tells what is counted", async () => {
    await talk("bob");
    const alice = await talk("alice");
    alice.say("bob hello");
    await next(alice, "delivered");
    alice.say("nobody hello");
    await next(alice, "failed");
    alice.say("/stats");
    expect(await next(alice, "stats")).toEqual({
      type: "stats",
      server: { isConnected: true, reconnects: 0, roundTripMs: expect.any(Number) },
      directory: expect.objectContaining({ contacts: expect.any(Number) }),
      messages: expect.objectContaining({ delivered: 1, failed: expect.objectContaining({ "no-such-user": 1 }) }),
      peers: expect.objectContaining({ peers: [expect.objectContaining({ name: "bob", delivered: 1 })] }),
    });
  });

  it("a message to several goes to everybody, once, or with a mistake among the names to nobody", async () => {
    const bob = await talk("bob");
    const carol = await talk("carol");
    const alice = await talk("alice");
    alice.say("bob,bad!,carol,worse! hi");
    for (const name of ["bad!", "worse!"]) {
      expect(await next(alice, "error")).toMatchObject({ code: "bad-name", message: expect.stringContaining(name) });
    }
    alice.say("bob,BOB,carol hello");
    alice.say("Exit");
    const sent = [(await next(alice, "sent")).to, (await next(alice, "sent")).to];
    expect(sent).toEqual(["bob", "carol"]);
    expect(await alice.ended).toMatchObject({ code: 0 });
    for (const one of [bob, carol]) {
      expect(await next(one, "message")).toMatchObject({ text: "hello" });
      // Whatever else was sent comes before she leaves. The server tells of a short visit at its end.
      let after = await event(one);
      if (after["state"] === "joined") after = await event(one);
      expect(after).toMatchObject({ type: "peer", name: "alice", state: "left" });
    }
  });

  it("the end of input waits for what is under way", async () => {
    const bob = await talk("bob");
    const alice = await talk("alice");
    const COUNT = 300;
    for (let i = 0; i < COUNT; i++) alice.say(`bob message ${i}`);
    const ended = alice.end();
    for (let i = 0; i < COUNT; i++) expect(await next(bob, "message")).toMatchObject({ text: `message ${i}` });
    let delivered = 0;
    for (let seen = await event(alice); seen.type !== "exit"; seen = await event(alice))
      if (seen.type === "delivered") delivered++;
    expect(delivered).toBe(COUNT);
    expect(await ended).toMatchObject({ code: 0, stderr: "" });
  });

  it("SIGINT is ignored, SIGTERM ends in good order", async () => {
    const bob = await talk("bob");
    // Ignored for the kernel, not caught: proc(5), SigIgn; SIGINT is bit 1.
    const [, ignored = ""] = /^SigIgn:\t([0-9a-f]+)$/m.exec(readFileSync(`/proc/${bob.pid}/status`, "utf8")) ?? [];
    expect(BigInt(`0x${ignored}`) & 2n).toBe(2n);
    for (let i = 0; i < 3; i++) bob.child.kill("SIGINT");
    bob.say("Help");
    bob.say("List");
    expect(await event(bob)).toMatchObject({ type: "list" });
    bob.child.kill("SIGTERM");
    expect(await event(bob)).toEqual({ type: "exit" });
    expect(await bob.ended).toMatchObject({ code: 143 });
  });

  it("a name that is taken is told on stdout and by the status", async () => {
    await talk("bob");
    using other = new User();
    const { code, stdout, stderr } = await other.run(["--as", "bob", "--json", "--server", server.address]);
    expect(code).toBe(73);
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual([{ type: "error", code: "name-taken", message: expect.stringContaining('"bob"') }, { type: "exit" }]);
    expect(JSON.parse(stderr)).toMatchObject({ code: "name-taken" });
  });
});

describe("on a pipe for people", () => {
  it("prints messages and lists on stdout, remarks on stderr", async () => {
    const bob = await talk("bob");
    const alice = userOf("alice").start(["--as", "alice", "--server", server.address]);
    programs.push(alice);
    await next(bob, "peer");
    bob.say("alice hi there");
    expect(await alice.line()).toMatch(/^\d\d:\d\d bob: hi there$/);
    alice.say("all");
    expect(await alice.line()).toMatch(/^NAME +ADDRESS/);
    alice.say("bob bye");
    expect(await next(bob, "message")).toMatchObject({ text: "bye" });
    alice.say("/stats");
    while (!(await alice.line()).startsWith("server     connected, round trip "));
    expect(await alice.line()).toMatch(/^names {6}\d+ known/);
    expect(await alice.line()).toMatch(/^sent {7}[01] delivered/);
    const { code, stderr } = await alice.end();
    expect(code).toBe(0);
    expect(stderr).toMatch(/^ptalk: you are alice on/);
    expect(stderr).toMatch(/ptalk: delivered to bob \(/);
  });
});

describe("when the server goes", () => {
  it("conversations and List go on", async () => {
    const own = await Serving.start();
    const bob = await talk("bob", own.address);
    const alice = await talk("alice", own.address);
    alice.say("bob first");
    await next(bob, "message");
    await own[Symbol.asyncDispose]();
    expect((await next(bob, "server")).state).toMatch(/closing|lost/);
    alice.say("bob second");
    expect(await next(bob, "message")).toMatchObject({ from: "alice", text: "second" });
    const { code, stdout } = await userOf("alice").run(["list", "--json", "--server", own.address]);
    expect(code).toBe(0);
    const names = JSON.parse(stdout)
      .filter((row: Event) => row.server === own.address)
      .map((row: Event) => row.name);
    expect(names.sort()).toEqual(["alice", "bob"]);
  });
});

describe("when the server hangs", () => {
  it("All waits for it, and holds nothing else up", async () => {
    using owner = new User();
    const own = owner.start(["serve", "--listen", "127.0.0.1:0", "--workers", "1"]);
    programs.push(own);
    const [address = ""] = /127\.0\.0\.1:\d+$/.exec(await own.line()) ?? [];
    const bob = await talk("bob", address);
    const alice = await talk("alice", address);
    alice.say("bob first");
    await next(alice, "delivered");
    const workers = execFileSync("ps", ["-o", "pid=", "--ppid", String(own.pid)], { encoding: "utf8" });
    const pids = [own.pid, ...workers.trim().split(/\s+/).map(Number)];
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    try {
      alice.say("All");
      alice.say("List");
      alice.say("bob second");
      const types = [];
      while (types.length < 3) types.push((await event(alice)).type);
      expect(types.sort()).toEqual(["delivered", "list", "sent"]);
      expect(await next(bob, "message")).toMatchObject({ text: "first" });
      expect(await next(bob, "message")).toMatchObject({ text: "second" });
    } finally {
      for (const pid of pids) process.kill(pid, "SIGCONT");
    }
    expect(await next(alice, "all")).toMatchObject({ clients: [{}, {}] });
    own.child.kill("SIGTERM");
    await own.ended;
  });
});

describe("at a terminal", () => {
  it("two people talk, and a half-typed line survives what arrives", async () => {
    const bob = await atTerminal("bob");
    const alice = await atTerminal("alice", { columns: 40 });
    await bob.shows("* alice has joined");
    const half = `bob ${"half typed ".repeat(5)}`;
    alice.type(half);
    await alice.until((s) => s.rows().join("").includes("half typed half typed"));
    bob.type("alice hello 漢字\r");
    await bob.shows(/✓ → alice: hello 漢字 .*m?s$/);
    await alice.shows("bob: hello 漢字");
    alice.type("\r");
    await bob.shows(`alice: ${"half typed ".repeat(5).trimEnd()}`);
    alice.type("list\r");
    await alice.shows(/^NAME +USER +PID/);
    alice.type("/stats\r");
    await alice.shows(/^sent +1 delivered, 0 under way, 0 failed$/);
    await alice.shows(/^ {2}bob: 127\.0\.0\.1:\d+, round trip .*, 1 delivered/);
    alice.type("Exit\r");
    expect(await alice.ended).toEqual({ exitCode: 0, signal: 0 });
    await bob.shows("* alice has left");
  });

  it("with a partner the prompt shows it, and a line goes there as it is", async () => {
    const bob = await talk("bob");
    const carol = await talk("carol");
    const alice = await atTerminal("alice", { peer: "bob" });
    await alice.until((s) => s.cursor().row.trimEnd() === "bob>");
    await alice.shows("* 3 are on; /all lists them");
    alice.type("All of you, hello\r");
    expect(await next(bob, "message")).toMatchObject({ from: "alice", text: "All of you, hello" });
    alice.type("@carol only you\r");
    expect(await next(carol, "message")).toMatchObject({ text: "only you" });
    alice.type("half");
    await alice.until((s) => s.cursor().row === "bob> half");
    carol.say("alice are you there?");
    await alice.shows("carol: are you there?");
    // What arrives changes neither the partner nor the line.
    expect(alice.cursor().row).toBe("bob> half");
    alice.type("\x15/r\r");
    await alice.until((s) => s.cursor().row.trimEnd() === "carol>");
    alice.type("yes\r");
    expect(await next(carol, "message")).toMatchObject({ text: "yes" });
    alice.type("/lst\r");
    await alice.shows('no command "/lst"');
    await alice.until((s) => s.cursor().row === "carol> /lst");
    alice.type("\x15//etc/hosts\r");
    expect(await next(carol, "message")).toMatchObject({ text: "/etc/hosts" });
    alice.type("/to\r");
    await alice.until((s) => s.cursor().row.trimEnd() === ">");
    alice.type("carol the old way\r");
    expect(await next(carol, "message")).toMatchObject({ text: "the old way" });
    alice.type("/exit\r");
    expect(await alice.ended).toEqual({ exitCode: 0, signal: 0 });
  });

  it("Tab knows who is on; Ctrl-C and SIGINT are disabled; Ctrl-D leaves", async () => {
    await talk("bobby");
    const alice = await atTerminal("alice");
    await new Promise((resolve) => setTimeout(resolve, 300)); // the names for Tab come with the first answer of the server
    alice.type("bobb\t");
    await alice.until((s) => s.cursor().row.startsWith("> bobby "));
    alice.type("\x15\x03");
    await alice.shows("Ctrl-C is disabled here");
    process.kill(alice.pid, "SIGINT");
    alice.type("nobody are you there\r");
    await alice.shows("✗ → nobody: are you there");
    await alice.shows('no user "nobody" is on');
    alice.type("\x04");
    expect(await alice.ended).toEqual({ exitCode: 0, signal: 0 });
    expect(alice.raw.endsWith("\x1b[?2004l") || alice.raw.includes("\x1b[?2004l")).toBe(true);
  });

  it("hostile text is shown, not obeyed", async () => {
    const mallory = await talk("mallory");
    const alice = await atTerminal("alice");
    mallory.say("alice \x1b[2J\x1b]0;owned\x07\u202eevil");
    await alice.shows("mallory: ^[[2J^[]0;owned^G<U+202E>evil");
  });

  it("SIGTERM gives the terminal back as it was", async () => {
    const alice = await atTerminal("alice");
    alice.type("half");
    await alice.shows("> half");
    process.kill(alice.pid, "SIGTERM");
    expect(await alice.ended).toMatchObject({ exitCode: 143 });
    // What it wrote last is read and drawn a moment later.
    await alice.until((screen) => !screen.lines().join("\n").includes("> half"));
    await alice.until(({ raw }) => raw.lastIndexOf("\x1b[?2004l") > raw.lastIndexOf("\x1b[?2004h"));
  });

  it("a dumb one gets lines and no control sequences", async () => {
    const bob = await talk("bob");
    const alice = new Pty(...commandLine(["--as", "alice", "--server", server.address]), {
      env: { ...envOf("alice"), TERM: "dumb" },
    });
    screens.push(alice);
    await alice.shows("you are alice on");
    alice.type("bob from a dumb terminal\r");
    expect(await next(bob, "message")).toMatchObject({ text: "from a dumb terminal" });
    await alice.shows("ptalk: delivered to bob");
    bob.say("alice hello");
    await alice.shows("bob: hello");
    alice.type("\x04");
    expect(await alice.ended).toEqual({ exitCode: 0, signal: 0 });
    expect(alice.raw).not.toContain("\x1b");
  });

  it("SIGHUP ends it in good order, and by its own action", async () => {
    const alice = await atTerminal("alice");
    process.kill(alice.pid, "SIGHUP");
    process.kill(alice.pid, "SIGHUP"); // a shell sends another one to its jobs
    expect(await alice.ended).toMatchObject({ signal: constants.signals.SIGHUP });
    expect(alice.raw.lastIndexOf("\x1b[?2004l")).toBeGreaterThan(alice.raw.lastIndexOf("\x1b[?2004h"));
    await nobodyIsOn();
  });

  it("a closed terminal ends it, and is no crash", async () => {
    const alice = await atTerminal("alice");
    alice.type("half");
    await alice.shows("> half");
    alice.hangUp();
    expect(await alice.ended).toMatchObject({ signal: constants.signals.SIGHUP });
    await nobodyIsOn();
  });

  it("a closed terminal that comes without SIGHUP ends it as well", async () => {
    // The leader of the session gets the signal; it passes nothing on.
    const alice = await atTerminal("alice", { wrapper: ["sh", "-c", 'trap "" HUP; "$@" & wait; wait', "sh"] });
    alice.hangUp();
    await alice.ended;
    await nobodyIsOn();
  });

  it.each([
    ["recv", "--as", "alice"],
    ["recv", "--as", "alice", "--json"],
  ])("a closed terminal ends %s %s %s %s too", async (...args) => {
    const alice = new Pty(...commandLine([...args.filter(Boolean), "--server", server.address]), {
      env: envOf("alice"),
    });
    screens.push(alice);
    await alice.shows(server.address);
    alice.hangUp();
    expect(await alice.ended).toMatchObject({ signal: constants.signals.SIGHUP });
    await nobodyIsOn();
  });
});

async function nobodyIsOn(): Promise<void> {
  const { stdout } = await userOf("alice").run(["all", "--json", "--server", server.address]);
  expect(JSON.parse(stdout)).toEqual([]);
}
