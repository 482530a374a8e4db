import { expect, it } from "vitest";
import { returnDelayMs } from "../../lib/client/return-delay.ts";
import { ORPHAN_GRACE_MS } from "../../lib/directory/shm/shm-limits.ts";

const pauses = { limits: { firstMs: 100, maxMs: 1_000 }, longestMs: 5_000 };
/** Of so many clients, evenly lucky, in the order in which they come. */
const arrivals = (attempt: number, clients: number): number[] =>
  Array.from({ length: clients }, (_, i) => returnDelayMs(attempt, clients, pauses, () => i / clients));
const mostPerSecond = (times: readonly number[]): number => {
  const seconds = new Map<number, number>();
  for (const time of times) seconds.set(Math.floor(time / 1_000), (seconds.get(Math.floor(time / 1_000)) ?? 0) + 1);
  return Math.max(...seconds.values());
};

it("a few come back at once, as if each were alone", () => {
  expect(Math.max(...arrivals(0, 100))).toBeLessThanOrEqual(100);
  expect(Math.min(...arrivals(0, 100))).toBe(10);
});

it("many come back no faster than a server takes them, and within the grace of a worker that died", () => {
  expect(mostPerSecond(arrivals(0, 5_000))).toBeLessThanOrEqual(2_000);
  for (const clients of [5_000, 10_000, 50_000])
    expect(Math.max(...arrivals(0, clients))).toBeLessThan(ORPHAN_GRACE_MS);
});

it("a server that stays away is not met by all of them within its first second", () => {
  for (const attempt of [1, 5, 50]) {
    const times = arrivals(attempt, 10_000);
    expect(Math.max(...times)).toBeLessThanOrEqual(5_000);
    expect(mostPerSecond(times)).toBeLessThanOrEqual(3_000);
  }
});

it("knows nothing of how many there are at first", () => {
  expect(returnDelayMs(3, 0, pauses, () => 0.999)).toBeLessThanOrEqual(800);
});
