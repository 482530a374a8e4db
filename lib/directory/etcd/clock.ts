// Time, as the directory of many servers needs it: one that goes on while the machine sleeps, as the engine's leases do.
import { uptime } from "node:os";

export interface Clock {
  /** Milliseconds since whenever: CLOCK_BOOTTIME, which counts suspension and no change of the date. */
  now(): number;
  /** Calls back after so many ms, 0: with the next turn of the loop, unless it is disposed before. */
  after(ms: number, callback: () => void): Disposable;
  /** From 0 up to 1. */
  random(): number;
}

/** Ms for which one look is good: it reads a file. */
const LOOK_MS = 20;
let look = { at: Number.NEGATIVE_INFINITY, uptime: 0 };

export const systemClock: Clock = {
  now() {
    const at = performance.now();
    // uptime() reads CLOCK_BOOTTIME, to a hundredth of a second.
    if (at - look.at > LOOK_MS) look = { at, uptime: uptime() * 1000 };
    return look.uptime + at - look.at;
  },
  after(ms, callback) {
    if (ms === 0) {
      const immediate = setImmediate(callback);
      return { [Symbol.dispose]: () => clearImmediate(immediate) };
    }
    const timer = setTimeout(callback, ms);
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
  random: Math.random,
};
