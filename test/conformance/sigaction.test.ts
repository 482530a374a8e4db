// What POSIX asserts of sigaction, asked of ptalk's. See docs/CONFORMANCE.md. Actions belong to a whole process, so each
// case has one of its own.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { sigqueue } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";

/** All that can have a callback here: not the faults, not what guards mappings or cannot be caught. */
const refused = ["SIGKILL", "SIGSTOP", "SIGBUS", "SIGSEGV", "SIGFPE", "SIGILL", "SIGTRAP", "SIGABRT", "SIGIOT"];
/** One name for each number: SIGPOLL is SIGIO. */
const catchable = Object.entries(constants.signals)
  .filter(([name, number], i, all) => !refused.includes(name) && all.findIndex((other) => other[1] === number) === i)
  .map(([name]) => name);
const realtime = Array.from({ length: 31 }, (_, i) => `SIGRTMIN+${i}`);

/** What signals a process ignores or catches, as the kernel sees it: bit n-1 for signal n. */
const dispositions = `
  import { readFileSync } from "node:fs";
  const set = (which) => BigInt("0x" + new RegExp(which + ":\\\\s*(\\\\w+)").exec(readFileSync("/proc/self/status", "utf8"))[1]);
  const caught = (number) => ((set("SigCgt") >> BigInt(number - 1)) & 1n) === 1n;
  const ignored = (number) => ((set("SigIgn") >> BigInt(number - 1)) & 1n) === 1n;
  const actionOf = (number) => (caught(number) ? "caught" : ignored(number) ? "ignored" : "default");
`;

