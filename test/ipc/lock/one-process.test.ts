// Sections of one process, as two handlers of a server ask for them: they queue, readers share, and only one that waits for itself is refused.
import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ReadersWriterLock } from "../../../lib/ipc/index.ts";
import { LockStage } from "../../helpers/lock-stage.ts";

let stage: LockStage;
let lock: ReadersWriterLock;
beforeEach(() => {
  stage = new LockStage("one-process");
  lock = ReadersWriterLock.create(stage.name);
});
afterEach(async () => {
  lock.close();
  await stage.strike();
});

const refusal = (code: string) => expect.objectContaining({ name: "IpcError", code });

/** A section that notes what it meets, for `ms` milliseconds. */
function section(inside: Set<string>, kind: "read" | "write", name: string, log: string[], ms = 5) {
  return async () => {
    const others = [...inside];
    if (kind === "write") expect(others).toEqual([]);
    expect(others.filter((other) => other.startsWith("w"))).toEqual([]);
    inside.add(name);
    log.push(name);
    await sleep(ms);
    inside.delete(name);
    return others.length;
  };
}

describe("one instance", () => {
  it("runs three readers at once together, in one entry", async () => {
    const inside = new Set<string>();
    const beside = await Promise.all(
      ["r1", "r2", "r3"].map((name) => lock.withRead(section(inside, "read", name, []))),
    );
    expect(beside).toEqual([0, 1, 2]);
    expect(lock.stats()).toMatchObject({ acquisitions: { read: 3, write: 0 }, holders: [] });
  });

  it("runs writers one after the other, in the order they came, and readers behind them", async () => {
    const [inside, log] = [new Set<string>(), [] as string[]];
    await Promise.all([
      lock.withRead(section(inside, "read", "r1", log)),
      lock.withWrite(section(inside, "write", "w1", log)),
      lock.withRead(section(inside, "read", "r2", log)),
      lock.withRead(section(inside, "read", "r3", log)),
      lock.withWrite(section(inside, "write", "w2", log)),
      lock.withWrite(section(inside, "write", "w3", log)),
    ]);
    expect(log).toEqual(["r1", "w1", "r2", "r3", "w2", "w3"]);
  });

  it("goes on behind a section that throws", async () => {
    const outcomes = await Promise.allSettled([
      lock.withWrite(async () => {
        await sleep(1);
        throw new Error("mine");
      }),
      lock.withWrite(() => {
        throw new Error("mine too");
      }),
      lock.withWrite(() => 3),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected", "fulfilled"]);
  });

  it("has room for ten thousand in its queue, none of which runs on another's stack", async () => {
    let count = 0;
    const all = Array.from({ length: 10_000 }, () => lock.withWrite(() => void count++));
    await Promise.all(all);
    expect(count).toBe(10_000);
  });

  it("gives up in the queue by its deadline and by its signal, and names who is inside", async () => {
    let end = () => {};
    const holder = lock.withWrite(() => new Promise<void>((resolve) => (end = resolve)));
    const controller = new AbortController();
    const aborted = lock.withWrite(() => {}, { signal: controller.signal });
    const late = lock.withRead(() => {}, { timeoutMs: 20 });
    const patient = lock.withRead(() => "patient");
    setTimeout(() => controller.abort(), 5);
    await expect(aborted).rejects.toMatchObject({ name: "AbortError", code: "ABORT_ERR" });
    await expect(late).rejects.toThrow(
      /ETIMEDOUT: no read lock within 20 ms; held by another section of this instance/,
    );
    expect(() => lock.close()).toThrow(refusal("EBUSY"));
    end();
    await holder;
    expect(await patient).toBe("patient");
  });

  it("counts the time in the queue: behind another process, too", async () => {
    const other = await stage.join();
    await other.run("hold", { kind: "write" });
    const [first, second] = [30, 60].map((timeoutMs) => lock.withWrite(() => {}, { timeoutMs }));
    await Promise.all([first, second].map((section) => expect(section).rejects.toThrow(`writer pid ${other.pid}`)));
    await other.run("release");
    await stage.expectGoesOn([other]);
  });

  it("runs a queued section in the context of who asked for it", async () => {
    const storage = new AsyncLocalStorage<string>();
    const ask = (name: string) => storage.run(name, () => lock.withWrite(async () => storage.getStore()));
    expect(await Promise.all(["a", "b", "c"].map(ask))).toEqual(["a", "b", "c"]);
  });

  it("lets no stream of readers keep a writer of another process out", async () => {
    const writer = await stage.join();
    let over = false;
    const readers = [0, 1, 2, 3].map(async (offset) => {
      for (let i = 0; !over; i++) await lock.withRead(() => sleep(1 + ((i + offset) % 4)));
    });
    for (let i = 0; i < 5; i++) await writer.run("write");
    over = true;
    await Promise.all(readers);
    expect(stage.counters).toEqual([5, 5]);
  });
});

describe("two instances", () => {
  it("queue for each other, and their readers share", async () => {
    using second = ReadersWriterLock.open(stage.name);
    const [inside, log] = [new Set<string>(), [] as string[]];
    const together = await Promise.all([
      lock.withRead(section(inside, "read", "r1", log, 50)),
      second.withRead(section(inside, "read", "r2", log, 50)),
    ]);
    expect(together).toEqual([0, 1]);
    await Promise.all([
      lock.withWrite(section(inside, "write", "w1", log)),
      second.withWrite(section(inside, "write", "w2", log)),
      lock.withWrite(section(inside, "write", "w3", log)),
    ]);
    expect(log.slice(2).sort()).toEqual(["w1", "w2", "w3"]);
  });
});

describe("a section that waits for itself", () => {
  const kinds = ["withRead", "withWrite"] as const;
  it.each(kinds.flatMap((outer) => kinds.map((inner) => [inner, outer] as const)))(
    "is refused when it asks by %s after its first await, within %s",
    async (inner, outer) => {
      await lock[outer](async () => {
        await sleep(1);
        await expect(lock[inner](() => {})).rejects.toEqual(refusal("EDEADLK"));
      });
      const plain = lock[outer](() => sleep(1).then(() => lock[inner](() => {})));
      await expect(plain).rejects.toEqual(refusal("EDEADLK"));
    },
  );

  it("is refused through another instance, through a queued section, and through a section on another lock", async () => {
    using second = ReadersWriterLock.open(stage.name);
    const otherName = stage.names.fresh();
    using other = ReadersWriterLock.create(otherName);
    const asked = () => expect(second.withWrite(() => {})).rejects.toEqual(refusal("EDEADLK"));
    await lock.withWrite(() => sleep(1).then(asked));
    await Promise.all([lock.withWrite(() => sleep(5)), lock.withWrite(() => sleep(1).then(asked))]);
    await lock.withWrite(async () => {
      await sleep(1);
      await other.withWrite(async () => {
        await sleep(1);
        await asked();
      });
    });
    other.unlink();
  });

  it("is found by a lock that has had nothing but synchronous sections before", async () => {
    for (let i = 0; i < 100; i++) await lock.withWrite(() => {});
    await lock.withWrite(async () => {
      await sleep(1);
      await expect(lock.withRead(() => {})).rejects.toEqual(refusal("EDEADLK"));
    });
  });

  it("is not one that a section has left running: that waits, and runs when the section has ended", async () => {
    let later: Promise<string> = Promise.resolve("");
    await lock.withWrite(async () => {
      later = (async () => {
        await sleep(20);
        return lock.withWrite(() => "later");
      })();
    });
    expect(await later).toBe("later");
  });
});
