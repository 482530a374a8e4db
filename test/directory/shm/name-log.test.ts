// The file with names and keys: what is written, what survives, and when it is on the disk.
import { appendFileSync, fdatasync, fdatasyncSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  compactNameLog,
  NAME_LOG_HEADER,
  NameLog,
  nameLine,
  readNameLine,
} from "../../../lib/directory/shm/name-log.ts";
import { KEYS } from "../support/entries.ts";

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  return { ...fs, fdatasync: vi.fn(fs.fdatasync), fdatasyncSync: vi.fn(fs.fdatasyncSync) };
});

const SERVER = readFileSync(join(import.meta.dirname, "../../../docs/SERVER.md"), "utf8");
const [K1, K2] = KEYS as [string, string];
const DAY_MS = 86_400_000;

let folder = "";
let path = "";
let warnings: { event: string; fields: unknown }[] = [];
const opened: NameLog[] = [];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ptalk-name-log-"));
  path = join(folder, "names");
  warnings = [];
  vi.mocked(fdatasync).mockClear();
  vi.mocked(fdatasyncSync).mockClear();
  await compactNameLog(path, log);
});
afterEach(() => {
  for (const each of opened.splice(0)) each.close();
  vi.useRealTimers();
  rmSync(folder, { recursive: true });
});

const log = { warn: (event: string, fields: unknown = {}) => void warnings.push({ event, fields }) };
function open(file = path, limit = 100): NameLog {
  const made = new NameLog(file, limit, log);
  opened.push(made);
  return made;
}
const lines = () => readFileSync(path, "utf8").split("\n").slice(1, -1);

