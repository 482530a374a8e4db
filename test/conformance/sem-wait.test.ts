// What POSIX asserts of sem_wait, sem_trywait and sem_timedwait, asked of Semaphore. See docs/CONFORMANCE.md.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { Semaphore } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";

const names = new ObjectNames("sem-wait");

afterEach(() => names.sweep());

/** Another process that calls `call` on the semaphore once, and says what it gave. */
async function caller(semaphore: Semaphore, call: string): Promise<NodeProgram> {
  const program = new NodeProgram(`
    const semaphore = ipc.Semaphore.open(${JSON.stringify(semaphore.name)});
    process.on("SIGUSR2", () => say("signal"));
    say("begin");
    const result = await semaphore.${call};
    say({ result });
  `);
  expect(await program.heard()).toBe("begin");
  return program;
}

/** Until its main thread sleeps in the kernel: it waits. */
async function asleep(program: NodeProgram): Promise<void> {
  const state = () => readFileSync(`/proc/${program.pid}/stat`, "utf8").replace(/^.*\) /s, "")[0];
  for (let calm = 0; calm < 5; calm = state() === "S" ? calm + 1 : 0) await sleep(10);
}

describe("sem_wait", () => {
  test("1, 9: takes one at once when there is one", async () => {
    using semaphore = Semaphore.create(names.fresh(), { value: 3 });
    expect(semaphore.wait()).toBeUndefined();
    expect(semaphore.value).toBe(2);
    expect(await semaphore.waitAsync()).toBe(true);
    expect(semaphore.value).toBe(1);
  });

  test.each(["wait()", "waitAsync()", "timedWait(30000)"])(
    "3, 13: %s waits at 0 until somebody posts",
    async (call) => {
      using semaphore = Semaphore.create(names.fresh());
      const waiter = await caller(semaphore, call);
      await asleep(waiter);
      expect(semaphore.value).toBe(0);
      semaphore.post();
      expect(await waiter.heard()).toEqual(call === "wait()" ? {} : { result: true });
      expect(semaphore.value).toBe(0);
      await waiter.end();
    },
  );

  test.each(["wait()", "waitAsync()"])("4: a process killed in %s takes nothing", async (call) => {
    using semaphore = Semaphore.create(names.fresh());
    const waiter = await caller(semaphore, call);
    await asleep(waiter);
    expect(await waiter.kill()).toMatchObject({ signal: "SIGKILL" });
    semaphore.post();
    expect(semaphore.value).toBe(1);
    expect(semaphore.tryWait()).toBe(true);
  });

  test("5, 12: tryWait gives false at 0 and leaves it so", () => {
    using semaphore = Semaphore.create(names.fresh());
    expect(semaphore.tryWait()).toBe(false);
    expect(semaphore.value).toBe(0);
  });

  test("6: EBADF on one that is closed", async () => {
    const semaphore = Semaphore.create(names.fresh(), { value: 1 });
    semaphore.close();
    const closed = expect.objectContaining({ name: "IpcError", code: "EBADF", path: semaphore.name });
    expect(() => semaphore.wait()).toThrow(closed);
    expect(() => semaphore.tryWait()).toThrow(closed);
    await expect(semaphore.waitAsync()).rejects.toThrow(closed);
  });

  test.each(["wait()", "waitAsync()", "timedWait(30000)"])("7: a signal does not end %s: no EINTR", async (call) => {
    using semaphore = Semaphore.create(names.fresh());
    const waiter = await caller(semaphore, call);
    for (let i = 0; i < 5; i++) {
      await asleep(waiter);
      process.kill(waiter.pid, "SIGUSR2");
    }
    await asleep(waiter);
    semaphore.post();
    const heard: unknown[] = [];
    do heard.push(await waiter.heard());
    while (typeof heard.at(-1) !== "object");
    // The loop is blocked in wait(): its signal handlers run afterwards.
    expect(heard.at(-1)).toEqual(call === "wait()" ? {} : { result: true });
    expect(semaphore.value).toBe(0);
    await waiter.end();
  });

  test("11: tryWait takes one when there is one", () => {
    using semaphore = Semaphore.create(names.fresh(), { value: 2 });
    expect([semaphore.tryWait(), semaphore.tryWait(), semaphore.tryWait()]).toEqual([true, true, false]);
  });
});

