// Who has a signal, and what is there before and after. Dispositions are seen from outside, in /proc.
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { describe, expect, test } from "vitest";
import { sigaction, sigqueue } from "../../lib/ipc/index.ts";
import { native } from "../../lib/native.ts";
import { NodeProgram } from "../helpers/node-program.ts";

const built = new URL("../../dist/ipc/index.js", import.meta.url).href;

/** What the kernel says this process does with the signal. */
function disposition(name: NodeJS.Signals): "ignored" | "caught" | "default" {
  const status = readFileSync("/proc/self/status", "utf8");
  const bit = 1n << BigInt(constants.signals[name] - 1);
  const has = (field: string) => (BigInt(`0x${new RegExp(`${field}:\\s*(\\w+)`).exec(status)?.[1]}`) & bit) !== 0n;
  return has("SigIgn") ? "ignored" : has("SigCgt") ? "caught" : "default";
}

describe("dispositions", () => {
  test("a claim sets what it says, and disposing puts back what was there", () => {
    expect(disposition("SIGUSR2")).toBe("default");
    for (const [action, seen] of [
      ["ignore", "ignored"],
      ["default", "default"],
      [() => {}, "caught"],
    ] as const) {
      const claim = sigaction("SIGUSR2", action);
      expect(disposition("SIGUSR2")).toBe(seen);
      claim[Symbol.dispose]();
      expect(disposition("SIGUSR2")).toBe("default");
      claim[Symbol.dispose]();
    }
  });

  test("Node's own SIGPIPE is ignored before and after", () => {
    expect(disposition("SIGPIPE")).toBe("ignored");
    sigaction("SIGPIPE", "default")[Symbol.dispose]();
    expect(disposition("SIGPIPE")).toBe("ignored");
  });

  test("SIG_IGN is real: a process that ignores SIGINT and SIGTERM outlives them", async () => {
    const program = new NodeProgram(`
      ipc.sigaction("SIGINT", "ignore");
      ipc.sigaction("SIGTERM", "ignore");
      say("ready");
      process.stdin.on("data", () => say("alive"));`);
    await program.heard();
    for (const signal of ["SIGINT", "SIGTERM"] as const) program.child.kill(signal);
    program.say("there?");
    expect(await program.heard()).toBe("alive");
    expect(await program.end()).toMatchObject({ code: 0 });
  });

  test("SIG_DFL is real: after disposing of the callback the signal kills again", async () => {
    const program = new NodeProgram(`
      const claim = ipc.sigaction("SIGTERM", () => { claim[Symbol.dispose](); say("once"); });
      say("ready");`);
    await program.heard();
    program.child.kill("SIGTERM");
    expect(await program.heard()).toBe("once");
    program.child.kill("SIGTERM");
    expect(await program.ended).toMatchObject({ code: null, signal: "SIGTERM" });
  });

  test("a child that Node starts does not inherit a claim", async () => {
    using _claim = sigaction("SIGUSR2", "ignore");
    const program = new NodeProgram(`say("ready");`);
    await program.heard();
    program.child.kill("SIGUSR2");
    expect(await program.ended).toMatchObject({ signal: "SIGUSR2" });
  });
});

