import { statSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { IpcError, Semaphore, SharedMemory } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { exists, ObjectNames, semaphoreFile } from "../helpers/object-names.ts";

const names = new ObjectNames("sem");
afterAll(() => names.sweep());

/** A fresh semaphore whose name is gone already. */
function anonymous(value: number): Semaphore {
  const sem = Semaphore.create(names.fresh(), { value });
  sem.unlink();
  return sem;
}

describe("create and open", () => {
  test("has the value and the mode less the umask; 0 and private by default", () => {
    const name = names.fresh();
    using sem = Semaphore.create(name, { value: 3, mode: 0o666 });
    expect(sem.name).toBe(name);
    expect(sem.value).toBe(3);
    expect(statSync(semaphoreFile(name)).mode & 0o777).toBe(0o666 & ~process.umask());
    sem.unlink();
    using plain = Semaphore.create(name);
    expect(plain.value).toBe(0);
    expect(statSync(semaphoreFile(name)).mode & 0o777).toBe(0o600);
    plain.unlink();
  });

  test("create is exclusive, open needs one that exists", () => {
    const name = names.fresh();
    expect(() => Semaphore.open(name)).toThrow(
      expect.objectContaining({ code: "ENOENT", errno: 2, syscall: "sem_open" }),
    );
    using first = Semaphore.create(name);
    expect(() => Semaphore.create(name)).toThrow(expect.objectContaining({ code: "EEXIST", path: name }));
    first.unlink();
    expect(exists(semaphoreFile(name))).toBe(false);
    expect(() => Semaphore.unlink(name)).toThrow(expect.objectContaining({ code: "ENOENT", syscall: "sem_unlink" }));
  });

  test("openOrCreate leaves an existing one's value alone", () => {
    const name = names.fresh();
    using first = Semaphore.openOrCreate(name, { value: 2 });
    using second = Semaphore.openOrCreate(name, { value: 9 });
    expect(second.value).toBe(2);
    expect(second.tryWait()).toBe(true);
    expect(first.value).toBe(1);
    first.unlink();
  });

  test("list names semaphores and not shared memory", () => {
    const base = names.fresh();
    using a = Semaphore.create(`${base}-b`);
    using b = Semaphore.create(`${base}-a`);
    using shm = SharedMemory.create(`${base}-c`, { size: 1 });
    expect(Semaphore.list(base)).toEqual([`${base}-a`, `${base}-b`]);
    for (const made of [a, b, shm]) made.unlink();
    expect(Semaphore.list(base)).toEqual([]);
  });

  test("the same name opened twice here is one semaphore, and closing one leaves the other", () => {
    const name = names.fresh();
    const first = Semaphore.create(name, { value: 1 });
    using second = Semaphore.open(name);
    first.close();
    expect(second.tryWait()).toBe(true);
    second.unlink();
  });
});

describe("wait, tryWait, timedWait, post", () => {
  test("count down and up", () => {
    using sem = anonymous(2);
    sem.wait();
    expect(sem.tryWait()).toBe(true);
    expect(sem.value).toBe(0);
    expect(sem.tryWait()).toBe(false);
    sem.post();
    sem.post();
    expect(sem.value).toBe(2);
  });

  test("timedWait waits that long, not less, and takes what is there without waiting", () => {
    using sem = anonymous(1);
    expect(sem.timedWait(60_000)).toBe(true);
    const before = performance.now();
    expect(sem.timedWait(150)).toBe(false);
    expect(performance.now() - before).toBeGreaterThanOrEqual(149);
    expect(sem.timedWait(0)).toBe(false);
    sem.post();
    expect(sem.timedWait(0)).toBe(true);
    sem.post();
    expect(sem.timedWait(Number.POSITIVE_INFINITY)).toBe(true);
  });

  test("timedWait refuses what is no time", () => {
    using sem = anonymous(1);
    for (const ms of [-1, Number.NaN]) expect(() => sem.timedWait(ms)).toThrow(RangeError);
    for (const ms of ["1", null, undefined, 1n])
      expect(() => sem.timedWait(ms as unknown as number)).toThrow(TypeError);
    expect(sem.value).toBe(1);
  });

  test("a process that blocks in wait is woken by another's post, and not by a signal", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name);
    const waiter = new NodeProgram(`
      const sem = ipc.Semaphore.open(${JSON.stringify(name)});
      ipc.sigaction("SIGUSR2", () => {});
      say("waiting");
      sem.wait();
      say("woken");`);
    await waiter.heard();
    waiter.child.kill("SIGUSR2");
    waiter.child.kill("SIGUSR2");
    await new Promise((resolve) => setTimeout(resolve, 250));
    sem.post();
    expect(await waiter.heard()).toBe("woken");
    expect(sem.value).toBe(0);
    await waiter.end();
    sem.unlink();
  });

  test("excludes: two processes that increment a plain word in turn lose nothing", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name, { value: 1 });
    using shm = SharedMemory.create(name, { size: 8 });
    const script = `
      const sem = ipc.Semaphore.open(${JSON.stringify(name)});
      const words = new Float64Array(ipc.SharedMemory.open(${JSON.stringify(name)}).buffer);
      for (let i = 0; i < 20_000; i++) { sem.wait(); words[0] += 1; sem.post(); }
      say("done");`;
    const programs = [new NodeProgram(script), new NodeProgram(script)];
    await Promise.all(programs.map((program) => program.heard()));
    expect(new Float64Array(shm.buffer)[0]).toBe(40_000);
    expect(sem.value).toBe(1);
    await Promise.all(programs.map((program) => program.end()));
    sem.unlink();
    shm.unlink();
  });
});

test("use after close is EBADF with the semaphore's name; unlink and a second close still work", async () => {
  const name = names.fresh();
  const sem = Semaphore.create(name, { value: 1 });
  sem.close();
  sem.close();
  const uses = [() => sem.wait(), () => sem.tryWait(), () => sem.timedWait(1), () => sem.post(), () => sem.value];
  for (const use of uses) expect(use).toThrow(expect.objectContaining({ code: "EBADF", path: name }));
  await expect(sem.waitAsync()).rejects.toThrow(IpcError);
  sem.unlink();
  expect(Semaphore.list(name)).toEqual([]);
});
