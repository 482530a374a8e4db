// What POSIX asserts of shm_open, asked of SharedMemory. The number is the assertion's in the open POSIX test suite;
// docs/CONFORMANCE.md lists them all, also those that make no sense here.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { SharedMemory } from "../../lib/ipc/index.ts";
import { fdOf } from "../../lib/ipc/shared-memory.ts";
import { native } from "../../lib/native.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames, segmentFile } from "../helpers/object-names.ts";
import { canChangeUser, inPrivateShm, whyNoPrivateShm } from "../helpers/privileges.ts";

const names = new ObjectNames("shm-open");
const NAME_MAX = 255;

afterEach(() => names.sweep());

/** Descriptors of this process that lead to the object. */
function descriptors(name: string): string[] {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === segmentFile(name);
    } catch {
      return false; // the descriptor of this very listing
    }
  });
}

/** The open flags of the object's only descriptor in this process. */
function flags(name: string): number {
  const [fd, ...more] = descriptors(name);
  expect(more).toEqual([]);
  const info = readFileSync(`/proc/self/fdinfo/${fd}`, "utf8");
  return Number.parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? "", 8);
}

const O_ACCMODE = 0o3;
const O_RDONLY = 0;
const O_RDWR = 2;
const O_CLOEXEC = 0o2000000;

