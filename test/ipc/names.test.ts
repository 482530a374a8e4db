// What POSIX refuses, and what says so.
import { afterAll, describe, expect, test } from "vitest";
import { IpcError, SEM_VALUE_MAX, Semaphore, SharedMemory } from "../../lib/ipc/index.ts";
import { ObjectNames } from "../helpers/object-names.ts";

const names = new ObjectNames("names");
afterAll(() => names.sweep());

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

const refused: [string, string, string][] = [
  ["", "EINVAL", "must not be empty"],
  ["noslash", "EINVAL", "must begin with a slash"],
  ["/", "EINVAL", "something after its slash"],
  ["//", "EINVAL", "no slash but the first"],
  ["/a/b", "EINVAL", "no slash but the first"],
  ["/a/", "EINVAL", "no slash but the first"],
  ["/.", "EINVAL", "a directory"],
  ["/..", "EINVAL", "a directory"],
  ["/a\0b", "EINVAL", "a NUL character"],
  ["/\ud800", "EINVAL", "well-formed Unicode"],
  [`/${"x".repeat(256)}`, "ENAMETOOLONG", "at most 255 bytes"],
  [`/${"ü".repeat(128)}`, "ENAMETOOLONG", "at most 255 bytes"],
];

const takers: [string, string, (name: string) => unknown][] = [
  ["SharedMemory.create", "shm_open", (name) => SharedMemory.create(name, { size: 1 })],
  ["SharedMemory.open", "shm_open", (name) => SharedMemory.open(name)],
  ["SharedMemory.openOrCreate", "shm_open", (name) => SharedMemory.openOrCreate(name, { size: 1 })],
  ["SharedMemory.unlink", "shm_unlink", (name) => SharedMemory.unlink(name)],
  ["Semaphore.create", "sem_open", (name) => Semaphore.create(name)],
  ["Semaphore.open", "sem_open", (name) => Semaphore.open(name)],
  ["Semaphore.openOrCreate", "sem_open", (name) => Semaphore.openOrCreate(name)],
  ["Semaphore.unlink", "sem_unlink", (name) => Semaphore.unlink(name)],
];

describe.each(takers)("%s", (_, syscall, take) => {
  test.each(refused)("refuses the name %j with %s", (name, code, sentence) => {
    const error = thrownBy(() => take(name));
    expect(error).toBeInstanceOf(IpcError);
    expect(error).toMatchObject({ name: "IpcError", code, syscall, path: name });
    expect(String(error)).toContain(code === "ENAMETOOLONG" ? "bytes after its slash" : sentence);
  });

  test.each([undefined, null, 7, {}, ["/x"], Symbol("x")])("refuses %o, which is no string", (name) => {
    expect(thrownBy(() => take(name as string))).toBeInstanceOf(TypeError);
  });
});

test("the longest names work: 255 bytes for memory, 251 for semaphores, not one more", () => {
  const longest = names.fresh().padEnd(256, "m");
  SharedMemory.create(longest, { size: 1 })[Symbol.dispose]();
  SharedMemory.unlink(longest);
  const sem = names.fresh().padEnd(252, "s");
  Semaphore.create(sem)[Symbol.dispose]();
  Semaphore.unlink(sem);
  expect(thrownBy(() => Semaphore.create(`${sem}s`))).toMatchObject({ code: "ENAMETOOLONG", errno: 36 });
});

test("names of any other characters work, and come back from list", () => {
  const name = `${names.fresh()} ü-☃-…\n*`;
  using shm = SharedMemory.create(name, { size: 8 });
  using sem = Semaphore.create(name);
  expect(SharedMemory.list(name)).toEqual([name]);
  expect(Semaphore.list(name)).toEqual([name]);
  shm.unlink();
  sem.unlink();
});

describe("sizes, modes and values", () => {
  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -(2 ** 53)])(
    "size %d is a RangeError that says what is allowed",
    (size) => {
      const name = names.fresh();
      for (const take of [SharedMemory.create, SharedMemory.openOrCreate]) {
        const error = thrownBy(() => take(name, { size }));
        expect(error).toBeInstanceOf(RangeError);
        expect(String(error)).toContain("size must be a whole number from 1");
      }
      expect(names.files()).not.toContain(name.slice(1));
    },
  );

  test.each([undefined, null, "4096", 4096n, {}, Number])("size %o is a TypeError", (size) => {
    const name = names.fresh();
    expect(thrownBy(() => SharedMemory.create(name, { size: size as number }))).toBeInstanceOf(TypeError);
    expect(names.files()).not.toContain(name.slice(1));
  });

  test("no options at all is a TypeError too", () => {
    expect(thrownBy(() => (SharedMemory.create as (name: string) => unknown)(names.fresh()))).toBeInstanceOf(TypeError);
  });

  test.each([-1, 0.5, 0o1000, Number.NaN])("mode %d is a RangeError", (mode) => {
    expect(thrownBy(() => SharedMemory.create(names.fresh(), { size: 1, mode }))).toBeInstanceOf(RangeError);
    expect(thrownBy(() => Semaphore.create(names.fresh(), { mode }))).toBeInstanceOf(RangeError);
  });

  test.each([-1, 0.5, SEM_VALUE_MAX + 1, Number.NaN])("a semaphore's value %d is a RangeError", (value) => {
    expect(thrownBy(() => Semaphore.create(names.fresh(), { value }))).toBeInstanceOf(RangeError);
  });

  test("a semaphore can begin at SEM_VALUE_MAX, and one more is EOVERFLOW", () => {
    const name = names.fresh();
    using sem = Semaphore.create(name, { value: SEM_VALUE_MAX });
    sem.unlink();
    expect(sem.value).toBe(SEM_VALUE_MAX);
    expect(thrownBy(() => sem.post())).toMatchObject({ code: "EOVERFLOW", syscall: "sem_post" });
  });
});
