// Keeps an index of the table's entries in this process. Each change of the table is noted in its ring of changes: the slot that
// has changed. The follower reads on from where it was, and looks at those slots again. It asks no other process, and a
// table without queries costs nothing. It reads the whole table again when it was too far behind, and after a repair:
// what a dead writer changed, no note may say.
import { foldName } from "../../base/names.ts";
import { EntryIndex } from "../entry-index.ts";
import type { ClientTable } from "./client-table.ts";

export class TableFollower {
  readonly #table: ClientTable;
  #index = new EntryIndex();
  /** The folded name that each slot held when it was read last. */
  #nameAt: (string | undefined)[] = [];
  #slotOf = new Map<string, number>();
  /** Changes that are followed; null before the first look. */
  #seen: number | null = null;
  #repairs = 0;

  constructor(table: ClientTable) {
    this.#table = table;
  }

  /** As the table is now: every change whose writer has given back the lock is in it. */
  get index(): EntryIndex {
    this.#follow();
    return this.#index;
  }

  #follow(): void {
    const changes = this.#table.changes;
    if (changes === this.#seen) return;
    const slots = this.#seen === null ? null : this.#table.changedSince(this.#seen, changes);
    if (slots === null || this.#table.repairs !== this.#repairs) {
      this.#readAll();
      return;
    }
    for (const slot of slots) this.#look(slot);
    this.#seen = changes;
  }

  #readAll(): void {
    this.#index = new EntryIndex();
    this.#nameAt = [];
    this.#slotOf = new Map();
    // Before the first row is read: what changes meanwhile is looked at again.
    this.#repairs = this.#table.repairs;
    this.#seen = this.#table.changes;
    for (let slot = 0; slot < this.#table.usedSlots; slot++) this.#look(slot);
  }

  #look(slot: number): void {
    const entry = this.#table.at(slot)?.entry;
    const before = this.#nameAt[slot];
    const folded = entry === undefined ? undefined : foldName(entry.name);
    if (before !== undefined && before !== folded && this.#slotOf.get(before) === slot) {
      this.#slotOf.delete(before);
      this.#index.delete(before);
    }
    this.#nameAt[slot] = folded;
    if (entry === undefined || folded === undefined) return;
    this.#slotOf.set(folded, slot);
    this.#index.set(folded, entry);
  }
}
