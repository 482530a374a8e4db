// Hostile bytes: random ones, real tables with a few words changed, and a process that scribbles while we read. Whatever they are,
// a reader ends with null, with a record, or with an error of ours; a repair ends with a whole table.
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { TalkError } from "../../../lib/base/errors.ts";
import { DirectoryError } from "../../../lib/directory/directory-error.ts";
import { DETAIL_WORDS, HEADER, RECORD_WORDS } from "../../../lib/directory/shm/table-layout.ts";
import { readHeader } from "../../../lib/directory/shm/table-segment.ts";
import { Directory, type DirectoryEntry } from "../../../lib/index.ts";
import { Program } from "../../helpers/program.ts";
import { times } from "../../helpers/volume.ts";
import { problemOf } from "../support/sane.ts";
import { client } from "./support/clients.ts";
import { HeapTable } from "./support/heap-table.ts";
import { ServedTable } from "./support/server-table.ts";
import { expectWhole } from "./support/whole.ts";

const SCRIBBLER = join(import.meta.dirname, "../../fixtures/table/scribbler.js");
const NAMES = Array.from({ length: 16 }, (_, i) => `user${i}`);
const MUTATIONS = times(30_000);

let state = 2026;
function random(limit: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
}

/** Small numbers half of the time: links, states and lengths that nearly make sense. */
const word = (): number => (random(2) === 0 ? random(80) : random(2 ** 32) | 0);

function filled(): HeapTable {
  const table = new HeapTable(16);
  // Some reach into their details.
  const status = { state: "away" as const, text: "back in a moment ".repeat(7), since: 1_790_000_000_000 };
  const rooms = Array.from({ length: 16 }, (_, i) => `#room${i}`);
  for (const [i, name] of NAMES.entries()) {
    table.writer.insert(client(name, random(1000), i % 3 === 0 ? { status, rooms } : {}));
  }
  for (const name of ["user3", "user9"]) {
    const found = table.find(name);
    if (found) table.writer.remove(found.slot, found.version);
  }
  return table;
}

/** Runs `work`; what it throws must be one of ours. */
function ours(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof TalkError || error instanceof DirectoryError)) throw error;
  }
}

function expectSane(entry: DirectoryEntry): void {
  const problem = problemOf(entry);
  if (problem !== null) expect.fail(problem);
}

describe("hostile bytes", () => {
  it(`${MUTATIONS} mutated tables: reads and walks end, repairs make whole`, { timeout: 600_000 }, () => {
    const good = filled();
    const table = new HeapTable(16, good.words.slice());
    const used = HEADER.lastVersion + 1;
    for (let i = 0; i < MUTATIONS; i++) {
      table.words.set(good.words);
      // The seed was read before; the rest may change under a reader at any time. Half of the hits go to the records' heads.
      for (let n = 1 + random(6); n > 0; n--) {
        const spot = random(5);
        if (spot === 0) table.words[HEADER.count + random(used - HEADER.count)] = word();
        else if (spot === 1) table.words[good.geometry.buckets + random(good.geometry.bucketMask + 1)] = word();
        else if (spot === 2) table.words[good.geometry.records + random(17) * RECORD_WORDS + random(9)] = word();
        else if (spot === 3) table.words[good.geometry.records + random(17 * RECORD_WORDS)] = word();
        else table.words[good.geometry.details + random(17 * DETAIL_WORDS)] = word();
      }
      const name = NAMES[i % 16] as string;
      ours(() => {
        const found = table.find(name);
        if (found) expectSane(found.entry);
      });
      if (i % 4 === 0) ours(() => table.all().forEach(({ entry }) => void expectSane(entry)));
      if (i % 8 === 1) ours(() => table.writer.insert(client("fresh", i)));
      if (i % 8 === 2) ours(() => table.writer.remove(i % 17, random(20)));
      if (i % 8 === 3) ours(() => table.writer.replace(i % 17, client(name, i)));
      if (i % 8 === 5) {
        table.repair();
        expectWhole(table);
        const someone = table.all()[0]?.entry.name;
        if (someone && !/[^\x20-\x7e]/.test(someone)) ours(() => table.find(someone));
      }
    }
  });

  it("random bytes as a header are refused or make a table of that size", () => {
    const words = new Int32Array(new HeapTable(16).words);
    const size = words.byteLength;
    for (let i = 0; i < times(20_000); i++) {
      const copy = words.slice(0, 64);
      for (let n = 1 + random(4); n > 0; n--) copy[random(12)] = word();
      ours(() => {
        const capacity = readHeader(copy, size, "/fuzz")?.capacity ?? 16;
        if (capacity !== 16) expect.fail(`a capacity of ${capacity}`);
      });
    }
  });

  it.each(["all", "records"])("a process that scribbles over %s while it is read", async (what) => {
    using server = new ServedTable(64);
    const { table, port } = server;
    for (const name of NAMES) table.insert(client(name));
    const directory = Directory.open({ port });
    const program = new Program(process.execPath, [SCRIBBLER, table.name, what]);
    expect(await program.line()).toBe("ready");
    const end = performance.now() + 5000;
    while (performance.now() < end) {
      for (const name of NAMES) {
        ours(() => {
          const entry = directory.lookup(name);
          if (entry) expectSane(entry);
        });
        ours(() => table.find(name));
      }
      ours(() => directory.all().forEach(expectSane));
      ours(() => table.page(0, 64));
      ours(() => table.repair());
      ours(() => table.insert(client("x")));
    }
    program.child.kill("SIGKILL");
    await program.ended;
    directory.close();
  });
});
