// The linter holds the direction of imports (cli -> client, server -> table -> ipc -> native): shown file by file.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

/** Whether biome's rule accepts a file at that path with that one import. (From stdin it only gives a status.) */
function accepted(file: string, imported: string): boolean {
  const args = ["lint", "--only=style/noRestrictedImports", `--stdin-file-path=${file}`];
  const input = `import "${imported}";\n`;
  const result = spawnSync(join(root, "node_modules/.bin/biome"), args, { cwd: root, input, encoding: "utf8" });
  if (result.error) throw result.error;
  return result.status === 0;
}

const refused = [
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
] as const;

test.each(refused)("%s may not import %s", (file, imported) => {
  expect(accepted(file, imported)).toBe(false);
});

const allowed = [
  ["lib/ipc/semaphore.ts", "../native.ts"],
  ["lib/ipc/lock/steps.ts", "../names.ts"],
  ["lib/wire/resp.ts", "../errors.ts"],
  ["lib/table/record.ts", "../ipc/index.ts"],
  ["lib/server/worker.ts", "../table/client-table.ts"],
  ["lib/client/session.ts", "../table/local-table.ts"],
  ["lib/cli/main.ts", "../client/talk-client.ts"],
] as const;

test.each(allowed)("%s may import %s", (file, imported) => {
  expect(accepted(file, imported)).toBe(true);
});
