// Rooms and files in a real terminal: what a person sees, and in which rows.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type FileNews, progressBar } from "../../lib/cli/files.ts";
import { TalkClient } from "../../lib/index.ts";
import { User } from "../helpers/cli.ts";
import { COMMAND } from "../helpers/command.js";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
let folder: string;
const users: User[] = [];
const screens: Pty[] = [];
const clients: TalkClient[] = [];

beforeAll(async () => {
  server = await Serving.start();
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ptalk-screen-"));
});
afterEach(async () => {
  for (const screen of screens.splice(0)) {
    screen[Symbol.dispose]();
    await screen.ended;
  }
  await Promise.all(clients.splice(0).map((client) => client.close()));
  for (const user of users.splice(0)) user[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});
afterAll(() => server[Symbol.asyncDispose]());

function newUser(): User {
  const user = new User({ PTALK_SERVER: server.address });
  users.push(user);
  return user;
}

interface ScreenOptions {
  readonly columns?: number;
  readonly words?: readonly string[];
  readonly user?: User;
}

/** The program's present folder is one of its own. */
async function atTerminal(
  name: string,
  { columns = 80, words = [], user = newUser() }: ScreenOptions = {},
): Promise<Pty> {
  const cwd = join(folder, name);
  mkdirSync(cwd);
  const known = Object.entries(user.env).filter((e): e is [string, string] => e[1] !== undefined);
  const env = { ...Object.fromEntries(known), LANG: "C.UTF-8" };
  const command = [...COMMAND, "--as", name, ...words];
  const screen = new Pty("/bin/sh", ["-c", 'cd "$1" && shift && exec "$@"', "sh", cwd, ...command], {
    columns,
    rows: 30,
    env,
  });
  screens.push(screen);
  await screen.shows(`you are ${name} on`);
  return screen;
}

async function member(name: string, room: string): Promise<TalkClient> {
  const client = await TalkClient.connect({ name, server: server.address, stateDir: join(newUser().home, "state") });
  clients.push(client);
  client.on("message", () => {});
  await client.join(room);
  return client;
}

const has = (screen: Pty, wanted: RegExp): boolean => screen.lines().some((line) => wanted.test(line));

describe("a room in a terminal", () => {
  it("has its prompt, its members, and names the one of seven that does not have a message", async () => {
    const names = Array.from({ length: 7 }, (_, i) => `member${i}`);
    for (const name of names) await member(name, "#ops");
    const user = newUser();
    const state = join(user.home, "state", "ptalk");
    mkdirSync(state, { recursive: true, mode: 0o700 });
    // What is remembered of one of them is another key.
    const other = Buffer.alloc(32, 7).toString("base64");
    writeFileSync(join(state, "known_peers"), `${server.address}/member3 ${other}\n`);
    const screen = await atTerminal("anna", { user, columns: 120 });
    screen.type("/join #ops\r");
    await screen.shows(/^\* with you in #ops: member0, .*member6$/);
    await screen.until((s) => s.cursor().row.trimEnd() === "#ops>");
    screen.type("/who\r");
    await screen.shows(/^\* 8 are in #ops: /);
    screen.type("the deploy begins\r");
    await screen.shows(/✓ → #ops: the deploy begins 6 of 7; member3: key-mismatch$/);
    await (clients[0] as TalkClient).part("#ops");
    await screen.shows("* member0 has left #ops (7 in it)");
    screen.type("half");
    await screen.until((s) => s.cursor().row === "#ops> half");
    await (clients[1] as TalkClient).send("#ops", "ready here");
    await screen.shows(/^\d\d:\d\d #ops member1: ready here$/);
    expect(screen.cursor().row).toBe("#ops> half");
    screen.type("\x15/part\r");
    await screen.until((s) => s.cursor().row.trimEnd() === ">");
    screen.type("/who\r");
    await screen.shows("which room? Write /who #ROOM");
    screen.type("\x15/who #ops\r");
    await screen.shows(/^\* 6 are in #ops: /);
  });
});

describe("a file between two terminals", () => {
  /** Large enough to be seen on its way; it takes no room on the disk. */
  const SIZE = 512 * 2 ** 20;

  it("is offered, taken, shown on its way at 80 and at 40 columns, and told as done", async () => {
    const bob = await atTerminal("bob", { columns: 40 });
    const alice = await atTerminal("alice", { words: ["bob"] });
    const path = join(folder, "results-of-the-long-run.dat");
    writeFileSync(path, "");
    truncateSync(path, SIZE);
    alice.type(`/file ${path}\r`);
    await bob.until((s) => s.lines().join(" ").includes("/accept 1 takes it, /decline 1 refuses it"));
    bob.type("/accept\r");
    // The name gives way to the bar, the bar to the number.
    await bob.until((s) => s.rows().some((row) => /^results-of-the-\S*…? {2}\[#*-*\] +\d+ %$/.test(row.trimEnd())));
    await alice.until((s) => s.rows().some((row) => /^results-of-the-long-run\.dat {2}\[#*-*\] +\d+ %/.test(row)));
    alice.type("half a line");
    await alice.until((s) => has(s, /^\* delivered results-of-the-long-run\.dat \(536\.9 MB\) to bob/));
    expect(alice.cursor().row).toBe("bob> half a line");
    await bob.until((s) => s.lines().join("").includes("alice sent results-of-the-long-run.dat"));
    await bob.until((s) => !s.rows().some((row) => row.includes("%")));
    expect(existsSync(join(folder, "bob", "results-of-the-long-run.dat"))).toBe(true);
  });

  it("is refused by /decline, and by number where there are several", async () => {
    const bob = await atTerminal("bob2");
    const alice = await atTerminal("alice2", { words: ["bob2"] });
    for (const name of ["one.txt", "two.txt"]) {
      writeFileSync(join(folder, "alice2", name), name);
      alice.type(`/file ${name}\r`);
      await bob.shows(new RegExp(`^\\* alice2\\S* offers ${name} \\(7 bytes\\): `));
    }
    bob.type("/decline\r");
    await bob.shows("which file? There are 1 (one.txt of alice2), 2 (two.txt of alice2)");
    bob.type("\x15/decline 1\r");
    await bob.shows(/^\* one\.txt \(7 bytes\) of alice2\S* is declined$/);
    await alice.shows('* "bob2" declines the file "one.txt"');
    bob.type("/accept\r");
    await bob.shows(/alice2\S* sent two\.txt \(7 bytes\): /);
    await alice.shows("* delivered two.txt (7 bytes) to bob2");
    expect(readFileSync(join(folder, "bob2", "two.txt"), "utf8")).toBe("two.txt");
  });
});

describe("the bar of a file", () => {
  const news: FileNews = {
    ...{
      id: "1",
      state: "progress",
      direction: "in",
      with: "bob",
      name: "report.txt",
      size: 4_800_000,
      done: 1_200_000,
    },
    ...{ sha256: null, path: null, code: null, message: null, verified: true, ms: 100 },
  };

  it("gives up size and speed, its length and the name, in this order", () => {
    expect(progressBar(news, 80)).toBe("report.txt  [######------------------]   25 %  of 4.8 MB  12.0 MB/s");
    expect(progressBar(news, 60)).toBe("report.txt  [######------------------]   25 %");
    expect(progressBar(news, 40)).toBe("report.txt  [##--------]   25 %");
    expect(progressBar({ ...news, done: 4_800_000 }, 30)).toMatch(/^report\S* {2}\[##########\] {2}100 %$/);
    expect(progressBar({ ...news, size: null, done: 0, ms: 0 }, 80)).toBe(
      "report.txt  [------------------------]    0 %  of 0 bytes",
    );
  });

  it.each([20, 40, 60, 80, 200])("fits into %i columns, whatever the name", (columns) => {
    for (const name of ["x".repeat(255), "漢字".repeat(60), "a\x1b[2Jb", "👨‍👩‍👧‍👦".repeat(20), "é"]) {
      const row = progressBar({ ...news, name }, columns);
      expect(row).toMatch(/25 %/);
      expect([...row].some((character) => character < " ")).toBe(false);
    }
  });
});
