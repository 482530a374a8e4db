// What a release and the hosted CI promise, as far as it can be seen without making one.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");

test("the hosted CI runs .ci/run on every Node that test:nodes tries, and on two processors", () => {
  const [, majors = ""] = /\["20", [^\]]*\]/.exec(read("scripts/test-nodes.js"))?.[0].match(/^\[(.*)\]$/) ?? [];
  const workflow = read(".github/workflows/ci.yml");
  expect(majors).not.toBe("");
  expect(workflow).toContain(`node: [${majors.replaceAll('"', "")}]`);
  expect(workflow).toMatch(/runner: \[[\w.-]+, [\w.-]+-arm\]/);
  expect(workflow).toContain("run: bash .ci/run");
});

test("a release asks for a version that is one, and has none twice", () => {
  const release = (...args: string[]) =>
    spawnSync(process.execPath, [join(root, "scripts/release.js"), ...args], { encoding: "utf8" });
  expect(release().stderr).toMatch(/^release: which version\?/);
  expect(release("next").status).toBe(1);
});

test("every package in dist has its licence in LICENCES.txt", () => {
  const text = read("dist/LICENCES.txt");
  const heads = [...text.matchAll(/(?:^|-{80}\n\n)(\S+) (\d+\.\S+)\n/g)].map(([, name]) => name);
  const vendored = readdirSync(join(root, "dist/vendor"));
  expect(heads.length).toBeGreaterThan(10);
  for (const name of vendored) expect(heads).toContain(name.replace(/\.cjs$/, ""));
});

test("the fields that a registry's page shows name one place", () => {
  const { repository, homepage, bugs } = JSON.parse(read("package.json"));
  const place = repository.url.replace(/^git\+/, "").replace(/\.git$/, "");
  expect(homepage.startsWith(place)).toBe(true);
  expect(bugs.url).toBe(`${place}/issues`);
});
