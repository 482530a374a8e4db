// Objects that somebody else truncates while they are mapped: reads see zeros, nobody dies of SIGBUS.
import { truncateSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { Semaphore, SharedMemory } from "../../lib/ipc/index.ts";
import { faultsOf, wordsOf } from "../../lib/ipc/shared-memory.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames, segmentFile, semaphoreFile } from "../helpers/object-names.ts";

const names = new ObjectNames("guard");
afterAll(() => names.sweep());
const PAGE = 4096;

describe("a truncated object", () => {
  test("reads as zeros where it is gone, takes writes, and counts the pages", () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 4 * PAGE });
    const bytes = new Uint8Array(shm.buffer).fill(7);
    expect(faultsOf(shm)).toBe(0);
    truncateSync(segmentFile(name), PAGE);
    expect(bytes[PAGE - 1]).toBe(7);
    expect([bytes[PAGE], bytes[4 * PAGE - 1]]).toEqual([0, 0]);
    expect(faultsOf(shm)).toBe(2);
    bytes[2 * PAGE] = 5;
    expect(bytes[2 * PAGE]).toBe(5);
    expect(faultsOf(shm)).toBe(3);
    expect(shm.read(0, 4 * PAGE).length).toBe(4 * PAGE);
    shm.unlink();
  });

  test("does not kill who has it read-only, in the words nor in read", () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 2 * PAGE });
    new Uint8Array(shm.buffer).fill(255);
    using reader = SharedMemory.open(name, { readOnly: true });
    const words = wordsOf(reader);
    expect(Atomics.load(words, PAGE / 4)).toBe(-1);
    truncateSync(segmentFile(name), 0);
    expect(Atomics.load(words, PAGE / 4)).toBe(0);
    expect(reader.read(0, 4)).toEqual(new Uint8Array(4));
    expect(faultsOf(reader)).toBe(2);
    shm.unlink();
  });

  test("is survived by other processes, in every thread, while it is truncated over and over", async () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 64 * PAGE });
    const script = `
      const { Worker } = await import("node:worker_threads");
      const code = \`
        const ipc = await import(${JSON.stringify(new URL("../../dist/ipc/index.js", import.meta.url).href)});
        const until = performance.now() + 600;
        let sum = 0;
        while (performance.now() < until) {
          using: {
            const shm = ipc.SharedMemory.openOrCreate(${JSON.stringify(name)}, { size: ${64 * PAGE} });
            for (const byte of new Uint8Array(shm.buffer)) sum += byte;
            shm.close();
          }
        }\`;
      let running = 3;
      for (let i = 0; i < 3; i++) new Worker(code, { eval: true }).on("exit", (code) => { say(code); });
      say("ready");`;
    const program = new NodeProgram(script);
    await program.heard();
    const until = performance.now() + 800;
    while (performance.now() < until) {
      truncateSync(segmentFile(name), 0);
      truncateSync(segmentFile(name), 64 * PAGE);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect([await program.heard(), await program.heard(), await program.heard()]).toEqual([0, 0, 0]);
    expect(await program.end()).toMatchObject({ code: 0, signal: null });
    shm.unlink();
  });
});

describe("a truncated semaphore", () => {
  test("has no value and nothing to take, and its user lives", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name, { value: 3 });
    truncateSync(semaphoreFile(name), 0);
    expect(sem.value).toBe(0);
    expect(sem.tryWait()).toBe(false);
    expect(sem.timedWait(10)).toBe(false);
    expect(await sem.waitAsync({ timeoutMs: 10 })).toBe(false);
    sem.unlink();
  });

  test("opened empty, too", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name);
    truncateSync(semaphoreFile(name), 0);
    const program = new NodeProgram(`
      try {
        const sem = ipc.Semaphore.open(${JSON.stringify(name)});
        say(await sem.waitAsync({ timeoutMs: 150 }));
      } catch (error) {
        say(error.code);
      }`);
    expect([false, "EINVAL"]).toContain(await program.heard());
    await program.end();
    sem.unlink();
  });
});

describe("a SIGBUS that is not ours", () => {
  // A sanitizer's own handler was there before, and it reports.
  test.skipIf(process.env.ASAN_OPTIONS !== undefined)("kills as ever when it was sent", async () => {
    const program = new NodeProgram(`
      globalThis.shm = ipc.SharedMemory.create(${JSON.stringify(names.fresh())}, { size: 1 });
      shm.unlink();
      say("ready");`);
    await program.heard();
    program.child.kill("SIGBUS");
    expect(await program.ended).toMatchObject({ signal: "SIGBUS" });
  });
});
