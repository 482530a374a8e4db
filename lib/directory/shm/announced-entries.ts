// Who is on at which worker, by the events that have reached the primary. A worker that is killed takes the news of its last
// changes with it: they are what the table says and this does not.
import { setImmediate as nextTurn } from "node:timers/promises";
import { foldName } from "../../base/names.ts";
import { RECORDS_PER_TURN } from "../../server/limits.ts";
import type { DirectoryEvent } from "../../server/messages.ts";
import type { ClientTable } from "./client-table.ts";
import { isLaterVersion } from "./table-repair.ts";

interface Known {
  readonly name: string;
  readonly owner: number;
  readonly version: number;
}

export class AnnouncedEntries {
  readonly #table: ClientTable;
  /** By folded name. */
  readonly #known = new Map<string, Known>();

  constructor(table: ClientTable) {
    this.#table = table;
  }

  /** Takes down what a worker has told, or what was told in its place. */
  note(owner: number, events: readonly DirectoryEvent[]): void {
    for (const event of events) {
      const name = event.kind === "joined" ? event.client.name : event.name;
      const folded = foldName(name);
      const known = this.#known.get(folded);
      // News of two workers about one name may overtake each other.
      if (known !== undefined && isLaterVersion(known.version, event.version)) continue;
      if (event.kind === "joined") this.#known.set(folded, { name, owner, version: event.version });
      else this.#known.delete(folded);
    }
  }

  /** Gives what a dead worker has changed and did not get to tell, in parts. Each part is to be noted before the next. */
  async *unannounced(owner: number): AsyncGenerator<readonly DirectoryEvent[]> {
    yield* this.#untoldLeft(owner);
    let cursor = 0;
    do {
      const page = this.#table.page(cursor, RECORDS_PER_TURN);
      cursor = page.cursor;
      yield page.records
        .filter(({ record }) => record.owner === owner)
        .filter(({ record }) => this.#known.get(foldName(record.name))?.version !== record.version)
        .map(({ record }) => ({ kind: "joined", version: record.version, client: record }));
      await nextTurn();
    } while (cursor !== 0);
  }

  async *#untoldLeft(owner: number): AsyncGenerator<readonly DirectoryEvent[]> {
    let looked = 0;
    const events: DirectoryEvent[] = [];
    for (const { name, owner: whose, version } of this.#known.values()) {
      if (whose === owner && this.#table.find(name) === null) events.push({ kind: "left", version, name });
      if (++looked % RECORDS_PER_TURN !== 0) continue;
      yield events.splice(0);
      await nextTurn();
    }
    yield events;
  }
}
