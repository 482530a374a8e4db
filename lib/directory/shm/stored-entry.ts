// What a row of the client table holds. Layout and bytes: table-layout.ts, encoded-record.ts.
import type { ConnectionPlace } from "../directory.ts";
import type { DirectoryEntry, PackedEntry } from "../entry.ts";

/** What a worker writes. */
export interface NewRow {
  readonly entry: PackedEntry;
  /** Random; see crypto/signed-statements.ts. 16 characters of base64. */
  readonly claimId: string;
  readonly place: ConnectionPlace;
}

/** An entry as the table has it. A private copy: nothing in it changes later. */
export interface StoredEntry {
  readonly entry: DirectoryEntry;
  readonly claimId: string;
  readonly place: ConnectionPlace;
  readonly slot: number;
  /** Which writing of the slot this is: `remove` and `touch` take it, so that they never hit a successor. */
  readonly version: number;
}

/** A slot of the table and which writing of it. */
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
