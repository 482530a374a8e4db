// docs/API.md has every export of ptalk/ipc as it is declared, and its examples run.
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import * as ipc from "../../lib/ipc/index.ts";
import { requireFreshBuild } from "../helpers/fresh-build.ts";
import { Program } from "../helpers/program.ts";

const examplesFile = new URL("../../scripts/api-examples.js", import.meta.url).href;
const { EXAMPLES } = (await import(examplesFile)) as { readonly EXAMPLES: Readonly<Record<string, string>> };
const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/API.md"), "utf8");
const library = new URL("../../dist/ipc/index.js", import.meta.url).href;
const values = Object.keys(ipc);
const unique = `test-ptalk-api-${process.pid}`;
afterAll(() => rmSync(`/tmp/${unique}.lock`, { force: true }));

describe("docs/API.md", () => {
  test("has every export of ptalk/ipc, and is what the declarations say", () => {
    requireFreshBuild();
    expect(values.filter((name) => !page.includes(`\n## ${name}\n`))).toEqual([]);
    const check = spawnSync(process.execPath, [join(root, "scripts/api.js"), "--check"], { encoding: "utf8" });
    expect([check.status, check.stderr]).toEqual([0, ""]);
  });

  test("has an example of each value", () => {
    expect(Object.keys(EXAMPLES).sort()).toEqual([...values].sort());
  });

  // One after the other: all of them use one name.
  test.each(Object.entries(EXAMPLES))("the example of %s runs", async (_, example) => {
    requireFreshBuild();
    const imports = example.split("\n").filter((line) => line.startsWith("import "));
    const body = example.split("\n").filter((line) => !line.startsWith("import "));
    const source = [`import { ${values.join(", ")} } from ${JSON.stringify(library)};`, ...imports, ...body].join("\n");
    const renamed = source.replaceAll("/example", `/${unique}`).replaceAll("\\0example", `\\0${unique}`);
    const program = new Program(process.execPath, ["--input-type=module", "-e", renamed]);
    expect(await program.ended).toEqual({ code: 0, signal: null, stderr: "" });
  });
});
