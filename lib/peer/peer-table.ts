// Where everything is found: peers by key and endpoint, sessions by their index, and how many of each there may be.
// (WireGuard keeps the same two tables in one file, peerlookup.c.) No socket, no clock.
//
// Several programs of one user have one key; each of them is a peer of its own, known by where it can be reached. One that
// can be reached at several endpoints is found at each of them.
//
// Half-open sessions (their initiator has not shown that it is there) are counted apart, so that a flood of them pushes out
// nothing else.

import { randomBytes } from "node:crypto";
import { isIP } from "node:net";
import { canonicalEndpoint, type Endpoint, isRelayed, MAX_ENDPOINTS, MAX_PORT } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import { toX25519 } from "../crypto/noise.ts";
import type { InboundStream } from "./inbound-streams.ts";
import { HALF_OPEN_LIFE, IDLE_SESSION } from "./limits.ts";
import { Peer } from "./peer.ts";
import type { SecureSession } from "./secure-session.ts";
import type { PeerIdentity, PeerLimits } from "./types.ts";

/** A session, the peer that it belongs to, and the stream of messages that comes through it. */
export interface SessionEntry {
  readonly session: SecureSession;
  readonly peer: Peer;
  readonly stream: InboundStream<SecureSession>;
}

export class PeerTable {
  readonly #limits: PeerLimits;
  readonly #onForget: (peer: Peer) => void;
  readonly #byEndpoint = new Map<string, Peer>();
  readonly #endpointsOf = new Map<Peer, string[]>(); // every peer, and its keys in #byEndpoint
  #lastAdmitted: Peer | null = null; // most messages go to where the last one went; null when any peer has moved
  readonly #byIndex = new Map<number, SessionEntry>(); // in the order of their making
  #halfOpen = 0;
  #unconfirmed = 0;

  /** @param onForget a peer is about to be forgotten: nothing leads to it, and nothing waits for it */
  constructor(limits: PeerLimits, onForget: (peer: Peer) => void) {
    this.#limits = limits;
    this.#onForget = onForget;
  }

  get peers(): Iterable<Peer> {
    return this.#endpointsOf.keys();
  }
  /** Confirmed ones. */
  get sessions(): number {
    return this.#byIndex.size - this.#halfOpen;
  }
  get halfOpen(): number {
    return this.#halfOpen;
  }
  /** Sessions that were forgotten before anybody confirmed them. */
  get unconfirmed(): number {
    return this.#unconfirmed;
  }

  /** The peer that the next message is queued at, new if need be; or why none can be queued. */
  admit(identity: PeerIdentity): Peer | TalkError {
    const { endpoints } = identity;
    const key = asBuffer(identity.key);
    const last = this.#lastAdmitted;
    const peer = last?.isAt(endpoints) && last.key.equals(key) ? last : this.#peerAt(key, identity);
    if (peer instanceof TalkError) return peer;
    const { numbered, waiting } = peer;
    if (numbered >= this.#limits.streamMessages && peer.pending === 0) {
      this.#forget(peer); // another one has another stream id, whose numbers begin again
      return this.admit(identity);
    }
    if (numbered >= 2 * this.#limits.streamMessages) {
      return TalkError.notDelivered(
        nameOf(identity),
        "no message has a number left before those under way are settled",
      );
    }
    if (waiting >= this.#limits.queuedMessages) {
      return TalkError.notDelivered(nameOf(identity), `${waiting} messages are waiting for it already`);
    }
    if (!peer.isAt(endpoints)) this.#moveTo(peer, endpoints);
    this.#lastAdmitted = peer;
    return peer;
  }

  /** The directory says that this peer is elsewhere now. Null when we know none there. */
  move(key: Buffer, from: readonly Endpoint[], to: readonly Endpoint[]): Peer | null {
    const peer = this.#find(key.toString("base64"), from);
    if (!peer || endpointsProblem(to)) return null;
    if (!peer.isAt(to)) this.#moveTo(peer, to);
    return peer;
  }

  /** Whether a session leads to the peer, at one of the endpoints that it is said to have. */
  hasSession(identity: PeerIdentity): boolean {
    return this.peerOf(identity)?.isReachedAt(identity.endpoints.map(canonicalEndpoint)) ?? false;
  }

  /** Undefined for one that is not known at any of these endpoints. */
  peerOf({ key, endpoints }: PeerIdentity): Peer | undefined {
    return this.#find(asBuffer(key).toString("base64"), endpoints.map(canonicalEndpoint)) ?? undefined;
  }

  /**
   * The peer that begins a handshake from there, new if need be.
   * @param homes where it says that the directory has it: what is sent there goes through this session
   */
  caller(key: Buffer, from: Endpoint, homes: readonly Endpoint[]): Peer {
    const known = this.#find(key.toString("base64"), [...homes, from]);
    if (known) return known;
    const peer = new Peer(key);
    this.#put(peer, [from, ...homes]);
    return peer;
  }

