// The flows of docs/ARCHITECTURE.md name functions and files: each function is in its file.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const text = readFileSync(join(root, "docs/ARCHITECTURE.md"), "utf8").replace(/\s+/g, " ");
const named = [...text.matchAll(/`([\w.]+)`,? in (lib\/[\w./-]+\.ts)/g)].map(
  (match) => [match[1] ?? "", match[2] ?? ""] as const,
);

test("the page has its two flows", () => {
  expect(named.length).toBeGreaterThan(20);
});

test.each(named)("%s is in %s", (name, file) => {
  const path = join(root, file);
  expect(existsSync(path), `${file} does not exist`).toBe(true);
  const source = readFileSync(path, "utf8");
  const [owner = "", member] = name.split(".");
  expect(source).toMatch(new RegExp(`(function|class|interface|const) ${owner}\\b`));
  // A method, or a function that does the class's work under that name.
  if (member) expect(source).toMatch(new RegExp(`\\b${member}(<[^>]*>)?\\(`));
});
