// Whom a call makes us send an INIT to: a NAT or a firewall lets in what answers to something, so the called side sends, too. The
// server names the endpoints, so they may be anybody's: a few INITs each, then none for a while, and so many calls in all. Pure.
//
// An INIT that comes before the caller's own makes some NATs give the caller's next one another port: such an entry lives for
// 30 s (Linux, nf_conntrack_udp_timeout). So after a round there is none for longer than that.
import { type Endpoint, endpointProblem, isRelayed } from "../base/endpoint.ts";
import { isLoopback } from "../base/server-address.ts";
import { TokenBucket } from "./handshake-rate-limiter.ts";

const REST_MS = 35_000;
/** Calls that are heeded, a second; twice as many at once. */
const CALLS_PER_SECOND = 10;
/** Endpoints that are remembered; when they are all resting, no other one gets anything. */
const MAX_RESTING = 1024;

export class Knocks {
  readonly #calls = new TokenBucket(CALLS_PER_SECOND, 0);
  readonly #resting = new Map<string, number>(); // until when, the oldest first

  /** Those endpoints that get a round now. @param endpoints a link-local one has its zone */
  admit(endpoints: readonly Endpoint[], now: number): Endpoint[] {
    if (!this.#calls.take(now)) return [];
    for (const [key, until] of this.#resting) {
      if (until > now) break;
      this.#resting.delete(key);
    }
    return endpoints.filter(({ address, port }) => {
      const key = `${address} ${port}`;
      const [plain = ""] = address.split("%");
      if (isRelayed({ address, port }) || endpointProblem({ address: plain, port }) !== null) return false;
      if (isLoopback(address) || this.#resting.has(key) || this.#resting.size >= MAX_RESTING) return false;
      this.#resting.set(key, now + REST_MS);
      return true;
    });
  }
}
