// When a client that has lost its server tries again. A server that was started anew takes about two thousand clients a second on two
// cores (docs/SCALING.md), so clients of a large one spread over as long as that takes: a queue of ten thousand at its door would make
// each of them wait until it gives up, and come again. How many there are the server has said, to the question COUNT.
import { type BackoffLimits, backoffMs } from "../base/async.ts";

/** Ms that the server takes for each. */
const EACH_MS = 0.5;
/**
 * The first attempts are over by then, in ms: the clients of a worker process that died find their rows within ORPHAN_GRACE_MS
 * (directory/shm/shm-limits.ts), and do not know that it was only a worker.
 */
const FIRST_SPREAD_MS = 4_000;

/**
 * Milliseconds before an attempt to reconnect.
 * @param attempt 0 for the first
 * @param clients that the server had, as far as known
 * @param limits of the pauses that a client by itself makes
 * @param longestMs of all pauses
 */
export function returnDelayMs(
  attempt: number,
  clients: number,
  { limits, longestMs }: { readonly limits: BackoffLimits; readonly longestMs: number },
  random: () => number = Math.random,
): number {
  const spreadMs = Math.min(clients * EACH_MS, attempt === 0 ? FIRST_SPREAD_MS : longestMs);
  return Math.max(backoffMs(attempt, limits, random), Math.round(spreadMs * random()));
}
