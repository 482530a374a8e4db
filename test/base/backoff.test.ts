import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backoffMs } from "../../lib/base/async.ts";

const limits = { firstMs: 100, maxMs: 5_000 };

describe("backoff", () => {
  it("never waits longer than the cap, nor less than a tenth of the first ceiling", () => {
    fc.assert(
      fc.property(fc.nat(), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, random) => {
        const ms = backoffMs(attempt, limits, () => random);
        expect(ms).toBeGreaterThanOrEqual(limits.firstMs / 10);
        expect(ms).toBeLessThanOrEqual(limits.maxMs);
      }),
    );
  });

  it("doubles its ceiling up to the cap", () => {
    const most = [0, 1, 2, 3, 10].map((attempt) => backoffMs(attempt, limits, () => 1));
    expect(most).toEqual([100, 200, 400, 800, 5_000]);
  });
});
