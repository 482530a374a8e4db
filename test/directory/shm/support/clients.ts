// Rows for tests, and how a row that was read compares with them.
import fc from "fast-check";
import { type NewEntry, packEntry } from "../../../../lib/directory/entry.ts";
import type { NewRow, RowHandle, StoredEntry } from "../../../../lib/directory/shm/stored-entry.ts";
import { claimIdOf, fields, fieldsOf } from "../../support/entries.ts";

/** A row of this name; `n` varies everything else. */
export function client(name: string, n = 0, changes: Partial<NewEntry> = {}): NewRow {
  return {
    entry: packEntry(fieldsOf(name, n, changes)),
    claimId: claimIdOf(n),
    place: { worker: n % 4, connection: n },
  };
}

/** A row that was read, as plain data. */
export function shown(row: StoredEntry | null): Record<string, unknown> | null {
  if (row === null) return null;
  const { entry, claimId, place, slot, version } = row;
  return { ...entry.packed, claimId, place, lastLookupAt: entry.lastLookupAt, slot, version };
}

/** The same of a row that was written. */
export function written(row: NewRow, handle: RowHandle, lastLookupAt: number | null = null): Record<string, unknown> {
  const { entry, claimId, place } = row;
  return { ...entry, claimId, place, lastLookupAt, slot: handle.slot, version: handle.version };
}

/** Everything of a row but the entry's name. */
export const rowFields = fc.record({
  fields,
  claimId: fc.uint8Array({ minLength: 12, maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString("base64")),
  place: fc.record({
    worker: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    connection: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  }),
});

export type RowFields = typeof rowFields extends fc.Arbitrary<infer T> ? T : never;

export function rowOf(who: string, { fields: rest, claimId, place }: RowFields): NewRow {
  return { entry: packEntry({ name: who, ...rest }), claimId, place };
}
