// What POSIX asserts of shm_unlink, asked of SharedMemory.unlink. See docs/CONFORMANCE.md.
import { statSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { SharedMemory } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { exists, ObjectNames, segmentFile } from "../helpers/object-names.ts";
import { canChangeUser } from "../helpers/privileges.ts";

const names = new ObjectNames("shm-unlink");

afterEach(() => names.sweep());

describe("shm_unlink", () => {
  test("1, 6: removes the name", () => {
    const [one, two] = [names.fresh(), names.fresh()];
    SharedMemory.create(one, { size: 8 }).close();
    expect(SharedMemory.unlink(one)).toBeUndefined();
    expect(exists(segmentFile(one))).toBe(false);
    expect(() => SharedMemory.open(one)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    using segment = SharedMemory.create(two, { size: 8 });
    segment.unlink();
    expect(exists(segmentFile(two))).toBe(false);
    expect(SharedMemory.list(names.prefix)).toEqual([]);
  });

  test("2, 3: the name goes at once, the contents with the last who has them", async () => {
    const name = names.fresh();
    using segment = SharedMemory.create(name, { size: 8 });
    const other = new NodeProgram(`
      const segment = ipc.SharedMemory.open(${JSON.stringify(name)});
      say("open");
      process.stdin.once("data", () => say([...segment.read()]));
    `);
    expect(await other.heard()).toBe("open");
    SharedMemory.unlink(name);
    expect(exists(segmentFile(name))).toBe(false);
    new Uint8Array(segment.buffer).fill(3);
    other.say("now");
    expect(await other.heard()).toEqual([3, 3, 3, 3, 3, 3, 3, 3]);
    await other.end();
  });

  test("4, 5: the name afterwards means nothing, or a new object", () => {
    const name = names.fresh();
    using old = SharedMemory.create(name, { size: 8 });
    new Uint8Array(old.buffer).fill(1);
    old.unlink();
    expect(() => SharedMemory.open(name)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    using fresh = SharedMemory.openOrCreate(name, { size: 16 });
    expect(fresh.read()).toEqual(new Uint8Array(16));
    new Uint8Array(fresh.buffer).fill(2);
    expect(old.read()).toEqual(new Uint8Array(8).fill(1));
  });

  test.skipIf(!canChangeUser)("7, 8, 9: EACCES for another user's object, which stays as it was", async () => {
    const name = names.fresh();
    using segment = SharedMemory.create(name, { size: 8, mode: 0o666 });
    new Uint8Array(segment.buffer).fill(9);
    const other = new NodeProgram(`
      process.setuid(65534);
      try { ipc.SharedMemory.unlink(${JSON.stringify(name)}); say("unlinked"); }
      catch (error) { say([error.name, error.code, error.errno, error.syscall, error.path]); }
    `);
    // The sticky /dev/shm answers EPERM; glibc turns it into the EACCES that POSIX names.
    expect(await other.heard()).toEqual(["IpcError", "EACCES", 13, "shm_unlink", name]);
    await other.end();
    expect(statSync(segmentFile(name)).size).toBe(8);
    expect(segment.read()).toEqual(new Uint8Array(8).fill(9));
  });

  test("10: ENAMETOOLONG beyond NAME_MAX", () => {
    for (const length of [256, 5000]) {
      expect(() => SharedMemory.unlink(`/${"x".repeat(length)}`)).toThrow(
        expect.objectContaining({ code: "ENAMETOOLONG", errno: 36, syscall: "shm_unlink" }),
      );
    }
  });

  test("11: ENOENT when there is none", () => {
    const name = names.fresh();
    expect(() => SharedMemory.unlink(name)).toThrow(
      expect.objectContaining({ code: "ENOENT", errno: 2, syscall: "shm_unlink", path: name }),
    );
    using segment = SharedMemory.create(name, { size: 8 });
    segment.unlink();
    expect(() => segment.unlink()).toThrow(expect.objectContaining({ code: "ENOENT" }));
  });
});
