// `ptalk when`: the end of processes and commands, told through a real server to a real receiver.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { commandLine } from "../helpers/command.js";
import { until } from "../helpers/lookup-server.ts";
import type { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";
import { Serving } from "../helpers/serving.ts";

const [major = 0, minor = 0] = release().split(".").map(Number);
/** PIDFD_INFO_EXIT: Linux 6.15. */
const tellsStatus = major > 6 || (major === 6 && minor >= 15);

let server: Serving;
let alice: User;
let bob: User;
let inbox: Program;
const running: Program[] = [];

beforeAll(async () => {
  server = await Serving.start();
  alice = new User({ PTALK_SERVER: server.address, PTALK_NAME: "alice" });
  bob = new User({ PTALK_SERVER: server.address, PTALK_NAME: "bob" });
  inbox = bob.start(["recv", "--json"]);
  expect(JSON.parse(await inbox.line())).toMatchObject({ type: "registered" });
});
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill();
});
afterAll(async () => {
  await inbox.kill();
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

const heard = async (): Promise<string> => (JSON.parse(await inbox.line()) as { text: string }).text;
/** Waits until the program holds the process that it waits for. */
async function holds(program: Program): Promise<void> {
  const links = (): string[] =>
    readdirSync(`/proc/${program.pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${program.pid}/fd/${fd}`);
      } catch {
        return "";
      }
    });
  await until("the process to be held", () => links().some((link) => link.includes("pidfd")));
  // It reads the command line in the same turn: once it sleeps, it has.
  const isAsleep = (): boolean => /\) S /.test(readFileSync(`/proc/${program.pid}/stat`, "utf8"));
  await until("the program to wait", isAsleep);
}
const start = (...args: string[]): Program => {
  const program = alice.start(args);
  running.push(program);
  return program;
};

describe("ptalk when PID NAME", () => {
  it("tells NAME the TEXT once the process has ended, and prints how it ended", async () => {
    const child = spawn("sh", ["-c", "read line; exit 3"], { stdio: ["pipe", "ignore", "inherit"] });
    const watcher = start("when", String(child.pid), "bob", "--json", "the", "build", "is", "over");
    await holds(watcher);
    child.stdin.end("go\n");
    const ended = JSON.parse(await watcher.line());
    expect(Object.keys(ended)).toEqual(["type", "pid", "command", "status", "signal", "ms"]);
    expect(ended).toMatchObject({ type: "ended", pid: child.pid, command: "sh -c read line; exit 3", signal: null });
    expect(ended.status).toBe(tellsStatus ? 3 : null);
    expect(ended.ms).toBeGreaterThan(0);
    expect(await heard()).toBe("the build is over");
    expect(JSON.parse(await watcher.line())).toMatchObject({ type: "sent" });
    expect(JSON.parse(await watcher.line())).toMatchObject({ type: "delivered", to: "bob" });
    expect(await watcher.ended).toMatchObject({ code: 0 });
  });

  it("without a TEXT says which program, and how it ended", async () => {
    const child = spawn("sleep", ["1000"], { stdio: "ignore" });
    const watcher = start("when", String(child.pid), "bob");
    await holds(watcher);
    child.kill("SIGTERM");
    const how = tellsStatus ? "was ended by SIGTERM" : "has ended";
    expect(await heard()).toMatch(new RegExp(`^sleep \\(${child.pid}\\) ${how} after \\d+ s$`));
    expect(await watcher.line()).toMatch(/^delivered to bob /);
  });

  it("a zombie has ended", async () => {
    // The shell would reap it: its child ends once the shell is a program that does not.
    const script = "exec 3<&0; cat <&3 & echo $!; exec sleep 100 3<&-";
    const parent = spawn("sh", ["-c", script], { stdio: ["pipe", "pipe", "inherit"] });
    const [output] = (await once(parent.stdout, "data")) as [Buffer];
    const pid = String(output).trim();
    await until("the shell to be gone", () => readFileSync(`/proc/${parent.pid}/comm`, "latin1") === "sleep\n");
    parent.stdin.end();
    await until("its child to end", () => readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z "));
    const outcome = await alice.run(["when", pid, "bob", "--json"]);
    parent.kill();
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(outcome.stdout.split("\n")[0] ?? "")).toMatchObject({ command: "cat", status: null });
    expect(await heard()).toMatch(/^cat \(\d+\) has ended after/);
  });

  it.each(["0", "4194304", "99999999"])("without a process %s is 67, and sends nothing", async (pid) => {
    expect(await alice.run(["when", pid, "bob"])).toMatchObject({
      code: 67,
      stdout: "",
      stderr: `ptalk: there is no process ${pid}\n`,
    });
  });

  it("the number of a thread is 67", async () => {
    const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 1e6)"], { stdio: "ignore" });
    let thread: string | undefined;
    while (thread === undefined) {
      thread = readdirSync(`/proc/${child.pid}/task`).find((id) => Number(id) !== child.pid);
    }
    const outcome = await alice.run(["when", thread, "bob"]);
    child.kill();
    expect(outcome).toMatchObject({ code: 67 });
  });

  it("reports a mistake before it waits", async () => {
    const self = String(process.pid);
    expect(await alice.run(["when", self, "no/name"])).toMatchObject({ code: 65 });
    expect(await alice.run(["when", self])).toMatchObject({ code: 64 });
    expect(await alice.run(["when", "make", "bob"])).toMatchObject({ code: 64 });
    expect(await alice.run(["when", "bob", "--"])).toMatchObject({ code: 64 });
    expect(await alice.run(["when", "--as", "a/b", self, "bob"])).toMatchObject({ code: 65 });
  });

  it("SIGTERM ends the wait", async () => {
    const watcher = start("when", String(process.pid), "bob");
    await holds(watcher);
    watcher.child.kill("SIGTERM");
    expect(await watcher.ended).toMatchObject({ code: 143 });
  });
});

