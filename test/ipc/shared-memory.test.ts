import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { IpcError, SharedMemory } from "../../lib/ipc/index.ts";
import { fdOf, wordsOf } from "../../lib/ipc/shared-memory.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { exists, ObjectNames, segmentFile } from "../helpers/object-names.ts";

const names = new ObjectNames("shm");
afterAll(() => names.sweep());

const codeOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    if (error instanceof IpcError) return error.code;
    throw error;
  }
  return "no error";
};

describe("create", () => {
  test("gives exactly the size asked for, all zeros, backed by memory, with the mode less the umask", () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 12_345, mode: 0o666 });
    expect(shm).toMatchObject({ name, size: 12_345, readOnly: false });
    expect(shm.buffer.byteLength).toBe(12_345);
    expect(new Uint8Array(shm.buffer).every((byte) => byte === 0)).toBe(true);
    const file = statSync(segmentFile(name));
    expect(file.size).toBe(12_345);
    expect(file.blocks * 512).toBeGreaterThanOrEqual(12_345);
    expect(file.mode & 0o777).toBe(0o666 & ~process.umask());
    shm.unlink();
  });

  test("is private by default", () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 1 });
    expect(statSync(segmentFile(name)).mode & 0o777).toBe(0o600);
    shm.unlink();
  });

  test("is exclusive: of several processes at once, one gets it and the others EEXIST", async () => {
    const name = names.fresh();
    const script = `
      process.stdin.once("data", () => {
        try { ipc.SharedMemory.create(${JSON.stringify(name)}, { size: 64 }); say("created"); }
        catch (error) { say({ code: error.code, errno: error.errno, syscall: error.syscall, path: error.path, is: error instanceof ipc.IpcError }); }
      });
      say("ready");`;
    const programs = Array.from({ length: 4 }, () => new NodeProgram(script));
    await Promise.all(programs.map((program) => program.heard()));
    for (const program of programs) program.say("go");
    const answers = await Promise.all(programs.map((program) => program.heard()));
    expect(answers.filter((answer) => answer === "created")).toHaveLength(1);
    const refusal = { code: "EEXIST", errno: 17, syscall: "shm_open", path: name, is: true };
    expect(answers.filter((answer) => answer !== "created")).toEqual([refusal, refusal, refusal]);
    await Promise.all(programs.map((program) => program.end()));
    SharedMemory.unlink(name);
  });

  test("more than the machine has is ENOSPC (or EFBIG) now, and nothing is left behind", () => {
    for (const size of [2 ** 45, 2 ** 50, Number.MAX_SAFE_INTEGER]) {
      const name = names.fresh();
      expect(["ENOSPC", "EFBIG"]).toContain(codeOf(() => SharedMemory.create(name, { size })));
      expect(exists(segmentFile(name))).toBe(false);
    }
  });
});

describe("open", () => {
  test("maps the same bytes in another process, both ways", async () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 4096 });
    const program = new NodeProgram(`
      const shm = ipc.SharedMemory.open(${JSON.stringify(name)});
      const bytes = new Uint8Array(shm.buffer);
      say({ size: shm.size, first: bytes[0] });
      bytes[4095] = 99;
      say("written");`);
    new Uint8Array(shm.buffer)[0] = 42;
    expect(await program.heard()).toEqual({ size: 4096, first: 42 });
    await program.heard();
    expect(new Uint8Array(shm.buffer)[4095]).toBe(99);
    await program.end();
    shm.unlink();
  });

  test("Atomics on the buffer are atomic across processes", async () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 8 });
    const script = `
      const words = new Int32Array(ipc.SharedMemory.open(${JSON.stringify(name)}).buffer);
      for (let i = 0; i < 300_000; i++) Atomics.add(words, 0, 1);
      say("done");`;
    const programs = [new NodeProgram(script), new NodeProgram(script)];
    await Promise.all(programs.map((program) => program.heard()));
    expect(Atomics.load(new Int32Array(shm.buffer), 0)).toBe(600_000);
    await Promise.all(programs.map((program) => program.end()));
    shm.unlink();
  });

  test("what is not there is ENOENT; what has no size is EAGAIN and says why", () => {
    const name = names.fresh();
    expect(codeOf(() => SharedMemory.open(name))).toBe("ENOENT");
    writeFileSync(segmentFile(name), "");
    expect(() => SharedMemory.open(name)).toThrow(/EAGAIN.*no size yet: its creator has not finished, or died/);
    SharedMemory.unlink(name);
  });

  test("refuses what others may have put there instead of an object, and never hangs on it", () => {
    const name = names.fresh();
    execFileSync("mkfifo", [segmentFile(name)]);
    for (const readOnly of [true, false]) {
      expect(() => SharedMemory.open(name, { readOnly })).toThrow(/EINVAL.*no shared memory object/);
    }
    rmSync(segmentFile(name));
    mkdirSync(segmentFile(name));
    expect(codeOf(() => SharedMemory.open(name))).toBe("EINVAL");
    expect(codeOf(() => SharedMemory.open(name, { readOnly: true }))).toBe("EINVAL");
    rmdirSync(segmentFile(name));
    symlinkSync("/etc/passwd", segmentFile(name));
    expect(codeOf(() => SharedMemory.open(name, { readOnly: true }))).toBe("ELOOP");
    SharedMemory.unlink(name);
  });

  test("after unlink and create again, the old mapping keeps the old object", () => {
    const name = names.fresh();
    using old = SharedMemory.create(name, { size: 16 });
    old.unlink();
    using young = SharedMemory.create(name, { size: 16 });
    new Uint8Array(young.buffer)[0] = 1;
    expect(old.read(0, 1)).toEqual(new Uint8Array([0]));
    young.unlink();
  });
});

