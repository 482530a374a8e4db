// Two at once: one process is stopped (SIGSTOP) at some step while another is killed at some step, then the first goes on.
// Every pair of steps is possible; a run draws some of them (PTALK_TEST_VOLUME=100 for more), and a failure names its pair.
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { LockStage } from "../../helpers/lock-stage.ts";
import { times } from "../../helpers/volume.ts";

const PAIRS = times(2);
/** How long the one to be killed may take to reach its step: it cannot while the stopped one is inside. */
const REACH_MS = 1500;

const entering = ["E1", "E2", "E3", "E5", "E6", "E7", "E8", "L1", "L2", "L4"];
const steps = {
  read: [...entering, "E6.count", "E9", "L2.count"],
  write: [...entering, "L3"],
  // Recovering after another's death, then entering.
  recover: ["R1", "R2", "R3", "R4", "R5", "R5.repaired", "R6.wiped", "R7.created", "R6", "R7", "R8", "R9", "R8.gate"],
};
type Role = keyof typeof steps;
const roles = Object.keys(steps) as Role[];

let stage: LockStage;
beforeEach(() => {
  stage = new LockStage("pairs");
});
afterEach(() => stage.strike());

function any<T>(list: readonly T[]): T {
  return list[Math.floor(Math.random() * list.length)] as T;
}

/** Has someone die inside, so that whoever enters next recovers. */
async function dieInside(): Promise<void> {
  const dead = await stage.join();
  await dead.run("holdHalfWritten");
  await dead.kill();
}

it.each(Array.from({ length: PAIRS }, (_, i) => i))("pair %d", async () => {
  const [stoppedRole, killedRole] = [any(roles), any(roles)];
  const [stopStep, killStep] = [any(steps[stoppedRole]), any(steps[killedRole])];
  const early = Math.random() < 0.5;
  const pair = `${stoppedRole} stopped at ${stopStep}, ${killedRole} killed at ${killStep}, goes on ${early ? "before" : "after"}`;

  const [survivor, frozen, victim] = [await stage.join(), await stage.join(), await stage.join()];
  if (stoppedRole === "recover") await dieInside();
  await frozen.run("freezeAt", { step: stopStep });
  const section = frozen.run(stoppedRole === "read" ? "read" : "write", { timeoutMs: 25_000 });
  await frozen.stoppedAt();

  await victim.run("stopAt", { step: killStep });
  void victim.start(killedRole === "read" ? "read" : "write", { timeoutMs: 25_000 }).catch(() => {});
  await Promise.race([victim.stoppedAt(), sleep(REACH_MS)]);
  if (early) frozen.thaw();
  await victim.kill();
  frozen.thaw();

  await section.catch((cause) => expect.fail(`${pair}: ${cause}`));
  await stage.expectGoesOn([survivor, frozen]).catch((cause) => expect.fail(`${pair}: ${cause}`));
});
