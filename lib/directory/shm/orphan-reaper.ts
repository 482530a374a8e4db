// Rows of workers that died. They stay for a moment, because their clients come back; then they are removed.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { DirectoryEvent } from "../directory.ts";
import { leftRooms } from "../entry-index.ts";
import { AnnouncedEntries } from "./announced-entries.ts";
import type { ClientTable } from "./client-table.ts";
import { ORPHAN_GRACE_MS, REMOVAL_RETRY_MS, ROWS_PER_TURN } from "./shm-limits.ts";
import type { StoredEntry } from "./stored-entry.ts";
import type { WriteBatcher } from "./write-batcher.ts";

export interface ReaperEvents {
  /** Changes of a dead worker that it never announced. */
  readonly onEvents: (events: readonly DirectoryEvent[]) => void;
  /** Everything of a dead worker is announced, or its rows are removed. */
  readonly onSettled: () => void;
  /** Removes the rows of a dead worker, where that is not decided here. */
  readonly remove?: ((worker: number) => Promise<void>) | undefined;
}

export class OrphanReaper {
  #table: ClientTable;
  readonly #writes: WriteBatcher;
  readonly #events: ReaperEvents;
  readonly #announced: AnnouncedEntries;
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopped = false;

  constructor(table: ClientTable, writes: WriteBatcher, events: ReaperEvents) {
    this.#table = table;
    this.#writes = writes;
    this.#events = events;
    this.#announced = new AnnouncedEntries(table);
  }

  /** The rows are in this table from now on, in the same slots. */
  moveTo(table: ClientTable): void {
    this.#table = table;
    this.#announced.moveTo(table);
  }

  /** A live worker has announced these. */
  observe(worker: number, events: readonly DirectoryEvent[]): void {
    this.#announced.note(worker, events);
  }

  /** Announces what the dead worker did not, and removes its rows once their grace is over. */
  workerDied(worker: number): void {
    void this.#announceMissed(worker).catch(() => {}); // the table is closed: the server has stopped
    this.#sweepIn(ORPHAN_GRACE_MS, worker);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  async #announceMissed(worker: number): Promise<void> {
    for await (const events of this.#announced.unannounced(worker)) {
      if (this.#stopped) return;
      this.#announce(worker, events);
    }
    this.#events.onSettled();
  }

  #announce(worker: number, events: readonly DirectoryEvent[]): void {
    if (events.length === 0) return;
    this.#announced.note(worker, events);
    this.#events.onEvents(events);
  }

  #sweepIn(ms: number, worker: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#sweep(worker).catch(() => {
        if (!this.#stopped) this.#sweepIn(REMOVAL_RETRY_MS, worker);
      });
    }, ms);
    this.#timers.add(timer);
  }

  async #sweep(worker: number): Promise<void> {
    if (this.#events.remove !== undefined) {
      await this.#events.remove(worker);
      this.#events.onSettled();
      return;
    }
    let cursor = 0;
    do {
      const page = this.#table.page(cursor, ROWS_PER_TURN);
      cursor = page.cursor;
      const orphans = page.rows.filter(({ place }) => place.worker === worker);
      if (orphans.length > 0) await this.#remove(worker, orphans);
      await nextTurn();
    } while (cursor !== 0 && !this.#stopped);
    this.#events.onSettled();
  }

  async #remove(worker: number, orphans: readonly StoredEntry[]): Promise<void> {
    const events: DirectoryEvent[] = [];
    await this.#writes.run(() => {
      for (const { slot, version, entry } of orphans) {
        if (!this.#table.remove(slot, version)) continue;
        events.push({ kind: "off", version, name: entry.name, ...leftRooms(entry, null) });
      }
    });
    this.#announce(worker, events);
  }
}
