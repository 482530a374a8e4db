// `on-message`: the user's own program for each message. Real processes, a real server.

import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { loadConfig, settingOrigins } from "../../lib/cli/config.ts";
import { MessageHook } from "../../lib/cli/talk/hook.ts";
import type { TalkMessage } from "../../lib/client/types.ts";
import { User } from "../helpers/cli.ts";
import { COMMAND, commandLine } from "../helpers/command.js";
import { isRunning } from "../helpers/processes.ts";
import type { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

type Event = { readonly type?: string; readonly [field: string]: unknown };

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "ptalk-hook-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const NOBODY = { user: null, uid: null, attested: null, isUnattestedLogin: false };
const NAMES = ["FROM", "TEXT", "ID", "ROOM", "VERIFIED", "ATTESTED", "SKIPPED"];

function message(text: string, more: Partial<TalkMessage> = {}): TalkMessage {
  const usual = { id: "an-id", from: "bob", at: 0, fingerprint: "SHA256:x", verified: true, auto: false, ...NOBODY };
  const way = { kind: "text", room: null, via: "direct", leftAt: null, again: false } as const;
  return { ...usual, ...way, text, ...more };
}

/** A program that writes what it is told, one file a call, and then does what `then` says. */
function teller(path: string, then = ""): readonly string[] {
  const program = join(path, "teller");
  writeFileSync(
    program,
    `#!/bin/sh\nenv -0 > ${path}/call.$$.new; mv ${path}/call.$$.new ${path}/call.$PTALK_ID\n${then}\n`,
  );
  chmodSync(program, 0o755);
  return [program];
}

async function until(holds: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 30_000;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function told(path: string, id: string): Promise<Record<string, string>> {
  await until(() => existsSync(join(path, `call.${id}`)), `call ${id}`);
  const entries = readFileSync(join(path, `call.${id}`), "utf8")
    .split("\0")
    .filter(Boolean);
  return Object.fromEntries(entries.map((entry) => entry.split(/=(.*)/su, 2)));
}

describe("a hook", () => {
  const failures: string[] = [];
  const hooks: MessageHook[] = [];
  beforeEach(() => failures.splice(0));
  afterEach(() => {
    for (const hook of hooks.splice(0)) hook[Symbol.dispose]();
  });

  function hook(command: readonly string[], limitMs?: number): MessageHook {
    const onFailure = (text: string): void => void failures.push(text);
    const limit = limitMs === undefined ? {} : { limitMs };
    const made = new MessageHook({ command, log: join(dir, "log"), onFailure, ...limit });
    hooks.push(made);
    return made;
  }

  it("is told the message in seven variables, and no other of ours", async () => {
    process.env["PTALK_TIMEOUT"] = "3";
    try {
      hook(teller(dir)).onMessage(message("two\nlines; $(touch x) \0 end", { verified: false }));
      const env = await told(dir, "an-id");
      const ours = Object.keys(env).filter((name) => name.startsWith("PTALK_"));
      expect(ours.sort()).toEqual(NAMES.map((name) => `PTALK_${name}`).sort());
      expect(env).toMatchObject({
        PTALK_FROM: "bob",
        PTALK_TEXT: "two\nlines; $(touch x) \u2400 end",
        PTALK_ID: "an-id",
        PTALK_ROOM: "",
        PTALK_VERIFIED: "0",
        PTALK_ATTESTED: "",
        PTALK_SKIPPED: "0",
      });
      expect(env["PATH"]).toBe(process.env["PATH"]);
    } finally {
      delete process.env["PTALK_TIMEOUT"];
    }
  });

  it("takes the longest text, also one of NULs alone", async () => {
    const one = hook(teller(dir));
    one.onMessage(message("x".repeat(65_536)));
    expect((await told(dir, "an-id"))["PTALK_TEXT"]).toHaveLength(65_536);
    one.onMessage(message("\0".repeat(65_536), { id: "nul" }));
    expect((await told(dir, "nul"))["PTALK_TEXT"]).toMatch(/^\u2400{39000,}$/);
    expect(failures).toEqual([]);
  });

  it("gets its words as they are, reads nothing, and prints into the log", async () => {
    hook(["sh", "-c", 'echo "$0|$1"; cat; echo to stderr >&2', "a b", "$HOME;c"]).onMessage(message("hello"));
    const log = join(dir, "log");
    await until(() => existsSync(log) && readFileSync(log, "utf8").includes("to stderr"), "the log");
    expect(readFileSync(log, "utf8")).toBe("a b|$HOME;c\nto stderr\n");
    expect(statSync(log).mode & 0o777).toBe(0o600);
  });

  it("runs one at a time, ten in a minute, and says how many were left out", async () => {
    const one = hook(["sh", "-c", `mkdir ${dir}/busy || exit 1; echo $PTALK_ID >> ${dir}/ids; rmdir ${dir}/busy`]);
    for (let i = 0; i < 15; i++) one.onMessage(message("hello", { id: String(i) }));
    const ids = (): string[] => (existsSync(`${dir}/ids`) ? readFileSync(`${dir}/ids`, "utf8").trim().split("\n") : []);
    await until(() => ids().length === 10, "ten calls");
    expect(ids()).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    expect(failures).toEqual([]);
  });

  it("tells the next call what was left out since the last", async () => {
    const one = hook(teller(dir));
    for (let i = 0; i < 13; i++) one.onMessage(message("hello", { id: String(i) }));
    const { now: clock } = performance;
    const now = clock.call(performance);
    performance.now = () => now + 61_000;
    try {
      one.onMessage(message("hello", { id: "next" }));
      one.onMessage(message("hello", { id: "after" }));
    } finally {
      performance.now = clock;
    }
    expect((await told(dir, "next"))["PTALK_SKIPPED"]).toBe("3");
    expect((await told(dir, "after"))["PTALK_SKIPPED"]).toBe("0");
  });

  it("that does not end is ended, with all that it started", async () => {
    const one = hook(
      [
        "sh",
        "-c",
        `trap '' TERM; sleep 600 & echo $$ $! > ${dir}/pids.new; mv ${dir}/pids.new ${dir}/pids; wait; wait`,
      ],
      200,
    );
    one.onMessage(message("hello"));
    await until(() => existsSync(`${dir}/pids`), "the program runs");
    const pids = readFileSync(`${dir}/pids`, "utf8").trim().split(" ").map(Number);
    await until(() => failures.length === 1, "it is told of");
    await until(() => !pids.some(isRunning), "none is left");
    expect(failures[0]).toMatch(
      /^on-message: the program was ended by SIGKILL; its output is in .*log\. It is not said again$/,
    );
  });

  it.each([
    [["/nonexistent/program"], /spawn \/nonexistent\/program ENOENT/],
    [["false"], /the program ended with status 1/],
  ])("%j: its failure is said once", async (command, reason) => {
    const one = hook(command);
    one.onMessage(message("hello"));
    await until(() => failures.length === 1, "the failure");
    one.onMessage(message("hello"));
    one.onMessage(message("hello"));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(failures).toEqual([expect.stringMatching(reason)]);
  });

  it("does not run for what programs send", async () => {
    const one = hook(teller(dir));
    one.onMessage(message("an answer", { id: "auto", auto: true }));
    one.onMessage(message("hello"));
    await told(dir, "an-id");
    expect(existsSync(join(dir, "call.auto"))).toBe(false);
  });
});

describe("the setting", () => {
  const load = (user: User, toml: string, env: NodeJS.ProcessEnv = {}) => {
    mkdirSync(join(user.home, "config/ptalk"), { recursive: true });
    writeFileSync(join(user.home, "config/ptalk/config.toml"), toml);
    return loadConfig({}, { ...user.env, ...env }, "/nonexistent");
  };

  it("is never taken from the environment", async () => {
    using user = new User();
    const env = { PTALK_ON_MESSAGE: "evil", PTALK_null: "evil", "PTALK_ON-MESSAGE": "evil" };
    expect((await load(user, "", env)).onMessage).toBeUndefined();
    expect((await load(user, 'on-message = ["notify-send", "a b"]', env)).onMessage).toEqual(["notify-send", "a b"]);
    const origins = await settingOrigins({}, user.env, "/nonexistent");
    expect(origins.find(({ key }) => key === "on-message")).toMatchObject({ value: ["notify-send", "a b"] });
  });

  it.each(["'notify-send'", "[]", "['']", "['./x']", "['bin/x']", "['x', 1]", '["x\\u0000"]'])(
    "%s is none",
    async (value) => {
      using user = new User();
      await expect(load(user, `on-message = ${value}`)).rejects.toMatchObject({ code: "bad-config" });
    },
  );
});

describe("in a conversation", () => {
  let server: Serving;
  const programs: Program[] = [];
  const screens: Pty[] = [];
  const users: User[] = [];
  beforeAll(async () => {
    server = await Serving.start();
  });
  afterEach(async () => {
    for (const screen of screens.splice(0)) {
      screen[Symbol.dispose]();
      await screen.ended;
    }
    for (const program of programs.splice(0)) await program.kill();
    for (const user of users.splice(0)) user[Symbol.dispose]();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  function userWith(onMessage: readonly string[]): User {
    const user = new User();
    users.push(user);
    mkdirSync(join(user.home, "config/ptalk"), { recursive: true });
    const settings = `server = "${server.address}"\non-message = ${JSON.stringify(onMessage)}\n`;
    writeFileSync(join(user.home, "config/ptalk/config.toml"), settings);
    return user;
  }

  async function next(program: Program, type: string): Promise<Event> {
    for (;;) {
      const event: Event = JSON.parse(await program.line());
      if (event.type === type) return event;
    }
  }

  async function talk(user: User, name: string): Promise<Program> {
    const program = user.start(["--as", name, "--json"]);
    programs.push(program);
    await next(program, "registered");
    return program;
  }

  it("one that sleeps and prints changes nothing on the screen, delays nothing, and leaves no zombie", async () => {
    const ann = userWith(["sh", "-c", `echo $$ > ${dir}/pid; echo noise; echo noise >/dev/tty; exec sleep 60`]);
    const env = Object.entries(ann.env).filter((e): e is [string, string] => e[1] !== undefined);
    const screen = new Pty(...commandLine(["--as", "ann"]), { env: Object.fromEntries(env) });
    screens.push(screen);
    await screen.shows("you are ann on");
    const ben = userWith(["true"]);
    for (const text of ["one", "two", "three"]) {
      expect((await ben.run(["send", "--as", "ben", "ann", text])).code).toBe(0);
      await screen.shows(`ben: ${text}`);
    }
    await until(() => existsSync(`${dir}/pid`) && readFileSync(`${dir}/pid`, "utf8") !== "", "the hook runs");
    const pid = Number(readFileSync(`${dir}/pid`, "utf8"));
    await until(() => readFileSync(join(ann.home, "state/ptalk/on-message.log"), "utf8").includes("noise"), "the log");
    expect(screen.lines().join("\n")).not.toContain("noise");
    screen.type("Exit\r");
    expect(await screen.ended).toEqual({ exitCode: 0, signal: 0 });
    await until(() => !isRunning(pid), "it is gone with the conversation");
  });

  it("two that answer each other stop after one round", async () => {
    const answer = [
      "sh",
      "-c",
      `exec ${COMMAND.map((word) => `"${word}"`).join(" ")} send --as "$1" "$PTALK_FROM" "$1 is away"`,
      "sh",
    ];
    const cat = userWith([...answer, "cat"]);
    const dan = userWith([...answer, "dan"]);
    const [c, d] = [await talk(cat, "cat"), await talk(dan, "dan")];
    c.say("dan are you there?");
    expect(await next(d, "message")).toMatchObject({ text: "are you there?", auto: false });
    expect(await next(c, "message")).toMatchObject({ from: "dan", text: "dan is away", auto: true });
    c.say("dan good bye");
    // Had the answer been answered, that would have come first.
    expect(await next(d, "message")).toMatchObject({ text: "good bye", auto: false });
    expect(await next(c, "message")).toMatchObject({ text: "dan is away", auto: true });
  });

  it("its failure is said once, to the person", async () => {
    const eve = userWith(["/nonexistent/program"]);
    const program = eve.start(["--as", "eve"]);
    programs.push(program);
    program.say("/list");
    while (!(await program.line()).startsWith("NAME"));
    const fay = userWith(["true"]);
    for (const text of ["one", "two"]) expect((await fay.run(["send", "--as", "fay", "eve", text])).code).toBe(0);
    while (!(await program.line()).includes("fay: two"));
    await new Promise((resolve) => setTimeout(resolve, 300));
    program.say("Exit");
    const { stderr } = await program.ended;
    expect(stderr.match(/on-message: .*ENOENT/g)).toHaveLength(1);
  });
});
