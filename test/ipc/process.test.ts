import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { isAlive, processIdentity } from "../../lib/ipc/index.ts";
import { isStopped } from "../../lib/ipc/process.ts";
import { NodeProgram } from "../helpers/node-program.ts";

describe("processIdentity", () => {
  test("of this process by default: pid and the start time of /proc/PID/stat", () => {
    const stat = readFileSync("/proc/self/stat", "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    expect(processIdentity()).toEqual({ pid: process.pid, startTime: Number(fields[19]) });
    expect(processIdentity(process.pid)).toEqual(processIdentity());
  });

  test("null for a number nobody has", () => {
    expect(processIdentity(2 ** 22 + 3)).toBe(null);
  });

  test.each([0, -1, 1.5, Number.NaN, 2 ** 31])("%d is no pid: RangeError", (pid) => {
    expect(() => processIdentity(pid)).toThrow(RangeError);
  });

  test.each(["1", null, {}])("%o is no pid: TypeError", (pid) => {
    expect(() => processIdentity(pid as number)).toThrow(TypeError);
  });

  test("is not misled by a command name made of parentheses, blanks and digits", async () => {
    const program = new NodeProgram(`
      process.title = "a) R 1 1 (2) 3 4 5)";
      say({ mine: ipc.processIdentity() });`);
    const { mine } = (await program.heard()) as { mine: unknown };
    expect(processIdentity(program.pid)).toEqual(mine);
    await program.end();
  });
});

describe("isAlive", () => {
  test("true for a running process, false once it is gone", async () => {
    const program = new NodeProgram(`say("ready");`);
    await program.heard();
    const identity = processIdentity(program.pid);
    if (!identity) throw new Error("it runs");
    expect(isAlive(identity)).toBe(true);
    await program.kill();
    expect(isAlive(identity)).toBe(false);
  });

  test("false for another process with the same number", () => {
    const { pid, startTime } = processIdentity() ?? { pid: 0, startTime: 0 };
    expect(isAlive({ pid, startTime: startTime - 1 })).toBe(false);
  });

  test("false for a zombie that nobody has reaped", async () => {
    // The shell starts a child that ends, and never waits for it: exec makes it a program that does not know of it.
    const shell = spawn("sh", ["-c", "sleep 0.05 & echo $!; exec sleep 30"], { stdio: ["ignore", "pipe", "ignore"] });
    const line = await new Promise<string>((resolve) => shell.stdout.once("data", (data) => resolve(String(data))));
    const identity = processIdentity(Number(line));
    if (!identity) throw new Error("the child has started");
    await vi.waitUntil(() => !isAlive(identity), { timeout: 20_000 });
    expect(processIdentity(identity.pid)).toEqual(identity); // its entry is still there
    shell.kill("SIGKILL");
  });

  test("a stopped process is alive", async () => {
    const program = new NodeProgram(`say("ready");`);
    await program.heard();
    program.child.kill("SIGSTOP");
    const identity = processIdentity(program.pid);
    expect(identity && isAlive(identity)).toBe(true);
    await program.kill();
  });
});

describe("isStopped", () => {
  test("from SIGSTOP to SIGCONT, and of nobody", async () => {
    const child = spawn("sleep", ["60"]);
    const pid = child.pid as number;
    try {
      expect(isStopped(pid)).toBe(false);
      child.kill("SIGSTOP");
      await vi.waitUntil(() => isStopped(pid), { timeout: 20_000 });
      child.kill("SIGCONT");
      await vi.waitUntil(() => !isStopped(pid), { timeout: 20_000 });
      expect(isStopped(2 ** 22 + 3)).toBe(false);
    } finally {
      child.kill("SIGKILL");
    }
  });
});
