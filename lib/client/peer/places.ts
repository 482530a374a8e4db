// Correspondents by key and place: several programs of one user have one key, and each of them is at a place of its own.
// One that can be reached at several places is here for each.
import type { Correspondent } from "./correspondent.ts";
import type { PeerAddress } from "./types.ts";

export class Places {
  readonly #correspondents = new Map<string, Correspondent>();

  /** The one that is at any of these places. */
  find(keyText: string, addresses: readonly PeerAddress[]): Correspondent | undefined {
    for (const address of addresses) {
      const found = this.#correspondents.get(placeOf(keyText, address));
      if (found) return found;
    }
    return undefined;
  }

  /**
   * Takes it from where it was. Who is at a place already, with messages of its own on their way, stays: two outboxes do not
   * merge, each ends by itself. One that has only called us gives way: what is sent from now on comes behind what the moved
   * one still holds.
   */
  put(correspondent: Correspondent, addresses: readonly PeerAddress[]): Correspondent {
    this.remove(correspondent);
    for (const address of addresses) {
      const place = placeOf(correspondent.keyText, address);
      const present = this.#correspondents.get(place);
      if (present) {
        if (present.outbox.pending > 0 || correspondent.outbox.pending === 0) continue;
        present.places.splice(present.places.indexOf(place), 1);
      }
      this.#correspondents.set(place, correspondent);
      correspondent.places.push(place);
    }
    return correspondent;
  }

  remove(correspondent: Correspondent): void {
    for (const place of correspondent.places.splice(0)) this.#correspondents.delete(place);
  }

  all(): Set<Correspondent> {
    return new Set(this.#correspondents.values());
  }
}

const placeOf = (keyText: string, { address, port }: PeerAddress): string => `${keyText} ${address} ${port}`;
