// The inboxes of all sending processes: what makes "exactly once" outlive sessions. One that has handed something over is
// remembered after its last session has gone, as long as there is room. Forgetting one of a process that still runs and
// still repeats a message whose confirmation was lost would deliver it twice; it takes MAX_INBOXES other processes in the
// meantime of which a message was shown.

import { MAX_INBOXES } from "./limits.ts";
import { type Budget, Inbox } from "./stream/inbox.ts";

export interface InboxEntry {
  /** The peer's key and its streamId, as text. */
  readonly sender: string;
  readonly inbox: Inbox;
  /** Sessions through which its sender can be heard. */
  sessions: number;
  /** Messages are being handed over: the application's callback is on the stack. */
  delivering: boolean;
}

export class Inboxes {
  /** Bytes kept for all peers together. */
  bytes = 0;
  readonly #heard = new Map<string, InboxEntry>(); // with sessions, which have a bound of their own
  readonly #remembered = new Map<string, InboxEntry>(); // without; longest gone first
  readonly #limitBytes: number;
  readonly #end: (entry: InboxEntry) => void;

  /** @param end ends all sessions of an entry: its sender then begins again, and nothing of it is kept any more */
  constructor(limitBytes: number, end: (entry: InboxEntry) => void) {
    this.#limitBytes = limitBytes;
    this.#end = end;
  }

  /** For a new session. @param sender the peer's key and its streamId, as text */
  acquire(sender: string): InboxEntry {
    let entry = this.#heard.get(sender);
    if (!entry) {
      entry = this.#remembered.get(sender) ?? this.#newEntry(sender);
      this.#remembered.delete(sender);
      this.#heard.set(sender, entry);
    }
    entry.sessions++;
    return entry;
  }

  /** A session has gone. Fragments were acknowledged within sessions: after the last one they will all be sent again. */
  release(entry: InboxEntry): void {
    entry.sessions--;
    if (entry.sessions > 0) return;
    this.#heard.delete(entry.sender);
    entry.inbox.clear();
    if (!entry.inbox.hasHandedOver) return;
    this.#remembered.set(entry.sender, entry);
    const [oldest] = this.#remembered.keys();
    if (this.#remembered.size > MAX_INBOXES && oldest !== undefined) this.#remembered.delete(oldest);
  }

  #newEntry(sender: string): InboxEntry {
    const budget: Budget = {
      take: (bytes) => {
        if (this.bytes + bytes > this.#limitBytes && !this.#makeRoom(entry, bytes)) return false;
        this.bytes += bytes;
        return true;
      },
      give: (bytes) => {
        this.bytes -= bytes;
      },
    };
    const entry: InboxEntry = { sender, inbox: new Inbox(budget), sessions: 0, delivering: false };
    return entry;
  }

  // Max-min fairness: who keeps most gives way to who will still keep less. Otherwise a few strangers with long messages
  // that never end would silence everybody else for good.
  #makeRoom(asking: InboxEntry, bytes: number): boolean {
    while (this.bytes + bytes > this.#limitBytes) {
      let most = asking;
      for (const entry of this.#heard.values()) if (entry.inbox.bytes > most.inbox.bytes) most = entry;
      if (most.inbox.bytes <= asking.inbox.bytes + bytes) return false;
      this.#end(most);
    }
    return true;
  }
}