  /** Forgets the peers that nothing leads to, and that nothing waits for. */
  forgetIdle(): void {
    for (const peer of this.#endpointsOf.keys()) if (peer.isIdle) this.#forget(peer);
  }

  session(index: number): SessionEntry | undefined {
    return this.#byIndex.get(index);
  }

  *confirmedSessions(): Iterable<SecureSession> {
    for (const { session } of this.#byIndex.values()) if (session.isConfirmed) yield session;
  }

  /** An index that no session has and that cannot be guessed: a forged datagram rarely even finds a key to fail with. */
  newIndex(isUsed: (index: number) => boolean): number {
    for (;;) {
      const index = randomBytes(4).readUInt32BE();
      if (!this.#byIndex.has(index) && !isUsed(index)) return index;
    }
  }

  addSession(entry: SessionEntry): void {
    const { session, peer, stream } = entry;
    peer.addSession(session);
    stream.join(session); // before another one of the same stream makes room
    if (session.isConfirmed) {
      this.#makeRoom();
    } else {
      if (this.#halfOpen >= this.#limits.halfOpen) this.#removeFirst((other) => !other.isConfirmed, byAge);
      this.#halfOpen++;
    }
    this.#byIndex.set(session.localIndex, entry);
  }

  confirm(session: SecureSession, now: number): void {
    this.#makeRoom();
    session.confirm(now);
    this.#halfOpen--;
  }

  removeSession({ localIndex }: SecureSession): void {
    const entry = this.#byIndex.get(localIndex);
    if (!entry) return;
    this.#byIndex.delete(localIndex);
    const { session, peer, stream } = entry;
    if (!session.isConfirmed) {
      this.#halfOpen--;
      this.#unconfirmed++;
    }
    session.end();
    peer.removeSession(session);
    stream.leave(session);
  }

  /** Removes the sessions that are idle, spent, or were never confirmed. */
  sweep(now: number): void {
    for (const { session } of this.#byIndex.values()) {
      const life = session.isConfirmed ? IDLE_SESSION : HALF_OPEN_LIFE;
      if (now - session.heardAt > life || session.isSpent(now)) this.removeSession(session);
    }
  }

  #peerAt(key: Buffer, identity: PeerIdentity): Peer | TalkError {
    const { endpoints } = identity;
    const keyText = key.toString("base64");
    const known = this.#find(keyText, endpoints);
    if (known?.isAt(endpoints)) return known;
    const problem = endpointsProblem(endpoints);
    if (problem) return TalkError.badData(problem);
    const moved = known ?? this.#find(keyText, endpoints.map(canonicalEndpoint));
    if (moved) return moved;
    if (toX25519(key)) return new Peer(Buffer.from(key));
    return TalkError.badData(`the key of ${nameOf(identity)} is no usable public key`);
  }

  #find(keyText: string, endpoints: readonly Endpoint[]): Peer | undefined {
    for (const endpoint of endpoints) {
      const found = this.#byEndpoint.get(endpointKey(keyText, endpoint));
      if (found) return found;
    }
    return undefined;
  }

  #moveTo(peer: Peer, given: readonly Endpoint[]): void {
    this.#put(peer, given.map(canonicalEndpoint));
    peer.moveTo(given);
  }

  /**
   * Takes the peer from where it was. One that is at an endpoint already, with messages of its own on their way, stays: two
   * outboxes do not merge, each ends by itself. One that has only called us gives way: what is sent from now on comes behind
   * what the moved one still holds.
   */
  #put(peer: Peer, endpoints: readonly Endpoint[]): void {
    this.#lastAdmitted = null;
    for (const key of this.#endpointsOf.get(peer) ?? []) this.#byEndpoint.delete(key);
    const keys: string[] = [];
    this.#endpointsOf.set(peer, keys);
    for (const endpoint of endpoints) {
      const key = endpointKey(peer.keyText, endpoint);
      const present = this.#byEndpoint.get(key);
      if (present) {
        if (present.pending > 0 || peer.pending === 0) continue;
        const others = this.#endpointsOf.get(present) as string[];
        others.splice(others.indexOf(key), 1);
      }
      this.#byEndpoint.set(key, peer);
      keys.push(key);
    }
  }

  #forget(peer: Peer): void {
    this.#onForget(peer);
    this.#lastAdmitted = null;
    for (const key of this.#endpointsOf.get(peer) ?? []) this.#byEndpoint.delete(key);
    this.#endpointsOf.delete(peer);
  }

  #makeRoom(): void {
    if (this.sessions < this.#limits.sessions) return;
    // One that is being sent through goes last.
    const isIdle = (session: SecureSession) => session.isConfirmed && !session.isInUse;
    this.#removeFirst(isIdle, bySilence) || this.#removeFirst((session) => session.isConfirmed, bySilence);
  }

  #removeFirst(isCandidate: (session: SecureSession) => boolean, order: (session: SecureSession) => number): boolean {
    let first: SecureSession | null = null;
    for (const { session } of this.#byIndex.values()) {
      if (isCandidate(session) && (!first || order(session) < order(first))) first = session;
    }
    if (first) this.removeSession(first);
    return first !== null;
  }
}

const byAge = (session: SecureSession) => session.createdAt;
const bySilence = (session: SecureSession) => session.heardAt;

/** For error messages. */
function nameOf({ name, key }: PeerIdentity): string {
  return name ?? asBuffer(key).toString("base64");
}

function endpointKey(keyText: string, { address, port }: Endpoint): string {
  return `${keyText} ${address} ${port}`;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes);
}

/** What is wrong with a peer's endpoints, for a person; null when nothing is. Link-local ones have a zone here. */
function endpointsProblem(endpoints: readonly Endpoint[]): string | null {
  const direct = endpoints.filter((endpoint) => !isRelayed(endpoint) || isIP(endpoint.address) !== 0);
  if (endpoints.length < 1 || direct.length > MAX_ENDPOINTS) {
    return `a peer has 1 to ${MAX_ENDPOINTS} endpoints, not ${direct.length}`;
  }
  for (const { address, port } of direct) {
    if (!Number.isInteger(port) || port < 1 || port > MAX_PORT) return `${port} is no UDP port`;
    if (isIP(address) === 0) return `${address} is no IP address`;
  }
  return null;
}
