// Waits that leave the event loop alone.
import { readdirSync } from "node:fs";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { Semaphore } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";
import { descriptors } from "../helpers/own-process.ts";

const names = new ObjectNames("wait");
afterAll(() => names.sweep());

const opened: Semaphore[] = [];
function anonymous(value = 0): Semaphore {
  const sem = Semaphore.create(names.fresh(), { value });
  sem.unlink();
  opened.push(sem);
  return sem;
}
afterEach(() => {
  for (const sem of opened.splice(0)) sem.close();
});

const threads = () => readdirSync("/proc/self/task").length;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("waitAsync", () => {
  test("of an object that is closed while it polls goes on, and closes nothing that came in its place", async () => {
    const sem = anonymous();
    const wait = sem.waitAsync({ timeoutMs: 60 });
    sem.close();
    const successors = Array.from({ length: 5 }, () => anonymous(1));
    expect(await wait).toBe(false);
    expect(successors.map((successor) => successor.value)).toEqual([1, 1, 1, 1, 1]);
  });

  test("takes what is there without a thread", async () => {
    const sem = anonymous(3);
    const before = threads();
    const waits = [sem.waitAsync(), sem.waitAsync({ timeoutMs: 1 }), sem.waitAsync({ timeoutMs: 0 })];
    expect(threads()).toBe(before);
    expect(await Promise.all(waits)).toEqual([true, true, true]);
    expect(sem.value).toBe(0);
  });

  test("leaves the loop running until another process posts", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const poster = new NodeProgram(`
      process.stdin.once("data", () => ipc.Semaphore.open(${JSON.stringify(name)}).post());
      say("ready");`);
    const wait = sem.waitAsync();
    await poster.heard();
    await vi.waitUntil(() => ticks > 5);
    poster.say("post");
    expect(await wait).toBe(true);
    clearInterval(timer);
    expect(sem.value).toBe(0);
    await poster.end();
    sem.unlink();
  });

  test("false after timeoutMs, not before, over more than one slice too", async () => {
    const sem = anonymous();
    for (const timeoutMs of [0, 1.5, 40, 250]) {
      const before = performance.now();
      expect(await sem.waitAsync({ timeoutMs })).toBe(false);
      expect(performance.now() - before).toBeGreaterThanOrEqual(timeoutMs - 1);
    }
    expect(sem.value).toBe(0);
  });

  test("refuses what is no time, without taking anything", async () => {
    const sem = anonymous(1);
    await expect(sem.waitAsync({ timeoutMs: -1 })).rejects.toThrow(RangeError);
    await expect(sem.waitAsync({ timeoutMs: Number.NaN })).rejects.toThrow(RangeError);
    await expect(sem.waitAsync({ timeoutMs: "5" as unknown as number })).rejects.toThrow(TypeError);
    expect(sem.value).toBe(1);
  });

  test("each post wakes one of many", async () => {
    const sem = anonymous();
    let woken = 0;
    const waits = Array.from({ length: 50 }, () => sem.waitAsync().then(() => woken++));
    for (let i = 1; i <= 50; i++) {
      sem.post();
      await vi.waitUntil(() => woken === i, { interval: 1 });
    }
    await Promise.all(waits);
    expect(sem.value).toBe(0);
  });

  test("goes on when its object is closed meanwhile", async () => {
    const name = names.fresh();
    using other = Semaphore.create(name);
    const sem = Semaphore.open(name);
    const wait = sem.waitAsync();
    sem.close();
    other.post();
    expect(await wait).toBe(true);
    other.unlink();
  });
});

