// What POSIX asserts of sem_open, sem_close and sem_unlink, asked of Semaphore. See docs/CONFORMANCE.md.
import { statSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { SEM_VALUE_MAX, Semaphore } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { exists, ObjectNames, semaphoreFile } from "../helpers/object-names.ts";
import { canChangeUser } from "../helpers/privileges.ts";

const names = new ObjectNames("sem-open");
/** NAME_MAX less glibc's "sem." */
const SEM_NAME_MAX = 251;

afterEach(() => names.sweep());

describe("sem_open", () => {
  test("1, 8: gives a semaphore that can be waited for, tried, posted and closed", () => {
    using semaphore = Semaphore.create(names.fresh(), { value: 2 });
    semaphore.wait();
    expect(semaphore.tryWait()).toBe(true);
    expect(semaphore.tryWait()).toBe(false);
    semaphore.post();
    expect(semaphore.value).toBe(1);
    semaphore.close();
  });

  test("2, 4: exclusive creation fails with EEXIST when it exists, and changes nothing", () => {
    const name = names.fresh();
    using semaphore = Semaphore.create(name, { value: 3 });
    expect(() => Semaphore.create(name, { value: 9 })).toThrow(
      expect.objectContaining({ name: "IpcError", code: "EEXIST", errno: 17, syscall: "sem_open", path: name }),
    );
    expect(semaphore.value).toBe(3);
  });

  test("3: EACCES when the permissions do not allow it", async () => {
    const name = names.fresh();
    const other = new NodeProgram(`
      if (process.getuid() === 0) process.setuid(65534);
      ipc.Semaphore.create(${JSON.stringify(name)}, { mode: 0o400 }).close();
      const codeOf = (call) => { try { call(); return "opened"; } catch (error) { return error.code; } };
      say([
        codeOf(() => ipc.Semaphore.open(${JSON.stringify(name)})),
        codeOf(() => ipc.Semaphore.openOrCreate(${JSON.stringify(name)})),
      ]);
    `);
    expect(await other.heard()).toEqual(["EACCES", "EACCES"]);
    await other.end();
  });

  test("5, 12: takes values up to SEM_VALUE_MAX and refuses all others", () => {
    using greatest = Semaphore.create(names.fresh(), { value: SEM_VALUE_MAX });
    expect(greatest.value).toBe(SEM_VALUE_MAX);
    const before = names.files();
    for (const value of [SEM_VALUE_MAX + 1, 2 ** 32, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => Semaphore.create(names.fresh(), { value })).toThrow(RangeError);
    }
    expect(() => Semaphore.create(names.fresh(), { value: "1" as unknown as number })).toThrow(TypeError);
    expect(names.files()).toEqual(before);
  });

  test("6: ENOENT when there is none and it is not to be created", () => {
    const name = names.fresh();
    expect(() => Semaphore.open(name)).toThrow(
      expect.objectContaining({ code: "ENOENT", errno: 2, syscall: "sem_open", path: name }),
    );
    expect(names.files()).toEqual([]);
  });

  test("7: ENAMETOOLONG beyond NAME_MAX, and the longest name works", () => {
    const longest = `${names.fresh()}-`.padEnd(SEM_NAME_MAX + 1, "x");
    using semaphore = Semaphore.create(longest);
    expect(Semaphore.list(names.prefix)).toEqual([longest]);
    semaphore.unlink();
    for (const name of [`${longest}x`, `/${"x".repeat(5000)}`]) {
      for (const call of [() => Semaphore.create(name), () => Semaphore.open(name)]) {
        expect(call).toThrow(expect.objectContaining({ code: "ENAMETOOLONG", errno: 36, syscall: "sem_open" }));
      }
    }
  });

  test("9: it can be used until it is closed, and EBADF says so afterwards", () => {
    const semaphore = Semaphore.create(names.fresh(), { value: 1 });
    semaphore.close();
    for (const use of [
      () => semaphore.wait(),
      () => semaphore.tryWait(),
      () => semaphore.timedWait(0),
      () => semaphore.post(),
      () => semaphore.value,
    ]) {
      expect(use).toThrow(expect.objectContaining({ name: "IpcError", code: "EBADF", path: semaphore.name }));
    }
  });

  test("10: opening or creating one that exists takes it as it is", () => {
    const name = names.fresh();
    using _first = Semaphore.create(name, { value: 4, mode: 0o600 });
    using second = Semaphore.openOrCreate(name, { value: 9, mode: 0o666 });
    expect(second.value).toBe(4);
    expect(statSync(semaphoreFile(name)).mode & 0o777).toBe(0o600);
  });

  test("11: creation sets the value, 0 if none is given, and the permissions less the umask", async () => {
    const [plain, open, masked] = [names.fresh(), names.fresh(), names.fresh()];
    using semaphore = Semaphore.create(plain);
    expect(semaphore.value).toBe(0);
    expect(statSync(semaphoreFile(plain)).mode & 0o777).toBe(0o600);
    const other = new NodeProgram(`
      const [open, masked] = ${JSON.stringify([open, masked])};
      process.umask(0); ipc.Semaphore.create(open, { mode: 0o666, value: 5 });
      process.umask(0o027); ipc.Semaphore.openOrCreate(masked, { mode: 0o666, value: 6 });
      say(true);
    `);
    await other.heard();
    await other.end();
    expect(statSync(semaphoreFile(open)).mode & 0o777).toBe(0o666);
    expect(statSync(semaphoreFile(masked)).mode & 0o777).toBe(0o640);
    using opened = Semaphore.open(open);
    expect(opened.value).toBe(5);
  });

  test.skipIf(!canChangeUser)("13: it belongs to the effective user and group", async () => {
    const name = names.fresh();
    const other = new NodeProgram(`
      process.setegid(65533);
      process.seteuid(65534);
      ipc.Semaphore.create(${JSON.stringify(name)});
      say(true);
    `);
    await other.heard();
    expect(statSync(semaphoreFile(name))).toMatchObject({ uid: 65534, gid: 65533 });
    await other.end();
  });

  test("14: other processes reach it by its name", async () => {
    using semaphore = Semaphore.create(names.fresh());
    const other = new NodeProgram(`
      const semaphore = ipc.Semaphore.open(${JSON.stringify(semaphore.name)});
      semaphore.post();
      say(semaphore.value);
    `);
    expect(await other.heard()).toBe(1);
    expect(semaphore.tryWait()).toBe(true);
    await other.end();
  });

  test("15: opened again in one process it is the same semaphore, until closed as often as opened", () => {
    const name = names.fresh();
    const first = Semaphore.create(name, { value: 1 });
    using second = Semaphore.open(name);
    first.post();
    expect(second.value).toBe(2);
    first.close();
    second.post();
    expect(second.value).toBe(3);
  });

  test("refuses what is no name", () => {
    for (const name of ["", "/", "plain", "/a/b", "/.", "/..", "/nul\0inside"]) {
      for (const call of [() => Semaphore.create(name), () => Semaphore.open(name)]) {
        expect(call, name).toThrow(expect.objectContaining({ code: "EINVAL", errno: 22, syscall: "sem_open" }));
      }
    }
  });
});

describe("sem_close", () => {
  test("1, 4: closes, and once is enough", () => {
    const semaphore = Semaphore.create(names.fresh());
    expect(semaphore.close()).toBeUndefined();
    expect(semaphore.close()).toBeUndefined();
  });

  test("2: gives back what opening took", async () => {
    const name = names.fresh();
    using _semaphore = Semaphore.create(name);
    const other = new NodeProgram(`
      import { readdirSync, readFileSync } from "node:fs";
      const held = () => [
        readdirSync("/proc/self/fd").length,
        readFileSync("/proc/self/maps", "utf8").split("\\n").filter((line) => line.includes("sem.")).length,
      ].join();
      const before = held();
      let during;
      for (let i = 0; i < 1000; i++) {
        const semaphore = ipc.Semaphore.open(${JSON.stringify(name)});
        during = held();
        semaphore.close();
      }
      say([before === held(), before !== during]);
    `);
    expect(await other.heard()).toEqual([true, true]);
    await other.end();
  });

  test("3: changes nothing of the semaphore", () => {
    const name = names.fresh();
    Semaphore.create(name, { value: 7 }).close();
    using again = Semaphore.open(name);
    expect(again.value).toBe(7);
  });
});

describe("sem_unlink", () => {
  test("1, 8: removes the name", () => {
    const name = names.fresh();
    Semaphore.create(name).close();
    expect(Semaphore.unlink(name)).toBeUndefined();
    expect(exists(semaphoreFile(name))).toBe(false);
    expect(() => Semaphore.open(name)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    expect(Semaphore.list(names.prefix)).toEqual([]);
  });

  test("2, 9: who has it open goes on with it, across processes", async () => {
    using semaphore = Semaphore.create(names.fresh(), { value: 1 });
    const other = new NodeProgram(`
      const semaphore = ipc.Semaphore.open(${JSON.stringify(semaphore.name)});
      say("open");
      semaphore.wait();
      semaphore.wait();
      say("twice");
    `);
    expect(await other.heard()).toBe("open");
    semaphore.unlink();
    expect(exists(semaphoreFile(semaphore.name))).toBe(false);
    semaphore.post();
    expect(await other.heard()).toBe("twice");
    expect(semaphore.value).toBe(0);
    await other.end();
  });

  test.skipIf(!canChangeUser)("3: EACCES for another user's semaphore, which stays as it was", async () => {
    const name = names.fresh();
    using semaphore = Semaphore.create(name, { value: 5, mode: 0o666 });
    const other = new NodeProgram(`
      process.setuid(65534);
      try { ipc.Semaphore.unlink(${JSON.stringify(name)}); say("unlinked"); }
      catch (error) { say([error.name, error.code, error.errno, error.syscall, error.path]); }
    `);
    expect(await other.heard()).toEqual(["IpcError", "EACCES", 13, "sem_unlink", name]);
    await other.end();
    using again = Semaphore.open(name);
    expect([again.value, semaphore.value]).toEqual([5, 5]);
  });

  test("4: ENOENT when there is none", () => {
    const name = names.fresh();
    expect(() => Semaphore.unlink(name)).toThrow(
      expect.objectContaining({ code: "ENOENT", errno: 2, syscall: "sem_unlink", path: name }),
    );
  });

  test("5: ENAMETOOLONG beyond NAME_MAX", () => {
    for (const length of [SEM_NAME_MAX + 1, 5000]) {
      expect(() => Semaphore.unlink(`/${"x".repeat(length)}`)).toThrow(
        expect.objectContaining({ code: "ENAMETOOLONG", errno: 36, syscall: "sem_unlink" }),
      );
    }
  });

  test("6: the name afterwards means a new semaphore", () => {
    const name = names.fresh();
    using old = Semaphore.create(name, { value: 1 });
    old.unlink();
    using fresh = Semaphore.create(name, { value: 8 });
    old.post();
    expect([old.value, fresh.value]).toEqual([2, 8]);
  });

  test("7: does not wait for anybody", async () => {
    using semaphore = Semaphore.create(names.fresh());
    const waiter = new NodeProgram(`
      const semaphore = ipc.Semaphore.open(${JSON.stringify(semaphore.name)});
      say("waiting");
      semaphore.wait();
      say("taken");
    `);
    expect(await waiter.heard()).toBe("waiting");
    semaphore.unlink();
    expect(exists(semaphoreFile(semaphore.name))).toBe(false);
    semaphore.post();
    expect(await waiter.heard()).toBe("taken");
    await waiter.end();
  });
});
