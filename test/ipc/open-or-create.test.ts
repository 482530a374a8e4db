import { truncateSync, writeFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { SharedMemory } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames, segmentFile } from "../helpers/object-names.ts";

const names = new ObjectNames("ooc");
afterAll(() => names.sweep());

describe("openOrCreate", () => {
  test("creates once, then opens as it is", () => {
    const name = names.fresh();
    using first = SharedMemory.openOrCreate(name, { size: 100, mode: 0o640 });
    using second = SharedMemory.openOrCreate(name, { size: 200, mode: 0o600 });
    expect([first.size, second.size]).toEqual([100, 100]);
    new Uint8Array(first.buffer)[0] = 5;
    expect(second.read(0, 1)[0]).toBe(5);
    first.unlink();
  });

  test("processes that race for it end up on one object", async () => {
    const name = names.fresh();
    const script = `
      process.stdin.once("data", () => {
        const shm = ipc.SharedMemory.openOrCreate(${JSON.stringify(name)}, { size: 4 });
        Atomics.add(new Int32Array(shm.buffer), 0, 1);
        say("in");
      });
      say("ready");`;
    const programs = Array.from({ length: 4 }, () => new NodeProgram(script));
    await Promise.all(programs.map((program) => program.heard()));
    for (const program of programs) program.say("go");
    await Promise.all(programs.map((program) => program.heard()));
    using shm = SharedMemory.open(name);
    expect(new Int32Array(shm.buffer)[0]).toBe(4);
    await Promise.all(programs.map((program) => program.end()));
    shm.unlink();
  });

  test("adopts what a dead creator left without a size, but never one whose size came late", () => {
    const dead = names.fresh();
    writeFileSync(segmentFile(dead), "");
    using adopted = SharedMemory.openOrCreate(dead, { size: 77 });
    expect(adopted.size).toBe(77);
    adopted.unlink();
  });

  test("waits for a creator that is at work", async () => {
    const name = names.fresh();
    writeFileSync(segmentFile(name), "");
    const program = new NodeProgram(`
      const shm = ipc.SharedMemory.openOrCreate(${JSON.stringify(name)}, { size: 77 });
      say(shm.size);`);
    await new Promise((resolve) => setTimeout(resolve, 300));
    truncateSync(segmentFile(name), 4096);
    expect([4096, 77]).toContain(await program.heard()); // 77 only where starting Node took longer than the patience
    await program.end();
    SharedMemory.unlink(name);
  });
});
