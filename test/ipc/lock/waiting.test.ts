// Waiting for other processes: deadlines that name who is in the way, abort signals, stopped processes, fairness, many at once.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ReadersWriterLock } from "../../../lib/ipc/index.ts";
import { LockStage } from "../../helpers/lock-stage.ts";

let stage: LockStage;
let lock: ReadersWriterLock;
beforeEach(() => {
  stage = new LockStage("waiting");
  lock = ReadersWriterLock.create(stage.name);
});
afterEach(async () => {
  lock.close();
  await stage.strike();
});

const refusal = (code: string) => expect.objectContaining({ name: "IpcError", code });

describe("exclusion", () => {
  it("readers share, a writer does not", async () => {
    const [first, second] = [await stage.join(), await stage.join()];
    await first.run("hold", { kind: "read" });
    await second.run("hold", { kind: "read" });
    expect(
      lock
        .stats()
        .holders.map((holder) => holder.pid)
        .sort(),
    ).toEqual([first.pid, second.pid].sort());
    await expect(lock.withWrite(() => {}, { timeoutMs: 50 })).rejects.toEqual(refusal("ETIMEDOUT"));
    await first.run("release");
    await expect(lock.withWrite(() => {}, { timeoutMs: 50 })).rejects.toEqual(refusal("ETIMEDOUT"));
    await second.run("release");
    expect(await lock.withWrite(() => "alone")).toBe("alone");
  });

  it.each(["withRead", "withWrite"] as const)("%s waits for a writer", async (method) => {
    const writer = await stage.join();
    await writer.run("hold", { kind: "write" });
    const entered = lock[method](() => "entered");
    expect(lock.stats().waiting).toMatchObject([{ pid: process.pid }]);
    await writer.run("release");
    expect(await entered).toBe("entered");
    expect(lock.stats().waits).toBe(1);
  });

  it("loses no increment of four hammering processes", async () => {
    const writers = await Promise.all([1, 2, 3, 4].map(() => stage.join()));
    const results = await Promise.all(
      writers.map((writer) => writer.run<{ sections: number }>("hammer", { kind: "write", ms: 500 })),
    );
    const total = results.reduce((sum, { sections }) => sum + sections, 0);
    expect(stage.counters).toEqual([total, total]);
    expect(lock.stats().acquisitions.write).toBe(total);
    expect(lock.stats().recoveries).toBe(0);
  });
});

describe("deadlines", () => {
  it("0 ms is one try", async () => {
    expect(await lock.withWrite(() => "free", { timeoutMs: 0 })).toBe("free");
    const holder = await stage.join();
    await holder.run("hold", { kind: "write" });
    await expect(lock.withRead(() => {}, { timeoutMs: 0 })).rejects.toEqual(refusal("ETIMEDOUT"));
  });

  it.each(["read", "write"])("the error names the %s holder, and whoever gives up is in nobody's way", async (kind) => {
    const holder = await stage.join();
    await holder.run("hold", { kind });
    await expect(lock.withWrite(() => {}, { timeoutMs: 30 })).rejects.toThrow(
      new RegExp(`no write lock within 30 ms; held by ${kind === "read" ? "reader" : "writer"} pid ${holder.pid}`),
    );
    expect(lock.stats().waiting).toEqual([]);
    if (kind === "read") expect(await lock.withRead(() => "beside")).toBe("beside");
    await holder.run("release");
    await stage.expectGoesOn([holder]);
    expect(lock.stats().recoveries).toBe(0);
  });

  it.each(["read", "write"])(
    "an aborted wait behind a %s holder rejects with AbortError and takes nothing",
    async (kind) => {
      const holder = await stage.join();
      await holder.run("hold", { kind });
      const controller = new AbortController();
      const wait = lock.withWrite(() => {}, { signal: controller.signal });
      setTimeout(() => controller.abort(), 20);
      await expect(wait).rejects.toThrow(expect.objectContaining({ name: "AbortError" }));
      await holder.run("release");
      await stage.expectGoesOn([holder]);
      expect(lock.stats().recoveries).toBe(0);
    },
  );

  it("cannot be closed while it waits, and what is asked of it then waits, too", async () => {
    const holder = await stage.join();
    await holder.run("hold", { kind: "write" });
    const wait = lock.withRead(() => {}, { timeoutMs: 50 });
    expect(() => lock.close()).toThrow(refusal("EBUSY"));
    const second = lock.withRead(() => "second");
    await expect(wait).rejects.toEqual(refusal("ETIMEDOUT"));
    await holder.run("release");
    expect(await second).toBe("second");
  });

  it("leaves the event loop free", async () => {
    const holder = await stage.join();
    await holder.run("hold", { kind: "write" });
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await expect(lock.withRead(() => {}, { timeoutMs: 300 })).rejects.toEqual(refusal("ETIMEDOUT"));
    clearInterval(timer);
    expect(turns).toBeGreaterThan(20);
  });
});

