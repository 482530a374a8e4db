// Whom one hears: /ignore, accept, and how a flood looks. Real processes, a real server, a real terminal.

import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { jsonView } from "../../lib/cli/talk/json-view.ts";
import { Bursts } from "../../lib/client/burst.ts";
import { TalkClient } from "../../lib/client/talk-client.ts";
import { User } from "../helpers/cli.ts";
import { commandLine } from "../helpers/command.js";
import type { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

type Event = { readonly type?: string; readonly [field: string]: unknown };

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

/** A user for a test, and a name that nobody had before. */
function userOf(name: string): User {
  const user = users.get(name) ?? new User();
  users.set(name, user);
  return user;
}

async function next(program: Program, type: string): Promise<Event> {
  for (;;) {
    const event: Event = JSON.parse(await program.line());
    if (event.type === type) return event;
  }
}

async function talk(name: string, env: NodeJS.ProcessEnv = {}): Promise<Program> {
  const program = userOf(name).start(["--as", name, "--json", "--server", server.address], env);
  programs.push(program);
  await next(program, "registered");
  return program;
}

const send = (from: string, to: string, text: string, as = from) =>
  userOf(from).run(["send", "--as", as, "--server", server.address, to, text]);

describe("/ignore", () => {
  it("declines what comes, under any name of that key, in the history too; /unignore ends it", async () => {
    await talk("bob");
    const alice = await talk("alice");
    alice.say("/ignore");
    expect(await next(alice, "ignored")).toEqual({ type: "ignored", names: [] });
    alice.say("/ignore Bob");
    expect(await next(alice, "ignored")).toEqual({ type: "ignored", names: ["bob"] });
    for (const name of ["bob", "robert"]) {
      const { code, stderr } = await send("bob", "alice", "psst", name);
      expect([code, stderr]).toEqual([77, expect.stringContaining('"alice" declines the message')]);
    }
    expect((await send("carol", "alice", "hello")).code).toBe(0);
    expect(await next(alice, "message")).toMatchObject({ from: "carol" });
    alice.say("/history");
    const { records } = (await next(alice, "history")) as unknown as { records: Event[] };
    expect(records.map(({ with: name }) => name)).toEqual(["carol"]);
    alice.say("/unignore bob");
    expect(await next(alice, "ignored")).toEqual({ type: "ignored", names: [] });
    expect((await send("bob", "alice", "psst")).code).toBe(0);
    expect(await next(alice, "message")).toMatchObject({ from: "bob", text: "psst" });
    alice.say("/unignore bob");
    expect(await next(alice, "error")).toMatchObject({ code: "usage" });
    alice.say("/ignore bob and carol");
    expect(await next(alice, "error")).toMatchObject({ code: "usage" });
  });

  it("holds for all programs of the user, and for the next", async () => {
    await talk("bea");
    const first = await talk("ann");
    const second = userOf("ann").start(["recv", "--as", "anna", "--json", "--server", server.address]);
    programs.push(second);
    await next(second, "registered");
    first.say("/ignore bea");
    await next(first, "ignored");
    let code: number | null = 0;
    while (code === 0) ({ code } = await send("bea", "anna", "psst")); // the other one looks each second
    expect(code).toBe(77);
    first.say("Exit");
    await first.ended;
    const third = await talk("ann");
    expect((await send("bea", "ann", "psst")).code).toBe(77);
    third.say("/ignore");
    expect(await next(third, "ignored")).toMatchObject({ names: ["bea"] });
  });

  it("acts before the bell; people read whom they ignore", async () => {
    const args = ["--as", "amy", "--server", server.address];
    const env = Object.entries(userOf("amy").env).filter((e): e is [string, string] => e[1] !== undefined);
    const amy = new Pty(...commandLine(args), { env: Object.fromEntries(env) });
    screens.push(amy);
    await amy.shows("you are amy on");
    amy.type("/ignore ben\r");
    await amy.shows("* you ignore ben: what they send is declined");
    expect((await send("ben", "amy", "psst")).code).toBe(77);
    expect(amy.raw).not.toContain("\x07");
    amy.type("/unignore ben\r");
    await amy.shows("* you ignore nobody");
    expect((await send("ben", "amy", "hello")).code).toBe(0);
    await amy.until((s) => s.raw.includes("\x07"));
    await amy.shows("ben: hello");
  });

  it("of a list that cannot be read tells the person", async () => {
    const al = await talk("al");
    al.say("/ignore bo");
    await next(al, "ignored");
    appendFileSync(join(userOf("al").home, "state/ptalk/ignored"), "nonsense\n");
    al.say("/ignore");
    expect(await next(al, "error")).toMatchObject({ code: "bad-config" });
  });
});

describe("accept", () => {
  it("none: nobody", async () => {
    await talk("a1", { PTALK_ACCEPT: "none" });
    expect((await send("b1", "a1", "hello")).code).toBe(77);
  });

  it("known: whom one has met before, and nobody becomes known by trying", async () => {
    const a2 = await talk("a2", { PTALK_ACCEPT: "known" });
    const b2 = await talk("b2");
    for (let i = 0; i < 2; i++) expect((await send("b2", "a2", "hello")).code).toBe(77);
    a2.say("b2 hello");
    await next(b2, "message");
    await next(a2, "delivered");
    expect((await send("b2", "a2", "hello")).code).toBe(0);
    expect(await next(a2, "message")).toMatchObject({ from: "b2" });
  });

  it("attested: nobody for whom no kernel vouches", async () => {
    await talk("a3", { PTALK_ACCEPT: "attested" });
    expect((await send("b3", "a3", "hello")).code).toBe(77);
  });

  it("is checked", async () => {
    const { code, stderr } = await userOf("a4").run(["--as", "a4"], { env: { PTALK_ACCEPT: "friends" } });
    expect([code, stderr]).toEqual([64, expect.stringContaining('PTALK_ACCEPT: expected "all", "attested", "known"')]);
    const { home } = userOf("a4");
    const options = { name: "a4", server: server.address, stateDir: join(home, "state/ptalk") };
    await expect(TalkClient.connect({ ...options, accept: "friends" as "all" })).rejects.toMatchObject({
      subject: "accept",
    });
    await expect(TalkClient.connect({ ...options, fold: true })).rejects.toMatchObject({ subject: "fold" });
  });
});

describe("a flood", () => {
  it("is folded on the screen: what is shown and what is counted is what was sent, and the history has it all", async () => {
    const COUNT = 400;
    const args = ["--as", "fay", "--server", server.address];
    const env = Object.entries(userOf("fay").env).filter((e): e is [string, string] => e[1] !== undefined);
    const fay = new Pty(...commandLine(args), { env: Object.fromEntries(env), columns: 100 });
    screens.push(fay);
    await fay.shows("you are fay on");
    const stateDir = join(userOf("flo").home, "state/ptalk");
    await using flo = await TalkClient.connect({ name: "flo", server: server.address, stateDir });
    const sending = Array.from({ length: COUNT }, (_, n) => flo.send("fay", `number ${n}`, { timeoutMs: 60_000 }));
    const results = await Promise.all(sending);
    expect(results).toHaveLength(COUNT);
    const shown = (): number => fay.lines().filter((line) => / flo: number \d+$/.test(line)).length;
    const folded = (): number =>
      fay
        .lines()
        .map((line) => /^\* (\d+) more messages? from flo/.exec(line)?.[1] ?? "0")
        .reduce((sum, count) => sum + Number(count), 0);
    await fay.until(() => shown() + folded() === COUNT);
    expect(folded()).toBeGreaterThan(COUNT / 2);
    expect(shown()).toBeGreaterThanOrEqual(20);
    const { stdout } = await userOf("fay").run(["history", "--json", "flo"]);
    const texts = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).text);
    expect(texts).toEqual(Array.from({ length: COUNT }, (_, n) => `number ${n}`));
  });

  it("of one sender is not another's", () => {
    const bursts = new Bursts();
    const shown = (key: string, now: number): number => {
      let count = 0;
      while (!bursts.isTooMany(key, now)) count++;
      return count;
    };
    expect(shown("a", 0)).toBe(20);
    expect(shown("b", 0)).toBe(20);
    expect(shown("a", 1000)).toBe(2);
    expect(shown("a", 60_000)).toBe(20);
    bursts.fold("a");
    bursts.fold("a");
    bursts.fold("b");
    expect(bursts.take()).toEqual([
      { from: "a", count: 2 },
      { from: "b", count: 1 },
    ]);
    expect(bursts.take()).toEqual([]);
  });

  it("is an event for programs that have themselves folded for", () => {
    const lines: string[] = [];
    const { write } = process.stdout;
    process.stdout.write = ((text: string) => lines.push(text) > 0) as typeof write;
    try {
      jsonView().folded({ from: "bob", count: 7 });
    } finally {
      process.stdout.write = write;
    }
    expect(lines).toEqual(['{"type":"folded","from":"bob","count":7}\n']);
  });
});
