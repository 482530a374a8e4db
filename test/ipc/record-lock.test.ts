import { afterAll, describe, expect, test } from "vitest";
import { SharedMemory } from "../../lib/ipc/index.ts";
import { fdOf } from "../../lib/ipc/shared-memory.ts";
import { native } from "../../lib/native.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";

const names = new ObjectNames("ofd");
afterAll(() => names.sweep());

describe("record locks on the descriptor", () => {
  test("belong to the open object: another descriptor is kept out, sees where, and gets in when it is closed", () => {
    const name = names.fresh();
    const base = 2 ** 40;
    const holder = SharedMemory.create(name, { size: 4 });
    using other = SharedMemory.open(name);
    expect(native.lockBytes(fdOf(holder), base + 3, 1, true)).toBe(true);
    expect(native.testBytes(fdOf(holder), base, 100)).toBe(-1);
    expect(native.testBytes(fdOf(other), base, 100)).toBe(base + 3);
    expect(native.lockBytes(fdOf(other), base + 3, 1, true)).toBe(false);
    expect(native.lockBytes(fdOf(other), base + 2, 1, true)).toBe(true);
    holder.close();
    expect(native.lockBytes(fdOf(other), base + 3, 1, true)).toBe(true);
    native.unlockBytes(fdOf(other), base, 100);
    other.unlink();
  });

  test("are dropped by the kernel when their holder is killed", async () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 4 });
    const holder = new NodeProgram(`
      const { native } = await import(new URL("../native.js", ${JSON.stringify(`file://${import.meta.dirname}/../../dist/ipc/index.js`)}));
      const { fdOf } = await import(new URL("./shared-memory.js", ${JSON.stringify(`file://${import.meta.dirname}/../../dist/ipc/index.js`)}));
      globalThis.shm = ipc.SharedMemory.open(${JSON.stringify(name)});
      say(native.lockBytes(fdOf(globalThis.shm), 0, 1, true));`);
    expect(await holder.heard()).toBe(true);
    expect(native.testBytes(fdOf(shm), 0, 1)).toBe(0);
    using reader = SharedMemory.open(name, { readOnly: true });
    expect(native.testBytes(fdOf(reader), 0, 1)).toBe(0);
    await holder.kill();
    expect(native.testBytes(fdOf(shm), 0, 1)).toBe(-1);
    shm.unlink();
  });
});
