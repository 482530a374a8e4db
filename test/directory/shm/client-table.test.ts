import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { type DirectoryEntry, MAX_DETAILS_BYTES } from "../../../lib/directory/entry.ts";
import { ClientTable } from "../../../lib/directory/shm/client-table.ts";
import { HEADER, LAYOUT_VERSION, READY } from "../../../lib/directory/shm/table-layout.ts";
import { IpcError } from "../../../lib/ipc/index.ts";
import { SharedMemory } from "../../../lib/ipc/shared-memory.ts";
import { ObjectNames, segmentFile } from "../../helpers/object-names.ts";
import { fieldsOf } from "../support/entries.ts";
import { client, shown, written } from "./support/clients.ts";

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

/** The same fields of an entry. */
function pick<T extends object>(entry: DirectoryEntry, fields: T): Partial<DirectoryEntry> {
  return Object.fromEntries(Object.keys(fields).map((field) => [field, entry[field as keyof DirectoryEntry]]));
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
      const everything = {
        endpoints: [
          { address: "192.0.2.1", port: 4001, kind: "observed" as const },
          { address: "2001:db8::1", port: 4002, kind: "host" as const },
        ],
        host: "büro",
        protocol: 3,
        server: "login1",
        user: "zoe",
        uid: 4_000_000_000,
        attested: "kernel" as const,
        status: { state: "away" as const, text: "bin gleich zurück", since: 1_790_000_000_001 },
        rooms: ["#ops", "#Küche"],
      };
      const input = client("Zoë.St-1", 7, everything);
      const handle = table.insert(input);
      const expected = written(input, handle);
      const other = ClientTable.open(name);
      for (const spelling of ["Zoë.St-1", "zoe\u0308.st-1", "ZOË.ST-1", "ｚoë.st-1"]) {
        expect(shown(table.find(spelling))).toEqual(expected);
        expect(shown(other.find(spelling))).toEqual(expected);
      }
      const { entry } = other.find("zoë.st-1") ?? expect.fail("not found");
      expect({ ...entry, ...pick(entry, everything) }).toMatchObject({ ...fieldsOf("Zoë.St-1", 7), ...everything });
      expect(table.find("zoe.st-1")).toBeNull();
      expect(other.count).toBe(1);
      expect(shown(other.at(handle.slot))).toEqual(expected);
      other.close();
    });
  });

  it("holds the longest entry that can be packed, and the shortest", () => {
    withTable(2, (table) => {
      const endpoints = Array.from({ length: 8 }, (_, i) => ({
        address: `2001:db8:ffff:ffff:ffff:ffff:ffff:fff${i}`,
        port: 65_535,
        kind: "observed" as const,
      }));
      const texts = { host: "h".repeat(64), server: "s".repeat(64), user: "u".repeat(64), uid: 2 ** 32 - 2 };
      const status = { state: "away" as const, text: "t".repeat(128), since: 8.64e15 };
      const most = { endpoints, ...texts, attested: "kernel" as const, status, startedAt: 8.64e15 };
      const longest = client(`${"x".repeat(31)}y`, 1, { ...most, rooms: [`#${"r".repeat(25)}`] });
      expect(Buffer.byteLength(longest.entry.details)).toBe(MAX_DETAILS_BYTES);
      const shortest = client("z", 0, {
        endpoints: [{ address: "::1", port: 1, kind: "host" }],
        host: "",
        startedAt: 0,
      });
      for (const row of [longest, shortest]) {
        const handle = table.insert(row);
        expect(shown(table.find(row.entry.name))).toEqual(written(row, handle));
      }
      expect(table.repair()).toEqual({ kept: 2, discarded: 0 });
    });
  });

  it("refuses a taken name and a full table, and changes nothing then", () => {
    withTable(2, (table) => {
      table.insert(client("ann"));
      expect(() => table.insert(client("ANN", 1))).toThrow(expect.objectContaining({ code: "name-taken" }));
      table.insert(client("bob"));
      expect(() => table.insert(client("carol"))).toThrow(expect.objectContaining({ code: "full" }));
      expect(shown(table.find("ann"))).toMatchObject({ place: { connection: 0 } });
      expect(table.count).toBe(2);
    });
  });

  it("replaces in place, keeps the name's folded form, and works in a full table", () => {
    withTable(1, (table) => {
      const first = table.insert(client("ann", 1));
      const second = table.replace(first.slot, client("Ann", 2));
      expect(second.slot).toBe(first.slot);
      expect(shown(table.find("ann"))).toEqual(written(client("Ann", 2), second));
      expect(table.remove(first.slot, first.version)).toBe(false);
      expect(() => table.replace(first.slot, client("bob"))).toThrow(expect.objectContaining({ code: "no-such-user" }));
      expect(() => table.replace(1, client("ann"))).toThrow(expect.objectContaining({ code: "no-such-user" }));
      const seen = 1_800_000_000_123;
      const third = table.replace(first.slot, { ...client("ann", 3), lastLookupAt: seen });
      expect(shown(table.find("ann"))).toEqual(written(client("ann", 3), third, seen));
      expect(table.count).toBe(1);
      expect(table.remove(second.slot, second.version)).toBe(false);
      expect(table.remove(third.slot, third.version)).toBe(true);
      expect(table.count).toBe(0);
    });
  });

  it("notes a lookup for the record it was meant for, and for no successor", () => {
    withTable(2, (table) => {
      const { slot, version } = table.insert(client("ann"));
      expect(table.touch(slot, version, 1_800_000_000_123)).toBe(true);
      expect(table.find("ann")?.entry.lastLookupAt).toBe(1_800_000_000_123);
      table.touch(slot, version, 1_800_000_000_124 + 2 ** 32);
      expect(table.find("ann")?.entry.lastLookupAt).toBe(1_800_000_000_124 + 2 ** 32);
      table.remove(slot, version);
      table.insert(client("bob"));
      expect(table.touch(slot, version, 5)).toBe(false);
      expect(table.find("bob")?.entry.lastLookupAt).toBeNull();
    });
  });

  it("pages through everybody, and says so when a bound is broken", () => {
    withTable(100, (table) => {
      for (let i = 0; i < 100; i++) table.insert(client(`u${i}`, i));
      const seen: string[] = [];
      let cursor = 0;
      do {
        const page = table.page(cursor, 7);
        expect(page.rows.length).toBeLessThanOrEqual(7);
        seen.push(...page.rows.map(({ entry }) => entry.name));
        cursor = page.cursor;
      } while (cursor !== 0);
      expect(new Set(seen).size).toBe(100);
      expect(table.page(1e9, 1)).toEqual({ cursor: 0, rows: [] });
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
      for (let i = 0; i < capacity; i++) expect(table.find(`N${i}`)?.place.connection).toBe(i);
      expect(table.count).toBe(capacity);
    });
  });

  it("works at its largest, 1,048,576", { timeout: 300_000 }, () => {
    withTable(1_048_576, (table) => {
      const { slot, version } = table.insert(client("first"));
      for (let i = 0; i < 1000; i++) table.insert(client(`n${i}`, i));
      expect(table.repair()).toEqual({ kept: 1001, discarded: 0 });
      expect(table.find("n999")?.place.connection).toBe(999);
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
