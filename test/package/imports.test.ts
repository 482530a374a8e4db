// The linter holds the direction of imports (cli -> client, server -> table -> ipc -> native): shown file by file.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

type Case = readonly [file: string, imported: string];

const refused: readonly Case[] = [
  ["lib/native.ts", "./ipc/error.ts"],
  ["lib/errors.ts", "./config.ts"],
  ["lib/names.ts", "./ipc/index.ts"],
  ["lib/ipc/semaphore.ts", "../errors.ts"],
  ["lib/ipc/semaphore.ts", "../table/client-table.ts"],
  ["lib/ipc/lock/steps.ts", "../../errors.ts"],
  ["lib/wire/resp.ts", "../crypto/seal.ts"],
  ["lib/wire/resp.ts", "../ipc/index.ts"],
  ["lib/wire/resp.ts", "node:net"],
  ["lib/crypto/seal.ts", "../wire/datagram.ts"],
  ["lib/crypto/seal.ts", "node:dgram"],
  ["lib/table/record.ts", "../native.ts"],
  ["lib/table/record.ts", "../wire/resp.ts"],
  ["lib/table/record.ts", "../server/worker.ts"],
  ["lib/server/worker.ts", "../client/session.ts"],
  ["lib/server/commands/lookup.ts", "../../client/session.ts"],
  ["lib/server/worker.ts", "../cli/main.ts"],
  ["lib/client/session.ts", "../server/worker.ts"],
  ["lib/client/session.ts", "../cli/main.ts"],
];

const allowed: readonly Case[] = [
  ["lib/ipc/semaphore.ts", "../native.ts"],
  ["lib/ipc/lock/steps.ts", "../names.ts"],
  ["lib/wire/resp.ts", "../errors.ts"],
  ["lib/table/record.ts", "../ipc/index.ts"],
  ["lib/server/worker.ts", "../table/client-table.ts"],
  ["lib/client/session.ts", "../table/local-table.ts"],
  ["lib/cli/main.ts", "../client/talk-client.ts"],
];

let tree: string;
let complaints: string;

// A tree of its own with the project's rules, each case one line in its file, and one run of the linter over it all.
beforeAll(() => {
  tree = mkdtempSync(join(tmpdir(), "ptalk-imports-"));
  const rules = JSON.parse(readFileSync(join(root, "biome.json"), "utf8"));
  writeFileSync(join(tree, "biome.json"), JSON.stringify({ ...rules, vcs: { enabled: false } }));
  for (const file of new Set([...refused, ...allowed].map(([file]) => file))) {
    mkdirSync(dirname(join(tree, file)), { recursive: true });
    writeFileSync(
      join(tree, file),
      lines(file)
        .map((imported) => `import "${imported}";\n`)
        .join(""),
    );
  }
  const args = ["lint", "--only=style/noRestrictedImports", "--reporter=github", "--max-diagnostics=none", "."];
  const result = spawnSync(join(root, "node_modules/.bin/biome"), args, { cwd: tree, encoding: "utf8" });
  if (result.error) throw result.error;
  complaints = result.stdout + result.stderr;
});

afterAll(() => rmSync(tree, { recursive: true, force: true }));

function lines(file: string): string[] {
  return [...refused, ...allowed].filter((one) => one[0] === file).map((one) => one[1]);
}

function isRefused([file, imported]: Case): boolean {
  return complaints.includes(`${file},line=${lines(file).indexOf(imported) + 1},`);
}

test.each(refused)("%s may not import %s", (...one) => {
  expect(isRefused(one), complaints).toBe(true);
});

test.each(allowed)("%s may import %s", (...one) => {
  expect(isRefused(one), complaints).toBe(false);
});
