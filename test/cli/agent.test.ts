// `ptalk agent` and `ptalk unread`: real agents, terminals and senders at a real server.

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { logoutWarning } from "../../lib/cli/agent/logout.ts";
import { listAgents } from "../../lib/presence/agent-list.ts";
import { User } from "../helpers/cli.ts";
import { COMMAND, commandLine } from "../helpers/command.js";
import { until } from "../helpers/lookup-server.ts";
import type { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

/** Objects in /dev/shm belong to this uid, whichever user runs the tests: the names are this run's. */
const BOB = `bob${process.pid}`;
let server: Serving;
let alice: User;
let bob: User;
const running: Program[] = [];

beforeAll(async () => {
  server = await Serving.start();
  const PTALK_SERVER = server.address;
  alice = new User({ PTALK_SERVER, PTALK_NAME: "alice" });
  bob = new User({ PTALK_SERVER, PTALK_NAME: BOB });
});
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill();
  await bob.run(["agent", "stop", "--as", BOB]);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

type Event = { readonly type: string; readonly [field: string]: unknown };
const agent = () => listAgents().find(({ name }) => name === BOB);
const start = async (): Promise<number> => {
  expect(await bob.run(["agent", "start"])).toMatchObject({ code: 0 });
  return agent()?.pid ?? 0;
};
const send = (text: string) => alice.run(["send", BOB, text, "--timeout", "20"]);
const unread = async (format = "%n|%f") => (await bob.run(["unread", "--as", BOB, "--format", format])).stdout.trim();
async function history(): Promise<string[]> {
  const { stdout } = await bob.run(["history", "--json"]);
  return stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => (JSON.parse(line) as { text: string }).text);
}

describe("ptalk agent start", () => {
  it("returns once the agent has the name, and leaves it nothing of the caller", async () => {
    // The reader of the pipe sees its end although the agent lives, and descriptor 9 is free again.
    const script = `exec 9>"$0"; "$@" agent start | cat; echo over`;
    const shell = spawnSync("bash", ["-c", script, join(bob.home, "lock"), ...COMMAND], {
      env: bob.env,
      encoding: "utf8",
      timeout: 60_000,
    });
    expect(shell.stdout).toMatch(new RegExp(`^agent \\d+ is ${BOB} on ${server.address} since .*; 0 unread\nover\n$`));
    const pid = agent()?.pid ?? 0;
    const links = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    expect(links.filter((link) => link.endsWith("/lock") || link.startsWith("/dev/pts"))).toEqual([]);
    expect(readlinkSync(`/proc/${pid}/cwd`)).toBe("/");
    const [, , , session, tty] = (readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1] ?? "").split(" ");
    expect({ session, tty }).toEqual({ session: String(pid), tty: "0" });
    expect(await send("are you there?")).toMatchObject({ code: 0 });
    expect(await bob.run(["agent", "start"])).toMatchObject({ code: 73, stderr: expect.stringContaining(String(pid)) });
    expect(await bob.run(["agent", "stop", "--as", BOB])).toMatchObject({ code: 0 });
    expect(await send("still there?")).toMatchObject({ code: 67 });
    expect(await bob.run(["agent", "status", "--as", BOB])).toMatchObject({ code: 67 });
  });

  it("without a history, or a server, there is no agent, and it says why", async () => {
    const env = { PTALK_HISTORY: "false" };
    expect(await bob.run(["agent", "start"], { env })).toMatchObject({
      code: 64,
      stderr: expect.stringMatching(/history/),
    });
    expect(await bob.run(["agent"], { env })).toMatchObject({ code: 64 });
    const lost = await bob.run(["agent", "start", "--server", "127.0.0.1:1"]);
    expect(lost).toMatchObject({
      code: 69,
      stderr: expect.stringMatching(/^ptalk: no lookup server at 127\.0\.0\.1:1/),
    });
  });
});

