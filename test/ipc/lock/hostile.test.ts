// A ledger, semaphores and a segment that someone else's process spoils: errors or a rebuild, never a crash or a hang.
import { randomBytes } from "node:crypto";
import { readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ReadersWriterLock, Semaphore, SharedMemory } from "../../../lib/ipc/index.ts";
import { CAPACITY, Header, Phase, Slot, slotAt } from "../../../lib/ipc/lock/lock-layout.ts";
import { LockStage } from "../../helpers/lock-stage.ts";
import { NodeProgram } from "../../helpers/node-program.ts";
import { segmentFile, semaphoreFile } from "../../helpers/object-names.ts";
import { canChangeUser } from "../../helpers/privileges.ts";

let stage: LockStage;
let lock: ReadersWriterLock;
let ledger: SharedMemory;
let words: Int32Array;

beforeEach(() => {
  stage = new LockStage("hostile");
  lock = ReadersWriterLock.create(stage.name);
  ledger = SharedMemory.open(stage.name);
  words = new Int32Array(ledger.buffer);
});
afterEach(async () => {
  lock.close();
  ledger.close();
  await stage.strike();
});

const semaphore = (what: string) => Semaphore.open(`${stage.name}.${lock.stats().epoch}.${what}`);

describe("words of the ledger", () => {
  const garbage: [string, () => void][] = [
    ["an even epoch that never was", () => Atomics.store(words, Header.epoch, 1 << 20)],
    ["an odd epoch", () => Atomics.store(words, Header.epoch, 0x7fffffff)],
    ["the last epoch before the number wraps", () => Atomics.store(words, Header.epoch, -2)],
    ["readers of another epoch", () => Atomics.store(words, Header.readers, 0x12345001)],
    ["too many readers", () => Atomics.add(words, Header.readers, 4000)],
    ["one reader too many", () => Atomics.add(words, Header.readers, 1)],
    ["no magic", () => Atomics.store(words, Header.magic, 0)],
    ["not ready", () => Atomics.store(words, Header.ready, 0)],
    ["zeros", () => void words.fill(0)],
    ["ones", () => void words.fill(-1)],
    ["everyone inside", () => everySlot(Slot.phase, Phase.inside)],
    ["everyone awaits the queue", () => everySlot(Slot.phase, Phase.want)],
    ["phases that there are not", () => everySlot(Slot.phase, 0x55555555)],
  ];
  const everySlot = (field: number, value: number) => {
    // But the slot of this process: what a live holder says of itself is believed.
    for (let slot = 1; slot < CAPACITY; slot++) Atomics.store(words, slotAt(slot) + field, value);
  };

  it.each(garbage)("%s: rebuilt, and all go on", async (_, spoil) => {
    const other = await stage.join();
    await other.run("write");
    spoil();
    await lock.withWrite(() => {});
    await lock.withRead(() => {});
    await stage.expectGoesOn([other]);
  });

  it("is rebuilt around a holder, not over it", async () => {
    const holder = await stage.join();
    await holder.run("hold", { kind: "write" });
    Atomics.store(words, Header.epoch, 4242);
    await expect(lock.withRead(() => {}, { timeoutMs: 300 })).rejects.toThrow(`held by writer pid ${holder.pid}`);
    await holder.run("release");
    await stage.expectGoesOn([holder]);
  });

  it("a dead process's slot is no less dead under the pid of a live one", async () => {
    const victim = await stage.join();
    await victim.run("holdHalfWritten");
    const slot = lock.stats().holders[0]?.slot ?? -1;
    Atomics.store(words, slotAt(slot) + Slot.pid, process.pid);
    await victim.kill();
    await stage.expectGoesOn([]);
    expect(lock.stats().recoveries).toBe(1);
  });

  it("survives random bytes while processes use it", async () => {
    const users = await Promise.all([1, 2, 3].map(() => stage.join()));
    for (let round = 0; round < 10; round++) {
      const tries = users.map((user) => user.run<Record<string, number>>("tryMany", { sections: 20, timeoutMs: 300 }));
      for (let blow = 0; blow < 20; blow++) {
        new Uint8Array(ledger.buffer).set(randomBytes(64), Math.floor((Math.random() * ledger.size) / 64) * 64);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      for (const outcomes of await Promise.all(tries))
        for (const outcome of Object.keys(outcomes)) expect(outcome).toMatch(/^entered$|^IpcError /);
    }
    for (const user of users) await user.run("tryMany", { sections: 2, timeoutMs: 3000 });
    await stage.expectGoesOn(users);
  });
});

describe("semaphores", () => {
  it.each(["queue", "room"])("a token of the %s taken away is missed, and the lock rebuilt", async (what) => {
    using stolen = semaphore(what);
    expect(stolen.tryWait()).toBe(true);
    await lock.withWrite(() => {});
    expect(lock.stats().recoveries).toBe(1);
  });

  it.each(["queue", "room"])(
    "too many tokens of the %s are noticed by whoever has to wait, and taken out of use",
    async (what) => {
      const holder = await stage.join();
      await holder.run("hold", { kind: "write" });
      using filled = semaphore(what);
      for (let i = 0; i < 3; i++) filled.post();
      await expect(lock.withRead(() => {}, { timeoutMs: 300 })).rejects.toThrow("writer pid");
      await holder.run("release");
      await stage.expectGoesOn([holder]);
      expect(filled.name).not.toContain(`.${lock.stats().epoch}.`);
    },
  );

  it("unlinked ones are made anew for whoever comes", async () => {
    semaphore("queue").unlink();
    semaphore("room").unlink();
    await stage.expectGoesOn([await stage.join()]);
    await lock.withWrite(() => {});
  });
});

describe("rebuilding", () => {
  it("a hundred times leaves no descriptor and no file behind", async () => {
    const descriptors = () => readdirSync("/proc/self/fd").length;
    await lock.withWrite(() => {});
    const before = descriptors();
    for (let i = 0; i < 100; i++) {
      Atomics.or(words, Header.epoch, 1);
      await lock.withWrite(() => {});
    }
    expect(lock.stats().recoveries).toBe(100);
    expect(descriptors()).toBeLessThanOrEqual(before + 1);
    expect(stage.names.files()).toHaveLength(4);
  });

  it.skipIf(!canChangeUser)("goes round another user's objects under the names it would take", async () => {
    const name = stage.names.fresh();
    const other = new NodeProgram(`
      process.setuid(65534);
      const lock = ipc.ReadersWriterLock.create(${JSON.stringify(name)});
      say(lock.stats().epoch);
      process.stdin.once("data", async () => {
        const words = new Int32Array(ipc.SharedMemory.open(${JSON.stringify(name)}).buffer);
        Atomics.or(words, ${Header.epoch}, 1);
        say(await lock.withWrite(() => "entered"));
        say(lock.stats().epoch);
        lock.unlink();
        process.exit();
      });
    `);
    const epoch = Number(await other.heard());
    const squatter = semaphoreFile(`${name}.${epoch + 2}.queue`);
    writeFileSync(squatter, "root's");
    other.say("on");
    expect(await other.heard()).toBe("entered");
    expect(await other.heard()).not.toBe(epoch + 2);
    await other.ended;
    rmSync(squatter);
  });
});

describe("the segment", () => {
  it("truncated under its users: an error, and the name can be used again", async () => {
    const other = await stage.join();
    await other.run("write");
    truncateSync(segmentFile(stage.name), 0);
    const gone = expect.objectContaining({ code: "EIO" });
    await expect(lock.withWrite(() => {}, { timeoutMs: 2000 })).rejects.toEqual(gone);
    await expect(other.run("read", { timeoutMs: 2000 })).rejects.toMatchObject({ code: "EIO" });
    lock.unlink();
    await stage.expectGoesOn([]);
  });

  it("unlinked in use: goes on until a death, then says so", async () => {
    const [other, victim] = [await stage.join(), await stage.join()];
    lock.unlink();
    await other.run("write");
    await victim.run("hold", { kind: "read" });
    await victim.kill();
    await expect(lock.withWrite(() => {})).rejects.toThrow(/was unlinked while in use/);
    expect(stage.names.files()).toEqual([stage.dataName.slice(1)]);
  });
});
