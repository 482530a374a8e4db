// Time, as the directory of many servers needs it: one that goes on while the machine sleeps, as the engine's leases do.
import { uptime } from "node:os";

export interface Clock {
  /** Milliseconds since whenever: CLOCK_BOOTTIME, which counts suspension and no change of the date. */
  now(): number;
  /** Calls back after so many ms, unless it is disposed before. */
  after(ms: number, callback: () => void): Disposable;
  /** From 0 up to 1. */
  random(): number;
}

export const systemClock: Clock = {
  // uptime() reads CLOCK_BOOTTIME, to a hundredth of a second.
  now: () => uptime() * 1000,
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
  random: Math.random,
};