describe("abort", () => {
  test("rejects with an AbortError and takes nothing", async () => {
    const sem = anonymous();
    const controller = new AbortController();
    const wait = sem.waitAsync({ signal: controller.signal });
    controller.abort();
    await expect(wait).rejects.toMatchObject({ name: "AbortError" });
    sem.post();
    await sleep(250); // the thread has come up for air since
    expect(sem.value).toBe(1);
  });

  test("an aborted signal rejects at once, even when there is something to take", async () => {
    const sem = anonymous(1);
    await expect(sem.waitAsync({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
    expect(sem.value).toBe(1);
  });

  test("AbortSignal.timeout, and a reason of one's own, still name an AbortError", async () => {
    const sem = anonymous();
    const timed = sem.waitAsync({ signal: AbortSignal.timeout(20) });
    await expect(timed).rejects.toMatchObject({ name: "AbortError", cause: { name: "TimeoutError" } });
    const controller = new AbortController();
    const wait = sem.waitAsync({ signal: controller.signal });
    controller.abort("enough");
    await expect(wait).rejects.toMatchObject({ name: "AbortError", cause: "enough" });
  });

  test("aborts racing with posts lose no token: what was not taken is there", async () => {
    const sem = anonymous();
    let taken = 0;
    const rounds = 300;
    for (let i = 0; i < rounds; i++) {
      const controller = new AbortController();
      const wait = sem.waitAsync({ signal: controller.signal }).then(
        () => taken++,
        () => {},
      );
      sem.post();
      if (i % 3 === 0) await sleep(0);
      else if (i % 3 === 1) await Promise.resolve();
      controller.abort();
      await wait;
      // Whoever was aborted gives back within a slice; the next round would take it.
      while (sem.tryWait()) taken++;
    }
    await vi.waitUntil(() => taken + sem.value === rounds);
  });

  test("wins over a token that was acquired but not handed over yet: that goes back, also when the object is closed", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name);
    const closing = Semaphore.open(name);
    const controller = new AbortController();
    const wait = closing.waitAsync({ signal: controller.signal });
    await sleep(20); // a thread waits by now
    sem.post();
    const until = performance.now() + 50; // the thread takes it, and the loop does not hear of it
    while (performance.now() < until);
    expect(sem.value).toBe(0);
    closing.close();
    controller.abort();
    await expect(wait).rejects.toMatchObject({ name: "AbortError" });
    expect(sem.value).toBe(1);
    sem.unlink();
  });

  test("takes its listener off the signal", async () => {
    const sem = anonymous();
    const { signal } = new AbortController();
    const [add, remove] = [vi.spyOn(signal, "addEventListener"), vi.spyOn(signal, "removeEventListener")];
    const wait = sem.waitAsync({ signal });
    // Until it has a thread: a wait that still polls listens to nothing.
    while (add.mock.calls.length === 0) await sleep(5);
    sem.post();
    await wait;
    expect(remove.mock.calls.map(([type, listener]) => [type, listener])).toEqual(
      add.mock.calls.map(([type, listener]) => [type, listener]),
    );
  });
});

describe("threads", () => {
  test("stay for the next wait, a few of them: a thousand waits make no thread", async () => {
    const name = names.fresh();
    using ping = Semaphore.create(name);
    using pong = Semaphore.create(`${name}-back`);
    const other = new NodeProgram(`
      const [ping, pong] = [ipc.Semaphore.open(${JSON.stringify(name)}), ipc.Semaphore.open(${JSON.stringify(name)} + "-back")];
      say("ready");
      for (;;) { await ping.waitAsync(); await new Promise((resolve) => setTimeout(resolve, 1)); pong.post(); }`);
    await other.heard();
    const trip = async () => {
      ping.post();
      expect(await pong.waitAsync()).toBe(true);
    };
    for (let i = 0; i < 10; i++) await trip();
    const before = readdirSync("/proc/self/task");
    for (let i = 0; i < 1000; i++) await trip();
    expect(readdirSync("/proc/self/task").filter((thread) => !before.includes(thread))).toEqual([]);
    await other.kill();
    for (const each of [ping, pong]) each.unlink();
  });

  test("beyond those are gone after the waits, finished, timed out and aborted, and so are descriptors", async () => {
    const sem = anonymous();
    await sem.waitAsync({ timeoutMs: 1 });
    await sleep(300); // and what earlier tests aborted has come up for air
    const before = { threads: threads(), descriptors: descriptors() };
    const controller = new AbortController();
    const waits = Array.from({ length: 60 }, (_, i) =>
      sem.waitAsync(i % 3 === 0 ? { timeoutMs: 30 } : i % 3 === 1 ? { signal: controller.signal } : {}).catch(() => {}),
    );
    await vi.waitUntil(() => threads() >= before.threads + 30);
    controller.abort();
    for (let i = 0; i < 20; i++) sem.post();
    for (let i = 0; i < 20; i++) sem.post(); // some may have gone to waits that would have timed out
    await Promise.all(waits);
    await vi.waitUntil(() => threads() <= before.threads + 4);
    expect(descriptors()).toBe(before.descriptors);
  });

  test("1024 waits at once work in one process; the next is EAGAIN and says so; afterwards there is room again", async () => {
    const program = new NodeProgram(`
      const sem = ipc.Semaphore.create(${JSON.stringify(names.fresh())});
      sem.unlink();
      const waits = Array.from({ length: 1024 }, () => sem.waitAsync());
      await new Promise((resolve) => setTimeout(resolve, 100));
      const refused = await sem.waitAsync().catch((error) => ({ code: error.code, message: error.message }));
      for (let i = 0; i < 1024; i++) sem.post();
      const all = await Promise.all(waits);
      say({ refused, taken: all.filter(Boolean).length, value: sem.value, again: await sem.waitAsync({ timeoutMs: 1 }) });`);
    expect(await program.heard()).toEqual({
      refused: { code: "EAGAIN", message: expect.stringContaining("1024") },
      taken: 1024,
      value: 0,
      again: false,
    });
    await program.end();
  });

  test("a wait keeps the process alive, and nothing does once it is over", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name);
    const program = new NodeProgram(`
      process.stdin.pause().unref?.();
      const sem = ipc.Semaphore.open(${JSON.stringify(name)});
      sem.waitAsync().then(() => say("woken"));
      say("waiting");`);
    await program.heard();
    await sleep(150);
    expect(program.child.exitCode).toBe(null);
    sem.post();
    expect(await program.heard()).toBe("woken");
    expect(await program.ended).toMatchObject({ code: 0, stderr: "" });
    sem.unlink();
  });

  test("process.exit with waits pending ends at once and keeps no token that came meanwhile", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name);
    const program = new NodeProgram(`
      const sem = ipc.Semaphore.open(${JSON.stringify(name)});
      for (let i = 0; i < 8; i++) sem.waitAsync();
      setTimeout(() => {
        for (let i = 0; i < 5; i++) sem.post();
        const until = performance.now() + 50; // the threads take them, and nobody hears of it
        while (performance.now() < until);
        process.exit(3);
      }, 50);`);
    expect(await program.ended).toMatchObject({ code: 3, signal: null });
    expect(sem.value).toBe(5);
    sem.unlink();
  });
});
