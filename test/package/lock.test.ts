// `npm ci` refuses a lock file that lacks a package somebody may want, even one that this platform never installs.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

interface Entry {
  optionalDependencies?: Record<string, string>;
}

test("the lock file has every optional package, those of other platforms too (scripts/complete-lock.js adds them)", () => {
  const file = join(import.meta.dirname, "../../package-lock.json");
  const packages: Record<string, Entry> = JSON.parse(readFileSync(file, "utf8")).packages;
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !packages[`node_modules/${name}`] && !packages[`${path}/node_modules/${name}`],
    ),
  );
  expect(missing).toEqual([]);
});
