// SIGKILL at every numbered step of docs/LOCK.md, in every role: whoever is left goes on, and the data is whole.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { LockParticipant } from "../../helpers/lock-participant.ts";
import { LockStage } from "../../helpers/lock-stage.ts";

let stage: LockStage;
beforeEach(() => {
  stage = new LockStage("steps");
});
afterEach(() => stage.strike());

/** Starts the command on the victim, waits until it stands at the step, and kills it there. */
async function dieAt(victim: LockParticipant, step: string, command: string, options = {}): Promise<void> {
  await victim.run("stopAt", { step });
  void victim.start(command, options).catch(() => {});
  expect(await victim.stoppedAt()).toBe(step);
  await victim.kill();
}

/** A process that waits (asleep by now) for a section to begin. */
async function waiting(participant: LockParticipant, command: "read" | "write"): Promise<{ done: Promise<unknown> }> {
  const done = participant.run(command);
  done.catch(() => {});
  while ((await stage.cast[0]?.stats())?.waiting.every((user) => user.pid !== participant.pid));
  return { done };
}

describe("entering and leaving", () => {
  const readerSteps = ["E1", "E2", "E3", "E5", "E6.count", "E6", "E7", "E8", "E9", "L1", "L2.count", "L2", "L4"];
  const writerSteps = ["E1", "E2", "E3", "E5", "E6", "E7", "E8", "L1", "L2", "L3", "L4"];

  it.each(readerSteps)("reader killed after %s", async (step) => {
    const survivor = await stage.join();
    await dieAt(await stage.join(), step, "read");
    await stage.expectGoesOn([survivor]);
  });

  it.each(writerSteps)("writer killed after %s", async (step) => {
    const survivor = await stage.join();
    await dieAt(await stage.join(), step, "write");
    await stage.expectGoesOn([survivor]);
  });

  it.each(readerSteps.slice(readerSteps.indexOf("E9")))(
    "reader killed after %s beside another reader",
    async (step) => {
      const survivor = await stage.join();
      await survivor.run("hold", { kind: "read" });
      await dieAt(await stage.join(), step, "read");
      await survivor.run("release");
      await stage.expectGoesOn([survivor]);
    },
  );

  it("writer killed halfway through a record: a survivor repairs it", async () => {
    const survivor = await stage.join();
    const victim = await stage.join();
    await victim.run("holdHalfWritten");
    const { done } = await waiting(survivor, "read");
    await victim.kill();
    expect(await done).toEqual([1, 1]);
    expect(await survivor.stats()).toMatchObject({ damaged: false, repairs: 1, recoveries: 1 });
    await stage.expectGoesOn([survivor]);
  });
});

describe("waiting", () => {
  it.each(["read", "write"] as const)("%s killed asleep on the queue", async (kind) => {
    const holder = await stage.join();
    await holder.run("hold", { kind: "write" });
    const victim = await stage.join();
    await waiting(victim, kind);
    await victim.kill();
    await holder.run("release");
    await stage.expectGoesOn([holder]);
  });

  it("writer killed asleep on the room, queue in hand", async () => {
    const holder = await stage.join();
    await holder.run("hold", { kind: "read" });
    const victim = await stage.join();
    await waiting(victim, "write");
    await victim.kill();
    const other = await stage.join();
    // As before the death: whoever comes after a waiting writer waits for those inside.
    const { done } = await waiting(other, "read");
    await holder.run("release");
    await done;
    await stage.expectGoesOn([holder, other]);
  });

  it("reader killed while it gives way to an elder", async () => {
    const holder = await stage.join();
    await holder.run("hold", { kind: "write" });
    const elder = await stage.join();
    const { done } = await waiting(elder, "write");
    await elder.freeze();
    await holder.run("release");
    await dieAt(await stage.join(), "E4", "read");
    elder.thaw();
    await done;
    await stage.expectGoesOn([holder, elder]);
  });

  it("writer killed while it gives up waiting", async () => {
    const holder = await stage.join();
    await holder.run("hold", { kind: "read" });
    await dieAt(await stage.join(), "E6.undo", "write", { timeoutMs: 20 });
    await holder.run("release");
    await stage.expectGoesOn([holder]);
  });
});

describe("recovering", () => {
  const steps = [
    "R1",
    "R2",
    "R3",
    "R4",
    "R5",
    "R5.repaired",
    "R6.wiped",
    "R6",
    "R7.created",
    "R7",
    "R8",
    "R9",
    "R8.gate",
  ];

  it.each(steps)("recoverer killed after %s", async (step) => {
    const survivor = await stage.join();
    const dead = await stage.join();
    await dead.run("holdHalfWritten");
    const victim = await stage.join();
    await dead.kill();
    await dieAt(victim, step, "write");
    await stage.expectGoesOn([survivor]);
    expect((await survivor.stats()).damaged).toBe(false);
  });

  it.each(steps)("recoverer killed after %s while others sleep on the old epoch", async (step) => {
    const survivor = await stage.join();
    const dead = await stage.join();
    await dead.run("holdHalfWritten");
    const victim = await stage.join();
    await victim.run("stopAt", { step });
    void victim.start("write").catch(() => {});
    const reader = await waiting(survivor, "read");
    await survivor.freeze();
    await dead.kill();
    await victim.stoppedAt();
    survivor.thaw();
    await victim.kill();
    expect(await reader.done).toEqual([1, 1]);
    await stage.expectGoesOn([survivor]);
  });

  it.each(steps)("two recoverers killed after %s, one after the other", async (step) => {
    const survivor = await stage.join();
    const dead = await stage.join();
    const [first, second] = [await stage.join(), await stage.join()];
    await dead.run("holdHalfWritten");
    await dead.kill();
    await dieAt(first, step, "read");
    const done = step.startsWith("R8") || step === "R9";
    if (done || step === "R5.repaired") await second.kill();
    else await dieAt(second, step, "write");
    await stage.expectGoesOn([survivor]);
  });
});

describe("joining and creating", () => {
  it.each(["J2", "J3"])("joiner killed after %s", async (step) => {
    const survivor = await stage.join();
    await dieAt(stage.spawn(), step, "open");
    await stage.expectGoesOn([survivor]);
  });

  it.each(["J1.created", "J1.gate", "J1.header", "J1.semaphores", "J1.ready"])(
    "creator killed after %s",
    async (step) => {
      await dieAt(stage.spawn(), step, "open", { how: "create" });
      const first = stage.spawn();
      await first.run("open");
      await stage.expectGoesOn([first]);
    },
  );

  it.each(["J1.created", "J1.gate", "J1.header", "J1.semaphores"])(
    "creator, and whoever finishes after it, killed after %s",
    async (step) => {
      await dieAt(stage.spawn(), step, "open", { how: "create" });
      await dieAt(stage.spawn(), step === "J1.created" ? "J1.gate" : step, "open", { how: "openOrCreate" });
      const first = await stage.join();
      await stage.expectGoesOn([first]);
    },
  );
});
