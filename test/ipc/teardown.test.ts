// What the addon's counters are for: threads and handlers that are in the middle of something when the process, or the thread they
// work for, comes to its end. A preloaded library holds them there (test/fixtures/preload.c).
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Semaphore } from "../../lib/ipc/index.ts";
import { compile, compiler, preloading } from "../helpers/compile.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";

const SOURCE = join(import.meta.dirname, "../fixtures/preload.c");
const IPC = new URL("../../dist/ipc/index.js", import.meta.url).href;
const names = new ObjectNames("teardown");
let library: ReturnType<typeof compile> | undefined;
let folder: string;
const running: NodeProgram[] = [];
beforeAll(() => {
  if (compiler) library = compile(SOURCE, { library: true });
  folder = mkdtempSync(join(tmpdir(), "ptalk-teardown-"));
});
afterEach(async () => {
  // One that hangs at its end would go on for ever.
  for (const program of running.splice(0)) await program.kill();
});
afterAll(() => {
  library?.remove();
  names.sweep();
  rmSync(folder, { recursive: true, force: true });
});

/** A program whose calls are as slow as `settings` say. */
function slowProgram(settings: Record<string, string>, script: string): NodeProgram {
  const program = new NodeProgram(script, [], { env: { ...settings, ...preloading(library) } });
  running.push(program);
  return program;
}

describe.skipIf(compiler === null)("in the middle of something (needs a C compiler)", () => {
  test("a thread that has just taken a token gives it back before the process ends", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name);
    const program = slowProgram(
      { SLOW_SEM_MS: "80" },
      `
      const sem = ipc.Semaphore.open(${JSON.stringify(name)});
      for (let i = 0; i < 4; i++) await sem.waitAsync({ timeoutMs: 1 }); // those that have ended count for nothing
      for (let i = 0; i < 4; i++) sem.waitAsync();
      setTimeout(() => {
        for (let i = 0; i < 3; i++) sem.post();
        while (sem.value > 0);
        process.exit(3); // three threads have a token each, and have not said so
      }, 50);`,
    );
    expect(await program.ended).toMatchObject({ code: 3, signal: null });
    expect(sem.value).toBe(3);
    sem.unlink();
  });

  test("and so it does before a worker thread ends that was terminated", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name);
    const program = slowProgram(
      { SLOW_SEM_MS: "80" },
      `
      const { Worker } = await import("node:worker_threads");
      const worker = new Worker(\`
        const ipc = await import(${JSON.stringify(IPC)});
        const sem = ipc.Semaphore.open(${JSON.stringify(name)});
        sem.waitAsync();
        setTimeout(() => {
          sem.post();
          while (sem.value > 0);
          process.exit();
        }, 50);\`, { eval: true });
      await new Promise((resolve) => worker.once("exit", resolve));
      say(ipc.Semaphore.open(${JSON.stringify(name)}).value);`,
    );
    expect(await program.heard()).toBe(1);
    await program.end();
    sem.unlink();
  });

  test("waits that found no thread are EAGAIN, and leave room for as many as ever", async () => {
    const file = join(folder, "no-threads");
    const program = slowProgram(
      { NO_THREADS_FILE: file },
      `
      const { rmSync } = await import("node:fs");
      const sem = ipc.Semaphore.create(${JSON.stringify(names.fresh())});
      sem.unlink();
      // No wait comes before: its thread would stay, and serve the first of these without an end.
      process.stdin.once("data", async () => {
        const codes = new Set();
        for (let i = 0; i < 1100; i++) await sem.waitAsync().catch(({ code }) => codes.add(code));
        rmSync(${JSON.stringify(file)});
        const waits = Array.from({ length: 1024 }, () => sem.waitAsync());
        for (let i = 0; i < 1024; i++) sem.post();
        say([[...codes], (await Promise.all(waits)).filter(Boolean).length]);
      });
      say("ready");`,
    );
    await program.heard();
    writeFileSync(file, "");
    program.say("go");
    expect(await program.heard()).toEqual([["EAGAIN"], 1024]);
    await program.end();
  });

  test("the record of a signal is written into its own pipe or nowhere, whatever thread had claimed it", async () => {
    const files = mkdtempSync(join(folder, "files-"));
    const program = slowProgram(
      { SLOW_RECORD_MS: "300" },
      `
      const { Worker } = await import("node:worker_threads");
      const start = (code) => new Worker(code, { eval: true });
      const heard = (worker) => new Promise((resolve) => worker.once("message", resolve));
      const claimer = start(\`
        const ipc = await import(${JSON.stringify(IPC)});
        const { parentPort } = await import("node:worker_threads");
        ipc.sigaction("SIGUSR2", () => {});
        parentPort.once("message", () => process.exit());
        parentPort.postMessage("claimed");\`);
      // Takes every descriptor's number that becomes free.
      const opener = start(\`
        const { openSync } = await import("node:fs");
        const { parentPort } = await import("node:worker_threads");
        parentPort.once("message", () => {
          const pause = new Int32Array(new SharedArrayBuffer(4));
          for (let i = 0; i < 200; i++) {
            openSync(${JSON.stringify(files)} + "/" + i, "w");
            Atomics.wait(pause, 0, 0, 3);
          }
          parentPort.postMessage("opened");
        });
        parentPort.postMessage("ready");\`);
      await Promise.all([heard(claimer), heard(opener)]);
      const ended = new Promise((resolve) => claimer.once("exit", resolve));
      const opened = heard(opener);
      opener.postMessage("open");
      claimer.postMessage("end");
      process.kill(process.pid, "SIGUSR2"); // this thread is in the handler for 300 ms
      await Promise.all([ended, opened]);
      say("done");`,
    );
    expect(await program.heard()).toBe("done");
    const written = readdirSync(files).filter((file) => statSync(join(files, file)).size > 0);
    expect(written).toEqual([]);
    expect(await program.end()).toMatchObject({ code: 0, stderr: "" });
  });
});
