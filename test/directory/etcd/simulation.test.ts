import { describe, expect, it } from "vitest";
import { Simulation } from "./support/simulation.ts";

const SEEDS = Number(process.env.PTALK_SIMULATIONS ?? 150);

describe("servers that share a directory", () => {
  it("keep its invariants whatever happens to them and to the engine", { timeout: 600_000 }, async () => {
    const sums: Record<string, number> = {};
    for (let seed = 1; seed <= SEEDS; seed++) {
      const simulation = new Simulation({ seed, restores: process.env.RESTORES !== undefined });
      await simulation.run();
      expect(simulation.violations, `seed ${seed}`).toEqual([]);
      for (const [what, count] of Object.entries(simulation.done)) sums[what] = (sums[what] ?? 0) + count;
    }
    console.log(SEEDS, "schedules:", sums);
  });
});