describe("an agent", () => {
  it("confirms what history has, counts it as unread, and runs on-message", async () => {
    const log = join(bob.home, "heard");
    const config = join(bob.home, "config", "ptalk");
    spawnSync("mkdir", ["-p", config]);
    writeFileSync(join(config, "config.toml"), `on-message = ["sh", "-c", "echo $PTALK_FROM: $PTALK_TEXT >>${log}"]\n`);
    await start();
    expect(await unread()).toBe("0|");
    expect(await send("one")).toMatchObject({ code: 0 });
    expect((await history()).at(-1)).toBe("one"); // at once: it was on the disk before alice heard
    expect(await send("two")).toMatchObject({ code: 0 });
    await until("both to be counted", async () => (await unread()) === "2|alice");
    expect(await unread("%n%% %f %x")).toBe("2% alice %x");
    const json = await bob.run(["unread", "--as", BOB, "--json"]);
    expect(JSON.parse(json.stdout)).toEqual({ type: "unread", unread: 2, lastFrom: "alice" });
    await until("the hook", () => readFileSync(log, "utf8").includes("alice: two"));
    rmSync(join(config, "config.toml"));
  });

  it("gives its name to a terminal, which shows the unread messages, and takes it back", async () => {
    const pid = await start();
    for (const text of ["first", "second"]) expect(await send(text)).toMatchObject({ code: 0 });
    using pty = new Pty(...commandLine([]), { env: definedEnv(bob), columns: 80, rows: 24 });
    await pty.shows("2 messages have come while you had no terminal");
    await pty.shows(/alice: second/);
    expect(pty.raw).not.toContain("\x07");
    expect(agent()).toMatchObject({ pid, state: "waiting" });
    expect(await unread()).toBe("0|");
    expect(await send("third")).toMatchObject({ code: 0 });
    await pty.shows(/alice: third/);
    pty.type("Exit\r");
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
    await until("the agent to be on", () => agent()?.state === "on");
    expect(agent()).toMatchObject({ pid, unread: 0 });
    expect(await send("fourth")).toMatchObject({ code: 0 });
    expect(await unread("%n")).toBe("1");
    for (const text of ["first", "second", "third", "fourth"]) {
      expect((await history()).filter((line) => line === text)).toEqual([text]);
    }
  });

  it("loses and doubles nothing while terminals come and go", async () => {
    await start();
    const sender = alice.start(["talk", "--json", "--timeout", "60"]);
    running.push(sender);
    await sender.line();
    const total = 60;
    const delivered = (async () => {
      const ids = new Set<unknown>();
      while (ids.size < total) {
        const event = JSON.parse(await sender.line()) as Event;
        if (event.type === "failed") throw new Error(JSON.stringify(event));
        if (event.type === "delivered") ids.add(event.id);
      }
    })();
    let sent = 0;
    const sending = setInterval(() => {
      if (sent < total) sender.say(`${BOB} n${sent++}`);
      else clearInterval(sending);
    }, 100);
    const seen: string[] = [];
    while (sent < total) {
      const terminal = bob.start(["talk", "--json"]);
      running.push(terminal);
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      terminal.say("Exit");
      await terminal.ended;
      for (;;) {
        const line = await terminal.line().catch(() => null);
        if (line === null) break;
        const event = JSON.parse(line) as Event & { records?: { text: string }[]; text?: string };
        if (event.type === "message") seen.push(event.text as string);
        if (event.type === "history") seen.push(...(event.records ?? []).map(({ text }) => text));
      }
    }
    await delivered;
    clearInterval(sending);
    const last = bob.start(["talk", "--json"]);
    running.push(last);
    await last.line();
    last.say("Exit");
    await last.ended;
    for (let line = await last.line().catch(() => null); line !== null; line = await last.line().catch(() => null)) {
      const event = JSON.parse(line) as Event & { records?: { text: string }[] };
      if (event.type === "history") seen.push(...(event.records ?? []).map(({ text }) => text));
    }
    expect(seen).toEqual(Array.from({ length: total }, (_, i) => `n${i}`));
    const kept = (await history()).filter((text) => /^n\d+$/.test(text));
    expect(kept).toEqual(seen);
  });

  it("takes the name back from a terminal that was killed", async () => {
    await start();
    const terminal = bob.start(["talk", "--json"]);
    running.push(terminal);
    expect(JSON.parse(await terminal.line())).toMatchObject({ type: "registered" });
    await until("the agent to wait", () => agent()?.state === "waiting");
    await terminal.kill();
    await until("the agent to be on", () => agent()?.state === "on");
    expect(await send("back?")).toMatchObject({ code: 0 });
  });

  it("what an ignored sender has written is unread no more", async () => {
    await start();
    expect(await send("buy")).toMatchObject({ code: 0 });
    await until("it to be counted", async () => (await unread()) === "1|alice");
    const other = bob.start(["talk", "--as", `${BOB}b`, "--json"]);
    running.push(other);
    await other.line();
    other.say("/ignore alice");
    await until("it to be uncounted", async () => (await unread()) === "0|");
    expect(await send("buy now")).toMatchObject({ code: 77 });
    other.say("/unignore alice");
    await until("that", async () => (await send("sorry")).code === 0);
  });

  it("is found again after its object was removed, as at the last logout", async () => {
    const pid = await start();
    for (const file of readdirSync("/dev/shm").filter((name) =>
      name.startsWith(`ptalk-agent-${process.geteuid?.()}.`),
    )) {
      const bytes = readFileSync(join("/dev/shm", file), "latin1");
      if (bytes.includes(`"${BOB}"`)) rmSync(join("/dev/shm", file));
    }
    expect(agent()).toBeUndefined();
    await until("another one", () => agent()?.pid === pid);
    expect(await bob.run(["agent", "status", "--as", BOB])).toMatchObject({ code: 0 });
  });

  it("in the foreground ends by SIGTERM, and another's name is not to be had", async () => {
    const program = bob.start(["agent"]);
    running.push(program);
    await until("it to be on", () => agent()?.state === "on");
    expect(await alice.run(["agent", "start", "--as", BOB, "--server", server.address])).toMatchObject({ code: 73 });
    program.child.kill("SIGTERM");
    expect(await program.ended).toMatchObject({
      code: 143,
      stderr: expect.stringContaining(`ptalk: you are ${BOB} on ${server.address}, without a terminal\n`),
    });
    expect(agent()).toBeUndefined();
  });

  it("in the foreground waits behind a terminal that is on already, and says so", async () => {
    const terminal = bob.start(["talk", "--json"]);
    running.push(terminal);
    await terminal.line();
    const program = bob.start(["agent"]);
    running.push(program);
    await until("it to wait", () => agent()?.state === "waiting");
    terminal.say("Exit");
    await until("it to be on", () => agent()?.state === "on");
    program.child.kill("SIGTERM");
    expect((await program.ended).stderr).toContain(`ptalk: a terminal is ${BOB} on ${server.address}\n`);
  });
});

