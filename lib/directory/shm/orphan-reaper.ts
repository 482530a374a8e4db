// Records of workers that died: kept for a moment, since their clients come back, then removed.
import { setImmediate as nextTurn } from "node:timers/promises";
import { RECORDS_PER_TURN, REMOVAL_RETRY_MS } from "../../server/limits.ts";
import type { DirectoryEvent } from "../../server/messages.ts";
import { AnnouncedEntries } from "./announced-entries.ts";
import type { ClientTable } from "./client-table.ts";
import type { FoundRecord } from "./stored-entry.ts";
import type { WriteBatcher } from "./write-batcher.ts";

/** Ms that the clients of a dead worker have to register again before their names are free. */
export const ORPHAN_GRACE_MS = 5_000;

export interface OrphansOwner {
  /** This has happened, and nobody has told it yet. */
  announce(events: readonly DirectoryEvent[]): void;
  /** Everything of a dead worker has been told, or removed. */
  settled(): void;
}

export class OrphanReaper {
  readonly #table: ClientTable;
  readonly #writes: WriteBatcher;
  readonly #owner: OrphansOwner;
  readonly #roll: AnnouncedEntries;
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopped = false;

  constructor(table: ClientTable, writes: WriteBatcher, owner: OrphansOwner) {
    this.#table = table;
    this.#writes = writes;
    this.#owner = owner;
    this.#roll = new AnnouncedEntries(table);
  }

  /** A worker has told this. */
  note(owner: number, events: readonly DirectoryEvent[]): void {
    this.#roll.note(owner, events);
  }

  /** The worker `owner` is dead: tells what it did not, and removes its records once their grace is over. */
  expect(owner: number): void {
    void this.#tellUntold(owner).catch(() => {}); // the table is closed: the server has stopped
    this.#sweepIn(ORPHAN_GRACE_MS, owner);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  async #tellUntold(owner: number): Promise<void> {
    for await (const events of this.#roll.unannounced(owner)) {
      if (this.#stopped) return;
      this.#announce(owner, events);
    }
    this.#owner.settled();
  }

  #announce(owner: number, events: readonly DirectoryEvent[]): void {
    if (events.length === 0) return;
    this.#roll.note(owner, events);
    this.#owner.announce(events);
  }

  #sweepIn(ms: number, owner: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#sweep(owner).catch(() => {
        if (!this.#stopped) this.#sweepIn(REMOVAL_RETRY_MS, owner);
      });
    }, ms);
    this.#timers.add(timer);
  }

  async #sweep(owner: number): Promise<void> {
    let cursor = 0;
    do {
      const page = this.#table.page(cursor, RECORDS_PER_TURN);
      cursor = page.cursor;
      const orphans = page.records.filter(({ record }) => record.owner === owner);
      if (orphans.length > 0) await this.#remove(owner, orphans);
      await nextTurn();
    } while (cursor !== 0 && !this.#stopped);
    this.#owner.settled();
  }

  async #remove(owner: number, orphans: readonly FoundRecord[]): Promise<void> {
    const events: DirectoryEvent[] = [];
    await this.#writes.run(() => {
      for (const { slot, record } of orphans) {
        if (this.#table.remove(slot, record.version))
          events.push({ kind: "left", version: record.version, name: record.name });
      }
    });
    this.#announce(owner, events);
  }
}
