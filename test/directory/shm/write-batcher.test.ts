// Changes queue for the lock, and each caller gets the outcome of its own.
import { describe, expect, it } from "vitest";
import { WriteBatcher } from "../../../lib/directory/shm/write-batcher.ts";

/** A lock that notes its sections, and fails where it is told to. */
class FakeLock {
  readonly sections: string[][] = [];
  made: string[] = [];
  failsToEnter = 0;
  failsToLeave = 0;

  isHeld = false;

  async withWrite<T>(change: () => T | Promise<T>, { signal }: { signal?: AbortSignal } = {}): Promise<T> {
    await new Promise((resolve) => setImmediate(resolve));
    while (this.isHeld) {
      signal?.throwIfAborted();
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (this.failsToEnter-- > 0) throw new Error("timed out");
    this.made = [];
    const result = await change();
    this.sections.push(this.made);
    if (this.failsToLeave-- > 0) throw new Error("cannot leave");
    return result;
  }
}

function batcher(): {
  lock: FakeLock;
  run: (name: string, fault?: Error) => Promise<string>;
  idle: () => Promise<void>;
} {
  const lock = new FakeLock();
  const writes = new WriteBatcher(lock);
  const run = (name: string, fault?: Error) =>
    writes.run(() => {
      lock.made.push(name);
      if (fault) throw fault;
      return `done ${name}`;
    });
  return { lock, run, idle: () => writes.idle() };
}

describe("changes of one process", () => {
  it("are made in order, many under one lock, and no more than 64", async () => {
    const { lock, run, idle } = batcher();
    const names = Array.from({ length: 150 }, (_, i) => `c${i}`);
    expect(await Promise.all(names.map((name) => run(name)))).toEqual(names.map((name) => `done ${name}`));
    expect(lock.sections.flat()).toEqual(names);
    // The first change does not wait for others.
    expect(lock.sections.map(({ length }) => length)).toEqual([1, 64, 64, 21]);
    await idle();
    expect(await run("later")).toBe("done later");
  });

  it("a change that fails fails alone", async () => {
    const { run } = batcher();
    const fault = new Error("its own");
    const outcomes = await Promise.allSettled([run("a"), run("b", fault), run("c")]);
    expect(outcomes).toEqual([
      { status: "fulfilled", value: "done a" },
      { status: "rejected", reason: fault },
      { status: "fulfilled", value: "done c" },
    ]);
  });

  it("are not made, and are to be tried again, when the lock cannot be had", async () => {
    const { lock, run } = batcher();
    lock.failsToEnter = 2;
    const outcomes = await Promise.allSettled([run("a"), run("b"), run("c")]);
    for (const outcome of outcomes) {
      const reason = { code: "try-again", cause: { message: "timed out" } };
      expect(outcome).toMatchObject({ status: "rejected", reason });
    }
    expect(lock.sections).toEqual([]);
    expect(await run("a")).toBe("done a");
  });

  it("that were made keep their outcome, though the lock cannot be given back", async () => {
    const { lock, run } = batcher();
    lock.failsToLeave = 1;
    const fault = new Error("its own");
    const outcomes = await Promise.allSettled([run("a"), run("b", fault)]);
    expect(outcomes).toEqual([
      { status: "fulfilled", value: "done a" },
      { status: "rejected", reason: fault },
    ]);
    expect(await run("c")).toBe("done c");
  });

  it("that wait for a lock are made under the one that takes its place, in their order", async () => {
    const [old, next] = [new FakeLock(), new FakeLock()];
    const writes = new WriteBatcher(old);
    const made: string[] = [];
    old.isHeld = true;
    const waiting = ["a", "b", "c"].map((name) => writes.run(() => made.push(`${name}${next.sections.length}`)));
    await new Promise((resolve) => setImmediate(resolve));
    await writes.moveTo(next);
    await Promise.all(waiting);
    expect(made).toEqual(["a0", "b0", "c0"]);
    expect(old.sections).toEqual([]);
  });

  it("are held back by a section that runs alone, and go on under the lock that it has put in place", async () => {
    const [old, next] = [new FakeLock(), new FakeLock()];
    const writes = new WriteBatcher(old);
    const order: string[] = [];
    const alone = writes.runAlone(async () => {
      order.push("alone");
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
      void writes.moveTo(next);
      order.push("moved");
    });
    const change = writes.run(() => order.push("change"));
    await Promise.all([alone, change]);
    expect(order).toEqual(["alone", "moved", "change"]);
    expect([old.sections.length, next.sections.length]).toEqual([1, 1]);
    const fault = new Error("its own");
    await expect(writes.runAlone(() => Promise.reject(fault))).rejects.toBe(fault);
    expect(await writes.run(() => "goes on")).toBe("goes on");
  });

  it("that come while others are made are made next", async () => {
    const { lock, run } = batcher();
    await Promise.all([run("a"), run("b"), run("c")]);
    expect(lock.sections).toEqual([["a"], ["b", "c"]]);
  });
});
