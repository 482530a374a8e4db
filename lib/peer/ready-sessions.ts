// The sessions that may have something to send, until it is sent: everything that happens in one turn goes into as few
// datagrams as it fits.
import type { Endpoint } from "../base/endpoint.ts";
import type { SecureSession } from "./secure-session.ts";

export class ReadySessions {
  readonly #sessions: SecureSession[] = []; // session.dirty
  readonly #transmit: (datagram: Buffer, to: Endpoint) => void;

  constructor(transmit: (datagram: Buffer, to: Endpoint) => void) {
    this.#transmit = transmit;
  }

  get isEmpty(): boolean {
    return this.#sessions.length === 0;
  }

  add(session: SecureSession): void {
    if (session.dirty) return;
    session.dirty = true;
    this.#sessions.push(session);
  }

  addIfWanted(session: SecureSession): void {
    if (session.wantsToSend()) this.add(session);
  }

  flush(now: number): void {
    for (const session of this.#sessions) {
      session.dirty = false;
      if (session.gone) continue;
      for (let datagram = session.next(now); datagram; datagram = session.next(now)) {
        this.#transmit(datagram, session.address);
      }
    }
    this.#sessions.length = 0;
  }
}
