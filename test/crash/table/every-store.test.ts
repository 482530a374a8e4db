// A writer dies between any two stores: each state that a crash can leave is repaired, and shows every live record.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { foldName } from "../../../lib/base/names.ts";
import type { NewRow, StoredEntry } from "../../../lib/directory/shm/stored-entry.ts";
import { client, rowFields, rowOf } from "../../directory/shm/support/clients.ts";
import { atEveryStore } from "../../directory/shm/support/every-store.ts";
import { HeapTable } from "../../directory/shm/support/heap-table.ts";
import { expectWhole } from "../../directory/shm/support/whole.ts";
import { name } from "../../directory/support/entries.ts";

/** Rows by folded name, without what a repair may change. */
type People = Map<string, NewRow>;

function shown(rows: readonly StoredEntry[]): People {
  const people: People = new Map();
  for (const { entry, claimId, place } of rows) {
    if (people.has(foldName(entry.name))) expect.fail(`${entry.name} shows twice`);
    people.set(foldName(entry.name), { entry: entry.packed, claimId, place, lastLookupAt: entry.lastLookupAt });
  }
  return people;
}

/** Whoever the crashed operation was not about is there, as it was; its subject is as before or as after. */
function expectOneOf(found: People, before: People, after: People): void {
  try {
    expect(found).toEqual(before);
  } catch {
    expect(found).toEqual(after);
  }
}

/** Runs one operation and looks at what each store leaves, to readers at once and to everybody after the repair. */
function crashEverywhere(table: HeapTable, subject: string, work: () => void): void {
  const before = shown(table.all());
  const images: HeapTable[] = [];
  atEveryStore(work, () => {
    images.push(table.copy());
    // A reader without a lock, at this very moment.
    const now = table.find(subject);
    images.at(-1)?.find(subject);
    const inTransit = shown(table.all());
    for (const [key, row] of before) if (key !== foldName(subject)) expect(inTransit.get(key)).toEqual(row);
    if (now) expect(now.entry.name.length).toBeGreaterThan(0);
  });
  const after = shown(table.all());
  for (const image of images) {
    image.repair();
    expectWhole(image);
    const found = shown(image.all());
    expectOneOf(found, before, after);
    for (const [key, { entry }] of found) expect(image.find(key)?.entry.packed).toEqual(entry);
    // And it goes on working.
    for (const [key] of found) {
      const at = image.find(key);
      if (!at || !image.writer.remove(at.slot, at.version)) expect.fail("cannot be removed");
    }
    for (let i = 0; i < image.geometry.capacity; i++) image.writer.insert(client(`again${i}`, i));
    expectWhole(image);
  }
}

function filled(capacity: number, count: number): HeapTable {
  const table = new HeapTable(capacity);
  for (let i = 0; i < count; i++) table.writer.insert(client(`user${i}`, i));
  for (let i = 0; i < count; i += 3) table.writer.remove(...handle(table, `user${i}`));
  return table;
}

function handle(table: HeapTable, who: string): [number, number] {
  const found = table.find(who);
  if (!found) throw new Error(`${who} is not there`);
  return [found.slot, found.version];
}

// Capacity 1 and 2 have one or two chains, so that every record has neighbours there.
describe.each([1, 2, 8, 64])("in a table for %i, a crash at any store of", (capacity) => {
  const others = Math.max(0, capacity - 2);

  it("insert keeps everybody else", () => {
    const table = filled(capacity, others);
    crashEverywhere(table, "new", () => table.writer.insert(client("new", 99)));
  });

  it("remove keeps everybody else", () => {
    const table = filled(capacity, others);
    table.writer.insert(client("old", 1));
    crashEverywhere(table, "old", () => table.writer.remove(...handle(table, "old")));
  });

  it("replace keeps everybody, the subject included", () => {
    const table = filled(capacity, others);
    const { slot } = table.writer.insert(client("subject", 1));
    crashEverywhere(table, "subject", () => {
      table.writer.replace(slot, client("Subject", 2));
    });
  });

  it("an update keeps everybody, and the time of the subject's last lookup", () => {
    const table = filled(capacity, others);
    const { slot, version } = table.writer.insert(client("subject", 1));
    const lastLookupAt = 1_790_000_000_123;
    table.writer.touch(slot, version, lastLookupAt);
    atEveryStore(
      () => table.writer.replace(slot, { ...client("subject", 1), lastLookupAt }),
      () => {
        const image = table.copy();
        image.repair();
        for (const now of [table, image]) expect(now.find("subject")?.entry.lastLookupAt).toBe(lastLookupAt);
      },
    );
  });
});

describe("replace", () => {
  it("is found by lookups and by walks at every moment, exactly once, with the old version or the new", () => {
    const table = filled(16, 12);
    const { slot, version } = table.writer.insert(client("subject", 1));
    const versions = new Set<number>();
    let replaced = version;
    atEveryStore(
      () => {
        replaced = table.writer.replace(slot, client("subject", 2)).version;
      },
      () => {
        versions.add(table.find("subject")?.version ?? -1);
        expect([1, 2]).toContain(table.find("subject")?.place.connection);
        const met = table.all().filter(({ entry }) => entry.name === "subject");
        expect(met.length).toBe(1);
        versions.add(met[0]?.version ?? -1);
        expect([1, 2]).toContain(met[0]?.place.connection);
      },
    );
    expect(versions).toEqual(new Set([version, replaced]));
  });
});

describe("repair", { timeout: 300_000 }, () => {
  it("may die at any of its own stores, and be run again", () => {
    const table = filled(8, 7);
    const { slot } = table.writer.insert(client("subject", 1));
    const expected = shown(table.all());
    const after = new Map(expected).set("subject", { ...client("subject", 2), lastLookupAt: null });
    const images: HeapTable[] = [];
    atEveryStore(
      () => table.writer.replace(slot, client("subject", 2)),
      () => images.push(table.copy()),
    );
    for (const image of images) {
      const twice: HeapTable[] = [];
      atEveryStore(
        () => image.repair(),
        () => {
          twice.push(image.copy());
          // Readers are not misled meanwhile either.
          for (const [who] of expected) if (!image.find(who)) expect.fail(`${who} cannot be found during the repair`);
        },
      );
      for (const again of twice) {
        again.repair();
        expectWhole(again);
        expectOneOf(shown(again.all()), expected, after);
      }
    }
  });

  it("keeps whoever is live after any operations and a crash in the last one", () => {
    const operations = fc.array(fc.tuple(fc.constantFrom("insert", "remove", "replace"), name, rowFields), {
      minLength: 1,
      maxLength: 24,
    });
    fc.assert(
      fc.property(operations, (steps) => {
        const table = new HeapTable(12);
        steps.forEach(([kind, who, rest], index) => {
          const found = table.find(who);
          const row = rowOf(who, rest);
          const work = () => {
            if (kind === "insert" && !found && table.reader.count < 12) table.writer.insert(row);
            if (kind === "remove" && found) table.writer.remove(found.slot, found.version);
            if (kind === "replace" && found) table.writer.replace(found.slot, row);
          };
          if (index < steps.length - 1) work();
          else crashEverywhere(table, who, work);
        });
      }),
      { numRuns: 40 },
    );
  });
});
