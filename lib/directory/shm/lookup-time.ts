// lastLookupAt: the one field that is written without the lock, by the worker that the client is at.
//
// The time takes two words, and no processor promises to show both at once. The high word also carries the record's version: a
// store that comes too late, after the slot went to another client, shows as "none" and not as that client's time. The high
// word changes once in 49 days, and is 0 while it changes.
import { RECORD } from "./table-layout.ts";

const TWO_32 = 2 ** 32;
const TIME_BITS = 11; // 2^43 ms since the epoch reach to the year 2248
const TIME_MASK = (1 << TIME_BITS) - 1;

function highWord(timeHigh: number, version: number): number {
  return (version << TIME_BITS) | (timeHigh & TIME_MASK);
}

/** @param at first word of a record that was just seen live with this version @param now ms since the epoch */
export function storeLookupTime(words: Int32Array, at: number, version: number, now: number): void {
  const high = highWord(Math.floor(now / TWO_32), version);
  const moves = Atomics.load(words, at + RECORD.lookupHigh) !== high;
  if (moves) Atomics.store(words, at + RECORD.lookupHigh, 0);
  Atomics.store(words, at + RECORD.lookupLow, now | 0);
  if (moves) Atomics.store(words, at + RECORD.lookupHigh, high);
}

/** @returns ms since the epoch, or null for none */
export function loadLookupTime(words: Int32Array, at: number, version: number): number | null {
  const high = Atomics.load(words, at + RECORD.lookupHigh);
  if (high === 0 || high !== highWord(high, version)) return null;
  const low = Atomics.load(words, at + RECORD.lookupLow) >>> 0;
  if (Atomics.load(words, at + RECORD.lookupHigh) !== high) return null;
  return low + (high & TIME_MASK) * TWO_32;
}
