// Rows for tests: valid ones, plain or random, and how a row that was read compares with them.
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { canonicalAddress, type EndpointKind, endpointProblem } from "../../../../lib/base/endpoint.ts";
import { TalkError } from "../../../../lib/base/errors.ts";
import { foldIfValid } from "../../../../lib/base/names.ts";
import { type NewEntry, packEntry } from "../../../../lib/directory/entry.ts";
import type { NewRow, RowHandle, StoredEntry } from "../../../../lib/directory/shm/stored-entry.ts";

const KEYS = Array.from({ length: 16 }, () => randomBytes(32).toString("base64"));

/** The fields of a valid entry of this name; `n` varies them. */
export function fieldsOf(name: string, n = 0, changes: Partial<NewEntry> = {}): NewEntry {
  const port = 1024 + (n % 60000);
  const kind = "host";
  return {
    name,
    key: KEYS[n % KEYS.length] as string,
    endpoints:
      n % 3 === 0
        ? [{ address: `10.0.${(n >> 8) & 255}.${n & 255}`, port, kind }]
        : [
            { address: canonicalAddress(`fd00::${(n & 0xffff).toString(16)}`), port, kind },
            { address: "127.0.0.1", port, kind: "observed" },
          ],
    host: `host-${n % 977}`,
    startedAt: 1_790_000_000_000 + n,
    ...changes,
  };
}

/** A claim id of its own for each n. */
export function claimIdOf(n: number): string {
  return Buffer.from(String(n).padStart(12, "0")).toString("base64");
}

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

const unit = fc.constantFrom(..."abcXYZ019._-éßΣςñ日本ﬁＡİ");

/** Valid names, short enough to meet often. */
export const name: fc.Arbitrary<string> = fc
  .tuple(fc.constantFrom(..."abC7éΣ日"), fc.string({ unit, maxLength: 6 }))
  .map(([first, rest]) => first + rest)
  .filter((text) => foldIfValid(text) !== null);

const endpoint = fc
  .record({
    address: fc.oneof(fc.ipV4(), fc.ipV6()).map(canonicalAddress),
    port: fc.integer({ min: 1, max: 65_535 }),
    kind: fc.constantFrom<EndpointKind[]>("host", "observed", "relay"),
  })
  .filter((made) => endpointProblem(made) === null);

/** A text that an entry may hold, of at most so many bytes. */
const text = (bytes: number, minLength = 0) =>
  fc
    .string({ unit: "grapheme", minLength, maxLength: bytes / 2 })
    .filter((made) => Buffer.byteLength(made) <= bytes && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(made));

const time = fc.integer({ min: 0, max: 8.64e15 });

/** Everything of an entry but its name. Some together are too long for one entry: those are left out. */
export const fields: fc.Arbitrary<Omit<NewEntry, "name">> = fc
  .record(
    {
      key: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("base64")),
      endpoints: fc.array(endpoint, { minLength: 1, maxLength: 8 }),
      host: text(64),
      startedAt: time,
      protocol: fc.integer({ min: 1, max: 255 }),
      server: text(64),
      user: fc.option(text(64, 1)),
      uid: fc.option(fc.integer({ min: 0, max: 2 ** 32 - 2 })),
      attested: fc.constantFrom("kernel" as const, "munge" as const, null),
      status: fc.record({
        state: fc.constantFrom("here" as const, "idle" as const, "away" as const),
        text: text(128),
        since: time,
      }),
      rooms: fc.array(
        name.map((room) => `#${room}`),
        { maxLength: 16 },
      ),
    },
    { requiredKeys: ["key", "endpoints", "host", "startedAt"] },
  )
  .filter(fits);

function fits(rest: Omit<NewEntry, "name">): boolean {
  try {
    packEntry({ name: "x", ...rest });
    return true;
  } catch (error) {
    if (error instanceof TalkError && /must fit/.test(error.message)) return false;
    throw error;
  }
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
