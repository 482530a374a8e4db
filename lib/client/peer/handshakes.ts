// Handshakes, both sides: calls that we begin and repeat until they are answered, and calls that others make. What comes
// out of them are sessions.
import type { Identity } from "../../crypto/identity.ts";
import { type StaticKeys, staticKeys, toX25519 } from "../../crypto/noise.ts";
import {
  decodeHandshakePayload,
  encodeHandshakePayload,
  encodeResponse,
  receiverIndex,
  senderIndex,
} from "../../wire/datagram.ts";
import { Answerer, type Call, type InitDropReason } from "./answerer.ts";
import type { Correspondent } from "./correspondent.ts";
import { Dial } from "./dial.ts";
import type { Inboxes } from "./inboxes.ts";
import type { Routes } from "./routes.ts";
import { Session, type SessionParts } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import type { PeerAddress, PeerLimits } from "./types.ts";

export type HandshakeDropReason = InitDropReason | "unknown-session" | "cookie-asked";

export interface HandshakeParts {
  readonly identity: Identity;
  readonly limits: PeerLimits;
  /** Monotonic milliseconds. */
  readonly now: number;
  readonly sessions: Sessions;
  readonly inboxes: Inboxes;
  readonly routes: Routes;
  readonly transmit: (datagram: Buffer, to: PeerAddress) => void;
}

export class Handshakes {
  readonly #parts: HandshakeParts;
  readonly #keys: StaticKeys;
  readonly #answerer: Answerer;
  readonly #dials = new Map<number, Correspondent>(); // by our index

  constructor(parts: HandshakeParts) {
    this.#parts = parts;
    this.#keys = staticKeys(parts.identity);
    this.#answerer = new Answerer(this.#keys, parts.limits, parts.now);
  }

  /** Begins, repeats or ends our call, as the correspondent needs it. */
  drive(correspondent: Correspondent, now: number): void {
    if (correspondent.dial && correspondent.outbox.pending === 0) this.end(correspondent);
    if (correspondent.needsHandshake(now)) this.#begin(correspondent, now);
    const { dial } = correspondent;
    if (!dial || now < dial.nextAt) return;
    for (const address of correspondent.addresses) this.#parts.transmit(dial.datagram, address);
    dial.onSent(now);
  }

  #begin(correspondent: Correspondent, now: number): void {
    const remote = toX25519(correspondent.key);
    if (!remote) return;
    const index = this.#newIndex();
    const { publicKey } = this.#parts.identity;
    const { instance } = correspondent;
    correspondent.dial = new Dial({ index, keys: this.#keys, remote, instance, publicKey, now });
    this.#dials.set(index, correspondent);
  }

  /** Answered, or nobody waits for the answer any more. */
  end(correspondent: Correspondent): void {
    if (correspondent.dial) this.#dials.delete(correspondent.dial.index);
    correspondent.dial = null;
  }

  /** Somebody calls. The session that this makes is half-open: nothing is sent through it yet. */
  onInit(init: Buffer, from: PeerAddress, now: number): HandshakeDropReason | null {
    const answer = this.#answerer.read(init, from.address, from.port, now);
    if (answer.kind === "drop") return answer.reason;
    if (answer.kind === "call") {
      this.#answer(answer, from, now);
      return null;
    }
    this.#parts.transmit(answer.datagram, from);
    return answer.isCookie ? "cookie-asked" : null;
  }

  /** The session that the answer to a call of ours makes, or why it makes none. */
  onResponse(response: Buffer, from: PeerAddress, now: number): Session | HandshakeDropReason {
    const index = receiverIndex(response);
    const correspondent = this.#dials.get(index);
    const dial = correspondent?.dial;
    if (!correspondent || !dial) return "unknown-session";
    const finished = dial.finish(response);
    const payload = finished && decodeHandshakePayload(finished.payload);
    if (!payload) return "bad-handshake";
    this.end(correspondent);
    return this.#newSession(correspondent, payload.instance.toString("base64"), {
      localIndex: index,
      remoteIndex: senderIndex(response),
      keys: finished.keys,
      address: from,
      initiated: true,
      roundTripMs: dial.roundTripMs(now),
      handshakeMs: dial.durationMs(now),
      now,
    });
  }

  /** We are to call again at once, with the cookie. */
  onCookie(reply: Buffer, now: number): HandshakeDropReason | null {
    const correspondent = this.#dials.get(receiverIndex(reply));
    if (!correspondent?.dial) return "unknown-session";
    correspondent.dial.onCookie(reply, now);
    this.drive(correspondent, now);
    return null;
  }

  sweep(now: number): void {
    this.#answerer.sweep(now);
  }

  #answer(call: Call, from: PeerAddress, now: number): void {
    const { routes, transmit } = this.#parts;
    const correspondent = routes.caller(call.key, from);
    const { message, keys } = call.responder.answer(encodeHandshakePayload(correspondent.instance));
    const session = this.#newSession(correspondent, call.instance, {
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
    this.#answerer.remember(call.id, response, now);
    transmit(response, from);
  }

  #newSession(
    correspondent: Correspondent,
    instance: string,
    parts: Omit<SessionParts, "correspondent" | "entry" | "instance">,
  ): Session {
    const entry = this.#parts.inboxes.acquire(`${correspondent.keyText}/${instance}`);
    const session = new Session({ ...parts, correspondent, entry, instance });
    correspondent.sessions.add(session);
    this.#parts.sessions.add(session);
    return session;
  }

  #newIndex(): number {
    return this.#parts.sessions.newIndex((index) => this.#dials.has(index));
  }
}
