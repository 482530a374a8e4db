// A path: one way to the other end of a session, straight to an address or over the relay, and what is known of it. A session
// has several; what is learned of one says nothing of the others. No socket, no clock.
//
// A datagram that opens, with a counter that is new, may come from anywhere: its sender can write any address into it. So an
// address is challenged: 8 random bytes go there, and a program that sends them back from there receives there. Until then it gets
// at most UNPROVEN_FACTOR times the bytes that came from it. The relay is a connection with the server: nothing has to be
// proved of it.
import { randomBytes } from "node:crypto";
import { type Endpoint, isRelayed, isSameEndpoint, type PathKind } from "../base/endpoint.ts";
import { CHALLENGE_BYTES } from "../wire/datagram-frames.ts";
import { CHALLENGE_AGAIN, CHALLENGE_LIFE, UNPROVEN_FACTOR } from "./limits.ts";
import { PathMtu } from "./path-mtu.ts";

export class Path {
  readonly endpoint: Endpoint;
  readonly kind: PathKind;
  /** How large a datagram it takes. Over the relay it is a connection's bytes that are lost, or none. */
  readonly mtu = new PathMtu();
  #isProven: boolean;
  #heardAt: number;
  /** Bytes that may go there before it is proven. */
  #allowance = 0;
  #challenge: { readonly token: Buffer; readonly madeAt: number; sentAt: number } | null = null;
  #isChallengeDue = false;
  #answer: Buffer | null = null;

  /** @param isProven the other end has shown that it receives there */
  constructor(endpoint: Endpoint, isProven: boolean, now: number) {
    this.endpoint = endpoint;
    this.kind = isRelayed(endpoint) ? "relay" : "direct";
    this.#isProven = isProven || this.kind === "relay";
    this.#heardAt = now;
  }

  get isProven(): boolean {
    return this.#isProven;
  }
  /** When the last authentic datagram came by this path, or when it was made; monotonic milliseconds. */
  get heardAt(): number {
    return this.#heardAt;
  }
  /** There is something to be sent by this path alone. */
  get wantsToSend(): boolean {
    return this.#isChallengeDue || this.#answer !== null;
  }

  leadsTo(address: string, port: number): boolean {
    return isSameEndpoint(this.endpoint, address, port);
  }

  /** An authentic datagram with a new counter has come by it. */
  onHeard(bytes: number, now: number): void {
    this.#heardAt = now;
    if (!this.#isProven) this.#allowance += UNPROVEN_FACTOR * bytes;
  }

  /** The other end has shown in the handshake that it receives here. */
  prove(): void {
    this.#isProven = true;
  }

  /** Takes the bytes out of what may go to an address that is not proven. */
  spend(bytes: number): boolean {
    if (this.#isProven) return true;
    if (bytes > this.#allowance) return false;
    this.#allowance -= bytes;
    return true;
  }

  /** Asks the other end to show that it receives here; the same question again when it comes too soon for another one. */
  challenge(now: number): void {
    if (this.#challenge === null || now - this.#challenge.madeAt > CHALLENGE_LIFE) {
      this.#challenge = { token: randomBytes(CHALLENGE_BYTES), madeAt: now, sentAt: Number.NEGATIVE_INFINITY };
    }
    if (now - this.#challenge.sentAt >= CHALLENGE_AGAIN) this.#isChallengeDue = true;
  }

  /** As challenge(), of our own accord: of `bytes` to an address that the directory has told. */
  probe(bytes: number, now: number): void {
    this.#challenge = null;
    this.#allowance = Math.max(this.#allowance, bytes);
    this.challenge(now);
  }

  /** The token that has to go out; null when none has. */
  takeChallenge(now: number): Buffer | null {
    if (!this.#isChallengeDue || this.#challenge === null) return null;
    this.#isChallengeDue = false;
    this.#challenge.sentAt = now;
    return this.#challenge.token;
  }

  /** The other end's token has come by this path: it goes back by it. */
  answerLater(token: Buffer): void {
    this.#answer = Buffer.from(token);
  }

  takeAnswer(): Buffer | null {
    const answer = this.#answer;
    this.#answer = null;
    return answer;
  }

  /** @returns whether this proves the path: the token is its own, in time, and was not used before */
  onAnswer(token: Buffer, now: number): boolean {
    const challenge = this.#challenge;
    if (challenge === null || now - challenge.madeAt > CHALLENGE_LIFE || !challenge.token.equals(token)) return false;
    this.#challenge = null;
    this.#isChallengeDue = false;
    this.#isProven = true;
    return true;
  }
}
