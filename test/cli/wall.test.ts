// `ptalk wall`: its receivers, how they check it, and the terminals that show it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { logins } from "../../lib/cli/wall/logins.ts";
import { writeToTerminals } from "../../lib/cli/wall/terminals.ts";
import { MAX_KEYS } from "../../lib/presence/local-layout.ts";
import { User } from "../helpers/cli.ts";
import { commandLine } from "../helpers/command.js";
import { OwnShm } from "../helpers/own-shm.ts";
import { whyNoPrivateShm } from "../helpers/privileges.ts";
import type { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

const whyNot = process.geteuid?.() === 0 ? whyNoPrivateShm : "root only";
let shm: OwnShm | undefined;
let server: Serving;
let alice: User;
let bob: User;
const running: Program[] = [];
beforeAll(async () => {
  if (whyNot === null) shm = await OwnShm.make();
  const prefix = shm?.prefix;
  server = await Serving.start(undefined, prefix);
  alice = new User({ PTALK_SERVER: server.address, PTALK_NAME: "alice" }, prefix);
  bob = new User({ PTALK_SERVER: server.address }, prefix);
});
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
  shm?.[Symbol.dispose]();
});

/** A program of another user, in the same /dev/shm. */
function asMallory(file: string, words: readonly string[], env: NodeJS.ProcessEnv = process.env) {
  const become = ["setpriv", "--reuid", "54321", "--clear-groups"];
  const [command = "", ...rest] = [...(shm?.prefix ?? []), ...become, file, ...words];
  return spawn(command, rest, { cwd: "/", env });
}

async function receiver(name: string): Promise<Program> {
  const program = bob.start(["recv", "--as", name, "--json"]);
  running.push(program);
  await program.line();
  return program;
}

describe.skipIf(whyNot !== null)(`ptalk wall by root (${whyNot ?? "runs"})`, () => {
  it("reaches every client, also one that ignores root, and counts them", async () => {
    const [bobs, carols] = [await receiver("bob"), await receiver("carol")];
    const talker = bob.start(["talk", "--as", "dave", "--json"]);
    running.push(talker);
    await talker.line();
    talker.say("/ignore alice");
    expect(JSON.parse(await talker.line())).toMatchObject({ type: "ignored" });
    const { code, stdout, stderr } = await alice.run(["wall", "--json", "reboot at", "18:00"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const sent = JSON.parse(stdout);
    expect(Object.keys(sent)).toEqual(["type", "id", "reached", "of", "loggedIn"]);
    expect(sent).toMatchObject({ type: "wall", reached: 3, of: 3 });
    for (const program of [bobs, carols, talker]) {
      const wall = { type: "message", id: sent.id, from: "alice", text: "reboot at 18:00", kind: "wall" };
      expect(JSON.parse(await program.line())).toMatchObject(wall);
    }
    expect((await alice.run(["send", "dave", "hi"])).code).toBe(77);
    talker.say("/unignore alice");
    await talker.line();
  });

  it("a stopped receiver delays no other, and is not counted", async () => {
    const [bobs, carols] = [await receiver("bob"), await receiver("carol")];
    bobs.child.kill("SIGSTOP");
    const sent = alice.run(["wall", "--timeout", "3s", "now"]);
    expect(JSON.parse(await carols.line())).toMatchObject({ text: "now", kind: "wall" });
    expect(await sent).toMatchObject({ code: 0, stdout: expect.stringMatching(/^reached 1 of 2 who are on/) });
    bobs.child.kill("SIGCONT");
  });

  it("is 67 when it reaches no client, also without a server", async () => {
    expect(await alice.run(["wall", "anybody?"])).toMatchObject({
      code: 67,
      stdout: expect.stringMatching(/^reached 0 of 0/),
    });
    expect(await alice.run(["wall", "x", "--server", "127.0.0.1:1"])).toMatchObject({ code: 69 });
    expect(await alice.run(["wall", ""])).toMatchObject({ code: 65 });
  });

  it("by another user is refused, and as a body of another program is a text", async () => {
    const [file, words] = commandLine(["wall", "hi", "--state-dir", "/tmp/none"]);
    const [code] = await once(asMallory(file, words, bob.env), "close");
    expect(code).toBe(77);
    const bobs = await receiver("bob");
    // The client library of another uid: its row in the local table is not root's.
    const state = mkdtempSync(join(tmpdir(), "ptalk-wall-"));
    chmodSync(state, 0o777);
    const script = `import { TalkClient } from ${JSON.stringify(join(import.meta.dirname, "../../dist/index.js"))};
      const client = await TalkClient.connect({ name: "mallory", server: "${server.address}", stateDir: "${state}/s" });
      console.log(JSON.stringify(await client.wall("obey")));
      await client.close();`;
    const mallory = asMallory(process.execPath, ["--input-type=module", "-e", script]);
    let output = "";
    mallory.stdout.on("data", (text) => (output += text));
    await once(mallory, "close");
    expect(JSON.parse(output)).toMatchObject({ reached: 1, of: 1 });
    expect(JSON.parse(await bobs.line())).toMatchObject({ from: "mallory", text: "obey", kind: "text" });
    rmSync(state, { recursive: true });
  });

  it("is shown as what it is at a terminal", async () => {
    const env = Object.fromEntries(Object.entries(bob.env).filter((e): e is [string, string] => e[1] !== undefined));
    using pty = new Pty(...bob.line(["--as", "bob"]), { env });
    await pty.shows("you are bob");
    expect(await alice.run(["wall", "tea"])).toMatchObject({ code: 0 });
    await pty.shows(/alice \(to everybody\): tea/);
  });

  it("says that nobody can tell whose it is while root's programs have used too many keys; with the last of them that is over", async () => {
    const inbox = await receiver("bob");
    const many = `import { addOwnKey } from ${JSON.stringify(join(import.meta.dirname, "../../dist/presence/local-keys.js"))};
      for (let i = 0; i < ${MAX_KEYS}; i++) addOwnKey(crypto.getRandomValues(new Uint8Array(32)));`;
    const [file = "", ...words] = [...(shm?.prefix ?? []), process.execPath, "--input-type=module", "-e", many];
    await once(spawn(file, words, { stdio: "inherit" }), "close");
    expect(await alice.run(["wall", "tea"])).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(
        /^ptalk: programs of root have used more than 64 keys on this host .*write again\n/,
      ),
    });
    expect(JSON.parse(await inbox.line())).toMatchObject({ text: "tea", kind: "text" });
    await inbox.kill();
    running.splice(0);
    const again = await receiver("bob");
    expect(await alice.run(["wall", "tea"])).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(await again.line())).toMatchObject({ text: "tea", kind: "wall" });
  });
});

