// Tries the direct paths of a conversation that goes over the relay, so that it is direct again soon after one opens. Pure.
//
// All endpoints of the peer are asked at once; the session that the answer comes in changes its path by itself. When a few
// rounds have failed in a row, the next one waits, longer each time. A peer that has moved is tried again at once.
import { type Endpoint, isRelayed } from "../base/endpoint.ts";
import { DIRECT_PROBE, DIRECT_PROBES, DIRECT_REST, MAX_DIRECT_REST, PROBE_RECENT } from "./limits.ts";
import type { SecureSession } from "./secure-session.ts";

export class PathProbes {
  #nextAt = 0;
  #failed = 0;

  /** The next round is the first. */
  restart(): void {
    this.#nextAt = 0;
    this.#failed = 0;
  }

  /** When to call onTimer. */
  deadline(session: SecureSession | null, endpoints: readonly Endpoint[]): number {
    if (session?.path.kind !== "relay" || endpoints.every(isRelayed)) return Number.POSITIVE_INFINITY;
    // A silent conversation costs nothing; the first datagram ends the silence.
    return this.#nextAt - session.talkedAt > PROBE_RECENT ? Number.POSITIVE_INFINITY : this.#nextAt;
  }

  /** @returns whether a round has begun */
  onTimer(session: SecureSession, endpoints: readonly Endpoint[], now: number): boolean {
    if (now < this.deadline(session, endpoints)) return false;
    for (const endpoint of endpoints) if (!isRelayed(endpoint)) session.probe(endpoint, now);
    this.#failed++;
    const rests = Math.max(0, this.#failed - DIRECT_PROBES);
    const restMs = Math.min(DIRECT_REST * 2 ** rests, MAX_DIRECT_REST);
    this.#nextAt = now + (this.#failed < DIRECT_PROBES ? DIRECT_PROBE : restMs);
    return true;
  }
}
