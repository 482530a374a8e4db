// docs/API.md has every export of both entries of the package as it is declared, and its examples run.
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as talk from "../../lib/index.ts";
import * as ipc from "../../lib/ipc/index.ts";
import { User } from "../helpers/cli.ts";
import { requireFreshBuild } from "../helpers/fresh-build.ts";
import { ServerProcess } from "../helpers/lookup-server.ts";
import { Program } from "../helpers/program.ts";

type Examples = Readonly<Record<string, string>>;
const examplesFile = new URL("../../scripts/api-examples.js", import.meta.url).href;
const { IPC_EXAMPLES, TALK_EXAMPLES } = (await import(examplesFile)) as Readonly<
  Record<"IPC_EXAMPLES" | "TALK_EXAMPLES", Examples>
>;
const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/API.md"), "utf8");
const talkValues = Object.keys(talk);
const ipcValues = Object.keys(ipc);
const unique = `test-ptalk-api-${process.pid}`;
afterAll(() => rmSync(`/tmp/${unique}.lock`, { force: true }));

/** Runs an example as a program that imports all values of an entry. */
async function run(example: string, values: readonly string[], entry: string, env: NodeJS.ProcessEnv = process.env) {
  const library = new URL(`../../dist/${entry}`, import.meta.url).href;
  const lines = example.split("\n");
  const imports = lines.filter((line) => line.startsWith("import "));
  const body = lines.filter((line) => !line.startsWith("import "));
  const source = [`import { ${values.join(", ")} } from ${JSON.stringify(library)};`, ...imports, ...body].join("\n");
  const program = new Program(process.execPath, ["--input-type=module", "-e", source], { env });
  expect(await program.ended).toEqual({ code: 0, signal: null, stderr: "" });
  return program;
}

describe("docs/API.md", () => {
  test("has every export of both entries, and is what the declarations say", () => {
    requireFreshBuild();
    expect([...talkValues, ...ipcValues].filter((name) => !page.includes(`\n## ${name}\n`))).toEqual([]);
    const check = spawnSync(process.execPath, [join(root, "scripts/api.js"), "--check"], { encoding: "utf8" });
    expect([check.status, check.stderr]).toEqual([0, ""]);
  });

  test("says of every export what it is", () => {
    const sections = page.split(/^## /m).slice(1);
    const silent = sections.filter((text) => /^\S+\n\n```ts/.test(text)).map((text) => text.split("\n", 1)[0]);
    expect(silent).toEqual([]);
  });

  test("has an example of each value", () => {
    expect(Object.keys(IPC_EXAMPLES).sort()).toEqual([...ipcValues].sort());
    expect(Object.keys(TALK_EXAMPLES).sort()).toEqual([...talkValues].sort());
  });

  // One after the other: all of them use one name.
  test.each(Object.entries(IPC_EXAMPLES))("the example of %s runs", async (_, example) => {
    requireFreshBuild();
    const renamed = example.replaceAll("/example", `/${unique}`).replaceAll("\\0example", `\\0${unique}`);
    await run(renamed, ipcValues, "ipc/index.js");
  });
});

describe("docs/API.md, beside a server", () => {
  let server: ServerProcess;
  let user: User;
  beforeAll(async () => {
    requireFreshBuild();
    server = await ServerProcess.start();
    user = new User();
  });
  afterAll(async () => {
    user[Symbol.dispose]();
    await server.stop();
  });

  test.each(Object.entries(TALK_EXAMPLES))("the example of %s runs", async (_, example) => {
    const source = `const SERVER = ${JSON.stringify(server.address)};\n${example}`;
    await run(source, talkValues, "index.js", user.env);
  });
});
