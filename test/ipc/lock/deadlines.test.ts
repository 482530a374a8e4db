// Deadlines where something else than the holder is in the way: no thread to wait in, an epoch that moves again and again, a
// repair that takes long.
import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ReadersWriterLock } from "../../../lib/ipc/index.ts";
import { setFailpoint } from "../../../lib/ipc/lock/failpoint.ts";
import { LockStage } from "../../helpers/lock-stage.ts";
import { NodeProgram } from "../../helpers/node-program.ts";

const IPC = new URL("../../../dist/ipc/index.js", import.meta.url).href;

let stage: LockStage;
let lock: ReadersWriterLock;
beforeEach(() => {
  stage = new LockStage("deadlines");
  lock = ReadersWriterLock.create(stage.name);
});
afterEach(async () => {
  setFailpoint(() => {});
  lock.close();
  await stage.strike();
});

const refusal = (code: string) => expect.objectContaining({ name: "IpcError", code });

describe("without a thread to wait in", () => {
  /** A program all of whose 1024 waiting threads are busy; `section` runs with the lock. */
  const crowded = (section: string) =>
    new NodeProgram(`
      const busy = ipc.Semaphore.create(${JSON.stringify(stage.names.fresh())});
      busy.unlink();
      const waits = Array.from({ length: 1024 }, () => busy.waitAsync());
      const refused = await busy.waitAsync().catch(({ code }) => code);
      const lock = ipc.ReadersWriterLock.open(${JSON.stringify(stage.name)});
      say(refused);
      try {
        ${section}
      } catch ({ name, code }) {
        say({ name, code });
      }
      for (const _ of waits) busy.post();
      say((await Promise.all(waits)).filter(Boolean).length);`);

  it.each(["withRead", "withWrite"])("%s enters when the holder leaves", async (method) => {
    const holder = await stage.join();
    await holder.run("hold", { kind: "write" });
    const program = crowded(`
      const entered = lock.${method}(() => "entered");
      say("waits");
      say(await entered);`);
    expect([await program.heard(), await program.heard()]).toEqual(["EAGAIN", "waits"]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await holder.run("release");
    expect([await program.heard(), await program.heard()]).toEqual(["entered", 1024]);
    await program.end();
    await stage.expectGoesOn([holder]);
  });

  it("ends at the deadline, and by the signal, and is in nobody's way then", async () => {
    const holder = await stage.join();
    await holder.run("hold", { kind: "write" });
    const program = crowded(`
      const before = performance.now();
      const { code } = await lock.withWrite(() => {}, { timeoutMs: 200 }).catch((error) => error);
      say([code, performance.now() - before >= 200]);
      await lock.withRead(() => {}, { signal: AbortSignal.timeout(50) });`);
    expect([await program.heard(), await program.heard()]).toEqual(["EAGAIN", ["ETIMEDOUT", true]]);
    expect(await program.heard()).toEqual({ name: "AbortError", code: "ABORT_ERR" });
    expect(await program.heard()).toBe(1024);
    expect(lock.stats().waiting).toEqual([]);
    await holder.run("release");
    await program.end();
    await stage.expectGoesOn([holder]);
  });
});

/** Somebody dies inside, and another one recovers: the epoch moves. Blocks this thread meanwhile. */
function moveEpoch(): void {
  const open = `import { ReadersWriterLock } from ${JSON.stringify(IPC)};
    const lock = ReadersWriterLock.open(${JSON.stringify(stage.name)});`;
  const node = (script: string) => spawnSync(process.execPath, ["--input-type=module", "-e", `${open}${script}`]);
  expect(node(`await lock.withWrite(() => process.kill(process.pid, "SIGKILL"));`).signal).toBe("SIGKILL");
  expect(node("await lock.withWrite(() => {});").status).toBe(0);
}

describe("while the epoch moves", () => {
  it.each(["E1", "E2", "E3", "E5", "E6"])("a deadline that passes after %s is heeded", async (step) => {
    // The first attempt is made without a clock; from the second on there is a deadline.
    let moves = 0;
    setFailpoint((done) => {
      if (done !== step || moves === 2) return;
      moves++;
      moveEpoch();
    });
    await expect(lock.withWrite(() => "late", { timeoutMs: 20 })).rejects.toEqual(refusal("ETIMEDOUT"));
    expect(moves).toBe(2);
    expect(lock.stats()).toMatchObject({ holders: [], waiting: [] });
    expect(await lock.withWrite(() => "next")).toBe("next");
  });

  it("an entrant goes on in the epoch that there is then", async () => {
    let moves = 0;
    setFailpoint((done) => {
      if (done !== "E1" || moves > 1) return;
      moves++;
      moveEpoch();
    });
    expect(await lock.withWrite(() => "entered")).toBe("entered");
    expect(lock.stats()).toMatchObject({ recoveries: 2, acquisitions: { write: 5 } });
  });
});

describe("a repair", () => {
  it("that outlasts the deadline is finished, and nobody enters late", async () => {
    const [dead, other] = [await stage.join({ mended: false }), await stage.join({ mended: false })];
    await dead.run("hold", { kind: "write" });
    await dead.kill();
    await other.run("write"); // recovers, and cannot repair
    expect(lock.stats().damaged).toBe(true);
    let repairs = 0;
    const repair = async () => {
      await new Promise((resolve) => setTimeout(resolve, 150));
      repairs++;
    };
    using mender = ReadersWriterLock.open(stage.name, { repair });
    await expect(mender.withWrite(() => "late", { timeoutMs: 50 })).rejects.toEqual(refusal("ETIMEDOUT"));
    expect({ repairs, damaged: lock.stats().damaged }).toEqual({ repairs: 1, damaged: false });
    expect(await mender.withWrite(() => "next", { timeoutMs: 50 })).toBe("next");
    expect(repairs).toBe(1);
  });
});