describe("ptalk when NAME -- COMMAND", () => {
  it("ends with the command's status, with its output and its stdin, and tells NAME", async () => {
    const outcome = await alice.run(["when", "bob", "--", "sh", "-c", "cat; echo err >&2; exit 7"], { input: "in\n" });
    expect(outcome).toMatchObject({ code: 7, stdout: "in\n", stderr: "err\n" });
    expect(await heard()).toMatch(/^sh -c cat; echo err >&2; exit 7 has ended with status 7 after \d+ s$/);
  });

  it("options behind -- are the command's", async () => {
    const outcome = await alice.run(["when", "--json", "bob", "--", "printf", "--", "%s\n", "--json"]);
    const [printed, ended = ""] = outcome.stdout.split("\n");
    expect(printed).toBe("--json");
    expect(JSON.parse(ended)).toMatchObject({ type: "ended", command: "printf -- %s\n --json", status: 0 });
    await heard();
  });

  it("a signal that ends the command is 128+N", async () => {
    expect(await alice.run(["when", "bob", "--", "sh", "-c", "kill -KILL $$"])).toMatchObject({ code: 137 });
    expect(await heard()).toMatch(/was ended by SIGKILL/);
  });

  it.each(["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGQUIT"] as const)("passes %s on", async (signal) => {
    const script = `trap 'echo ${signal}; exit 9' ${signal.slice(3)}; echo ready; while :; do sleep 0.05; done`;
    const program = start("when", "bob", "--", "sh", "-c", script);
    expect(await program.line()).toBe("ready");
    program.child.kill(signal);
    expect(await program.line()).toBe(signal);
    expect(await program.ended).toMatchObject({ code: 9 });
    expect(await heard()).toMatch(/status 9/);
  });

  it("Ctrl-C of the terminal reaches the command once", async () => {
    const script =
      "n=0; trap 'n=$((n+1))' INT; echo ready; i=0; while [ $i -lt 20 ]; do sleep 0.1; i=$((i+1)); done; echo $n times";
    const env = Object.fromEntries(Object.entries(alice.env).filter((e): e is [string, string] => e[1] !== undefined));
    using pty = new Pty(...commandLine(["when", "bob", "--", "bash", "-c", script]), { env });
    await pty.shows("ready");
    pty.type("\x03");
    await pty.shows(/\d times/);
    expect(pty.lines().join("\n")).toContain("1 times");
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
    await heard();
  });

  it("is 127 for a missing command, 126 for one that cannot be run, and sends nothing", async () => {
    const file = join(alice.home, "data");
    writeFileSync(file, "no program", { mode: 0o644 });
    expect(await alice.run(["when", "bob", "--", "no-such-command"])).toMatchObject({
      code: 127,
      stderr: "ptalk: no-such-command: no such command\n",
    });
    expect(await alice.run(["when", "bob", "--", file])).toMatchObject({
      code: 126,
      stderr: expect.stringMatching(file),
    });
  });

  it("a notice that failed is one line on stderr, and changes no status", async () => {
    const outcome = await alice.run(["when", "nobody", "--", "sh", "-c", "exit 5"]);
    expect(outcome).toMatchObject({ code: 5, stdout: "", stderr: 'ptalk: no user "nobody" is on\n' });
    const lost = await alice.run(["when", "bob", "--server", "127.0.0.1:1", "--", "true"]);
    expect(lost).toMatchObject({ code: 0, stdout: "", stderr: expect.stringMatching(/^ptalk: [^\n]*\n$/) });
  });
});