describe("ptalk unread", () => {
  it("reads neither a home nor settings, and is 0 where there is nothing", async () => {
    const env = {
      HOME: "/nowhere",
      XDG_RUNTIME_DIR: "/proc/1",
      XDG_CONFIG_HOME: "/nowhere",
      PTALK_SERVER: "not a server",
    };
    expect(await alice.run(["unread", "--as", `${BOB}x`], { env })).toMatchObject({
      code: 0,
      stdout: "0\n",
      stderr: "",
    });
    expect(await alice.run(["unread", "--nonsense"])).toMatchObject({ code: 64, stdout: "" });
  });

  it("opens nothing outside of /dev/shm, /proc and the program itself", async () => {
    const { error } = spawnSync("strace", ["-V"]);
    if (error !== undefined) return;
    const trace = join(bob.home, "trace");
    const home = join(bob.home, "untouched");
    const env = { ...definedEnv(bob), HOME: home, XDG_CONFIG_HOME: home, XDG_STATE_HOME: home, XDG_CACHE_HOME: home };
    spawnSync("strace", ["-f", "-o", trace, "-e", "trace=%file,connect", ...COMMAND, "unread"], { env });
    const calls = readFileSync(trace, "utf8");
    expect(calls).toContain("/dev/shm");
    expect(calls).not.toContain(home);
    expect(calls).not.toMatch(/connect\(/);
  });

  it("passes over what others plant under such names", async () => {
    const uid = process.geteuid?.();
    const planted = ["0000000000000000", "garbage", "fifo"].map((end) => `/dev/shm/ptalk-agent-${uid}.${BOB}${end}`);
    writeFileSync(planted[0] as string, Buffer.alloc(4096, 1));
    writeFileSync(planted[1] as string, "short");
    spawnSync("mkfifo", [planted[2] as string]);
    try {
      expect(await bob.run(["unread", "--as", BOB])).toMatchObject({ code: 0, stdout: "0\n", stderr: "" });
    } finally {
      for (const path of planted) rmSync(path, { force: true });
    }
  });
});

describe("logoutWarning", () => {
  const session = {
    hasLogind: true,
    lingers: false,
    cgroup: "0::/user.slice/user-1000.slice/session-4.scope",
    killsProcesses: true,
  };
  it("is there only where logind ends the agent", () => {
    expect(logoutWarning(session)).toMatch(/ends it when you log out.*enable-linger/);
    expect(logoutWarning({ ...session, killsProcesses: null })).toMatch(/may end/);
    expect(logoutWarning({ ...session, killsProcesses: false })).toBeNull();
    expect(logoutWarning({ ...session, lingers: true })).toBeNull();
    expect(logoutWarning({ ...session, hasLogind: false })).toBeNull();
    const service = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ptalk.service";
    expect(logoutWarning({ ...session, cgroup: service, killsProcesses: false })).toMatch(/last time/);
  });
});

function definedEnv(user: User): Record<string, string> {
  return Object.fromEntries(Object.entries(user.env).filter((e): e is [string, string] => e[1] !== undefined));
}
