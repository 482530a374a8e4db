// Whom a call makes us send an INIT to: a NAT or a firewall lets in what answers to something, so the called side sends, too. The
// server names the endpoints, so they may be anybody's: a few INITs each, then none for a while, so many endpoints of one address
// whoever calls from there, and so many calls in all. Pure.
//
// An INIT that comes before the caller's own makes some NATs give the caller's next one another port: such an entry lives for
// 30 s (Linux, nf_conntrack_udp_timeout). So after a round there is none for longer than that.
import { type Endpoint, endpointProblem, isRelayed } from "../base/endpoint.ts";
import { isLoopback } from "../base/server-address.ts";
import { TokenBucket } from "./handshake-rate-limiter.ts";

const REST_MS = 35_000;
/** Calls that are heeded, a second; twice as many at once. */
const CALLS_PER_SECOND = 10;
/** Endpoints of one address in that time, over all callers: people behind one NAT. The relay serves the others. */
const MAX_OF_ADDRESS = 16;
/** Endpoints that are remembered; when they are all resting, no other one gets anything. */
const MAX_RESTING = 1024;

export class Knocks {
  readonly #calls = new TokenBucket(CALLS_PER_SECOND, 0);
  readonly #ofAddress = new Map<string, number>(); // how many of them are resting
  readonly #resting = new Map<string, number>(); // until when, the oldest first

  /** Those endpoints that get a round now. @param endpoints a link-local one has its zone */
  admit(endpoints: readonly Endpoint[], now: number): Endpoint[] {
    if (!this.#calls.take(now)) return [];
    for (const [key, until] of this.#resting) {
      if (until > now) break;
      this.#resting.delete(key);
      this.#count(key, -1);
    }
    return endpoints.filter(({ address, port }) => {
      const key = `${address} ${port}`;
      const [plain = ""] = address.split("%");
      if (isRelayed({ address, port }) || endpointProblem({ address: plain, port }) !== null) return false;
      if (isLoopback(address) || this.#resting.has(key) || this.#resting.size >= MAX_RESTING) return false;
      if ((this.#ofAddress.get(plain) ?? 0) >= MAX_OF_ADDRESS) return false;
      this.#resting.set(key, now + REST_MS);
      this.#count(key, 1);
      return true;
    });
  }

  #count(key: string, by: number): void {
    const [plain = ""] = key.split(/[% ]/);
    const count = (this.#ofAddress.get(plain) ?? 0) + by;
    if (count > 0) this.#ofAddress.set(plain, count);
    else this.#ofAddress.delete(plain);
  }
}
