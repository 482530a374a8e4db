// Handshakes, both sides: calls that we begin and repeat until they are answered, and calls that others make. What comes
// out of them are sessions.
import type { Endpoint } from "../base/endpoint.ts";
import type { Identity } from "../crypto/identity.ts";
import { type StaticKeys, staticKeys, toX25519 } from "../crypto/noise.ts";
import {
  decodeResponsePayload,
  encodeHandshakePayload,
  encodeResponse,
  receiverIndex,
  senderIndex,
} from "../wire/datagram.ts";
import { HandshakeInitiation } from "./handshake-initiation.ts";
import { type Call, HandshakeResponder, type InitDropReason } from "./handshake-responder.ts";
import type { Inboxes } from "./inboxes.ts";
import type { Peer } from "./peer.ts";
import type { PeerTable } from "./peer-table.ts";
import { SecureSession, type SessionParts } from "./secure-session.ts";
import type { Sessions } from "./sessions.ts";
import type { PeerLimits } from "./types.ts";

export type HandshakeDropReason = InitDropReason | "unknown-session" | "cookie-asked";

export interface HandshakeParts {
  readonly identity: Identity;
  readonly limits: PeerLimits;
  /** Monotonic milliseconds. */
  readonly now: number;
  readonly sessions: Sessions;
  readonly inboxes: Inboxes;
  readonly peers: PeerTable;
  readonly transmit: (datagram: Buffer, to: Endpoint) => void;
}

export class Handshakes {
  readonly #parts: HandshakeParts;
  readonly #keys: StaticKeys;
  readonly #responder: HandshakeResponder;
  readonly #dials = new Map<number, Peer>(); // by our index

  constructor(parts: HandshakeParts) {
    this.#parts = parts;
    this.#keys = staticKeys(parts.identity);
    this.#responder = new HandshakeResponder(this.#keys, parts.limits, parts.now);
  }

  /** Begins, repeats or ends our call, as the peer needs it. */
  drive(peer: Peer, now: number): void {
    if (peer.initiation && peer.outbox.pending === 0) this.end(peer);
    if (peer.needsHandshake(now)) this.#begin(peer, now);
    const { initiation } = peer;
    if (!initiation || now < initiation.nextAt) return;
    for (const address of peer.endpoints) this.#parts.transmit(initiation.datagram, address);
    initiation.onSent(now);
  }

  #begin(peer: Peer, now: number): void {
    const remote = toX25519(peer.key);
    if (!remote) return;
    const index = this.#newIndex();
    const { publicKey } = this.#parts.identity;
    const { streamId } = peer;
    peer.initiation = new HandshakeInitiation({ index, keys: this.#keys, remote, streamId, publicKey, now });
    this.#dials.set(index, peer);
  }

  /** Answered, or nobody waits for the answer any more. */
  end(peer: Peer): void {
    if (peer.initiation) this.#dials.delete(peer.initiation.index);
    peer.initiation = null;
  }

  /** Somebody calls. The session that this makes is half-open: nothing is sent through it yet. */
  onInit(init: Buffer, from: Endpoint, now: number): HandshakeDropReason | null {
    const answer = this.#responder.read(init, from.address, from.port, now);
    if (answer.kind === "drop") return answer.reason;
    if (answer.kind === "call") {
      this.#answer(answer, from, now);
      return null;
    }
    this.#parts.transmit(answer.datagram, from);
    return answer.isCookie ? "cookie-asked" : null;
  }

  /** The session that the answer to a call of ours makes, or why it makes none. */
  onResponse(response: Buffer, from: Endpoint, now: number): SecureSession | HandshakeDropReason {
    const index = receiverIndex(response);
    const peer = this.#dials.get(index);
    const initiation = peer?.initiation;
    if (!peer || !initiation) return "unknown-session";
    const finished = initiation.finish(response);
    const streamId = finished && decodeResponsePayload(finished.payload);
    if (!streamId) return "bad-handshake";
    this.end(peer);
    return this.#newSession(peer, streamId.toString("base64"), {
      localIndex: index,
      remoteIndex: senderIndex(response),
      keys: finished.keys,
      address: from,
      initiated: true,
      roundTripMs: initiation.roundTripMs(now),
      handshakeMs: initiation.durationMs(now),
      now,
    });
  }

  /** We are to call again at once, with the cookie. */
  onCookie(reply: Buffer, now: number): HandshakeDropReason | null {
    const peer = this.#dials.get(receiverIndex(reply));
    if (!peer?.initiation) return "unknown-session";
    peer.initiation.onCookie(reply, now);
    this.drive(peer, now);
    return null;
  }

  sweep(now: number): void {
    this.#responder.sweep(now);
  }

  #answer(call: Call, from: Endpoint, now: number): void {
    const { peers, transmit } = this.#parts;
    const peer = peers.caller(call.key, from);
    const { message, keys } = call.responder.answer(encodeHandshakePayload(peer.streamId));
    const session = this.#newSession(peer, call.streamId, {
      localIndex: this.#newIndex(),
      remoteIndex: call.index,
      keys,
      address: from,
      initiated: false,
      roundTripMs: 0,
      handshakeMs: 0,
      now,
    });
    const response = encodeResponse(session.localIndex, call.index, message);
    this.#responder.remember(call.id, response, now);
    transmit(response, from);
  }

  #newSession(peer: Peer, streamId: string, parts: Omit<SessionParts, "peer" | "entry" | "streamId">): SecureSession {
    const entry = this.#parts.inboxes.acquire(`${peer.keyText}/${streamId}`);
    const session = new SecureSession({ ...parts, peer, entry, streamId });
    peer.sessions.add(session);
    this.#parts.sessions.add(session);
    return session;
  }

  #newIndex(): number {
    return this.#parts.sessions.newIndex((index) => this.#dials.has(index));
  }
}
