// What a record of the client table holds, as its users see it. Layout and bytes: layout.ts, record.ts.

/** What a worker writes about a client. */
export interface ClientInput {
  /** 1 to 32 bytes of UTF-8, see lib/names.ts. */
  readonly name: string;
  /** Public key: standard base64 of 32 bytes (44 characters). */
  readonly key: string;
  /** 1 to 4 numeric addresses, v4 or v6 without zone, at most 39 characters each; the first one is the preferred one. */
  readonly addresses: readonly string[];
  /** UDP port, 1 to 65535. */
  readonly port: number;
  /** The client's own word for its machine, at most 64 bytes of UTF-8, no control characters; may be empty. */
  readonly host: string;
  /** Process id on the client's machine, 0 if not known. */
  readonly pid: number;
  /** Start time of that process in clock ticks since boot (/proc/PID/stat, field 22), 0 if not known. */
  readonly startTime: number;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Worker that serves this client, 0 to 2^32-1. */
  readonly owner: number;
  /** Connection of that worker, 0 to 2^32-1. */
  readonly connection: number;
}

/** What a find or a page gives back. A private copy: nothing in it changes later. */
export interface ClientRecord extends ClientInput {
  /** Milliseconds since the epoch of the last lookup that this client made, null if it made none. */
  readonly lastLookupAt: number | null;
  /** Which writing of the slot this is: {@link ClientTable.remove} and `touch` take it, so that they never hit a successor. */
  readonly version: number;
}

/** A place in the table and which writing of it. */
export interface RecordHandle {
  readonly slot: number;
  readonly version: number;
}

export interface FoundRecord {
  readonly slot: number;
  readonly record: ClientRecord;
}

export interface RecordPage {
  /** Where the next page begins; 0 when this was the last one. */
  readonly cursor: number;
  readonly records: readonly FoundRecord[];
}

export interface RepairResult {
  /** Records that were kept. */
  readonly kept: number;
  /** Half-written, doubled or senseless records that were thrown away. */
  readonly discarded: number;
}
