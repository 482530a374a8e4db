// The table's parts over plain memory: every test of the algorithms that needs no second process.

import type { RepairResult, StoredEntry } from "../../../../lib/directory/shm/stored-entry.ts";
import { type Geometry, geometryOf } from "../../../../lib/directory/shm/table-layout.ts";
import { TableReader } from "../../../../lib/directory/shm/table-reader.ts";
import { repairTable } from "../../../../lib/directory/shm/table-repair.ts";
import { initialise } from "../../../../lib/directory/shm/table-segment.ts";
import { TableWriter } from "../../../../lib/directory/shm/table-writer.ts";

export class HeapTable {
  readonly words: Int32Array<ArrayBuffer>;
  readonly geometry: Geometry;
  readonly reader: TableReader;
  readonly writer: TableWriter;

  constructor(capacity: number, words?: Int32Array<ArrayBuffer>) {
    this.geometry = geometryOf(capacity);
    this.words = words ?? new Int32Array(this.geometry.bytes / 4);
    if (!words) initialise(this.words, this.geometry);
    this.reader = new TableReader(this.words, this.geometry, "/heap");
    this.writer = new TableWriter(this.words, this.geometry, "/heap");
  }

  /** The same table as its bytes are now. */
  copy(): HeapTable {
    return new HeapTable(this.geometry.capacity, this.words.slice());
  }

  find(name: string): StoredEntry | null {
    const slot = this.reader.find(name, true);
    return slot < 0 ? null : this.reader.snapshot.stored(slot);
  }

  /** All rows, by a walk over the slots. */
  all(): StoredEntry[] {
    const rows: StoredEntry[] = [];
    for (let slot = 0; slot < this.reader.usedSlots; slot++) {
      if (this.reader.readSlot(slot, true)) rows.push(this.reader.snapshot.stored(slot));
    }
    return rows;
  }

  repair(): RepairResult {
    return repairTable(this.words, this.geometry);
  }
}