describe("a stopped process", () => {
  it.each(["read", "write"])("that holds for %s is waited for and named, not declared dead", async (kind) => {
    const holder = await stage.join();
    await holder.run("hold", { kind });
    await holder.freeze();
    await expect(lock.withWrite(() => {}, { timeoutMs: 1500 })).rejects.toThrow(`pid ${holder.pid} (stopped)`);
    expect(lock.stats().damaged).toBe(false);
    holder.thaw();
    await holder.run("release");
    await stage.expectGoesOn([holder]);
  });

  it.each(["read", "write"])("asleep for %s is in nobody's way, and gets in when it goes on", async (kind) => {
    const [holder, sleeper] = [await stage.join(), await stage.join()];
    await holder.run("hold", { kind: "write" });
    const slept = sleeper.run(kind);
    while (lock.stats().waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await sleeper.freeze();
    await holder.run("release");
    for (let i = 0; i < 20; i++) await lock.withWrite(() => {});
    sleeper.thaw();
    await slept;
  });

  const everywhereOutside = ["E1", "E2", "E3", "E5", "E6", "L1", "L2", "L3", "L4"];
  it.each(everywhereOutside)("stopped after %s holds up nobody, and finishes when it goes on", async (step) => {
    const [other, frozen] = [await stage.join(), await stage.join()];
    await frozen.run("freezeAt", { step });
    const section = frozen.run("write");
    await frozen.stoppedAt();
    for (let i = 0; i < 3; i++) await lock.withRead(() => {});
    await stage.expectGoesOn([other]);
    frozen.thaw();
    await section;
    await stage.expectGoesOn([other, frozen]);
    const [first, second] = stage.counters;
    expect(first).toBe(second);
  });

  it.each(["E7", "E8"])("stopped after %s is inside for all that anybody can tell", async (step) => {
    const frozen = await stage.join();
    await frozen.run("freezeAt", { step });
    const section = frozen.run("write");
    await frozen.stoppedAt();
    await expect(lock.withRead(() => {}, { timeoutMs: 1000 })).rejects.toThrow(`writer pid ${frozen.pid} (stopped)`);
    frozen.thaw();
    await section;
    await stage.expectGoesOn([frozen]);
  });

  it("that recovers keeps the others waiting, named, until it goes on or is killed", async () => {
    const [dead, frozen] = [await stage.join(), await stage.join()];
    await dead.run("hold", { kind: "write" });
    await dead.kill();
    await frozen.run("freezeAt", { step: "R3" });
    const section = frozen.run("write");
    await frozen.stoppedAt();
    await expect(lock.withRead(() => {}, { timeoutMs: 300 })).rejects.toThrow(
      `process pid ${frozen.pid} (stopped) is recovering it`,
    );
    frozen.thaw();
    await section;
    await stage.expectGoesOn([frozen]);
  });
});

describe("worker threads", () => {
  const inWorker = (body: string) =>
    new Worker(
      `import(${JSON.stringify(new URL("../../../dist/ipc/index.js", import.meta.url).href)}).then(async ({ ReadersWriterLock }) => {
        const { parentPort } = await import("node:worker_threads");
        const lock = ReadersWriterLock.open(${JSON.stringify(stage.name)});
        ${body}
      })`,
      { eval: true },
    );

  it("a thread with its own instance is another participant", async () => {
    const worker = inWorker("parentPort.postMessage(await lock.withRead(() => 'beside'))");
    const [answer] = await lock.withRead(() => once(worker, "message"));
    expect(answer).toBe("beside");
    await worker.terminate();
  });

  it.each(["inside", "asleep"])("one that is terminated %s is as good as dead", async (how) => {
    const other = await stage.join();
    if (how === "asleep") await other.run("hold", { kind: "write" });
    const worker = inWorker("lock.withWrite(() => new Promise(() => {})); parentPort.postMessage('there')");
    await once(worker, "message");
    await worker.terminate();
    if (how === "asleep") await other.run("release");
    expect(await lock.withWrite(() => "entered")).toBe("entered");
    await stage.expectGoesOn([other]);
  });
});

describe("fairness", () => {
  const progress = async (kinds: readonly string[], ms: number) => {
    const hammers = await Promise.all(kinds.map(() => stage.join()));
    return Promise.all(
      hammers.map((hammer, i) =>
        hammer.run<{ sections: number; torn: number }>("hammer", { kind: kinds[i] ?? "", ms }),
      ),
    );
  };

  it.each([
    [["write", "read"]],
    [["read", "write"]],
    [["write", "write", "read"]],
    [["read", "read", "read", "write"]],
  ])("everyone of %j keeps entering", async (kinds) => {
    for (const { sections, torn } of await progress(kinds, 1500)) {
      expect(torn).toBe(0);
      // An event loop that nobody starves makes thousands; one that only gets in when the others pause makes none.
      expect(sections).toBeGreaterThan(20);
    }
  });
});

describe("many", () => {
  it("256 take part, the 257th gets EUSERS, until one leaves", async () => {
    const places = [lock];
    try {
      while (places.length < 256) places.push(ReadersWriterLock.open(stage.name));
      expect(() => ReadersWriterLock.open(stage.name)).toThrow(refusal("EUSERS"));
      expect(await places[255]?.withWrite(() => "last")).toBe("last");
      places.pop()?.close();
      places.push(ReadersWriterLock.open(stage.name));
      expect(await places[255]?.withRead(() => "new")).toBe("new");
    } finally {
      for (const place of places) place.close();
    }
  });

  it("a place that a dead process kept busy is given again when all others are taken", async () => {
    const victim = await stage.join({ mended: false });
    await victim.run("holdHalfWritten");
    const places: ReadersWriterLock[] = [];
    try {
      while (places.length < 254) places.push(ReadersWriterLock.open(stage.name));
      expect(() => ReadersWriterLock.open(stage.name)).toThrow(refusal("EUSERS"));
      await victim.kill();
      places.push(ReadersWriterLock.open(stage.name));
      expect(lock.stats()).toMatchObject({ damaged: true });
      expect(await places[254]?.withWrite(() => "in its place")).toBe("in its place");
      expect(lock.stats().recoveries).toBe(1);
    } finally {
      for (const place of places) place.close();
    }
  });

  it("sixteen processes all get in", async () => {
    const crowd = await Promise.all(Array.from({ length: 16 }, () => stage.join()));
    const results = await Promise.all(
      crowd.map((one, i) =>
        one.run<{ sections: number }>("hammer", { kind: i % 4 === 0 ? "write" : "read", ms: 1000 }),
      ),
    );
    for (const { sections } of results) expect(sections).toBeGreaterThan(0);
    expect(lock.stats().recoveries).toBe(0);
  });
});