describe("shm_open", () => {
  test("1, 2: opens a descriptor of its own on the object", () => {
    const name = names.fresh();
    using first = SharedMemory.create(name, { size: 4096 });
    expect(descriptors(name)).toHaveLength(1);
    using second = SharedMemory.open(name);
    expect(descriptors(name)).toHaveLength(2);
    // An OFD lock belongs to the description: the second one is not let in by the first one's.
    expect(native.lockBytes(fdOf(first), 0, 1, true)).toBe(true);
    expect(native.lockBytes(fdOf(second), 0, 1, true)).toBe(false);
    first.close();
    second.close();
    expect(descriptors(name)).toHaveLength(0);
  });

  test("4: takes whatever a pathname component may be", () => {
    const long = `${names.fresh()}-`.padEnd(NAME_MAX + 1, "x");
    for (const name of [long, `${names.fresh()} with spaces`, `${names.fresh()}.…é漢🙂`, `${names.fresh()}\n"'\\*`]) {
      using made = SharedMemory.create(name, { size: 8 });
      expect(made.name).toBe(name);
      expect(SharedMemory.list(names.prefix)).toEqual([name]);
      expect(statSync(segmentFile(name)).size).toBe(8);
      SharedMemory.unlink(name);
    }
  });

  test("5: processes that use one name share one object", async () => {
    const name = names.fresh();
    using segment = SharedMemory.create(name, { size: 16 });
    const other = new NodeProgram(`
      const segment = ipc.SharedMemory.open(${JSON.stringify(name)});
      new Uint8Array(segment.buffer)[3] = 99;
      say(segment.read(0, 3).join());
    `);
    new Uint8Array(segment.buffer).set([1, 2, 3]);
    expect(await other.heard()).toBe("1,2,3");
    expect(segment.read(3, 1)[0]).toBe(99);
    await other.end();
  });

  test("6, 7, 37: refuses names without a slash in front, or with one more, and what is no name", () => {
    for (const name of ["", "/", "plain", "/a/b", "//a", "/.", "/..", "/nul\0inside"]) {
      for (const call of [
        () => SharedMemory.create(name, { size: 8 }),
        () => SharedMemory.open(name),
        () => SharedMemory.openOrCreate(name, { size: 8 }),
      ]) {
        expect(call, name).toThrow(
          expect.objectContaining({ name: "IpcError", code: "EINVAL", errno: 22, syscall: "shm_open", path: name }),
        );
      }
    }
  });

  test("9, 11: closes its descriptor on exec, so that no child shares it", () => {
    const name = names.fresh();
    using _segment = SharedMemory.create(name, { size: 8 });
    expect(flags(name) & O_CLOEXEC).toBe(O_CLOEXEC);
    const child = spawnSync("ls", ["-l", "/proc/self/fd"], { encoding: "utf8" });
    expect(child.status).toBe(0);
    expect(child.stdout).not.toContain(name);
  });

  test("13: read-only opens for reading only, in the descriptor and in the mapping", () => {
    const name = names.fresh();
    SharedMemory.create(name, { size: 8 }).close();
    using reader = SharedMemory.open(name, { readOnly: true });
    expect(flags(name) & O_ACCMODE).toBe(O_RDONLY);
    const mapping = readFileSync("/proc/self/maps", "utf8")
      .split("\n")
      .find((line) => line.includes(name));
    expect(mapping).toMatch(/ r--s /);
    expect(reader.read()).toEqual(new Uint8Array(8));
    expect(() => reader.buffer).toThrow(expect.objectContaining({ code: "EACCES" }));
  });

  test("14: otherwise opens for reading and writing", () => {
    const name = names.fresh();
    SharedMemory.create(name, { size: 8 }).close();
    using segment = SharedMemory.open(name);
    expect(flags(name) & O_ACCMODE).toBe(O_RDWR);
    new Uint8Array(segment.buffer)[7] = 1;
    expect(segment.read(7)).toEqual(Uint8Array.of(1));
  });

  test("15: creates what did not exist", () => {
    const [created, opened] = [names.fresh(), names.fresh()];
    using _a = SharedMemory.create(created, { size: 8 });
    using _b = SharedMemory.openOrCreate(opened, { size: 8 });
    expect(SharedMemory.list(names.prefix)).toEqual([created, opened].sort());
  });

  test.skipIf(!canChangeUser)("16, 17: the object belongs to the effective user and group", async () => {
    const name = names.fresh();
    const other = new NodeProgram(`
      process.setegid(65533);
      process.seteuid(65534);
      ipc.SharedMemory.create(${JSON.stringify(name)}, { size: 8 });
      say(true);
    `);
    await other.heard();
    expect(statSync(segmentFile(name))).toMatchObject({ uid: 65534, gid: 65533 });
    await other.end();
  });

  test.each([
    [0o022, 0o666, 0o644],
    [0o077, 0o777, 0o700],
    [0o000, 0o604, 0o604],
    [0o777, 0o777, 0o000],
  ])("18: under umask %o mode %o becomes %o", async (umask, mode, expected) => {
    const name = names.fresh();
    const other = new NodeProgram(`
      process.umask(${umask});
      ipc.SharedMemory.create(${JSON.stringify(name)}, { size: 8, mode: ${mode} });
      say(true);
    `);
    await other.heard();
    expect(statSync(segmentFile(name)).mode & 0o7777).toBe(expected);
    await other.end();
  });

  test("19: refuses other bits than permissions in the mode", () => {
    for (const mode of [0o1777, 0o100644, -1, 0.5]) {
      expect(() => SharedMemory.create(names.fresh(), { size: 8, mode })).toThrow(RangeError);
    }
    expect(names.files()).toEqual([]);
  });

  test("20: the mode does not limit the creator's own access", async () => {
    const name = names.fresh();
    const other = new NodeProgram(`
      if (process.getuid() === 0) process.setuid(65534);
      const segment = ipc.SharedMemory.create(${JSON.stringify(name)}, { size: 8, mode: 0 });
      new Uint8Array(segment.buffer)[0] = 5;
      say([...segment.read(0, 1)]);
    `);
    expect(await other.heard()).toEqual([5]);
    await other.end();
  });

  test("21: a new object holds zeros, and exactly as many as asked for, backed by memory", () => {
    for (const size of [1, 7, 4096, 4097, 1_000_001]) {
      const name = names.fresh();
      using segment = SharedMemory.create(name, { size });
      expect(segment.read().every((byte) => byte === 0)).toBe(true);
      const status = statSync(segmentFile(name));
      expect(status.size).toBe(size);
      expect(status.blocks * 512).toBeGreaterThanOrEqual(size);
    }
  });

  test("22, 35: exclusive creation fails with EEXIST when the object exists, and changes nothing", () => {
    const name = names.fresh();
    using segment = SharedMemory.create(name, { size: 8 });
    new Uint8Array(segment.buffer).fill(1);
    expect(() => SharedMemory.create(name, { size: 4096 })).toThrow(
      expect.objectContaining({ code: "EEXIST", errno: 17, syscall: "shm_open", path: name }),
    );
    expect(segment.read()).toEqual(new Uint8Array(8).fill(1));
    expect(statSync(segmentFile(name)).size).toBe(8);
  });

  test("23: of processes that create one name at once, exactly one succeeds", async () => {
    const [processes, rounds] = [4, 200];
    const wanted = Array.from({ length: rounds }, () => names.fresh());
    using start = SharedMemory.create(names.fresh(), { size: 4 });
    const others = Array.from(
      { length: processes },
      () =>
        new NodeProgram(`
          const gate = new Int32Array(ipc.SharedMemory.open(${JSON.stringify(start.name)}).buffer);
          say("ready");
          while (Atomics.load(gate, 0) === 0);
          const won = [];
          for (const name of ${JSON.stringify(wanted)}) {
            try { ipc.SharedMemory.create(name, { size: 8 }); won.push(name); }
            catch (error) { if (error.code !== "EEXIST") throw error; }
          }
          say(won);
        `),
    );
    for (const other of others) expect(await other.heard()).toBe("ready");
    Atomics.store(new Int32Array(start.buffer), 0, 1);
    const won = (await Promise.all(others.map((other) => other.heard()))).flat();
    expect(won.sort()).toEqual(wanted.sort());
    await Promise.all(others.map((other) => other.end()));
  });

  test("28: an object and its data outlive their processes, until it is unlinked and nobody has it", async () => {
    const name = names.fresh();
    const creator = new NodeProgram(`
      const segment = ipc.SharedMemory.create(${JSON.stringify(name)}, { size: 8 });
      new Uint8Array(segment.buffer).fill(7);
      say(true);
    `);
    await creator.heard();
    await creator.kill();
    using segment = SharedMemory.open(name);
    segment.unlink();
    expect(segment.read()).toEqual(new Uint8Array(8).fill(7));
    segment.close();
    using fresh = SharedMemory.create(name, { size: 8 });
    expect(fresh.read()).toEqual(new Uint8Array(8));
  });

  test("32: EACCES when the permissions do not allow the access", async () => {
    const [secret, readable] = [names.fresh(), names.fresh()];
    const other = new NodeProgram(`
      if (process.getuid() === 0) process.setuid(65534);
      const [secret, readable] = ${JSON.stringify([secret, readable])};
      process.umask(0);
      ipc.SharedMemory.create(secret, { size: 8, mode: 0 }).close();
      ipc.SharedMemory.create(readable, { size: 8, mode: 0o444 }).close();
      const codeOf = (call) => { try { call().close(); return "opened"; } catch (error) { return error.code; } };
      say([
        codeOf(() => ipc.SharedMemory.open(secret)),
        codeOf(() => ipc.SharedMemory.open(secret, { readOnly: true })),
        codeOf(() => ipc.SharedMemory.open(readable)),
        codeOf(() => ipc.SharedMemory.open(readable, { readOnly: true })),
        codeOf(() => ipc.SharedMemory.openOrCreate(secret, { size: 8 })),
      ]);
    `);
    expect(await other.heard()).toEqual(["EACCES", "EACCES", "EACCES", "opened", "EACCES"]);
    await other.end();
  });

  test("33: EACCES when creating is not allowed", async ({ skip }) => {
    if (whyNoPrivateShm) skip(whyNoPrivateShm);
    const other = inPrivateShm(
      "mode=755,size=1m",
      `
      process.setuid(65534);
      try { ipc.SharedMemory.create("/refused", { size: 8 }); say("created"); } catch (error) { say(error.code); }
    `,
    );
    expect(await other.heard()).toBe("EACCES");
    await other.end();
  });

  test("38: EMFILE when the process has no descriptor left, and nothing leaks", async () => {
    const name = names.fresh();
    const other = new NodeProgram(
      `
      import { readdirSync } from "node:fs";
      const open = [];
      let code;
      const count = () => readdirSync("/proc/self/fd").length;
      ipc.SharedMemory.create(${JSON.stringify(name)}, { size: 8 }).close();
      const before = count();
      try { for (;;) open.push(ipc.SharedMemory.open(${JSON.stringify(name)})); } catch (error) { code = error.code; }
      for (const segment of open) segment.close();
      say([code, open.length > 0, count() - before]);
    `,
      [],
      { wrapper: ["prlimit", "--nofile=128"] },
    );
    expect(await other.heard()).toEqual(["EMFILE", true, 0]);
    await other.end();
  });

  test("39: ENAMETOOLONG beyond NAME_MAX, counted in bytes", () => {
    const inBytes = `/${"é".repeat(NAME_MAX / 2 + 1)}`;
    for (const name of [`/${"x".repeat(NAME_MAX + 1)}`, `/${"x".repeat(5000)}`, inBytes]) {
      for (const call of [() => SharedMemory.create(name, { size: 8 }), () => SharedMemory.open(name)]) {
        expect(call).toThrow(expect.objectContaining({ code: "ENAMETOOLONG", errno: 36, syscall: "shm_open" }));
      }
    }
  });

  test("41: ENOENT when there is none and it is not to be created", () => {
    const name = names.fresh();
    for (const options of [{}, { readOnly: true }]) {
      expect(() => SharedMemory.open(name, options)).toThrow(
        expect.objectContaining({ code: "ENOENT", errno: 2, syscall: "shm_open", path: name }),
      );
    }
    expect(names.files()).toEqual([]);
  });

  test("42: ENOSPC at creation when the memory is not there, and nothing is left behind", async ({ skip }) => {
    if (whyNoPrivateShm) skip(whyNoPrivateShm);
    const other = inPrivateShm(
      "mode=1777,size=64k",
      `
      const codeOf = (size) => { try { ipc.SharedMemory.create("/big", { size }).close(); return "created"; }
        catch (error) { return error.code; } };
      say([codeOf(1 << 20), codeOf(2 ** 52), ipc.SharedMemory.list().join(), codeOf(4096)]);
    `,
    );
    expect(await other.heard()).toEqual(["ENOSPC", "ENOSPC", "", "created"]);
    await other.end();
  });
});