describe("terminals", () => {
  it("that take messages get the text, with nothing in it that they would obey", async () => {
    using pty = new Pty("sh", ["-c", "tty; chmod 620 $(tty); echo ready; sleep 60"], { columns: 80, rows: 24 });
    await pty.shows("ready");
    const line = readlinkSync(`/proc/${pty.pid}/fd/0`).slice("/dev/".length);
    expect(
      await writeToTerminals([line, line, "../etc/passwd", "seat0", "pts/9999999"], "root@vm", "\x1b[2Jgo\nhome"),
    ).toBe(1);
    await pty.shows("Message to everybody from root@vm");
    await pty.shows("^[[2Jgo");
    await pty.shows("home");
    chmodSync(`/dev/${line}`, 0o600);
    expect(await writeToTerminals([line], "root@vm", "hidden")).toBe(0);
    chmodSync(`/dev/${line}`, 0o622);
    expect(await writeToTerminals([line], "root@vm", "hidden")).toBe(0);
    expect(pty.lines().join()).not.toContain("hidden");
  });

  it("that are stopped are given up", async () => {
    using pty = new Pty("sh", ["-c", "chmod 620 $(tty); echo ready; sleep 60"], {});
    await pty.shows("ready");
    const line = readlinkSync(`/proc/${pty.pid}/fd/0`).slice("/dev/".length);
    pty.type("\x13"); // Ctrl-S
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await writeToTerminals([line], "root@vm", "x".repeat(60_000))).toBe(0);
  });
});

describe("logins", () => {
  it("are logind's sessions of users, else utmp's, else unknown", () => {
    const folder = mkdtempSync(join(tmpdir(), "ptalk-logins-"));
    try {
      const sessions = join(folder, "sessions");
      const utmp = join(folder, "utmp");
      expect(logins(sessions, utmp)).toBeNull();
      const record = Buffer.alloc(384);
      record.writeInt16LE(7, 0);
      record.write("pts/4", 8);
      record.write("carol", 44);
      writeFileSync(utmp, Buffer.concat([Buffer.alloc(384), record, Buffer.alloc(7)]));
      expect(logins(sessions, utmp)).toEqual([{ user: "carol", line: "pts/4" }]);
      mkdirSync(sessions);
      writeFileSync(join(sessions, "1"), "# private\nUID=1000\nUSER=bob\nCLASS=user\nTTY=pts/3\n");
      writeFileSync(join(sessions, "2"), "USER=gdm\nCLASS=greeter\n");
      writeFileSync(join(sessions, "3"), "USER=bob\nCLASS=user\n");
      expect(logins(sessions, utmp)).toEqual([
        { user: "bob", line: "pts/3" },
        { user: "bob", line: null },
      ]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
