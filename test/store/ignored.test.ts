import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { IgnoreList } from "../../lib/store/ignored.ts";

const KEY = Buffer.alloc(32, 1).toString("base64");
const OTHER = Buffer.alloc(32, 2).toString("base64");

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "ptalk-ignored-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const anonymous = { key: null, uid: null };

it("nobody is ignored at first, and nothing is written", () => {
  const list = new IgnoreList(dir);
  expect(list.has({ name: "bob", key: KEY, uid: null })).toBe(false);
  expect(list.names()).toEqual([]);
  expect(list.remove("bob")).toBe(false);
});

it("by key and name: neither another name nor another key helps", () => {
  const list = new IgnoreList(dir);
  list.add({ name: "bob", key: KEY, uid: null });
  expect(list.has({ name: "bob", key: KEY, uid: null })).toBe(true);
  expect(list.has({ name: "robert", key: KEY, uid: null })).toBe(true);
  expect(list.has({ name: "bob", key: OTHER, uid: 7 })).toBe(true);
  expect(list.has({ name: "carol", key: OTHER, uid: null })).toBe(false);
});

it("by uid where both are attested: the name may be another user's by now", () => {
  const list = new IgnoreList(dir);
  list.add({ name: "bob", key: KEY, uid: 1000 });
  expect(list.has({ name: "robert", key: OTHER, uid: 1000 })).toBe(true);
  expect(list.has({ name: "bob", key: OTHER, uid: 1001 })).toBe(false);
  // Who only sends is not in the directory: of him only the key is known.
  expect(list.has({ name: "robert", key: KEY, uid: null })).toBe(true);
});

it("somebody who was never seen is ignored by name, until unignored", () => {
  const list = new IgnoreList(dir);
  list.add({ name: "bob", ...anonymous });
  list.add({ name: "carol", ...anonymous });
  expect(list.has({ name: "bob", key: KEY, uid: null })).toBe(true);
  expect(list.names()).toEqual(["bob", "carol"]);
  expect(list.remove("bob")).toBe(true);
  expect(list.has({ name: "bob", key: KEY, uid: null })).toBe(false);
  list.add({ name: "carol", key: KEY, uid: 5 });
  expect(readFileSync(join(dir, "ignored"), "utf8").trim().split("\n").at(-1)).toBe(`carol ${KEY}:5`);
  expect(list.names()).toEqual(["carol"]);
});

it("what another program adds counts, and is not lost", async () => {
  const [one, two] = [new IgnoreList(dir), new IgnoreList(dir)];
  expect(two.has({ name: "bob", key: KEY, uid: null })).toBe(false);
  one.add({ name: "bob", key: KEY, uid: null });
  two.add({ name: "carol", ...anonymous });
  expect(one.names()).toEqual(["bob", "carol"]);
  expect(two.has({ name: "bob", key: KEY, uid: null })).toBe(true);
});

it("a file that was damaged is said once, and is no reason to hold messages up", () => {
  const list = new IgnoreList(dir);
  list.add({ name: "bob", ...anonymous });
  appendFileSync(join(dir, "ignored"), "nonsense\n");
  expect(() => list.names()).toThrow("line 2");
  const warnings: string[] = [];
  const { emitWarning } = process;
  process.emitWarning = (text: string | Error) => void warnings.push(String(text));
  try {
    expect(list.has({ name: "carol", key: KEY, uid: null })).toBe(false);
  } finally {
    process.emitWarning = emitWarning;
  }
  expect(warnings).toEqual([expect.stringContaining("whom you ignore cannot be read")]);
});
