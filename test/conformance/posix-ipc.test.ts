// What the tests of Python's posix_ipc ask beyond POSIX's own assertions, asked of ptalk/ipc. See docs/CONFORMANCE.md.
import { fstatSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { IpcError, SEM_VALUE_MAX, Semaphore, SharedMemory } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";

const names = new ObjectNames("posix-ipc");

afterEach(() => names.sweep());

describe("posix_ipc SharedMemory", () => {
  test("open takes what exists; openOrCreate takes what exists, or creates it", () => {
    const name = names.fresh();
    using created = SharedMemory.openOrCreate(name, { size: 16 });
    new Uint8Array(created.buffer)[0] = 7;
    using opened = SharedMemory.open(name);
    using again = SharedMemory.openOrCreate(name, { size: 16 });
    expect([opened.read(0, 1)[0], again.read(0, 1)[0]]).toEqual([7, 7]);
  });

  test("a second handle never changes the size, whatever size it asks for", () => {
    const name = names.fresh();
    using first = SharedMemory.create(name, { size: 4096 });
    for (const size of [1, 4096, 100_000]) {
      using second = SharedMemory.openOrCreate(name, { size });
      expect([second.size, second.buffer.byteLength]).toEqual([4096, 4096]);
    }
    expect(first.buffer.byteLength).toBe(4096);
  });

  test("a name may be given as bytes, and is text", () => {
    const name = `${names.fresh()}-é🙂`;
    const bytes = Buffer.from(name);
    using segment = SharedMemory.create(bytes, { size: 8 });
    using again = SharedMemory.open(new Uint8Array(bytes));
    using semaphore = Semaphore.openOrCreate(bytes);
    expect([segment.name, again.name, semaphore.name]).toEqual([name, name, name]);
    SharedMemory.unlink(bytes);
    Semaphore.unlink(bytes);
    expect(() => SharedMemory.open(name)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    expect(() => Semaphore.open(name)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    const invalid = Buffer.from([0x2f, 0xff, 0xfe]);
    expect(() => SharedMemory.create(invalid, { size: 8 })).toThrow(expect.objectContaining({ code: "EILSEQ" }));
    expect(() => Semaphore.open(Buffer.from("no-slash"))).toThrow(expect.objectContaining({ code: "EINVAL" }));
  });

  test("its descriptor is handed out, and closes with it", () => {
    const segment = SharedMemory.create(names.fresh(), { size: 4321 });
    expect(fstatSync(segment.fd).size).toBe(4321);
    const { fd } = segment;
    segment.close();
    expect(() => segment.fd).toThrow(expect.objectContaining({ code: "EBADF" }));
    expect(() => fstatSync(fd)).toThrow(expect.objectContaining({ code: "EBADF" }));
  });

  test("can be made larger, not smaller, and others can follow", () => {
    const name = names.fresh();
    using first = SharedMemory.create(name, { size: 100 });
    using second = SharedMemory.open(name);
    using reader = SharedMemory.open(name, { readOnly: true });
    const old = new Uint8Array(first.buffer);
    first.resize(10_000);
    expect([first.size, first.buffer.byteLength, second.size]).toEqual([10_000, 10_000, 100]);
    new Uint8Array(first.buffer)[9999] = 9;
    old[0] = 7;
    second.resize();
    reader.resize();
    expect([second.read(9999, 1)[0], reader.read(0, 1)[0], new Uint8Array(second.buffer)[0]]).toEqual([9, 7, 7]);
    expect(() => first.resize(50)).toThrow(expect.objectContaining({ code: "EINVAL" }));
    expect(() => first.resize(2 ** 50)).toThrow(/ENOSPC|EFBIG/);
    expect(() => reader.resize(20_000)).toThrow(expect.objectContaining({ code: "EBADF" }));
    expect(() => first.resize(0)).toThrow(RangeError);
    expect([first.size, first.read(9999, 1)[0]]).toEqual([10_000, 9]);
  });

  test("works on descriptor 0, and gives it back", async () => {
    const name = names.fresh();
    const program = new NodeProgram(
      `
      import { closeSync, readlinkSync } from "node:fs";
      closeSync(0);
      const segment = ipc.SharedMemory.create(${JSON.stringify(name)}, { size: 8 });
      const zero = () => { try { return readlinkSync("/proc/self/fd/0"); } catch (error) { return error.code; } };
      const during = zero();
      new Uint8Array(segment.buffer)[1] = 5;
      const value = segment.read(1, 1)[0];
      segment.close();
      say([during, value, zero()]);
    `,
      [],
      { keepsInput: true },
    );
    expect(await program.heard()).toEqual([`/dev/shm${name}`, 5, "ENOENT"]);
    await program.ended;
  });

  test("has its name and its size", () => {
    const name = names.fresh();
    using segment = SharedMemory.create(name, { size: 12_345 });
    expect([segment.name, segment.size, segment.readOnly]).toEqual([name, 12_345, false]);
  });

  test("its name and its size cannot be written", () => {
    using segment = SharedMemory.create(names.fresh(), { size: 8 });
    const loose = segment as { name: string; size: number };
    expect(() => (loose.name = "/other")).toThrow(TypeError);
    expect(() => (loose.size = 1)).toThrow(TypeError);
  });

  test("close is not unlink, and unlink is not close", () => {
    const name = names.fresh();
    const segment = SharedMemory.create(name, { size: 8 });
    segment.close();
    expect(SharedMemory.list(names.prefix)).toEqual([name]);
    using again = SharedMemory.open(name);
    again.unlink();
    expect(SharedMemory.list(names.prefix)).toEqual([]);
    expect(() => SharedMemory.open(name)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    expect(again.read()).toHaveLength(8);
  });
});

describe("posix_ipc Semaphore", () => {
  test("open takes what exists; openOrCreate takes what exists, or creates it with 0 or the value given", () => {
    const [plain, valued] = [names.fresh(), names.fresh()];
    using zero = Semaphore.openOrCreate(plain);
    using five = Semaphore.openOrCreate(valued, { value: 5 });
    using again = Semaphore.openOrCreate(valued, { value: 1 });
    using opened = Semaphore.open(valued);
    expect([zero.value, five.value, again.value, opened.value]).toEqual([0, 5, 5, 5]);
  });

  test("a timeout of 0 does not block; fractions of a millisecond count", () => {
    using semaphore = Semaphore.create(names.fresh());
    expect(semaphore.timedWait(0)).toBe(false);
    const start = process.hrtime.bigint();
    expect(semaphore.timedWait(1.75)).toBe(false);
    expect(Number(process.hrtime.bigint() - start)).toBeGreaterThanOrEqual(1.75e6);
  });

  test("leaving its scope closes it; what it took stays taken", () => {
    const name = names.fresh();
    {
      using semaphore = Semaphore.create(name, { value: 1 });
      semaphore.wait();
    }
    using again = Semaphore.open(name);
    expect(again.value).toBe(0);
  });

  test("has its name; its value follows waits and posts", () => {
    const name = names.fresh();
    using semaphore = Semaphore.create(name, { value: 2 });
    expect(semaphore.name).toBe(name);
    semaphore.wait();
    semaphore.post();
    semaphore.post();
    expect(semaphore.value).toBe(3);
  });
});

describe("posix_ipc Semaphore's properties", () => {
  test("a semaphore's name and value cannot be written", () => {
    using semaphore = Semaphore.create(names.fresh(), { value: 2 });
    const loose = semaphore as { name: string; value: number };
    expect(() => (loose.name = "/other")).toThrow(TypeError);
    expect(() => (loose.value = 1)).toThrow(TypeError);
    expect(semaphore.value).toBe(2);
  });
});

describe("posix_ipc module", () => {
  test("SEM_VALUE_MAX is the system's", () => {
    expect(SEM_VALUE_MAX).toBe(2 ** 31 - 1);
  });

  test("errors are one class, told apart by code", () => {
    const name = names.fresh();
    const refusal = (call: () => unknown): unknown => {
      try {
        return call();
      } catch (error) {
        return error;
      }
    };
    using _one = SharedMemory.create(name, { size: 8 });
    const errors = [
      refusal(() => SharedMemory.create(name, { size: 8 })),
      refusal(() => SharedMemory.open(names.fresh())),
      refusal(() => Semaphore.open(names.fresh())),
      refusal(() => Semaphore.unlink(names.fresh())),
    ];
    for (const error of errors) expect(error).toBeInstanceOf(IpcError);
    expect(errors.map((error) => (error as IpcError).code)).toEqual(["EEXIST", "ENOENT", "ENOENT", "ENOENT"]);
    expect((errors[0] as Error).message).toContain(name);
  });
});
