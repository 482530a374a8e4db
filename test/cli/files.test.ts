// `ptalk send --file` and `ptalk recv --files` between real processes: what arrives, under which name, and what the status promises.

import { execFileSync, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { TalkClient } from "../../lib/index.ts";
import { User } from "../helpers/cli.ts";
import { COMMAND, commandLine } from "../helpers/command.js";
import { whyNoPrivateShm } from "../helpers/privileges.ts";
import { Program } from "../helpers/program.ts";
import { Serving } from "../helpers/serving.ts";

const MIB = 2 ** 20;

let server: Serving;
let alice: User;
let bob: User;
let folder: string;
let inbox: string;
const running: Program[] = [];

beforeAll(async () => {
  server = await Serving.start();
  const PTALK_SERVER = server.address;
  alice = new User({ PTALK_SERVER });
  bob = new User({ PTALK_SERVER });
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ptalk-files-"));
  inbox = join(folder, "in");
  mkdirSync(inbox);
});
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill();
  rmSync(folder, { recursive: true, force: true });
  rmSync(partsFolder(), { recursive: true, force: true });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

type Event = { readonly type: string; readonly [field: string]: unknown };

function fileOf(name: string, content: Buffer | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const sha256 = (content: Buffer | string): string => createHash("sha256").update(content).digest("hex");
const partsFolder = (): string => join(bob.home, "state", "ptalk", "parts");
const parts = (): string[] => (existsSync(partsFolder()) ? readdirSync(partsFolder()) : []);

async function receiver(...args: string[]): Promise<Program> {
  const program = bob.start(["recv", "--as", "bob", "--json", ...args]);
  running.push(program);
  expect(JSON.parse(await program.line())).toMatchObject({ type: "registered" });
  return program;
}

async function nextFile(program: Program, state: string): Promise<Event> {
  for (;;) {
    const event = JSON.parse(await program.line()) as Event;
    if (event.type === "file" && event.state === state) return event;
  }
}

const send = (path: string, ...args: string[]) => alice.run(["send", "--as", "alice", "--file", path, ...args, "bob"]);

describe("a file that is sent", () => {
  it("is whole, under its name, readable as the umask says, and both sides have said so", async () => {
    const content = randomBytes(3 * MIB + 12_345);
    const path = fileOf("report.pdf", content);
    const recv = await receiver("--files", inbox, "--count", "1");
    const sent = await send(path, "--json");
    expect(sent).toMatchObject({ code: 0, stderr: "" });
    const events = sent.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Event);
    const id = events[0]?.id;
    const all = {
      type: "file",
      id,
      to: "bob",
      name: "report.pdf",
      size: content.length,
      sha256: sha256(content),
      path,
    };
    expect(events[0]).toEqual({ ...all, state: "offered", done: 0, code: null });
    expect(events.at(-1)).toEqual({ ...all, state: "done", done: content.length, code: null });
    expect(Object.keys(events[0] ?? {})).toEqual([
      "type",
      "id",
      "state",
      "to",
      "name",
      "size",
      "done",
      "sha256",
      "path",
      "code",
    ]);
    const placed = join(inbox, "report.pdf");
    const { to: _, ...received } = all;
    expect(await nextFile(recv, "offered")).toEqual({
      ...received,
      from: "alice",
      path: null,
      state: "offered",
      done: 0,
      code: null,
    });
    expect(await nextFile(recv, "done")).toEqual({
      ...received,
      from: "alice",
      path: placed,
      state: "done",
      done: content.length,
      code: null,
    });
    expect(await recv.ended).toMatchObject({ code: 0 });
    expect(readFileSync(placed).equals(content)).toBe(true);
    expect(statSync(placed).mode & 0o7777).toBe(0o666 & ~process.umask());
    expect(parts()).toEqual([]);
  });

  it("is said in words without --json", async () => {
    const path = fileOf("a.txt", "hello");
    const recv = bob.start(["recv", "--as", "bob", "--files", inbox, "--count", "1"]);
    running.push(recv);
    let sent = await send(path);
    for (let i = 0; sent.code === 67 && i < 50; i++) sent = await send(path); // it is not on yet
    expect(sent).toMatchObject({ code: 0, stdout: expect.stringMatching(/^delivered a\.txt \(5 bytes\) to bob \(/) });
    expect(await recv.line()).toBe(`alice sent a.txt (5 bytes): ${join(inbox, "a.txt")}`);
  });

  it("does not take the place of another: it is called name (2)", async () => {
    const path = fileOf("notes", "second");
    writeFileSync(join(inbox, "notes"), "first");
    await receiver("--files", inbox);
    expect(await send(path)).toMatchObject({ code: 0 });
    expect(await send(path)).toMatchObject({ code: 0 });
    expect(readFileSync(join(inbox, "notes"), "utf8")).toBe("first");
    expect(readFileSync(join(inbox, "notes (2)"), "utf8")).toBe("second");
    expect(readFileSync(join(inbox, "notes (3)"), "utf8")).toBe("second");
  });

  it("may be empty", async () => {
    const path = fileOf("empty", "");
    await receiver("--files", inbox);
    expect(await send(path)).toMatchObject({ code: 0 });
    expect(statSync(join(inbox, "empty")).size).toBe(0);
  });

  it("has a name that does no harm", async () => {
    await receiver("--files", inbox);
    const names = { "-rf": "_rf", ".bashrc": "_bashrc", "a\x1b[31m\nb": "a_[31m_b", "\u202egnp.exe": "_gnp.exe" };
    for (const [name, safe] of Object.entries(names)) {
      expect(await send(fileOf(name, name))).toMatchObject({ code: 0 });
      expect(readFileSync(join(inbox, safe), "utf8")).toBe(name);
    }
    expect(readdirSync(inbox).sort()).toEqual(Object.values(names).sort());
  });

  it("counts like a message", async () => {
    const recv = await receiver("--files", inbox, "--count", "2");
    expect(await send(fileOf("one", "1"))).toMatchObject({ code: 0 });
    expect(await alice.run(["send", "--as", "alice", "bob", "two"])).toMatchObject({ code: 0 });
    expect(await recv.ended).toMatchObject({ code: 0 });
  });

  it("goes to several, and with a text before it", async () => {
    const path = fileOf("both", "both");
    const recv = await receiver("--files", inbox, "--count", "2");
    const sent = await alice.run(["send", "--as", "alice", "--file", path, "bob,nobody-here", "look", "at", "this"]);
    expect(sent).toMatchObject({ code: 67 });
    expect(JSON.parse(await recv.line())).toMatchObject({ type: "message", text: "look at this" });
    expect(await send(path)).toMatchObject({ code: 0 });
    expect(await recv.ended).toMatchObject({ code: 0 });
  });
});

describe("a file that is not sent", () => {
  it.each([
    ["a folder", () => folder],
    ["a device", () => "/dev/zero"],
    ["nothing", () => join(folder, "nothing")],
    [
      "a FIFO without a writer",
      () => {
        spawnSync("mkfifo", [join(folder, "fifo")]);
        return join(folder, "fifo");
      },
    ],
  ])("is none: %s", async (_what, path) => {
    await receiver("--files", inbox);
    expect(await send(path())).toMatchObject({ code: 65 });
    expect(readdirSync(inbox)).toEqual([]);
  });

  it("is declined by a program that takes none, 77", async () => {
    await receiver();
    const sent = await send(fileOf("x", "x"), "--json");
    expect(sent).toMatchObject({ code: 77 });
    expect(JSON.parse(sent.stdout.trim())).toMatchObject({ type: "file", state: "declined", code: "declined" });
  });

  it("is declined of a sender that nobody can verify, unless anyone's are taken", async () => {
    using owner = new User();
    const own = owner.start(["serve", "--listen", "127.0.0.1:0", "--workers", "1"]);
    running.push(own);
    const [address = ""] = /127\.0\.0\.1:\d+$/.exec(await own.line()) ?? [];
    for (const [name, from] of [
      ["careful", "verified"],
      ["trusting", "anyone"],
    ] as const) {
      const args = ["recv", "--as", name, "--json", "--files", inbox, "--files-from", from, "--server", address];
      const program = bob.start(args);
      running.push(program);
      expect(JSON.parse(await program.line())).toMatchObject({ type: "registered" });
    }
    await using eve = await TalkClient.connect({
      name: "eve",
      server: address,
      stateDir: join(folder, "eve"),
      register: "never",
    });
    for (const name of ["careful", "trusting"]) expect(await eve.lookup(name)).not.toBeNull();
    // The server does not say whose the name is, and nobody has met her.
    const workers = execFileSync("ps", ["-o", "pid=", "--ppid", String(own.pid)], { encoding: "utf8" });
    const pids = [own.pid, ...workers.trim().split(/\s+/).map(Number)];
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    try {
      const path = fileOf("x", "x");
      await expect(eve.sendFile("careful", path)).rejects.toMatchObject({
        code: "declined",
        message: expect.stringContaining("verified senders only"),
      });
      expect(readdirSync(inbox)).toEqual([]);
      await eve.sendFile("trusting", path);
      expect(readdirSync(inbox)).toEqual(["x"]);
    } finally {
      for (const pid of pids) process.kill(pid, "SIGCONT");
    }
  });

  it("is declined where it is too large, 77", async () => {
    await receiver("--files", inbox, "--max-size", "1K");
    expect(await send(fileOf("x", Buffer.alloc(1024)))).toMatchObject({ code: 0 });
    const sent = await send(fileOf("y", Buffer.alloc(1025)));
    expect(sent).toMatchObject({ code: 77, stderr: expect.stringContaining("at most 1024 bytes") });
    expect(readdirSync(inbox)).toEqual(["x"]);
  });

  it("has no such receiver, 67", async () => {
    expect(await send(fileOf("x", "x"))).toMatchObject({ code: 67 });
  });

  it("changes while it is sent, 75: nothing of it gets a name", async () => {
    const path = fileOf("log", randomBytes(48 * MIB));
    const recv = await receiver("--files", inbox);
    const sending = alice.start(["send", "--as", "alice", "--file", path, "--json", "bob"]);
    running.push(sending);
    await nextFile(sending, "progress");
    appendFileSync(path, "more");
    expect(await nextFile(sending, "failed")).toMatchObject({ code: "not-delivered" });
    expect(await sending.ended).toMatchObject({ code: 75 });
    expect(await nextFile(recv, "failed")).toMatchObject({ path: null });
    expect(readdirSync(inbox)).toEqual([]);
  });

  it("finds a folder that is none, 64", async () => {
    const recv = await bob.run(["recv", "--as", "bob", "--files", join(folder, "nix")]);
    expect(recv).toMatchObject({ code: 64, stderr: expect.stringContaining("is no folder") });
  });
});

describe("a transfer that breaks off", () => {
  const big = (): string => fileOf("big", randomBytes(64 * MIB));

  async function begun(path: string): Promise<Program> {
    const sending = alice.start(["send", "--as", "alice", "--file", path, "--json", "bob"]);
    running.push(sending);
    await nextFile(sending, "progress");
    return sending;
  }

  it("goes on where it was when the receiver was killed", async () => {
    const path = big();
    const first = await receiver("--files", inbox);
    const sending = await begun(path);
    await first.kill();
    expect(readdirSync(inbox)).toEqual([]);
    await sending.kill();
    await receiver("--files", inbox);
    const again = await send(path, "--json");
    expect(again).toMatchObject({ code: 0 });
    const accepted = again.stdout.split("\n").find((line) => line.includes('"accepted"'));
    expect((JSON.parse(accepted ?? "") as Event).done).toBeGreaterThan(0);
    expect(readFileSync(join(inbox, "big")).equals(readFileSync(path))).toBe(true);
    expect(parts()).toEqual([]);
  });

  it("goes on where it was when the sender was killed, at the same receiver", async () => {
    const path = big();
    await receiver("--files", inbox);
    const sending = await begun(path);
    await sending.kill();
    const again = await send(path, "--json");
    expect(again).toMatchObject({ code: 0 });
    const accepted = again.stdout.split("\n").find((line) => line.includes('"accepted"'));
    expect((JSON.parse(accepted ?? "") as Event).done).toBeGreaterThan(0);
    expect(readFileSync(join(inbox, "big")).equals(readFileSync(path))).toBe(true);
  });

  it("begins anew where the kept part has changed", async () => {
    const path = big();
    const first = await receiver("--files", inbox);
    await (await begun(path)).kill();
    await first.kill();
    const [name = ""] = parts();
    const part = readFileSync(join(partsFolder(), name));
    expect(statSync(join(partsFolder(), name)).mode & 0o7777).toBe(0o600);
    part[1000] = (part[1000] ?? 0) ^ 1;
    writeFileSync(join(partsFolder(), name), part);
    await receiver("--files", inbox);
    expect(await send(path)).toMatchObject({ code: 0 });
    expect(readFileSync(join(inbox, "big")).equals(readFileSync(path))).toBe(true);
  });

  it.each([
    ["a symbolic link", (part: string, victim: string) => symlinkSync(victim, part)],
    ["a second name of another file", (part: string, victim: string) => linkSync(victim, part)],
  ])("is not led to another file by %s", async (_what, plant) => {
    const path = big();
    const first = await receiver("--files", inbox);
    await (await begun(path)).kill();
    await first.kill();
    const [name = ""] = parts();
    rmSync(join(partsFolder(), name));
    const victim = join(bob.home, "victim");
    writeFileSync(victim, "mine");
    plant(join(partsFolder(), name), victim);
    await receiver("--files", inbox);
    expect(await send(path)).toMatchObject({ code: 0 });
    expect(readFileSync(victim, "utf8")).toBe("mine");
    rmSync(victim);
  });
});

describe("in a conversation", () => {
  const talk = (user: User, name: string, cwd: string): Program => {
    const program = new Program(...commandLine(["talk", "--as", name, "--json"]), { env: user.env, cwd });
    running.push(program);
    return program;
  };
  async function next(program: Program, type: string): Promise<Event> {
    for (;;) {
      const event = JSON.parse(await program.line()) as Event;
      if (event.type === type) return event;
    }
  }

  it("/file offers a file to the partner, /accept takes it into the present folder, /decline refuses it", async () => {
    const [ann, ben] = [talk(alice, "ann", folder), talk(bob, "ben", inbox)];
    await next(ann, "registered");
    await next(ben, "registered");
    fileOf("plan.txt", "the plan");
    ann.say("/file plan.txt");
    expect(await next(ann, "error")).toMatchObject({ code: "usage", message: expect.stringContaining("to whom?") });
    ann.say("/to ben");
    ann.say("/file plan.txt");
    await nextFile(ann, "offered");
    expect(await nextFile(ben, "offered")).toMatchObject({ from: "ann", name: "plan.txt", size: 8 });
    ben.say("/accept");
    expect(await nextFile(ben, "done")).toMatchObject({ path: join(inbox, "plan.txt") });
    expect(await nextFile(ann, "done")).toMatchObject({ to: "ben", done: 8 });
    ann.say("/file plan.txt");
    ann.say("/file plan.txt");
    const { id } = await nextFile(ben, "offered");
    await nextFile(ben, "offered");
    ben.say("/decline");
    expect(await next(ben, "error")).toMatchObject({
      message: expect.stringMatching(/which file\? There are 2 .*, 3/),
    });
    ben.say(`/decline ${String(id).slice(0, 8)}`);
    expect(await nextFile(ann, "declined")).toMatchObject({ id, code: "declined" });
    ben.say("/accept");
    expect(await nextFile(ben, "done")).toMatchObject({ path: join(inbox, "plan.txt (2)") });
    ben.say("/accept");
    expect(await next(ben, "error")).toMatchObject({ message: expect.stringContaining("no file is offered") });
    ann.say("/file /nowhere/x");
    expect(await nextFile(ann, "failed")).toMatchObject({ code: "bad-data" });
  });

  it("an offer ends with its sender's program, and Exit does not wait for an answer", async () => {
    const [ann, ben] = [talk(alice, "ann", folder), talk(bob, "ben", inbox)];
    await next(ann, "registered");
    await next(ben, "registered");
    fileOf("plan.txt", "the plan");
    ann.say("/to ben");
    ann.say("/file plan.txt");
    await nextFile(ben, "offered");
    ann.say("/exit");
    expect(await ann.ended).toMatchObject({ code: 0 });
    expect(await nextFile(ben, "failed")).toMatchObject({ name: "plan.txt", code: "not-delivered" });
    ben.say("/accept");
    expect(await next(ben, "error")).toMatchObject({ message: expect.stringContaining("no file is offered") });
  });
});

describe.skipIf(whyNoPrivateShm !== null)("a full disk", () => {
  async function onFullDisk(where: string): Promise<Program> {
    const script = `mkdir -p "$1" && mount -t tmpfs -o size=2m tmpfs "$1" && shift && exec "$@"`;
    const command = [...COMMAND, "recv", "--as", "bob", "--json", "--files", inbox];
    const program = new Program("unshare", ["-m", "sh", "-c", script, "sh", where, ...command], { env: bob.env });
    running.push(program);
    expect(JSON.parse(await program.line())).toMatchObject({ type: "registered" });
    return program;
  }

  it.each([
    ["the state directory's", () => join(bob.home, "state", "ptalk", "parts")],
    ["the folder's", () => inbox],
  ])("is never 0, %s; the receiver goes on", async (_whose, where) => {
    const recv = await onFullDisk(where());
    const sent = await send(fileOf("big", randomBytes(8 * MIB)));
    expect(sent).toMatchObject({ code: 75, stderr: expect.stringContaining("ENOSPC") });
    expect(await nextFile(recv, "failed")).toMatchObject({ path: null, code: "ENOSPC" });
    expect(await send(fileOf("small", "x"))).toMatchObject({ code: 0 });
    expect(await nextFile(recv, "done")).toMatchObject({ name: "small" });
  });
});