describe("read-only", () => {
  test("refuses the buffer, reads copies, and changing a copy changes nothing", () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 8 });
    new Uint8Array(shm.buffer).set([1, 2, 3, 4, 5, 6, 7, 8]);
    using reader = SharedMemory.open(name, { readOnly: true });
    expect(reader.readOnly).toBe(true);
    expect(() => reader.buffer).toThrow(/EACCES.*read-only/);
    const copy = reader.read(2, 3);
    expect([...copy]).toEqual([3, 4, 5]);
    copy.fill(0);
    copy.buffer.slice(0);
    expect([...reader.read(2)]).toEqual([3, 4, 5, 6, 7, 8]);
    expect(reader.read().length).toBe(8);
    shm.unlink();
  });

  test("words for the library's own readers follow what others write", () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 11 });
    using reader = SharedMemory.open(name, { readOnly: true });
    const words = wordsOf(reader);
    expect(words.length).toBe(2);
    Atomics.store(new Int32Array(shm.buffer, 0, 2), 1, -5);
    expect(Atomics.load(words, 1)).toBe(-5);
    shm.unlink();
  });

  test.each([
    [-1, 1],
    [0, 9],
    [8, 1],
    [0.5, 1],
    [0, -1],
    [Number.NaN, 1],
    [0, 2 ** 53],
  ])("read(%d, %d) of 8 bytes is a RangeError", (offset, length) => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 8 });
    shm.unlink();
    expect(() => shm.read(offset, length)).toThrow(RangeError);
    expect(() => shm.read("0" as unknown as number)).toThrow(TypeError);
    expect(shm.read(8, 0).length).toBe(0);
  });
});

describe("close and unlink", () => {
  test("use after close is EBADF; name, size and unlink still answer", () => {
    const name = names.fresh();
    const shm = SharedMemory.create(name, { size: 64 });
    shm.close();
    shm.close();
    for (const use of [() => shm.buffer, () => shm.read(), () => wordsOf(shm), () => fdOf(shm)]) {
      expect(codeOf(use)).toBe("EBADF");
    }
    expect(shm).toMatchObject({ name, size: 64 });
    shm.unlink();
    expect(codeOf(() => shm.unlink())).toBe("ENOENT");
  });

  test("many opens and closes, thousands of times, keep working at the same addresses", () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 4096 });
    for (let i = 0; i < 3000; i++) {
      using again = SharedMemory.open(name);
      new Uint32Array(again.buffer)[0] = i;
    }
    expect(new Uint32Array(shm.buffer)[0]).toBe(2999);
    shm.unlink();
  });
});

describe("list", () => {
  test("names what begins with the prefix, sorted, and never semaphores", () => {
    const base = names.fresh();
    const made = ["-b", "-a", "-c"].map((end) => SharedMemory.create(base + end, { size: 1 }));
    writeFileSync(segmentFile(`/sem.${base.slice(1)}`), "");
    expect(SharedMemory.list(base)).toEqual([`${base}-a`, `${base}-b`, `${base}-c`]);
    expect(SharedMemory.list(base.slice(1))).toEqual(SharedMemory.list(base));
    expect(SharedMemory.list()).toEqual(expect.arrayContaining(SharedMemory.list(base)));
    expect(SharedMemory.list(`${base}-nothing`)).toEqual([]);
    expect(() => SharedMemory.list(5 as unknown as string)).toThrow(TypeError);
    for (const shm of made) {
      shm.close();
      shm.unlink();
    }
    expect(SharedMemory.list(base)).toEqual([]);
  });
});

test("a file of the object can be read by anyone as one: nothing of ours is in it", () => {
  const name = names.fresh();
  using shm = SharedMemory.create(name, { size: 5 });
  new Uint8Array(shm.buffer).set(Buffer.from("hello"));
  expect(readFileSync(segmentFile(name), "utf8")).toBe("hello");
  shm.unlink();
});
