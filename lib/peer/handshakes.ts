// Handshakes, both sides. What comes out of them are sessions. Sends and counts; the clock is an argument.
//
// The initiator:                                          The responder:
//  1. drive(): a peer has messages and no good session.    1. onInit(): handshake-responder.ts decides what the INIT
//     INIT goes to all of its endpoints…                      deserves: nothing, a COOKIE, the RESPONSE of before…
//  2. …and again, more and more seldom, over the relay     2. …or a RESPONSE of its own. The session is half-open: nothing
//     too when no direct path has answered soon               is sent through it
//  3. onCookie(): at once again, with the cookie
//  4. onResponse(): the session is there                   3. the first DATA confirms the session (engine.ts)
//
// A handshake of ours also ends when no message waits for the peer any more (it has failed), or when another session turns
// out to work (it is superseded).
import { debuglog } from "node:util";
import { type Endpoint, formatEndpoint, isRelayed } from "../base/endpoint.ts";
import type { Identity } from "../crypto/identity.ts";
import { type StaticKeys, staticKeys, toX25519 } from "../crypto/noise.ts";
import {
  decodeResponsePayload,
  encodeResponse,
  encodeResponsePayload,
  receiverIndex,
  senderIndex,
} from "../wire/datagram.ts";
import { HandshakeInitiation } from "./handshake-initiation.ts";
import { type Call, HandshakeResponder, type InitDropReason } from "./handshake-responder.ts";
import type { InboundStreams } from "./inbound-streams.ts";
import { INVITED_INITS } from "./limits.ts";
import type { Peer } from "./peer.ts";
import type { PeerTable, SessionEntry } from "./peer-table.ts";
import { SecureSession, type SessionParts } from "./secure-session.ts";
import type { PeerLimits } from "./types.ts";

const debug = debuglog("ptalk-peer");

export type HandshakeDropReason = InitDropReason | "unknown-session" | "cookie-asked";

export interface HandshakeParts {
  readonly identity: Identity;
  readonly limits: PeerLimits;
  /** Monotonic milliseconds. */
  readonly now: number;
  readonly table: PeerTable;
  readonly streams: InboundStreams<SecureSession>;
  readonly transmit: (datagram: Buffer, to: Endpoint) => void;
  /** Called once for a handshake that no direct path has answered soon. */
  readonly onUnanswered: (peer: Peer) => void;
  /** Where the directory has us; empty: nowhere. */
  readonly ownHomes: () => readonly Endpoint[];
}

export class Handshakes {
  readonly #parts: HandshakeParts;
  readonly #keys: StaticKeys;
  readonly #responder: HandshakeResponder;
  readonly #callees = new Map<number, Peer>(); // peers with an initiation, by its index
  #begun = 0;
  #answered = 0;
  #failed = 0;

  constructor(parts: HandshakeParts) {
    this.#parts = parts;
    this.#keys = staticKeys(parts.identity);
    this.#responder = new HandshakeResponder(this.#keys, parts.limits, parts.now);
  }

  /** Handshakes of ours. */
  get begun(): number {
    return this.#begun;
  }
  /** Of ours, those that ended without an answer. */
  get failed(): number {
    return this.#failed;
  }
  /** Handshakes of others that were answered with a RESPONSE; a repeated INIT is not another one. */
  get answered(): number {
    return this.#answered;
  }

  /** Begins, repeats or ends our handshake, as the peer needs it. */
  drive(peer: Peer, now: number): void {
    if (peer.initiation && peer.pending === 0 && !peer.isInvited(now)) this.#fail(peer);
    if (peer.isInvitationOutdated) this.#end(peer);
    if (peer.needsHandshake(now)) this.#begin(peer, now);
    const { initiation } = peer;
    if (!initiation || now < initiation.nextAt) return;
    const endpoints = peer.targets;
    const overRelay = initiation.isRelayDue(now) || endpoints.every(isRelayed);
    for (const endpoint of endpoints) {
      if (isRelayed(endpoint) && !overRelay) continue;
      if (debug.enabled) debug("handshake %s: INIT to %s", hex(initiation.index), formatEndpoint(endpoint));
      this.#parts.transmit(initiation.datagram, endpoint);
    }
    const isStuck = initiation.onSent(now);
    pauseInvitation(peer, initiation);
    if (isStuck && peer.pending > 0) this.#parts.onUnanswered(peer);
  }

  /** Another session with the peer works: what would come of this handshake is not needed. */
  supersede(peer: Peer): void {
    if (!peer.initiation) return;
    debug("handshake %s: superseded", hex(peer.initiation.index));
    this.#end(peer);
  }

