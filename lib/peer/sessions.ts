// All sessions by their index, within their bounds. Half-open ones (called, not yet confirmed) are counted apart, so that
// a flood of them pushes out nothing else.
import { randomBytes } from "node:crypto";
import type { InboxEntry } from "./inboxes.ts";
import { HALF_OPEN_LIFE, IDLE_SESSION } from "./limits.ts";
import type { SecureSession } from "./secure-session.ts";
import type { PeerLimits } from "./types.ts";

export class Sessions {
  halfOpen = 0;
  readonly #byIndex = new Map<number, SecureSession>(); // in the order of their making
  readonly #limits: PeerLimits;
  readonly #onGone: (session: SecureSession) => void;

  constructor(limits: PeerLimits, onGone: (session: SecureSession) => void) {
    this.#limits = limits;
    this.#onGone = onGone;
  }

  get size(): number {
    return this.#byIndex.size;
  }
  get(index: number): SecureSession | undefined {
    return this.#byIndex.get(index);
  }
  all(): IterableIterator<SecureSession> {
    return this.#byIndex.values();
  }

  /** An index that no session has and nobody can guess: a forged datagram rarely even finds a key to fail with. */
  newIndex(isUsed: (index: number) => boolean): number {
    for (;;) {
      const index = randomBytes(4).readUInt32BE();
      if (!this.#byIndex.has(index) && !isUsed(index)) return index;
    }
  }

  add(session: SecureSession): void {
    if (!session.confirmed) {
      if (this.halfOpen >= this.#limits.halfOpen) this.#removeOne((other) => !other.confirmed, oldest);
      this.halfOpen++;
    } else {
      this.#makeRoom();
    }
    this.#byIndex.set(session.localIndex, session);
  }

  confirm(session: SecureSession): void {
    this.#makeRoom();
    session.confirmed = true;
    this.halfOpen--;
  }

  remove(session: SecureSession): void {
    if (!this.#byIndex.delete(session.localIndex)) return;
    if (!session.confirmed) this.halfOpen--;
    this.#onGone(session);
  }

  /** Ends all through which the sender of this inbox is heard. */
  end(entry: InboxEntry): void {
    for (const session of this.#byIndex.values()) if (session.entry === entry) this.remove(session);
  }

  sweep(now: number): void {
    for (const session of this.#byIndex.values()) {
      const life = session.confirmed ? IDLE_SESSION : HALF_OPEN_LIFE;
      if (now - session.heardAt > life || session.isSpent(now)) this.remove(session);
    }
  }

  #makeRoom(): void {
    if (this.#byIndex.size - this.halfOpen < this.#limits.sessions) return;
    // One that is being sent through goes last.
    const idle = (session: SecureSession) => session.confirmed && session.peer.outbox.pending === 0;
    this.#removeOne(idle, longestSilent) || this.#removeOne((session) => session.confirmed, longestSilent);
  }

  #removeOne(candidate: (session: SecureSession) => boolean, order: (session: SecureSession) => number): boolean {
    let first: SecureSession | null = null;
    for (const session of this.#byIndex.values()) {
      if (candidate(session) && (!first || order(session) < order(first))) first = session;
    }
    if (first) this.remove(first);
    return first !== null;
  }
}

const oldest = (session: SecureSession) => session.createdAt;
const longestSilent = (session: SecureSession) => session.heardAt;