describe("sigaction", () => {
  test("1, 6, 19: a callback gets each signal there is, with what siginfo_t says", async () => {
    const program = new NodeProgram(`
      for (const signal of ${JSON.stringify([...catchable, ...realtime])}) ipc.sigaction(signal, say);
      say("ready");
    `);
    expect(await program.heard()).toBe("ready");
    const uid = process.getuid?.();
    for (const [value, signal] of [...catchable, ...realtime].entries()) {
      sigqueue(program.pid, signal, value - 40);
      const info = (await program.heard()) as { signal: string };
      expect(info).toEqual({ signal, code: -1, pid: process.pid, uid, value: value - 40 });
    }
    expect(await program.end()).toMatchObject({ code: 0, stderr: "" });
  });

  test("1: the action is what was asked for, in the kernel's eyes", async () => {
    const program = new NodeProgram(`${dispositions}
      const seen = [];
      for (const action of ["ignore", "default", () => {}]) {
        const claim = ipc.sigaction("SIGUSR2", action);
        seen.push(actionOf(12));
        claim[Symbol.dispose]();
      }
      say(seen);
    `);
    expect(await program.heard()).toEqual(["ignored", "default", "caught"]);
    await program.end();
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGPIPE", "SIGRTMIN+3"])(
    "1: %s set to be ignored does nothing, set to its default ends the process",
    async (signal) => {
      const program = new NodeProgram(`
        const claim = ipc.sigaction(${JSON.stringify(signal)}, "ignore");
        say("ignoring");
        process.stdin.on("data", (text) => {
          if (String(text).includes("ask")) return say("here");
          claim[Symbol.dispose]();
          ipc.sigaction(${JSON.stringify(signal)}, "default");
          say("default");
        });
      `);
      expect(await program.heard()).toBe("ignoring");
      sigqueue(program.pid, signal, 1);
      expect(await program.ask("ask")).toBe('"here"');
      expect(await program.ask("default")).toBe('"default"');
      sigqueue(program.pid, signal, 1);
      const { code, signal: by } = await program.ended;
      // Realtime signals have no name in Node's exit event; that it ended is all there is to see.
      if (!signal.startsWith("SIGRT")) expect([code, by]).toEqual([null, signal]);
    },
  );

  test("2, 28: disposing puts back what was there, also what others had set", async () => {
    const program = new NodeProgram(`${dispositions}
      // Node itself ignores SIGPIPE (13).
      const seen = [[actionOf(13), actionOf(12)]];
      const claims = [ipc.sigaction("SIGPIPE", () => {}), ipc.sigaction("SIGUSR2", () => {})];
      seen.push([actionOf(13), actionOf(12)]);
      for (const claim of claims) claim[Symbol.dispose]();
      seen.push([actionOf(13), actionOf(12)]);
      process.on("SIGUSR2", () => say("as usual"));
      say(seen);
    `);
    const before = ["ignored", "default"];
    expect(await program.heard()).toEqual([before, ["caught", "caught"], before]);
    process.kill(program.pid, "SIGUSR2");
    expect(await program.heard()).toBe("as usual");
    await program.end();
  });

  test("8, 23, 25: callbacks do not nest: one ends before the next begins", async () => {
    const program = new NodeProgram(`
      let inside = 0, deepest = 0, count = 0;
      const callback = ({ pid }) => {
        deepest = Math.max(deepest, ++inside);
        if (++count === 1) {
          for (let i = 0; i < 50; i++) ipc.sigqueue(process.pid, i % 2 ? "SIGRTMIN+1" : "SIGRTMIN+2", i);
          const until = process.hrtime.bigint() + 20_000_000n;
          while (process.hrtime.bigint() < until);
        }
        inside--;
        if (count === 51) say([deepest, count]);
      };
      ipc.sigaction("SIGRTMIN+1", callback);
      ipc.sigaction("SIGRTMIN+2", callback);
      ipc.sigqueue(process.pid, "SIGRTMIN+1", 0);
    `);
    expect(await program.heard()).toEqual([1, 51]);
    await program.end();
  });

  test("15: the callback stays for the signals after the first", async () => {
    const program = new NodeProgram(`ipc.sigaction("SIGUSR2", ({ value }) => say(value)); say("ready");`);
    expect(await program.heard()).toBe("ready");
    for (let value = 0; value < 5; value++) {
      sigqueue(program.pid, "SIGUSR2", value);
      expect(await program.heard()).toBe(value);
    }
    await program.end();
  });

  test("16: system calls that a signal interrupts begin again: no EINTR", async () => {
    const folder = mkdtempSync(join(tmpdir(), "ptalk-fifo-"));
    const fifo = join(folder, "fifo");
    expect(spawnSync("mkfifo", [fifo]).status).toBe(0);
    const program = new NodeProgram(`
      import { openSync, readSync } from "node:fs";
      let signals = 0;
      ipc.sigaction("SIGUSR2", () => signals++);
      say("opening");
      const fd = openSync(${JSON.stringify(fifo)}, "r");
      say("reading");
      const bytes = Buffer.alloc(100);
      say(bytes.toString("utf8", 0, readSync(fd, bytes)));
      setTimeout(() => say(signals > 0), 50);
    `);
    const disturb = async () => {
      for (let i = 0; i < 5; i++) {
        await sleep(20);
        sigqueue(program.pid, "SIGUSR2", 0);
      }
    };
    expect(await program.heard()).toBe("opening");
    await disturb();
    const writer = await open(fifo, "w");
    expect(await program.heard()).toBe("reading");
    await disturb();
    await writer.write("text");
    expect(await program.heard()).toBe("text");
    expect(await program.heard()).toBe(true);
    await writer.close();
    await program.end();
    rmSync(folder, { recursive: true });
  });

  test("27: what fails changes nothing", async () => {
    const program = new NodeProgram(`${dispositions}
      ipc.sigaction("SIGUSR2", ({ value }) => say(value));
      const codeOf = (signal, action) => { try { ipc.sigaction(signal, action); return "claimed"; }
        catch (error) { return error.code; } };
      process.on("SIGHUP", () => say("hup"));
      say([codeOf("SIGUSR2", "ignore"), codeOf("SIGHUP", "ignore"), codeOf("SIGSEGV", () => {}), actionOf(12)]);
    `);
    expect(await program.heard()).toEqual(["EBUSY", "EBUSY", "EINVAL", "caught"]);
    sigqueue(program.pid, "SIGUSR2", 7);
    expect(await program.heard()).toBe(7);
    process.kill(program.pid, "SIGHUP");
    expect(await program.heard()).toBe("hup");
    await program.end();
  });

  test("29: queued realtime signals come in the order in which they were sent", async () => {
    const count = 2000;
    const program = new NodeProgram(`
      const values = [];
      ipc.sigaction("SIGRTMIN+6", ({ value }) => { if (values.push(value) === ${count}) say(values); });
      say("ready");
      const until = process.hrtime.bigint() + 300_000_000n;
      while (process.hrtime.bigint() < until);
    `);
    expect(await program.heard()).toBe("ready");
    for (let value = 0; value < count; value++) sigqueue(program.pid, "SIGRTMIN+6", value);
    expect(await program.heard()).toEqual(Array.from({ length: count }, (_, i) => i));
    await program.end();
  });

  test("30: EINVAL for SIGKILL, SIGSTOP and what must stay as it is; TypeError for what is no signal", async () => {
    const program = new NodeProgram(`
      const nameOf = (signal, action) => { try { ipc.sigaction(signal, action); return "claimed"; }
        catch (error) { return error.code ?? error.name; } };
      say(${JSON.stringify(refused)}.map((signal) => nameOf(signal, () => {})));
      say([nameOf("SIGKILL", "ignore"), nameOf("SIGSTOP", "default"), nameOf("SIGBUS", "ignore")]);
      say(["SIGNONE", "sigint", "INT", "", 15, null].map((signal) => nameOf(signal, "ignore")));
      say([nameOf("SIGRTMIN+31", "ignore"), nameOf("SIGRTMIN+99", "ignore")]);
      say([nameOf("SIGINT", "other"), nameOf("SIGINT", null), nameOf("SIGINT")]);
    `);
    expect(await program.heard()).toEqual(refused.map(() => "EINVAL"));
    expect(await program.heard()).toEqual(["EINVAL", "EINVAL", "EINVAL"]);
    expect(await program.heard()).toEqual(Array.from({ length: 6 }, () => "TypeError"));
    expect(await program.heard()).toEqual(["RangeError", "RangeError"]);
    expect(await program.heard()).toEqual(["TypeError", "TypeError", "TypeError"]);
    await program.end();
  });
});
