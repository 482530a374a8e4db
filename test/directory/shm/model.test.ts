// Random sequences of operations against a Map, and very many cycles without decay.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TalkError } from "../../../lib/base/errors.ts";
import { foldName } from "../../../lib/base/names.ts";
import { DirectoryError } from "../../../lib/directory/directory-error.ts";
import type { NewRow, RowHandle } from "../../../lib/directory/shm/stored-entry.ts";
import { times } from "../../helpers/volume.ts";
import { name } from "../support/entries.ts";
import { client, rowFields, rowOf, shown, written } from "./support/clients.ts";
import { HeapTable } from "./support/heap-table.ts";
import { expectWhole, longestChain } from "./support/whole.ts";

const CYCLES = times(100_000);

interface Entry extends RowHandle {
  row: NewRow;
  lastLookupAt: number | null;
}

const operation = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("insert" as const), name, rest: rowFields }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), name }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("replace" as const), name, rest: rowFields }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("update" as const), name, rest: rowFields }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("find" as const), name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("touch" as const), name, at: fc.nat(8e12) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("repair" as const), name }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

class Model {
  readonly table: HeapTable;
  readonly entries = new Map<string, Entry>();
  readonly capacity: number;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.table = new HeapTable(capacity);
  }

  apply(step: Operation): void {
    const key = foldName(step.name);
    const entry = this.entries.get(key);
    const { writer } = this.table;
    if (step.kind === "insert") {
      const row = rowOf(step.name, step.rest);
      const code = entry ? "name-taken" : this.entries.size === this.capacity ? "full" : null;
      if (code) expect(codeOf(() => writer.insert(row))).toBe(code);
      else this.entries.set(key, { ...writer.insert(row), row, lastLookupAt: null });
    } else if (step.kind === "remove" && entry) {
      expect(writer.remove(entry.slot, entry.version)).toBe(true);
      expect(writer.remove(entry.slot, entry.version)).toBe(false);
      this.entries.delete(key);
    } else if ((step.kind === "replace" || step.kind === "update") && entry) {
      const row = rowOf(step.name, step.rest);
      const lastLookupAt = step.kind === "update" ? entry.lastLookupAt : null;
      const handle = writer.replace(entry.slot, { ...row, lastLookupAt });
      expect(handle.slot).toBe(entry.slot);
      this.entries.set(key, { ...handle, row, lastLookupAt });
    } else if (step.kind === "touch" && entry) {
      writer.touch(entry.slot, entry.version, step.at);
      entry.lastLookupAt = step.at;
    } else if (step.kind === "repair") {
      expect(this.table.repair()).toEqual({ kept: this.entries.size, discarded: 0 });
    }
    expect(shown(this.table.find(step.name))).toEqual(this.#expected(key));
  }

  #expected(key: string): ReturnType<typeof shown> {
    const entry = this.entries.get(key);
    return entry === undefined ? null : written(entry.row, entry, entry.lastLookupAt);
  }

  check(): void {
    for (const [key, entry] of this.entries) {
      expect(shown(this.table.find(entry.row.entry.name))).toEqual(this.#expected(key));
      expect(shown(this.table.find(key.toUpperCase()))).toEqual(this.#expected(key));
    }
    const all = this.table.all().map(({ entry }) => foldName(entry.name));
    expect(all.sort()).toEqual([...this.entries.keys()].sort());
    expect(this.table.reader.count).toBe(this.entries.size);
    expectWhole(this.table);
  }
}

function codeOf(work: () => unknown): string {
  try {
    work();
    return "nothing";
  } catch (error) {
    return error instanceof TalkError || error instanceof DirectoryError ? error.code : String(error);
  }
}

describe("the table behaves as a Map does", { timeout: 300_000 }, () => {
  it.each([1, 2, 5, 16, 33])("capacity %i", (capacity) => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 80, size: "max" }), (steps) => {
        const model = new Model(capacity);
        for (const step of steps) model.apply(step);
        model.check();
      }),
      { numRuns: times(10) },
    );
  });
});

describe(`${CYCLES} insert/remove cycles`, () => {
  it("leave chains, slots and speed as they were", { timeout: 600_000 }, () => {
    const table = new HeapTable(1000);
    const live: { name: string; handle: RowHandle }[] = [];
    for (let i = 0; i < 900; i++) live.push({ name: `start${i}`, handle: table.writer.insert(client(`start${i}`, i)) });
    const lookups = () => {
      const start = process.cpuUsage(); // not the clock: others use this machine, too
      for (let i = 0; i < 300_000; i++) table.reader.find((live[i % live.length] as { name: string }).name, false);
      const { user, system } = process.cpuUsage(start);
      return user + system;
    };
    lookups();
    const before = Math.min(lookups(), lookups(), lookups());
    const chainBefore = longestChain(table);

    let random = 12345;
    for (let i = 0; i < CYCLES; i++) {
      random = (Math.imul(random, 1103515245) + 12345) >>> 0;
      const at = random % live.length;
      const old = live[at] as { handle: RowHandle };
      if (!table.writer.remove(old.handle.slot, old.handle.version)) expect.fail("not removed");
      const fresh = `u${i}`;
      live[at] = { name: fresh, handle: table.writer.insert(client(fresh, i)) };
    }
    expect(table.reader.count).toBe(900);
    expect(table.reader.usedSlots).toBeLessThanOrEqual(901);
    expectWhole(table);
    for (const { name, handle } of live) expect(table.find(name)?.slot).toBe(handle.slot);
    expect(longestChain(table)).toBeLessThan(chainBefore + 8);
    const after = Math.min(lookups(), lookups(), lookups());
    // A ratio within one run, with room for shared caches: decay would be a factor of hundreds.
    expect(after / before).toBeLessThan(5);
  });
});
