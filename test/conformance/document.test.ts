// docs/CONFORMANCE.md names a test for each assertion: each exists, and each test of this folder is named there.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const here = import.meta.dirname;
const page = readFileSync(join(here, "../../docs/CONFORMANCE.md"), "utf8");
const rows = page.split("\n").filter((line) => line.startsWith("| "));
/** Titles in the last column: "…"; "…" */
const named = new Set(
  rows.flatMap((row) => {
    const last = row.slice(0, -2).split(" | ").at(-1) ?? "";
    return last.startsWith('"') ? last.slice(1, -1).split('"; "') : [];
  }),
);
const files = readdirSync(here).filter((file) => file.endsWith(".test.ts") && file !== "document.test.ts");
const sources = files.map((file) => readFileSync(join(here, file), "utf8")).join("\n");
/** The first text argument of every test(…). */
const titles = new Set(
  [...sources.matchAll(/^ {2}test(?:\.\w+\([^"]*\))?(?:\.each\([\s\S]*?\]\))?\(\s*"([^"]+)"/gm)].map(
    (match) => match[1] ?? "",
  ),
);

test("every test that the page names exists", () => {
  expect([...named].filter((title) => !sources.includes(`"${title}"`))).toEqual([]);
});

test("every assertion's test is on the page", () => {
  expect(titles.size).toBeGreaterThan(60);
  const numbered = [...titles].filter((title) => /^\d/.test(title));
  expect(numbered.filter((title) => !named.has(title))).toEqual([]);
});

test("every row has a test or a reason", () => {
  const bare = rows.filter((row) => !/^\| (#|its test) /.test(row) && !/\| ("|– \S)/.test(row));
  expect(bare).toEqual([]);
});