describe("claims", () => {
  test("a second sigaction on the signal is EBUSY and names the way out; after disposing it works", () => {
    const claim = sigaction("SIGUSR2", "ignore");
    expect(() => sigaction("SIGUSR2", () => {})).toThrow(
      /EBUSY.*SIGUSR2 is claimed by another sigaction; dispose of that first/,
    );
    claim[Symbol.dispose]();
    sigaction("SIGUSR2", () => {})[Symbol.dispose]();
  });

  test("a signal with a process.on listener is EBUSY, until the listener is removed", () => {
    const listener = () => {};
    process.on("SIGUSR2", listener);
    expect(() => sigaction("SIGUSR2", "ignore")).toThrow(
      /EBUSY.*SIGUSR2 is handled by process.on; remove that listener first/,
    );
    process.off("SIGUSR2", listener);
    sigaction("SIGUSR2", "ignore")[Symbol.dispose]();
  });

  test("process.on, once and addListener for a claimed signal throw EBUSY, and the claim stays whole", () => {
    const claim = sigaction("SIGUSR2", "ignore");
    for (const method of ["on", "once", "addListener", "prependListener"] as const) {
      expect(() => process[method]("SIGUSR2", () => {})).toThrow(expect.objectContaining({ code: "EBUSY" }));
    }
    expect(process.listenerCount("SIGUSR2")).toBe(0);
    expect(disposition("SIGUSR2")).toBe("ignored");
    process.once("SIGHUP", () => {}).removeAllListeners("SIGHUP"); // others stay free
    claim[Symbol.dispose]();
    process.once("SIGUSR2", () => {}).removeAllListeners("SIGUSR2");
    expect(
      (process as NodeJS.EventEmitter).listeners("newListener").filter((hook) => hook.name === "refuseListener"),
    ).toEqual([]);
  });

  test("a signal that another thread's process.on has is EBUSY in a worker, which cannot see that listener", async () => {
    const program = new NodeProgram(`
      const { Worker } = await import("node:worker_threads");
      process.on("SIGUSR2", () => say("ours"));
      const worker = new Worker(\`
        const { parentPort } = await import("node:worker_threads");
        const ipc = await import(${JSON.stringify(built)});
        try { ipc.sigaction("SIGUSR2", "ignore"); } catch (error) { parentPort.postMessage(error.message); }\`, { eval: true });
      worker.on("message", say);`);
    expect(await program.heard()).toMatch(/EBUSY.*another thread's process.on/);
    await program.end();
  });

  test("a theft that slips past is noticed at the next use, with a warning, and is left alone on disposal", async () => {
    const program = new NodeProgram(`
      const warnings = [];
      process.on("warning", (warning) => warnings.push(warning.code));
      const claim = ipc.sigaction("SIGUSR2", () => say("ours"));
      // past our hook, as a process.on in another thread would be
      process.off("newListener", process.listeners("newListener").find((hook) => hook.name === "refuseListener"));
      process.on("SIGUSR2", () => say("theirs"));
      const { native } = await import(${JSON.stringify(new URL("../../dist/native.js", import.meta.url).href)});
      say(native.sigcurrent(12));
      ipc.sigqueue(process.pid, "SIGUSR2", 1);
      setTimeout(() => {
        claim[Symbol.dispose]();
        ipc.sigqueue(process.pid, "SIGUSR2", 2);
        setTimeout(() => say(warnings), 50);
      }, 50);`);
    expect(await program.heard()).toBe("other");
    expect(await program.heard()).toBe("theirs");
    expect(await program.heard()).toBe("theirs");
    expect(await program.heard()).toEqual(expect.arrayContaining(["PTALK_SIGNAL_STOLEN"]));
    await program.end();
  });

  test("callbacks do not keep the process alive", async () => {
    const program = new NodeProgram(`
      ipc.sigaction("SIGUSR2", () => {});
      process.stdin.pause().unref?.();`);
    expect(await program.ended).toMatchObject({ code: 0, stderr: "" });
  });

  test("an exception in a callback is uncaught like a listener's, and what comes behind it is still delivered", async () => {
    const program = new NodeProgram(`
      process.on("uncaughtException", (error) => say(error.message));
      ipc.sigaction("SIGRTMIN+1", ({ value }) => {
        if (value === 1) throw new Error("in a callback");
        say(value);
      });
      for (const value of [0, 1, 2]) ipc.sigqueue(process.pid, "SIGRTMIN+1", value);
      setTimeout(() => {}, 200);`);
    const heard = [await program.heard(), await program.heard(), await program.heard()];
    expect(heard.sort()).toEqual([0, 2, "in a callback"]);
    await program.end();
  });

  test("what was on its way when the claim was disposed of is dropped", async () => {
    let calls = 0;
    const claim = sigaction("SIGRTMIN+2", () => calls++);
    sigqueue(process.pid, "SIGRTMIN+2", 1);
    claim[Symbol.dispose]();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(calls).toBe(0);
    expect(native.signalDrops()).toBe(0);
  });

  test("a claim made by a worker thread hands its signals there, is EBUSY here, and is undone when the worker ends", async () => {
    const program = new NodeProgram(
      `
      const { Worker } = await import("node:worker_threads");
      const worker = new Worker(\`
        const { parentPort } = await import("node:worker_threads");
        const ipc = await import(${JSON.stringify(built)});
        ipc.sigaction("SIGRTMIN+3", ({ value }) => parentPort.postMessage(value));
        parentPort.on("message", () => {});
        parentPort.postMessage("ready");\`, { eval: true });
      worker.on("message", async (message) => {
        if (message === "ready") {
          try { ipc.sigaction("SIGRTMIN+3", "ignore"); } catch (error) { say(error.code); }
          ipc.sigqueue(process.pid, "SIGRTMIN+3", 31);
        } else {
          say(message);
          await worker.terminate();
          ipc.sigaction("SIGRTMIN+3", "ignore");
          say("free");
        }
      });`,
    );
    expect(await program.heard()).toBe("EBUSY");
    expect(await program.heard()).toBe(31);
    expect(await program.heard()).toBe("free");
    expect(await program.end()).toMatchObject({ code: 0, stderr: "" });
  });
});
