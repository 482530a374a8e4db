// Whom a message is for, where that is, and which session leads there. Several programs of one user have one key; each of
// them is a peer of its own, known by where it can be reached (endpoint-index.ts). No socket, no clock.

import { isIP } from "node:net";
import { areSameEndpoints, canonicalEndpoint, type Endpoint, MAX_ENDPOINTS, MAX_PORT } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import { toX25519 } from "../crypto/noise.ts";
import { EndpointIndex } from "./endpoint-index.ts";
import { Peer } from "./peer.ts";
import type { SecureSession } from "./secure-session.ts";
import type { PeerIdentity, PeerLimits } from "./types.ts";

export class PeerTable {
  readonly #endpointKeys = new EndpointIndex();
  readonly #limits: PeerLimits;
  readonly #onForget: (peer: Peer) => void;

  constructor(limits: PeerLimits, onForget: (peer: Peer) => void) {
    this.#limits = limits;
    this.#onForget = onForget;
  }

  all(): Set<Peer> {
    return this.#endpointKeys.all();
  }

  /** Whom the next message for this peer is queued at, or why none can be. */
  admit(identity: PeerIdentity): Peer | TalkError {
    const key = asBuffer(identity.key);
    const keyText = key.toString("base64");
    const name = identity.name ?? keyText;
    let known = this.#endpointKeys.find(keyText, identity.endpoints);
    if (!known || !areSameEndpoints(known.given, identity.endpoints)) {
      const problem = endpointsProblem(identity.endpoints);
      if (problem) return TalkError.badData(problem);
      known ??= this.#endpointKeys.find(keyText, identity.endpoints.map(canonicalEndpoint));
      if (!known && !toX25519(key)) return TalkError.badData(`the key of ${name} is no usable public key`);
    }
    if (known && known.outbox.numbered >= this.#limits.streamMessages && known.outbox.pending === 0) {
      this.#forget(known); // another one has another stream id, whose numbers begin again
      known = undefined;
    }
    const peer = known ?? new Peer(Buffer.from(key));
    if (peer.outbox.numbered >= 2 * this.#limits.streamMessages) {
      return TalkError.notDelivered(name, "no message has a number left before those under way are settled");
    }
    if (peer.waiting >= this.#limits.queuedMessages) {
      return TalkError.notDelivered(name, `${peer.waiting} messages are waiting for it already`);
    }
    peer.name = name;
    this.#moveTo(peer, identity.endpoints);
    return peer;
  }

  /** The directory says that this peer is elsewhere now. Returns whom that concerns. */
  move(key: Buffer, from: readonly Endpoint[], to: readonly Endpoint[]): Peer | null {
    const peer = this.#endpointKeys.find(key.toString("base64"), from);
    if (!peer || endpointsProblem(to)) return null;
    this.#moveTo(peer, to);
    return peer;
  }

  /** Who calls us from there. */
  caller(key: Buffer, from: Endpoint): Peer {
    return this.#endpointKeys.find(key.toString("base64"), [from]) ?? this.#endpointKeys.put(new Peer(key), [from]);
  }

  /**
   * Somebody who has called us is there. Returns whether we send through this session now. Both sides may call each other at
   * once: then there are two. Each side sends through the one that it began, or through the first that works, and hears on
   * both; the other one is forgotten when it is idle.
   */
  confirmed(session: SecureSession): boolean {
    const { peer } = session;
    const { session: present } = peer;
    if (!peer.isReachedBy(session)) return false;
    const works = present && present.streamId === session.streamId && peer.outbox.unanswered === 0;
    if (works) return false;
    peer.use(session);
    return true;
  }

  gone(session: SecureSession): void {
    const { peer } = session;
    session.gone = true;
    peer.sessions.delete(session);
    if (peer.session === session) peer.session = null;
  }

  /** Forgets those whom nothing leads to, and for whom nothing waits. */
  forgetIdle(): void {
    for (const peer of this.#endpointKeys.all()) {
      if (peer.sessions.size > 0 || peer.outbox.pending > 0 || peer.waiting > 0) continue;
      this.#forget(peer);
    }
  }

  #forget(peer: Peer): void {
    this.#onForget(peer);
    this.#endpointKeys.remove(peer);
  }

  // The directory's word counts: when the peer has moved, an old session may lead to another program of the same user.
  #moveTo(peer: Peer, given: readonly Endpoint[]): void {
    if (!areSameEndpoints(peer.given, given)) {
      peer.given = given.map(({ address, port }) => ({ address, port })); // the caller may change its own
      peer.endpoints = given.map(canonicalEndpoint);
      this.#endpointKeys.put(peer, peer.endpoints);
      const { session } = peer;
      if (session && !peer.isReachedBy(session)) peer.session = null;
    }
    if (peer.session) return;
    let best: SecureSession | null = null;
    for (const session of peer.sessions) {
      if (session.confirmed && peer.isReachedBy(session)) best = session; // the newest
    }
    if (best) peer.use(best);
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes);
}

/** What is wrong with a peer's endpoints, for a person; null when nothing is. Link-local ones have a zone here. */
function endpointsProblem(endpoints: readonly Endpoint[]): string | null {
  if (endpoints.length < 1 || endpoints.length > MAX_ENDPOINTS) {
    return `a peer has 1 to ${MAX_ENDPOINTS} endpoints, not ${endpoints.length}`;
  }
  for (const { address, port } of endpoints) {
    if (!Number.isInteger(port) || port < 1 || port > MAX_PORT) return `${port} is no UDP port`;
    if (isIP(address) === 0) return `${address} is no IP address`;
  }
  return null;
}
