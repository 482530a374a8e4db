// Real processes, really killed: a writer that dies at its Nth store inside the write section, for N through every store of every
// operation. The next to enter repairs, and the table is whole with everybody in it who was.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ClientTable } from "../../../lib/directory/shm/client-table.ts";
import { ReadersWriterLock } from "../../../lib/ipc/index.ts";
import { SharedMemory } from "../../../lib/ipc/shared-memory.ts";
import { client } from "../../directory/shm/support/clients.ts";
import { HeapTable } from "../../directory/shm/support/heap-table.ts";
import { saysOneNumber } from "../../directory/shm/support/telling.ts";
import { expectWhole } from "../../directory/shm/support/whole.ts";
import { ObjectNames } from "../../helpers/object-names.ts";
import { times } from "../../helpers/volume.ts";

const WRITER = join(import.meta.dirname, "../../fixtures/table/writer.js");
const NAMES = 12;
const OTHERS = 20;
/** Victims; each dies a few stores later than the one before, so that all of them together pass through every operation. */
const KILLS = times(10);
const STEP = 13; // stores: coprime with the lengths of the operations
const AT_ONCE = 4;

const names = new ObjectNames("killed-writer");
afterAll(() => names.sweep());

function killed(args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [WRITER, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (data) => {
      stderr += data;
    });
    child.on("exit", (code, signal) => {
      if (signal === "SIGKILL") resolve();
      else reject(new Error(`the victim ended by itself (${code} ${signal}): ${stderr}`));
    });
  });
}

describe("a writer killed inside the write section", () => {
  it("leaves a table that the next one repairs, with everybody in it", { timeout: 600_000 }, async () => {
    const table = ClientTable.create(names.fresh(), { capacity: NAMES + OTHERS });
    let repairs = 0;
    const repair = () => {
      table.repair();
      repairs++;
    };
    const lock = ReadersWriterLock.create(names.fresh(), { repair });
    for (let i = 0; i < OTHERS; i++) table.insert(client(`other${i}`, i));
    let started = 0;
    const lane = async () => {
      while (started < KILLS) {
        started++;
        await killed([table.name, String(NAMES), lock.name, String(1 + started * STEP)]);
        await check();
      }
    };
    let checking = Promise.resolve();
    // One at a time: a lock has one section at a time in a thread.
    const check = () => {
      checking = checking.then(() => lock.withWrite(look));
      return checking;
    };
    const look = () => {
      const shm = SharedMemory.open(table.name);
      const copy = new HeapTable(table.capacity, new Int32Array(shm.buffer.slice(0)));
      shm.close();
      expectWhole(copy);
      for (let i = 0; i < OTHERS; i++) expect(copy.find(`other${i}`)?.place.connection).toBe(i);
      for (let i = 0; i < NAMES; i++) {
        const row = copy.find(`user${i}`);
        if (row && !saysOneNumber(row)) expect.fail(`half of a row: ${JSON.stringify(row)}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    expect(started).toBe(KILLS);
    console.log(
      `${KILLS} writers killed inside, ${repairs} repairs by this process, ${lock.stats().recoveries} recoveries`,
    );
    expect(lock.stats().recoveries).toBeGreaterThan(0);
    lock.close();
    lock.unlink();
    table.close();
    table.unlink();
    expect(names.files()).toEqual([]);
  });
});
