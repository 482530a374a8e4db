// A message to somebody who is off, at a terminal: what is offered, what each answer does, and that nobody else is asked. Real programs.
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { commandLine } from "../helpers/command.js";
import type { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
let alice: User;
let bob: User;
const screens: Pty[] = [];
const programs: Program[] = [];

beforeAll(async () => {
  server = await Serving.start();
  alice = new User({ PTALK_SERVER: server.address });
  bob = new User({ PTALK_SERVER: server.address });
  await (await on(bob, "bob")).kill(); // the server knows his key
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
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

type Event = { readonly type: string; readonly [field: string]: unknown };
const next = async (program: Program): Promise<Event> => JSON.parse(await program.line());

async function on(user: User, name: string): Promise<Program> {
  const program = user.start(["recv", "--as", name, "--json"]);
  programs.push(program);
  expect(await next(program)).toMatchObject({ type: "registered" });
  return program;
}

/** In good order: to one that was killed, a message goes as long as the session lives. */
async function leaves(program: Program): Promise<void> {
  program.child.kill("SIGTERM");
  await program.ended;
}

async function atTerminal(user: User, ...words: string[]): Promise<Pty> {
  const known = Object.entries(user.env).filter((e): e is [string, string] => e[1] !== undefined);
  const env = { ...Object.fromEntries(known), LANG: "C.UTF-8" };
  const screen = new Pty(...commandLine(["--as", "alice", ...words]), { columns: 120, rows: 40, env });
  screens.push(screen);
  await screen.shows("you are alice on");
  return screen;
}

const textsOf = (events: readonly Event[]): unknown[] => events.map(({ text, via }) => ({ text, via }));

describe("a message to somebody who is off, at a terminal", () => {
  it("has failed, and may wait: the line that is half typed stays, and all that waits comes in order, once", async () => {
    const screen = await atTerminal(alice, "bob");
    screen.type("one\rtwo\r");
    await screen.shows("✗ → bob: two");
    await screen.shows(
      /bob is off: \/wait sends the 2 messages when bob comes, \/leave keeps them at the server, sealed for bob/,
    );
    screen.type("/wait\r");
    await screen.shows("while bob is off, what you write there waits until bob comes; /cancel ends that");
    screen.type("three\rhalf typed");
    await screen.shows("→ bob (waits): three");
    await screen.until((s) => s.cursor().row === "bob> half typed");
    const inbox = await on(bob, "bob");
    const events = [await next(inbox), await next(inbox), await next(inbox)];
    // Over the relay where bob is on and not yet in the host's table, and 100 ms have gone by.
    const via = expect.stringMatching(/^(direct|relay)$/);
    expect(textsOf(events)).toEqual(["one", "two", "three"].map((text) => ({ text, via })));
    await screen.shows(/✓ → bob: three/);
    expect(screen.cursor().row).toBe("bob> half typed");
    // The next one is a message like any other.
    screen.type("\x15four\r");
    expect(await next(inbox)).toMatchObject({ text: "four" });
    await screen.shows(/✓ → bob: four/);
    await leaves(inbox);
    await screen.shows("* bob has left");
    screen.type("five\r");
    await screen.shows("/wait sends the message when bob comes");
  });

  it("may be left, with what is written next, and its receipt comes", async () => {
    const screen = await atTerminal(alice, "bob");
    screen.type("first\r");
    await screen.shows(
      "bob is off: /wait sends the message when bob comes, /leave keeps it at the server, sealed for bob",
    );
    screen.type("/leave\r");
    await screen.shows(/kept for bob until \d{4}-/);
    screen.type("second\r");
    await screen.until((s) => s.lines().filter((line) => line.includes("kept for bob until")).length === 2);
    const inbox = await on(bob, "bob");
    expect(textsOf([await next(inbox), await next(inbox)])).toEqual(
      ["first", "second"].map((text) => ({ text, via: "mailbox" })),
    );
    await screen.until((s) => s.lines().filter((line) => line.includes("* delivered to bob at")).length === 2);
    // He was back: what is written next is asked about again.
    await leaves(inbox);
    await screen.shows("* bob has left");
    screen.type("third\r");
    await screen.until((s) => s.lines().filter((line) => line.includes("bob is off: ")).length === 2);
  });

  it("is given up by /cancel, and by leaving", async () => {
    const screen = await atTerminal(alice);
    screen.type("bob hello\r");
    await screen.shows("bob is off: ");
    screen.type("/wait\r");
    await screen.shows("→ bob (waits): hello");
    screen.type("/cancel\r");
    await screen.shows("you have given it up");
    await screen.shows("what you write to bob fails again while bob is off");
    screen.type("/cancel\r");
    await screen.shows("no message waits for an answer");
    screen.type("\x15/wait bob\r");
    await screen.shows("what you write there waits until bob comes");
    screen.type("bob again\r");
    await screen.shows("→ bob (waits): again");
    screen.type("Exit\r");
    expect(await screen.ended).toEqual({ exitCode: 0, signal: 0 });
    await screen.shows("✗ → bob: again");
    const inbox = await on(bob, "bob");
    expect(await alice.run(["send", "--as", "alice", "bob", "end"])).toMatchObject({ code: 0 });
    expect(await next(inbox)).toMatchObject({ text: "end" });
  });

  it("cannot be left for a name whose key nobody knows: that is said before it is tried", async () => {
    const screen = await atTerminal(alice);
    screen.type("stranger hello\r");
    await screen.shows(
      "stranger is off: /wait sends the message when stranger comes (nothing can be left: no key of stranger is known)",
    );
    screen.type("/leave\r");
    await screen.shows('nothing can be left for "stranger": nobody knows a key of that name');
    // It is offered again, and later messages are not left either.
    await screen.until((s) => s.lines().filter((line) => line.includes("stranger is off: ")).length === 2);
  });

  it("in a room /leave needs a name, and another one than those that wait is said so", async () => {
    const screen = await atTerminal(alice, "#ops");
    await screen.shows("nobody else is in #ops yet");
    screen.type("/leave\r");
    await screen.shows("no message waits for an answer; /part leaves a room");
    screen.type("\x15@bob hello\r");
    await screen.shows("bob is off: ");
    screen.type("/leave\r");
    await screen.shows("whose messages? Write /leave NAME: bob");
    screen.type("\x15/lea\t");
    await screen.until((s) => s.cursor().row === "#ops> /leave");
  });
});

describe("where the server keeps no messages", () => {
  it("only waiting is offered", async () => {
    using owner = new User();
    const other = owner.start(["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--no-mailbox"]);
    programs.push(other);
    const [address = ""] = /127\.0\.0\.1:\d+$/.exec(await other.line()) ?? [];
    const screen = await atTerminal(alice, "--server", address);
    screen.type("bob hello\r");
    await screen.shows(
      "bob is off: /wait sends the message when bob comes (nothing can be left: the server keeps no messages)",
    );
  });
});

describe("pipes and JSON", () => {
  it.each([[[] as string[]], [["--json"]]])("are never asked: %j", async (options) => {
    const program = alice.start(["--as", "alice", ...options]);
    programs.push(program);
    program.say("bob hello");
    program.say("/leave bob");
    program.child.stdin?.end();
    const lines: string[] = [];
    for (
      let line = await program.line().catch(() => null);
      line !== null;
      line = await program.line().catch(() => null)
    )
      lines.push(line);
    const { code, stderr } = await program.ended;
    const all = `${lines.join("\n")}\n${stderr}`;
    expect(all).toContain('no user \\"bob\\" is on'.replaceAll("\\", options.length > 0 ? "\\" : ""));
    expect(all).not.toContain("is off");
    expect(all).toContain("is for a terminal: ptalk send has --wait and --leave");
    expect(code).toBe(0);
  });
});

describe("send --leave", () => {
  it("does not wait for the recipient's return to a server that has just started, and pins the key that it shows", async () => {
    await using own = await Serving.start();
    await own.restart(); // its state is that of its port from now on
    using carol = new User({ PTALK_SERVER: own.address });
    using dave = new User({ PTALK_SERVER: own.address });
    await (await on(carol, "carol")).kill();
    await own.restart();
    // For some seconds a client of the server before this one may be on its way back: a direct message waits for it.
    const direct = dave.run(["send", "--as", "dave", "carol", "direct"]).then(() => "direct");
    const left = dave.run(["send", "--as", "dave", "--leave", "carol", "hello"]);
    expect(await Promise.race([direct, left.then(() => "left")])).toBe("left");
    expect(await left).toMatchObject({ code: 0, stdout: expect.stringMatching(/^kept for carol .*SHA256:/) });
    expect((await dave.run(["key"])).stdout).toContain("carol");
    expect((await dave.run(["send", "--as", "dave", "--leave", "carol", "again"])).stdout).not.toContain("SHA256:");
    await direct;
  });
});
