// What the README and the pages link to is there, in the package too, and every npm script they name exists.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const pages = [
  ...readdirSync(root).filter((file) => file.endsWith(".md")),
  ...readdirSync(join(root, "docs")).flatMap((file) => (file.endsWith(".md") ? [`docs/${file}`] : [])),
];
const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

test.each(pages)("%s links to what exists", (page) => {
  const text = readFileSync(join(root, page), "utf8");
  const links = [...text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)].map((match) => match[1] ?? "");
  const missing = links.filter((link) => !/^[a-z]+:/.test(link) && !existsSync(join(root, dirname(page), link)));
  expect(missing).toEqual([]);
});

/** As published: what the README leads to is read from the tarball, or on the registry's page, too. */
const packed = new Set(
  (
    JSON.parse(
      spawnSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: root, encoding: "utf8" }).stdout,
    ) as { files: { path: string }[] }[]
  ).flatMap(({ files }) => files.map(({ path }) => path)),
);

test.each(pages)("%s, if it is in the package, links to files of the package", (page) => {
  if (!packed.has(page)) return;
  const text = readFileSync(join(root, page), "utf8");
  const links = [...text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)].map((match) => match[1] ?? "");
  const isThere = (path: string): boolean =>
    packed.has(path) || [...packed].some((file) => file.startsWith(`${path}/`));
  const missing = links.filter((link) => !/^[a-z]+:/.test(link) && !isThere(normalize(join(dirname(page), link))));
  expect(missing).toEqual([]);
});

test("every document and manual page is in the package", () => {
  const wanted = [...pages, "man/ptalk.1", "man/ptalk-serve.8", "man/ptalk.toml.5", "man/ptalk-protocol.7", "LICENSE"];
  expect(wanted.filter((page) => !packed.has(page))).toEqual([]);
});

test.each(pages)("%s names npm scripts that exist", (page) => {
  const text = readFileSync(join(root, page), "utf8");
  const named = [...text.matchAll(/`npm run ([\w:-]+)/g)].map((match) => match[1] ?? "");
  expect(named.filter((name) => !(name in scripts))).toEqual([]);
});
