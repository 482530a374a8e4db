import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { ClientTable } from "../../../lib/directory/shm/client-table.ts";
import { HEADER, LAYOUT_VERSION, READY } from "../../../lib/directory/shm/table-layout.ts";
import { IpcError } from "../../../lib/ipc/index.ts";
import { SharedMemory } from "../../../lib/ipc/shared-memory.ts";
import { ObjectNames, segmentFile } from "../../helpers/object-names.ts";
import { client } from "./support/clients.ts";

const names = new ObjectNames("table");
afterAll(() => names.sweep());

function withTable<T>(capacity: number, use: (table: ClientTable, name: string) => T): T {
  const table = ClientTable.create(names.fresh(), { capacity });
  try {
    return use(table, table.name);
  } finally {
    table.close();
    table.unlink();
  }
}

/** Changes words of a table behind its back. */
function scribble(name: string, changes: Record<number, number>): void {
  const shm = SharedMemory.open(name);
  const words = new Int32Array(shm.buffer);
  for (const [at, value] of Object.entries(changes)) words[Number(at)] = value;
  shm.close();
}

describe("ClientTable", () => {
  it("gives back what was inserted, under any spelling of the name, in this and another mapping", () => {
    withTable(10, (table, name) => {
      const input = client("Zoë.St-1", 7, { addresses: ["192.0.2.1", "2001:db8::1"], host: "büro" });
      const { slot, version } = table.insert(input);
      const expected = { slot, record: { ...input, lastLookupAt: null, version } };
      const other = ClientTable.open(name);
      for (const spelling of ["Zoë.St-1", "zoe\u0308.st-1", "ZOË.ST-1", "ｚoë.st-1"]) {
        expect(table.find(spelling)).toEqual(expected);
        expect(other.find(spelling)).toEqual(expected);
      }
      expect(table.find("zoe.st-1")).toBeNull();
      expect(other.count).toBe(1);
      expect(other.at(slot)).toEqual(expected);
      other.close();
    });
  });

  it("refuses a taken name, a full table and each bad field, and changes nothing then", () => {
    withTable(2, (table) => {
      table.insert(client("ann"));
      expect(() => table.insert(client("ANN", 1))).toThrow(expect.objectContaining({ code: "name-taken" }));
      table.insert(client("bob"));
      expect(() => table.insert(client("carol"))).toThrow(expect.objectContaining({ code: "full" }));
      expect(() => table.insert(client("-x"))).toThrow(expect.objectContaining({ code: "bad-name" }));
      const key = client("x").key;
      const bad = {
        key: [key.slice(1), `${key.slice(0, 42)}/=`.replace(/.=$/, "B="), "", `${key}\n`],
        addresses: [
          [],
          ["1.2.3"],
          ["fe80::1%lo"],
          Array(5).fill("1.2.3.4"),
          ["0000:0000:0000:0000:0000:ffff:255.255.255.255"],
        ],
        port: [0, 65536, 1.5, Number.NaN],
        host: ["a\nb", "x".repeat(65), "\u202e", "ü".repeat(33)],
        pid: [-1, 2 ** 31],
        startTime: [-1, 2 ** 53],
        startedAt: [-1, 8.64e15 + 1, Number.POSITIVE_INFINITY],
        owner: [-1, 2 ** 32],
        connection: [0.5],
      };
      for (const [field, values] of Object.entries(bad)) {
        for (const value of values) {
          const thrown = expect.objectContaining({
            code: "bad-data",
            message: expect.stringMatching(field.slice(0, 7)),
          });
          expect(() => table.insert(client("carol", 1, { [field]: value })), `${field}=${value}`).toThrow(thrown);
        }
      }
      expect(table.count).toBe(2);
    });
  });

  it("replaces in place, keeps the name's folded form, and works in a full table", () => {
    withTable(1, (table) => {
      const first = table.insert(client("ann", 1));
      const second = table.replace(first.slot, client("Ann", 2));
      expect(second.slot).toBe(first.slot);
      expect(table.find("ann")?.record).toMatchObject({ name: "Ann", connection: 2, version: second.version });
      expect(table.remove(first.slot, first.version)).toBe(false);
      expect(() => table.replace(first.slot, client("bob"))).toThrow(expect.objectContaining({ code: "no-such-user" }));
      expect(() => table.replace(1, client("ann"))).toThrow(expect.objectContaining({ code: "no-such-user" }));
      expect(table.count).toBe(1);
      expect(table.remove(second.slot, second.version)).toBe(true);
      expect(table.count).toBe(0);
    });
  });

  it("notes a lookup for the record it was meant for, and for no successor", () => {
    withTable(2, (table) => {
      const { slot, version } = table.insert(client("ann"));
      expect(table.touch(slot, version, 1_800_000_000_123)).toBe(true);
      expect(table.find("ann")?.record.lastLookupAt).toBe(1_800_000_000_123);
      table.touch(slot, version, 1_800_000_000_124 + 2 ** 32);
      expect(table.find("ann")?.record.lastLookupAt).toBe(1_800_000_000_124 + 2 ** 32);
      table.remove(slot, version);
      table.insert(client("bob"));
      expect(table.touch(slot, version, 5)).toBe(false);
      expect(table.find("bob")?.record.lastLookupAt).toBeNull();
    });
  });

  it("pages through everybody, and says so when a bound is broken", () => {
    withTable(100, (table) => {
      for (let i = 0; i < 100; i++) table.insert(client(`u${i}`, i));
      const seen: string[] = [];
      let cursor = 0;
      do {
        const page = table.page(cursor, 7);
        expect(page.records.length).toBeLessThanOrEqual(7);
        seen.push(...page.records.map(({ record }) => record.name));
        cursor = page.cursor;
      } while (cursor !== 0);
      expect(new Set(seen).size).toBe(100);
      expect(table.page(1e9, 1)).toEqual({ cursor: 0, records: [] });
      for (const [at, max] of [
        [-1, 1],
        [0.5, 1],
        [0, 0],
        [0, 5000],
      ] as const) {
        expect(() => table.page(at, max)).toThrow(RangeError);
      }
    });
  });

  it.each([1, 2, 3, 7, 8, 9, 1000, 4096])("has room for exactly its capacity: %i", (capacity) => {
    withTable(capacity, (table) => {
      for (let i = 0; i < capacity; i++) table.insert(client(`n${i}`, i));
      expect(() => table.insert(client("more"))).toThrow(expect.objectContaining({ code: "full" }));
      for (let i = 0; i < capacity; i++) expect(table.find(`N${i}`)?.record.connection).toBe(i);
      expect(table.count).toBe(capacity);
    });
  });

  it("works at its largest, 1,048,576", { timeout: 300_000 }, () => {
    withTable(1_048_576, (table) => {
      const { slot, version } = table.insert(client("first"));
      for (let i = 0; i < 1000; i++) table.insert(client(`n${i}`, i));
      expect(table.repair()).toEqual({ kept: 1001, discarded: 0 });
      expect(table.find("n999")?.record.connection).toBe(999);
      expect(table.remove(slot, version)).toBe(true);
    });
  });

  it("refuses capacities out of bounds, with RangeError", () => {
    for (const capacity of [0, -1, 1.5, 1_048_577, Number.NaN]) {
      expect(() => ClientTable.create(names.fresh(), { capacity })).toThrow(RangeError);
    }
    expect(names.files()).toEqual([]);
  });

  it("has exactly the mode asked for, whatever the umask, and creates exclusively", () => {
    const before = process.umask(0o077);
    try {
      for (const mode of [0o600, 0o640, 0o644, 0o666]) {
        const table = ClientTable.create(names.fresh(), { capacity: 1, mode });
        expect(statSync(segmentFile(table.name)).mode & 0o777).toBe(mode);
        expect(() => ClientTable.create(table.name, { capacity: 1 })).toThrow(
          expect.objectContaining({ code: "EEXIST" }),
        );
        table.close();
        table.unlink();
      }
    } finally {
      process.umask(before);
    }
  });

  it("refuses another layout, naming both versions, and anything that is no table", () => {
    const open = (name: string) => () => ClientTable.open(name);
    withTable(3, (_, name) => {
      scribble(name, { [HEADER.layoutVersion]: 77 });
      expect(open(name)).toThrow(new RegExp(`layout version 77.*version ${LAYOUT_VERSION}`));
      scribble(name, { [HEADER.layoutVersion]: LAYOUT_VERSION, [HEADER.recordWords]: 5 });
      expect(open(name)).toThrow(/records of 5 words.*records of \d+/);
    });
    withTable(3, (_, name) => {
      scribble(name, { [HEADER.capacity]: 4 });
      expect(open(name)).toThrow(/bytes/);
      scribble(name, { [HEADER.capacity]: -4 });
      expect(open(name)).toThrow(/capacity of -4/);
    });
    withTable(3, (_, name) => {
      scribble(name, { [HEADER.magic]: 1 });
      expect(open(name)).toThrow(/is not a client table/);
    });
    const small = SharedMemory.create(names.fresh(), { size: 100 });
    expect(open(small.name)).toThrow(/is not a client table: it has 100 bytes/);
    small.close();
    small.unlink();
    expect(open(names.fresh())).toThrow(IpcError);
  });

  it("waits for a creator, bounded, and says that it never finished", () => {
    withTable(3, (_, name) => {
      scribble(name, { [HEADER.ready]: 0 });
      expect(() => ClientTable.open(name)).toThrow(/not ready after 1000 ms/);
      scribble(name, { [HEADER.ready]: READY.open });
      ClientTable.open(name).close();
    });
  });

  it("says so once it was unlinked or discarded, to whoever has it mapped and to whoever opens it", () => {
    const table = ClientTable.create(names.fresh(), { capacity: 1 });
    const other = ClientTable.open(table.name);
    expect(ClientTable.discard(table.name)).toBe(true);
    expect(ClientTable.discard(table.name)).toBe(false);
    table.close();
    other.close();
    expect(() => table.find("x")).toThrow(expect.objectContaining({ code: "closed" }));
    expect(spawnSync("test", ["-e", segmentFile(table.name)]).status).toBe(1);
  });
});
