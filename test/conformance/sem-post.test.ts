// What POSIX asserts of sem_post and sem_getvalue, asked of Semaphore. See docs/CONFORMANCE.md.
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { SEM_VALUE_MAX, Semaphore, sigqueue } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";

const names = new ObjectNames("sem-post");

afterEach(() => names.sweep());

/** A process that waits on the semaphore once. */
async function waiterOn(semaphore: Semaphore): Promise<NodeProgram> {
  const program = new NodeProgram(`
    const semaphore = ipc.Semaphore.open(${JSON.stringify(semaphore.name)});
    say("begin");
    await semaphore.waitAsync();
    say("taken");
  `);
  expect(await program.heard()).toBe("begin");
  return program;
}

describe("sem_post", () => {
  test("1, 2, 4: adds one when nobody waits", () => {
    using semaphore = Semaphore.create(names.fresh());
    for (let value = 1; value <= 3; value++) {
      expect(semaphore.post()).toBeUndefined();
      expect(semaphore.value).toBe(value);
    }
  });

  test("1: wakes exactly one waiter for each post", async () => {
    using semaphore = Semaphore.create(names.fresh());
    const waiters = await Promise.all([waiterOn(semaphore), waiterOn(semaphore), waiterOn(semaphore)]);
    let taken = 0;
    const all = waiters.map(async (waiter) => {
      expect(await waiter.heard()).toBe("taken");
      taken++;
    });
    for (let posts = 1; posts <= waiters.length; posts++) {
      semaphore.post();
      while (taken < posts) await sleep(1);
      await sleep(30);
      expect(taken).toBe(posts);
    }
    await Promise.all(all);
    expect(semaphore.value).toBe(0);
    await Promise.all(waiters.map((waiter) => waiter.end()));
  });

  test("3: EBADF on one that is closed", () => {
    const semaphore = Semaphore.create(names.fresh());
    semaphore.close();
    expect(() => semaphore.post()).toThrow(
      expect.objectContaining({ name: "IpcError", code: "EBADF", syscall: "sem_post", path: semaphore.name }),
    );
  });

  test("5, 6: can be called from a signal's callback, and signals do not hinder it", async () => {
    using semaphore = Semaphore.create(names.fresh());
    const other = new NodeProgram(`
      const semaphore = ipc.Semaphore.open(${JSON.stringify(semaphore.name)});
      ipc.sigaction("SIGRTMIN+1", () => semaphore.post());
      say("ready");
    `);
    expect(await other.heard()).toBe("ready");
    for (let i = 1; i <= 100; i++) sigqueue(other.pid, "SIGRTMIN+1", i);
    for (let i = 1; i <= 100; i++) expect(await semaphore.waitAsync({ timeoutMs: 30_000 })).toBe(true);
    expect(semaphore.value).toBe(0);
    await other.end();
  });

  test("EOVERFLOW at SEM_VALUE_MAX, and the value stays", () => {
    using semaphore = Semaphore.create(names.fresh(), { value: SEM_VALUE_MAX });
    expect(() => semaphore.post()).toThrow(
      expect.objectContaining({ code: "EOVERFLOW", errno: 75, syscall: "sem_post" }),
    );
    expect(semaphore.value).toBe(SEM_VALUE_MAX);
  });
});

describe("sem_getvalue", () => {
  test("1, 4, 5: gives the value and does not change it", () => {
    using semaphore = Semaphore.create(names.fresh(), { value: 17 });
    for (let i = 0; i < 100; i++) expect(semaphore.value).toBe(17);
    expect(semaphore.tryWait()).toBe(true);
    expect(semaphore.value).toBe(16);
  });

  test("2: is 0, never negative, while others wait", async () => {
    using semaphore = Semaphore.create(names.fresh());
    const waiters = await Promise.all([waiterOn(semaphore), waiterOn(semaphore)]);
    await sleep(50);
    expect(semaphore.value).toBe(0);
    semaphore.post();
    semaphore.post();
    for (const waiter of waiters) {
      expect(await waiter.heard()).toBe("taken");
      await waiter.end();
    }
  });

  test("3: EBADF for the value of one that is closed", () => {
    const semaphore = Semaphore.create(names.fresh());
    semaphore.close();
    expect(() => semaphore.value).toThrow(expect.objectContaining({ code: "EBADF", syscall: "sem_getvalue" }));
  });
});
