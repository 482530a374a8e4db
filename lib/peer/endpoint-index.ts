// Correspondents by key and place: several programs of one user have one key, and each of them is at a place of its own.
// One that can be reached at several endpointKeys is here for each.
import type { Endpoint } from "../base/endpoint.ts";
import type { Peer } from "./peer.ts";

export class EndpointIndex {
  readonly #correspondents = new Map<string, Peer>();

  /** The one that is at any of these endpointKeys. */
  find(keyText: string, endpoints: readonly Endpoint[]): Peer | undefined {
    for (const address of endpoints) {
      const found = this.#correspondents.get(endpointKey(keyText, address));
      if (found) return found;
    }
    return undefined;
  }

  /**
   * Takes it from where it was. Who is at a place already, with messages of its own on their way, stays: two outboxes do not
   * merge, each ends by itself. One that has only called us gives way: what is sent from now on comes behind what the moved
   * one still holds.
   */
  put(peer: Peer, endpoints: readonly Endpoint[]): Peer {
    this.remove(peer);
    for (const address of endpoints) {
      const place = endpointKey(peer.keyText, address);
      const present = this.#correspondents.get(place);
      if (present) {
        if (present.outbox.pending > 0 || peer.outbox.pending === 0) continue;
        present.endpointKeys.splice(present.endpointKeys.indexOf(place), 1);
      }
      this.#correspondents.set(place, peer);
      peer.endpointKeys.push(place);
    }
    return peer;
  }

  remove(peer: Peer): void {
    for (const place of peer.endpointKeys.splice(0)) this.#correspondents.delete(place);
  }

  all(): Set<Peer> {
    return new Set(this.#correspondents.values());
  }
}

const endpointKey = (keyText: string, { address, port }: Endpoint): string => `${keyText} ${address} ${port}`;
