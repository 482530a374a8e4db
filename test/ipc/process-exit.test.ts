// The end of processes, whoever's children they are.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { release } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { processExit } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { descriptors, descriptorsOf } from "../helpers/own-process.ts";
import { isRunning } from "../helpers/processes.ts";

const [major = 0, minor = 0] = release().split(".").map(Number);
/** PIDFD_INFO_EXIT: Linux 6.15. */
const tellsStatus = major > 6 || (major === 6 && minor >= 15);
const outcome = (status: number | null, signal: string | null) =>
  tellsStatus ? { status, signal } : { status: null, signal: null };

describe("processExit", () => {
  test.each([
    ["an exit", "process.exit(7)", outcome(7, null)],
    ["SIGKILL", "process.kill(process.pid, 'SIGKILL')", outcome(null, "SIGKILL")],
    [
      "a realtime signal",
      "ipc.sigqueue(process.pid, 'SIGRTMIN+3', 1); setInterval(() => {}, 1000)",
      outcome(null, "SIGRTMIN+3"),
    ],
  ])("tells of %s of a child", async (_, script, expected) => {
    const program = new NodeProgram(`process.stdin.once("data", () => { ${script} }); say("ready");`);
    await program.heard();
    const end = processExit(program.pid);
    program.say("go");
    expect(await end).toEqual({ pid: program.pid, ...expected });
    await program.ended;
  });

  test("tells of a process that is no child of ours", async () => {
    const parent = new NodeProgram(`
      import { spawn } from "node:child_process";
      const child = spawn("sleep", ["100"]);
      say(child.pid);
      process.stdin.once("data", () => child.kill("SIGTERM"));`);
    const pid = (await parent.heard()) as number;
    const end = processExit(pid);
    parent.say("end it");
    expect(await end).toEqual({ pid, ...outcome(null, "SIGTERM") });
    await parent.end();
  });

  test("of a zombie is told at once: its parent has not asked for its status", async () => {
    // The shell would ask for it: it has long been another program when its child ends.
    const parent = spawn("sh", ["-c", "sleep 0.5 & echo $!; exec sleep 100"], { stdio: ["ignore", "pipe", "inherit"] });
    const pid = Number(await new Promise((resolve) => parent.stdout.once("data", resolve)));
    while (isRunning(pid)) await sleep(10);
    expect(await processExit(pid)).toEqual({ pid, status: null, signal: null });
    parent.kill();
  });

  test("waits for a stopped process, and for one thread as long as the process has another", async () => {
    const program = new NodeProgram("say(true);");
    await program.heard();
    let over = false;
    const end = processExit(program.pid).then(() => (over = true));
    program.child.kill("SIGSTOP");
    await sleep(100);
    expect(over).toBe(false);
    await program.kill();
    await end;
  });

  test("rejects with ESRCH when there is none, and with an AbortError; descriptors are given back", async () => {
    const program = new NodeProgram("say(true);");
    await program.heard();
    const before = descriptorsOf("pidfd");
    await expect(processExit(program.pid, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
      name: "AbortError",
    });
    await expect(processExit(program.pid, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: "AbortError",
    });
    expect(descriptorsOf("pidfd")).toBe(before);
    await program.end();
    while (existsSync(`/proc/${program.pid}`)) await sleep(1);
    await expect(processExit(program.pid)).rejects.toMatchObject({
      name: "IpcError",
      code: "ESRCH",
      syscall: "pidfd_open",
    });
    await expect(processExit(0)).rejects.toThrow(RangeError);
    await expect(processExit("1" as unknown as number)).rejects.toThrow(TypeError);
  });

  test("of a hundred processes at once takes no thread, and keeps the process alive until the last", async () => {
    const program = new NodeProgram(`
      import { spawn } from "node:child_process";
      import { readdirSync } from "node:fs";
      process.stdin.pause().unref?.();
      const threads = () => readdirSync("/proc/self/task").length;
      const children = Array.from({ length: 100 }, () => spawn("sleep", ["0.3"]));
      for (const child of children) { child.unref(); child.stdin.destroy(); child.stdout.destroy(); child.stderr.destroy(); }
      const before = threads();
      const ends = children.map(({ pid }) => ipc.processExit(pid));
      say(threads() - before);
      say((await Promise.all(ends)).length);`);
    expect(await program.heard()).toBe(0);
    expect(await program.heard()).toBe(100);
    expect(await program.ended).toMatchObject({ code: 0, stderr: "" });
  });

  test("in a worker thread that is terminated leaves nothing behind", async () => {
    const url = new URL("../../dist/ipc/index.js", import.meta.url).href;
    const program = new NodeProgram(`
      import { Worker } from "node:worker_threads";
      import { readdirSync } from "node:fs";
      const round = async () => {
        const worker = new Worker(\`
          const { processExit } = await import(${JSON.stringify(url)});
          for (let i = 0; i < 5; i++) processExit(${process.pid}).catch(() => {});
          (await import("node:worker_threads")).parentPort.postMessage("waiting");\`, { eval: true });
        await new Promise((resolve) => worker.once("message", resolve));
        await worker.terminate();
        return readdirSync("/proc/self/fd").length;
      };
      say([await round(), await round()]);`);
    const [first, second] = (await program.heard()) as [number, number];
    expect(second).toBe(first);
    expect(await program.end()).toMatchObject({ code: 0, stderr: "" });
    expect(descriptors()).toBeGreaterThan(0);
  });
});
