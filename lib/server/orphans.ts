// Records of workers that died: kept for a moment, since their clients come back, then removed.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { ClientTable } from "../table/client-table.ts";
import type { FoundRecord } from "../table/types.ts";
import { RECORDS_PER_TURN, REMOVAL_RETRY_MS } from "./limits.ts";
import type { DirectoryEvent } from "./messages.ts";
import type { Writes } from "./writes.ts";

/** Ms that the clients of a dead worker have to register again before their names are free. */
export const ORPHAN_GRACE_MS = 5_000;

export class Orphans {
  readonly #table: ClientTable;
  readonly #writes: Writes;
  readonly #gone: (events: readonly DirectoryEvent[]) => void;
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopped = false;

  constructor(table: ClientTable, writes: Writes, gone: (events: readonly DirectoryEvent[]) => void) {
    this.#table = table;
    this.#writes = writes;
    this.#gone = gone;
  }

  /** Removes the records of `owner` once their grace is over. */
  expect(owner: number, afterMs = ORPHAN_GRACE_MS): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#sweep(owner).catch(() => {
        if (!this.#stopped) this.expect(owner, REMOVAL_RETRY_MS);
      });
    }, afterMs);
    this.#timers.add(timer);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  async #sweep(owner: number): Promise<void> {
    let cursor = 0;
    do {
      const page = this.#table.page(cursor, RECORDS_PER_TURN);
      cursor = page.cursor;
      const orphans = page.records.filter(({ record }) => record.owner === owner);
      if (orphans.length > 0) await this.#remove(orphans);
      await nextTurn();
    } while (cursor !== 0 && !this.#stopped);
  }

  async #remove(orphans: readonly FoundRecord[]): Promise<void> {
    const events: DirectoryEvent[] = [];
    await this.#writes.run(() => {
      for (const { slot, record } of orphans) {
        if (this.#table.remove(slot, record.version))
          events.push({ kind: "left", version: record.version, name: record.name });
      }
    });
    this.#gone(events);
  }
}
