// ReadersWriterLock as one process sees it: its results, its refusals, what it leaves behind.
import { readdirSync, statSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { IpcError, ReadersWriterLock, SharedMemory } from "../../../lib/ipc/index.ts";
import { ObjectNames, segmentFile } from "../../helpers/object-names.ts";

const names = new ObjectNames("lock-api");
let lock: ReadersWriterLock;
let name: string;

beforeEach(() => {
  name = names.fresh();
  lock = ReadersWriterLock.create(name);
});
afterEach(() => {
  lock.close();
  names.sweep();
});

const refusal = (code: string) => expect.objectContaining({ name: "IpcError", code });
const never = () => new Promise<never>(() => {});

describe("sections", () => {
  it("returns what the section returns, now or later", async () => {
    expect(await lock.withRead(() => 1)).toBe(1);
    expect(await lock.withWrite(async () => "two")).toBe("two");
    expect(await lock.withWrite(() => undefined)).toBeUndefined();
  });

  it("begins an uncontended section at once, and lets go when it ends", () => {
    let ran = false;
    void lock.withWrite(() => {
      ran = true;
      expect(lock.stats().holders).toMatchObject([{ pid: process.pid, kind: "write", phase: "inside" }]);
    });
    expect(ran).toBe(true);
    expect(lock.stats().holders).toEqual([]);
  });

  it("holds until an async section settles", async () => {
    let end = () => {};
    const done = lock.withRead(() => new Promise<void>((resolve) => (end = resolve)));
    expect(lock.stats().holders).toMatchObject([{ pid: process.pid, kind: "read" }]);
    end();
    await done;
    expect(lock.stats().holders).toEqual([]);
  });

  it.each(["withRead", "withWrite"] as const)("%s passes on what the section throws, and lets go", async (method) => {
    const error = new Error("mine");
    await expect(
      lock[method](() => {
        throw error;
      }),
    ).rejects.toBe(error);
    await expect(lock[method](() => Promise.reject(error))).rejects.toBe(error);
    expect(await lock.withWrite(() => "free")).toBe("free");
  });

  it("counts", async () => {
    for (let i = 0; i < 3; i++) await lock.withRead(() => {});
    for (let i = 0; i < 2; i++) await lock.withWrite(() => {});
    const { acquisitions, waits, recoveries, damaged, holders, waiting } = lock.stats();
    expect(acquisitions).toEqual({ read: 3, write: 2 });
    expect({ waits, recoveries, damaged, holders, waiting }).toEqual({
      waits: 0,
      recoveries: 0,
      damaged: false,
      holders: [],
      waiting: [],
    });
  });

  it("says since when a holder holds", async () => {
    const before = Date.now();
    await lock.withWrite(() => {
      const [holder] = lock.stats().holders;
      expect(holder?.since).toBeGreaterThanOrEqual(before);
      expect(holder?.since).toBeLessThanOrEqual(Date.now());
    });
  });
});

describe("misuse", () => {
  it.each([
    ["withRead", "withRead"],
    ["withRead", "withWrite"],
    ["withWrite", "withRead"],
    ["withWrite", "withWrite"],
  ] as const)("%s within %s is refused, not waited for", async (inner, outer) => {
    await lock[outer](async () => {
      await expect(lock[inner](never)).rejects.toEqual(refusal("EDEADLK"));
    });
    await expect(lock[outer](() => lock[inner](never))).rejects.toThrow(/section within a section/);
    expect(await lock.withWrite(() => "free")).toBe("free");
  });

  it("a second instance of the same lock in the same thread is the same thread", async () => {
    using second = ReadersWriterLock.open(name);
    await lock.withRead(async () => {
      await expect(second.withRead(never)).rejects.toEqual(refusal("EDEADLK"));
    });
    expect(await second.withWrite(() => "free")).toBe("free");
  });

  it("two different locks may be held together", async () => {
    using other = ReadersWriterLock.create(names.fresh());
    expect(await lock.withWrite(() => other.withWrite(() => "both"))).toBe("both");
  });

  it("cannot be closed while it is held", async () => {
    await lock.withWrite(async () => expect(() => lock.close()).toThrow(refusal("EBUSY")));
    lock.close();
    lock.close();
  });

  it("is of no use once closed", async () => {
    lock.close();
    await expect(lock.withRead(never)).rejects.toEqual(refusal("EBADF"));
    await expect(lock.withWrite(never)).rejects.toEqual(refusal("EBADF"));
    expect(() => lock.stats()).toThrow(refusal("EBADF"));
  });

  it("refuses wrong arguments", async () => {
    const bad = (value: unknown) => value as never;
    await expect(lock.withRead(bad(3))).rejects.toThrow(TypeError);
    await expect(lock.withRead(never, { timeoutMs: bad("1") })).rejects.toThrow(TypeError);
    for (const timeoutMs of [-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])
      await expect(lock.withRead(never, { timeoutMs })).rejects.toThrow(RangeError);
    expect(() => ReadersWriterLock.open(name, { repair: bad("x") })).toThrow(TypeError);
    expect(() => ReadersWriterLock.create(names.fresh(), { mode: 0o1000 })).toThrow(RangeError);
    expect(() => ReadersWriterLock.create(bad(7))).toThrow(TypeError);
    expect(() => ReadersWriterLock.create("no-slash")).toThrow(refusal("EINVAL"));
    expect(() => ReadersWriterLock.create(`/${"x".repeat(235)}`)).toThrow(refusal("ENAMETOOLONG"));
  });

  it("does not begin with a signal that has been aborted", async () => {
    await expect(lock.withRead(never, { signal: AbortSignal.abort() })).rejects.toThrow(
      expect.objectContaining({ name: "AbortError", code: "ABORT_ERR" }),
    );
  });
});

describe("objects", () => {
  it("create is exclusive, open needs one, openOrCreate takes either", () => {
    expect(() => ReadersWriterLock.create(name)).toThrow(refusal("EEXIST"));
    const missing = names.fresh();
    expect(() => ReadersWriterLock.open(missing)).toThrow(refusal("ENOENT"));
    using made = ReadersWriterLock.openOrCreate(missing);
    using opened = ReadersWriterLock.openOrCreate(missing);
    expect(opened.name).toBe(made.name);
  });

  it("is one segment and two semaphores, and unlink removes all three", () => {
    const { epoch } = lock.stats();
    const own = () => names.files().filter((file) => file.includes(name.slice(1)));
    const plain = name.slice(1);
    expect(own().sort()).toEqual([plain, `sem.${plain}.${epoch}.queue`, `sem.${plain}.${epoch}.room`].sort());
    lock.unlink();
    expect(own()).toEqual([]);
    expect(() => lock.unlink()).toThrow(refusal("ENOENT"));
  });

  it("goes on for those who have it when it is unlinked, beside a successor of the same name", async () => {
    using other = ReadersWriterLock.open(name);
    lock.unlink();
    using successor = ReadersWriterLock.create(name);
    expect(await lock.withWrite(() => successor.withWrite(() => "both"))).toBe("both");
    expect(await other.withRead(() => "still")).toBe("still");
  });

  it.each([
    [0o600, 0o600],
    [0o660, 0o660],
    [0o666, 0o666],
    // Who may read it could lock its owner out: no read bit without the write bit.
    [0o644, 0o600],
    [0o640, 0o600],
    [0o664, 0o660],
  ])("mode %o becomes %o, whatever the umask", (mode, expected) => {
    const own = names.fresh();
    const umask = process.umask(0o077);
    try {
      using made = ReadersWriterLock.create(own, { mode });
      const files = readdirSync("/dev/shm").filter((file) => file.includes(own.slice(1)));
      expect(files).toHaveLength(3);
      for (const file of files) expect(statSync(`/dev/shm/${file}`).mode & 0o777).toBe(expected);
      made.unlink();
    } finally {
      process.umask(umask);
    }
  });

  it("closing gives back every descriptor and mapping", async () => {
    const count = () => readdirSync("/proc/self/fd").length;
    const before = count();
    for (let i = 0; i < 20; i++) {
      using made = ReadersWriterLock.open(name);
      await made.withWrite(() => {});
    }
    expect(count()).toBe(before);
  });

  it("refuses what is no lock, saying what it is", () => {
    const own = names.fresh();
    using other = SharedMemory.create(own, { size: 4096 });
    expect(() => ReadersWriterLock.open(own)).toThrow(/not a readers-writers lock: it has 4096 bytes/);
    other.unlink();
    using same = SharedMemory.create(own, { size: statSync(segmentFile(name)).size });
    const words = new Int32Array(same.buffer);
    words[0] = 0x12345678;
    expect(() => ReadersWriterLock.openOrCreate(own)).toThrow(refusal("EINVAL"));
    expect(() => ReadersWriterLock.openOrCreate(own)).toThrow(IpcError);
    words.set(new Int32Array(SharedMemory.open(name).buffer).subarray(0, 4));
    words[1] = 77;
    expect(() => ReadersWriterLock.open(own)).toThrow(/layout version 77, this ptalk understands 1/);
  });
});