  /** A peer begins a handshake. The session that this makes is half-open. */
  onInit(init: Buffer, from: Endpoint, now: number): HandshakeDropReason | null {
    const answer = this.#responder.read(init, from.address, from.port, now);
    if (answer.kind === "drop") return answer.reason;
    if (answer.kind === "call") {
      this.#answer(answer, from, now);
      return null;
    }
    if (debug.enabled) {
      const what = answer.isCookie ? "COOKIE" : "the same RESPONSE";
      debug("handshake %s: %s to %s", hex(senderIndex(init)), what, formatEndpoint(from));
    }
    if (!answer.isCookie) this.#parts.table.session(senderIndex(answer.datagram))?.session.onAnsweredTo(from, now);
    this.#parts.transmit(answer.datagram, from);
    return answer.isCookie ? "cookie-asked" : null;
  }

  /** The other end is under load and wants to see that we are where we say. */
  onCookie(reply: Buffer, now: number): HandshakeDropReason | null {
    const peer = this.#callees.get(receiverIndex(reply));
    if (!peer?.initiation) return "unknown-session";
    debug("handshake %s: COOKIE", hex(peer.initiation.index));
    peer.initiation.onCookie(reply, now);
    pauseInvitation(peer, peer.initiation); // anybody can send a COOKIE: it hastens none beyond the bound
    this.drive(peer, now);
    return null;
  }

  /** The session that the answer to a handshake of ours makes, or why it makes none. */
  onResponse(response: Buffer, from: Endpoint, now: number): SessionEntry | HandshakeDropReason {
    const index = receiverIndex(response);
    const peer = this.#callees.get(index);
    const initiation = peer?.initiation;
    if (!peer || !initiation) return "unknown-session";
    const finished = initiation.finish(response);
    const streamId = finished && decodeResponsePayload(finished.payload);
    if (!streamId) return "bad-handshake";
    if (debug.enabled) debug("handshake %s: RESPONSE from %s", hex(index), formatEndpoint(from));
    this.#end(peer);
    return this.#newSession(peer, {
      localIndex: index,
      remoteIndex: senderIndex(response),
      keys: finished.keys,
      streamId: streamId.toString("base64"),
      endpoint: from,
      homes: initiation.homes,
      isInitiator: true,
      roundTripMs: initiation.roundTripMs(now),
      handshakeMs: initiation.durationMs(now),
      now,
    });
  }

  sweep(now: number): void {
    this.#responder.sweep(now);
  }

  #begin(peer: Peer, now: number): void {
    const remote = toX25519(peer.key);
    if (!remote) return;
    const index = this.#newIndex();
    const { publicKey } = this.#parts.identity;
    const { streamId } = peer;
    const homes = peer.targets.filter((endpoint) => !isRelayed(endpoint));
    const ownHomes = this.#parts.ownHomes();
    const parts = { index, keys: this.#keys, remote, streamId, publicKey, ownHomes, homes, now };
    peer.beginHandshake(new HandshakeInitiation(parts));
    this.#callees.set(index, peer);
    this.#begun++;
  }

  #fail(peer: Peer): void {
    if (peer.initiation) debug("handshake %s: given up, no message waits for its answer", hex(peer.initiation.index));
    this.#failed++;
    this.#end(peer);
  }

  #end(peer: Peer): void {
    if (peer.initiation) this.#callees.delete(peer.initiation.index);
    peer.endHandshake();
  }

  #answer(call: Call, from: Endpoint, now: number): void {
    const { table, transmit } = this.#parts;
    const peer = table.caller(call.key, from, call.homes);
    const { message, keys } = call.responder.answer(encodeResponsePayload(peer.streamId));
    const { session } = this.#newSession(peer, {
      localIndex: this.#newIndex(),
      remoteIndex: call.index,
      keys,
      streamId: call.streamId,
      endpoint: from,
      homes: call.homes,
      isInitiator: false,
      roundTripMs: 0,
      handshakeMs: 0,
      now,
    });
    const response = encodeResponse(session.localIndex, call.index, message);
    this.#responder.remember(call.id, response, now);
    this.#answered++;
    if (debug.enabled) debug("handshake %s: RESPONSE to %s", hex(session.localIndex), formatEndpoint(from));
    transmit(response, from);
  }

  #newSession(peer: Peer, parts: Omit<SessionParts, "outbox" | "inbox">): SessionEntry {
    const stream = this.#parts.streams.acquire(peer.key, parts.streamId);
    const session = new SecureSession({ ...parts, outbox: peer.outbox, inbox: stream.inbox });
    const entry = { session, peer, stream };
    this.#parts.table.addSession(entry);
    return entry;
  }

  #newIndex(): number {
    return this.#parts.table.newIndex((index) => this.#callees.has(index));
  }
}

/** No endpoint that only a caller names gets more than INVITED_INITS. */
function pauseInvitation(peer: Peer, initiation: HandshakeInitiation): void {
  if (peer.pending === 0 && initiation.attempts >= INVITED_INITS) initiation.pauseUntil(peer.invitedUntil);
}

/** How a session or handshake is named in the log. */
export function hex(index: number): string {
  return index.toString(16).padStart(8, "0");
}
