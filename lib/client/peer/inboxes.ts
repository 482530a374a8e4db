// The inboxes of all sending processes: what makes "exactly once" outlive sessions. Each is remembered after its last
// session has gone, as long as there is room; forgetting one of a process that still runs and still repeats a message
// whose confirmation was lost would deliver it twice, and takes MAX_INBOXES other processes in the meantime.

import { type Budget, Inbox } from "../reliability/inbox.ts";
import { MAX_INBOXES } from "./limits.ts";

export interface InboxEntry {
  readonly inbox: Inbox;
  /** Sessions through which its sender can be heard. */
  sessions: number;
  /** Messages are being handed over: the application's callback is on the stack. */
  delivering: boolean;
}

export class Inboxes {
  /** Bytes kept for all peers together. */
  bytes = 0;
  readonly #entries = new Map<string, InboxEntry>(); // longest unused first
  readonly #budget: Budget;

  constructor(limitBytes: number) {
    this.#budget = {
      take: (bytes) => {
        if (this.bytes + bytes > limitBytes) return false;
        this.bytes += bytes;
        return true;
      },
      give: (bytes) => {
        this.bytes -= bytes;
      },
    };
  }

  get size(): number {
    return this.#entries.size;
  }

  /** For a new session. @param sender the peer's key and its instance, as text */
  acquire(sender: string): InboxEntry {
    const entry = this.#entries.get(sender) ?? { inbox: new Inbox(this.#budget), sessions: 0, delivering: false };
    this.#entries.delete(sender);
    this.#entries.set(sender, entry);
    entry.sessions++;
    if (this.#entries.size > MAX_INBOXES) this.#forgetOldest();
    return entry;
  }

  /** A session has gone. Fragments were acknowledged within sessions: after the last one they will all be sent again. */
  release(entry: InboxEntry): void {
    entry.sessions--;
    if (entry.sessions === 0) entry.inbox.clear();
  }

  #forgetOldest(): void {
    for (const [sender, entry] of this.#entries) {
      if (entry.sessions > 0) continue;
      this.#entries.delete(sender);
      return;
    }
  }
}
