// Whom a message is for, where that is, and which session leads there. Several programs of one user have one key; each of
// them is a correspondent of its own, known by where it can be reached (places.ts). No socket, no clock.
import { toX25519 } from "../../crypto/noise.ts";
import { TalkError } from "../../errors.ts";
import { addressProblem, canonicalAddress, sameAddresses } from "./address.ts";
import { Correspondent } from "./correspondent.ts";
import { Places } from "./places.ts";
import type { Session } from "./session.ts";
import type { Peer, PeerAddress, PeerLimits } from "./types.ts";

export class Routes {
  readonly #places = new Places();
  readonly #limits: PeerLimits;
  readonly #onForget: (correspondent: Correspondent) => void;

  constructor(limits: PeerLimits, onForget: (correspondent: Correspondent) => void) {
    this.#limits = limits;
    this.#onForget = onForget;
  }

  all(): Set<Correspondent> {
    return this.#places.all();
  }

  /** Whom the next message for this peer is queued at, or why none can be. */
  admit(peer: Peer): Correspondent | TalkError {
    const key = asBuffer(peer.key);
    const keyText = key.toString("base64");
    const name = peer.name ?? keyText;
    let known = this.#places.find(keyText, peer.addresses);
    if (!known || !sameAddresses(known.given, peer.addresses)) {
      const problem = addressProblem(peer.addresses);
      if (problem) return TalkError.badData(problem);
      known ??= this.#places.find(keyText, peer.addresses.map(canonicalAddress));
      if (!known && !toX25519(key)) return TalkError.badData(`the key of ${name} is no usable public key`);
    }
    if (known && known.outbox.numbered >= this.#limits.streamMessages && known.outbox.pending === 0) {
      this.#forget(known); // another one has another instance, whose numbers begin again
      known = undefined;
    }
    const correspondent = known ?? new Correspondent(Buffer.from(key));
    if (correspondent.outbox.numbered >= 2 * this.#limits.streamMessages) {
      return TalkError.notDelivered(name, "no message has a number left before those under way are settled");
    }
    if (correspondent.waiting >= this.#limits.queuedMessages) {
      return TalkError.notDelivered(name, `${correspondent.waiting} messages are waiting for it already`);
    }
    correspondent.name = name;
    this.#moveTo(correspondent, peer.addresses);
    return correspondent;
  }

  /** The directory says that this peer is elsewhere now. Returns whom that concerns. */
  move(key: Buffer, from: readonly PeerAddress[], to: readonly PeerAddress[]): Correspondent | null {
    const correspondent = this.#places.find(key.toString("base64"), from);
    if (!correspondent || addressProblem(to)) return null;
    this.#moveTo(correspondent, to);
    return correspondent;
  }

  /** Who calls us from there. */
  caller(key: Buffer, from: PeerAddress): Correspondent {
    return this.#places.find(key.toString("base64"), [from]) ?? this.#places.put(new Correspondent(key), [from]);
  }

  /**
   * Somebody who has called us is there. Returns whether we send through this session now. Both sides may call each other at
   * once: then there are two. Each side sends through the one that it began, or through the first that works, and hears on
   * both; the other one is forgotten when it is idle.
   */
  confirmed(session: Session): boolean {
    const { correspondent } = session;
    const { session: present } = correspondent;
    if (!correspondent.isReachedBy(session)) return false;
    const works = present && present.instance === session.instance && correspondent.outbox.unanswered === 0;
    if (works) return false;
    correspondent.use(session);
    return true;
  }

  gone(session: Session): void {
    const { correspondent } = session;
    session.gone = true;
    correspondent.sessions.delete(session);
    if (correspondent.session === session) correspondent.session = null;
  }

  /** Forgets those whom nothing leads to, and for whom nothing waits. */
  forgetIdle(): void {
    for (const correspondent of this.#places.all()) {
      if (correspondent.sessions.size > 0 || correspondent.outbox.pending > 0 || correspondent.waiting > 0) continue;
      this.#forget(correspondent);
    }
  }

  #forget(correspondent: Correspondent): void {
    this.#onForget(correspondent);
    this.#places.remove(correspondent);
  }

  // The directory's word counts: when the peer has moved, an old session may lead to another program of the same user.
  #moveTo(correspondent: Correspondent, given: readonly PeerAddress[]): void {
    if (!sameAddresses(correspondent.given, given)) {
      correspondent.given = given.map(({ address, port }) => ({ address, port })); // the caller may change its own
      correspondent.addresses = given.map(canonicalAddress);
      this.#places.put(correspondent, correspondent.addresses);
      const { session } = correspondent;
      if (session && !correspondent.isReachedBy(session)) correspondent.session = null;
    }
    if (correspondent.session) return;
    let best: Session | null = null;
    for (const session of correspondent.sessions) {
      if (session.confirmed && correspondent.isReachedBy(session)) best = session; // the newest
    }
    if (best) correspondent.use(best);
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes);
}