describe("the name log", () => {
  it("tells every process what one of them has written, once it reads on", () => {
    const [one, other] = [open(), open()];
    one.bind("ann", K1);
    one.bind("日本", K2);
    expect([other.isBehind, other.keyOf("ann")]).toEqual([true, undefined]);
    other.refresh();
    expect([other.isBehind, other.keyOf("ann"), other.keyOf("日本")]).toEqual([false, K1, K2]);
    other.bind("carol", K2);
    one.refresh();
    expect(one.keyOf("carol")).toBe(K2);
    expect(open().keyOf("日本")).toBe(K2);
    expect(lines().map((line) => readNameLine(line))).toMatchObject([
      { folded: "ann", key: K1 },
      { folded: "日本", key: K2 },
      { folded: "carol", key: K2 },
    ]);
  });

  it("writes a name again when its last line is 7 days old, and not before", () => {
    vi.useFakeTimers({ toFake: ["Date"], now: 20_000 * DAY_MS });
    const one = open();
    one.bind("ann", K1);
    for (const [day, count] of [
      [0, 1],
      [6, 1],
      [7, 2],
      [8, 2],
      [13, 2],
      [14, 3],
    ] as const) {
      vi.setSystemTime((20_000 + day) * DAY_MS);
      one.bind("ann", K1);
      expect(lines(), `day ${day}`).toHaveLength(count);
    }
    expect(readNameLine(lines().at(-1) as string)).toEqual({ folded: "ann", key: K1, day: 20_014 });
  });

  it.each([
    {},
    { uid: 0 },
    { uid: 1000, isMunge: true as const },
    { login: "a b" },
    { uid: 1, login: "ann", also: `${K1},${K2}` },
    { also: K2 },
    { chain: "x:1:y" },
    { uid: 7, isMunge: true as const, login: "-", also: K1, chain: "x:1:y,z:2:w" },
  ])("gives back all that a line says: %j", (holder) => {
    const line = { folded: "ann", key: K1, day: 1, ...holder };
    expect(readNameLine(nameLine(line).trimEnd())).toEqual(line);
  });

  it("ignores a line that was cut short, at every byte, and cuts it off with the next one", () => {
    open().bind("ann", K1);
    const whole = readFileSync(path);
    const line = Buffer.from(nameLine({ folded: "bob", key: K2, day: 20_000 }));
    for (let length = 1; length < line.length; length++) {
      writeFileSync(path, whole);
      appendFileSync(path, line.subarray(0, length));
      const one = open();
      expect([one.keyOf("ann"), one.keyOf("bob")]).toEqual([K1, undefined]);
      one.bind("carol", K2);
      expect(lines().map((each) => readNameLine(each)?.folded)).toEqual(["ann", "carol"]);
      opened.pop()?.close();
    }
  });

  it("a damaged line costs itself alone; a start leaves it out, and says how many", async () => {
    for (const name of ["ann", "bob", "carol"]) open().bind(name, K1);
    const text = readFileSync(path, "utf8");
    for (const damaged of [
      text.replace("bob", "eve"),
      text.replace(/\w+ (\S+ bob)/, "00000000 $1"),
      text.replace(/.* bob .*/, "x"),
    ]) {
      writeFileSync(path, damaged);
      const one = open();
      expect(["ann", "bob", "eve", "carol"].map((name) => one.keyOf(name))).toEqual([K1, undefined, undefined, K1]);
      expect(await compactNameLog(path, log)).toBe(2);
      const event = "names: damaged lines left out; the file is kept";
      const kept = `${path}.damaged`;
      expect(warnings.splice(0)).toEqual([{ event, fields: { path, lines: 1, kept } }]);
      expect(readFileSync(kept, "utf8")).toBe(damaged);
      expect(readFileSync(path, "utf8")).toMatch(new RegExp(`^${NAME_LOG_HEADER}.* ann .*\n.* carol .*\n$`));
    }
  });

  it("ends of lines that became CR LF cost no name", async () => {
    for (const name of ["ann", "bob"]) open().bind(name, K1);
    writeFileSync(path, readFileSync(path, "utf8").replaceAll("\n", "\r\n"));
    expect(await compactNameLog(path, log)).toBe(2);
    expect(warnings).toEqual([]);
    expect(open().keyOf("bob")).toBe(K1);
    expect(readFileSync(path, "utf8")).not.toContain("\r");
  });

  it("warns once, when nine tenths of the room are taken", () => {
    const one = open(path, 10);
    for (let i = 0; i < 8; i++) one.bind(`n${i}`, KEYS[i] as string);
    expect(warnings).toEqual([]);
    for (let i = 8; i < 10; i++) one.bind(`n${i}`, KEYS[i] as string);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatchObject({
      event: expect.stringContaining("90 days"),
      fields: { names: 9, room: 10, file: path },
    });
    expect(() => one.checkRoom("n10", K1)).toThrow(expect.objectContaining({ code: "full" }));
  });

  it("on a full disk a new name is not bound, and one that is bound stays so", () => {
    vi.useFakeTimers({ toFake: ["Date"], now: 20_000 * DAY_MS });
    const one = open("/dev/full");
    const full = expect.objectContaining({ code: "ENOSPC" });
    expect(() => one.bind("ann", K1)).toThrow(full);
    expect(one.keyOf("ann")).toBeUndefined();
  });
});

describe("the disk", () => {
  const within = Number(
    (/the disk has it within (\d+) ms/.exec(SERVER) ?? expect.fail("docs/SERVER.md does not say"))[1],
  );

  it(`is told to keep new lines within ${within} ms, many at once`, () => {
    expect(within).toBe(200);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const one = open();
    vi.advanceTimersByTime(within);
    expect(fdatasync).not.toHaveBeenCalled();
    for (const name of ["ann", "bob"]) one.bind(name, K1);
    vi.advanceTimersByTime(within);
    expect(fdatasync).toHaveBeenCalledTimes(1);
    one.bind("carol", K1);
    vi.advanceTimersByTime(within);
    expect(fdatasync).toHaveBeenCalledTimes(2);
  });

  it("has what was written last when the log is closed", () => {
    const one = open();
    one.bind("ann", K1);
    opened.pop();
    one.close();
    expect(fdatasyncSync).toHaveBeenCalledTimes(1);
    const two = open();
    opened.pop();
    two.close();
    expect(fdatasyncSync).toHaveBeenCalledTimes(1);
  });

  it("that fails is a warning", () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const fault = Object.assign(new Error("EIO: i/o error, fdatasync"), { code: "EIO" });
    vi.mocked(fdatasync).mockImplementationOnce((_fd, done) => done(fault));
    const one = open();
    one.bind("ann", K1);
    vi.advanceTimersByTime(within);
    expect(warnings).toEqual([
      { event: "names: the disk may not have the last lines", fields: { file: path, error: fault } },
    ]);
  });
});
