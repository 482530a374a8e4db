// A row of the client table. Layout and bytes: table-layout.ts, encoded-record.ts.
import type { ConnectionPlace } from "../directory.ts";
import type { DirectoryEntry, PackedEntry } from "../entry.ts";

/** What a worker writes. */
export interface NewRow {
  readonly entry: PackedEntry;
  /** 16 characters of base64, see crypto/signed-statements.ts. */
  readonly claimId: string;
  readonly place: ConnectionPlace;
  /** Of the row that this one replaces, where it is the same client's. */
  readonly lastLookupAt?: number | null;
}

/** A row that was read. A private copy: nothing in it changes later. */
export interface StoredEntry {
  readonly entry: DirectoryEntry;
  readonly claimId: string;
  readonly place: ConnectionPlace;
  readonly slot: number;
  /** Each write of a slot has another. `remove` and `touch` take it, so that they never hit a successor. */
  readonly version: number;
}

/** A slot of the table, and the version of its row. */
export interface RowHandle {
  readonly slot: number;
  readonly version: number;
}

export interface StoredPage {
  /** Where the next page begins; 0 when this was the last one. */
  readonly cursor: number;
  readonly rows: readonly StoredEntry[];
}

export interface RepairResult {
  /** Records that were kept. */
  readonly kept: number;
  /** Half-written, doubled or senseless records that were thrown away. */
  readonly discarded: number;
}
