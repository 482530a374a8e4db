// What a release and the hosted CI promise, as far as it can be seen without making one.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { withAddresses } from "../../scripts/addresses.js";

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
  const files = heads.map((name = "") => `${name.replace(/^@/, "").replace("/", "-")}.cjs`); // @grpc/grpc-js is in grpc-grpc-js.cjs
  for (const name of vendored) expect(files).toContain(name);
});

test("a release without an address of its repository and of its security contact is refused", () => {
  const manifest = { name: "ptalk", license: "MIT", type: "module" };
  const repository = "https://git.example.org/talk/ptalk";
  expect(withAddresses(manifest)).toBeUndefined();
  expect(withAddresses(manifest, { repository })).toBeUndefined();
  const first = withAddresses(manifest, { repository, "security-contact": "security@example.org" });
  expect(Object.keys(first ?? {})).toEqual(["name", "license", "homepage", "bugs", "repository", "type"]);
  expect(first).toMatchObject({
    homepage: `${repository}#readme`,
    bugs: { url: `${repository}/issues`, email: "security@example.org" },
    repository: { type: "git", url: `git+${repository}.git` },
  });
  expect(withAddresses(first ?? {})).toEqual(first); // the next release need not be told
  for (const [page, mail] of [
    ["git.example.org", "security@example.org"],
    [repository, "the form"],
  ] as const)
    expect(() => withAddresses(manifest, { repository: page, "security-contact": mail })).toThrow(/^--/);
});

test("no file claims an address that nobody has given to the project", () => {
  const { homepage, bugs, repository } = JSON.parse(read("package.json"));
  // Either all of them, by a release, or none.
  const given = [homepage, bugs?.url, bugs?.email, repository?.url].filter((each) => each !== undefined);
  expect([0, 4]).toContain(given.length);
  const { stdout } = spawnSync("git", ["grep", "-IhoE", "[a-z]+[.]com/[A-Za-z0-9_-]*/ptalk\\b[^ )]*"], {
    cwd: root,
    encoding: "utf8",
  });
  const claimed = stdout.split("\n").filter((line) => line !== "");
  expect(claimed.filter((url) => repository === undefined || !repository.url.includes(url))).toEqual([]);
});
