// Entries that each worker has announced to the primary. Diffed against the table when a worker dies, to find changes that it
// never announced.
import { setImmediate as nextTurn } from "node:timers/promises";
import { foldName } from "../../base/names.ts";
import { isLaterVersion } from "../claim-rules.ts";
import type { DirectoryEvent } from "../directory.ts";
import type { ClientTable } from "./client-table.ts";
import { ROWS_PER_TURN } from "./shm-limits.ts";

interface Announced {
  readonly name: string;
  readonly worker: number;
  readonly version: number;
}

export class AnnouncedEntries {
  #table: ClientTable;
  /** By folded name. */
  readonly #announced = new Map<string, Announced>();

  constructor(table: ClientTable) {
    this.#table = table;
  }

  /** The entries are in this table from now on, in the same slots. */
  moveTo(table: ClientTable): void {
    this.#table = table;
  }

  /** A worker has announced these, or the primary has in its place. */
  note(worker: number, events: readonly DirectoryEvent[]): void {
    for (const { kind, name, version } of events) {
      const folded = foldName(name);
      const known = this.#announced.get(folded);
      // Events of two workers about one name may arrive out of order.
      if (known !== undefined && isLaterVersion(known.version, version)) continue;
      if (kind === "off") this.#announced.delete(folded);
      else this.#announced.set(folded, { name, worker, version });
    }
  }

  /** The events that a dead worker never announced, in parts. The caller notes each part before it takes the next. */
  async *unannounced(worker: number): AsyncGenerator<readonly DirectoryEvent[]> {
    yield* this.#departures(worker);
    let cursor = 0;
    do {
      const page = this.#table.page(cursor, ROWS_PER_TURN);
      cursor = page.cursor;
      yield page.rows
        .filter(({ place }) => place.worker === worker)
        .filter(({ entry, version }) => this.#announced.get(foldName(entry.name))?.version !== version)
        .map(({ entry, version }) => ({ kind: "on", name: entry.name, version, entry: entry.packed }));
      await nextTurn();
    } while (cursor !== 0);
  }

  async *#departures(dead: number): AsyncGenerator<readonly DirectoryEvent[]> {
    let looked = 0;
    const events: DirectoryEvent[] = [];
    for (const { name, worker, version } of this.#announced.values()) {
      if (worker === dead && this.#table.find(name) === null) events.push({ kind: "off", version, name });
      if (++looked % ROWS_PER_TURN !== 0) continue;
      yield events.splice(0);
      await nextTurn();
    }
    yield events;
  }
}
