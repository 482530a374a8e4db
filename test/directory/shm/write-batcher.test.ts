// Changes queue for the lock, and each caller gets the outcome of its own.
import { describe, expect, it } from "vitest";
import { WriteBatcher } from "../../../lib/directory/shm/write-batcher.ts";

/** A lock that notes its sections, and fails where it is told to. */
class FakeLock {
  readonly sections: string[][] = [];
  made: string[] = [];
  failsToEnter = 0;
  failsToLeave = 0;

  async withWrite<T>(change: () => T): Promise<T> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.failsToEnter-- > 0) throw new Error("timed out");
    this.made = [];
    const result = change();
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

  it("that come while others are made are made next", async () => {
    const { lock, run } = batcher();
    await Promise.all([run("a"), run("b"), run("c")]);
    expect(lock.sections).toEqual([["a"], ["b", "c"]]);
  });
});