describe("sem_timedwait", () => {
  test("1, 4: takes one at once when there is one", async () => {
    using semaphore = Semaphore.create(names.fresh(), { value: 2 });
    expect(semaphore.timedWait(30_000)).toBe(true);
    expect(semaphore.value).toBe(1);
    expect(await semaphore.waitAsync({ timeoutMs: 30_000 })).toBe(true);
    expect(semaphore.value).toBe(0);
  });

  test("2: waits for a post and then has it", async () => {
    using semaphore = Semaphore.create(names.fresh());
    const waiter = await caller(semaphore, "timedWait(30000)");
    await asleep(waiter);
    semaphore.post();
    expect(await waiter.heard()).toEqual({ result: true });
    expect(semaphore.value).toBe(0);
    await waiter.end();
  });

  test.each([0, 0.5, 30, 250])("3, 7: gives false once %d ms have passed, not before", async (ms) => {
    using semaphore = Semaphore.create(names.fresh());
    const start = process.hrtime.bigint();
    expect(semaphore.timedWait(ms)).toBe(false);
    const between = process.hrtime.bigint();
    expect(Number(between - start)).toBeGreaterThanOrEqual(ms * 1e6);
    expect(await semaphore.waitAsync({ timeoutMs: ms })).toBe(false);
    expect(Number(process.hrtime.bigint() - between)).toBeGreaterThanOrEqual(ms * 1e6);
    expect(semaphore.value).toBe(0);
  });

  test("5: EBADF on one that is closed", async () => {
    const semaphore = Semaphore.create(names.fresh(), { value: 1 });
    semaphore.close();
    expect(() => semaphore.timedWait(1)).toThrow(expect.objectContaining({ code: "EBADF" }));
    await expect(semaphore.waitAsync({ timeoutMs: 1 })).rejects.toMatchObject({ code: "EBADF" });
  });

  test("6: refuses what is no time, and takes nothing", async () => {
    using semaphore = Semaphore.create(names.fresh(), { value: 1 });
    for (const ms of [-1, Number.NaN, Number.NEGATIVE_INFINITY]) {
      expect(() => semaphore.timedWait(ms)).toThrow(RangeError);
      await expect(semaphore.waitAsync({ timeoutMs: ms })).rejects.toThrow(RangeError);
    }
    for (const ms of ["1", null]) {
      expect(() => semaphore.timedWait(ms as unknown as number)).toThrow(TypeError);
    }
    expect(semaphore.value).toBe(1);
  });

  test("9: signals do not shorten it", async () => {
    using semaphore = Semaphore.create(names.fresh());
    const waiter = new NodeProgram(`
      const semaphore = ipc.Semaphore.open(${JSON.stringify(semaphore.name)});
      process.on("SIGUSR2", () => {});
      say("begin");
      const start = process.hrtime.bigint();
      const result = semaphore.timedWait(400);
      say([result, Number(process.hrtime.bigint() - start) >= 400e6]);
    `);
    expect(await waiter.heard()).toBe("begin");
    for (let i = 0; i < 10; i++) {
      process.kill(waiter.pid, "SIGUSR2");
      await sleep(10);
    }
    expect(await waiter.heard()).toEqual([false, true]);
    await waiter.end();
  });

  test("11: never times out while there is one, whatever the time given", async () => {
    using semaphore = Semaphore.create(names.fresh(), { value: 4 });
    for (const ms of [0, Number.MIN_VALUE]) {
      expect(semaphore.timedWait(ms)).toBe(true);
      expect(await semaphore.waitAsync({ timeoutMs: ms })).toBe(true);
    }
    expect(semaphore.value).toBe(0);
  });
});
