// The linter holds the direction of imports (docs/ARCHITECTURE.md, "Layers"): shown file by file.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

type Case = readonly [file: string, imported: string];

const refused: readonly Case[] = [
  ["lib/native.ts", "./ipc/error.ts"],
  ["lib/base/errors.ts", "../native.ts"],
  ["lib/base/errors.ts", "../ipc/error.ts"],
  ["lib/base/endpoint.ts", "node:dgram"],
  ["lib/ipc/semaphore.ts", "../base/errors.ts"],
  ["lib/ipc/semaphore.ts", "../directory/shm/client-table.ts"],
  ["lib/ipc/lock/failpoint.ts", "../../base/errors.ts"],
  ["lib/net/dial.ts", "../crypto/fingerprint.ts"],
  ["lib/net/dial.ts", "../wire/resp-reply.ts"],
  ["lib/wire/resp.ts", "../crypto/seal.ts"],
  ["lib/wire/resp.ts", "../ipc/index.ts"],
  ["lib/wire/resp.ts", "node:net"],
  ["lib/crypto/seal.ts", "../wire/datagram.ts"],
  ["lib/crypto/seal.ts", "node:dgram"],
  ["lib/directory/directory.ts", "./shm/client-table.ts"],
  ["lib/directory/directory.ts", "../ipc/index.ts"],
  ["lib/directory/shm/client-table.ts", "../../native.ts"],
  ["lib/directory/shm/client-table.ts", "../../server/worker.ts"],
  ["lib/presence/local-table.ts", "../peer/peer.ts"],
  ["lib/peer/peer.ts", "../directory/entry.ts"],
  ["lib/peer/peer.ts", "../client/talk-client.ts"],
  ["lib/store/known-peers.ts", "../client/talk-client.ts"],
  ["lib/server/worker.ts", "../directory/shm/client-table.ts"],
  ["lib/server/commands/lookup.ts", "../../directory/shm/client-table.ts"],
  ["lib/server/worker.ts", "../client/server-session.ts"],
  ["lib/server/worker.ts", "../cli/main.ts"],
  ["lib/client/server-session.ts", "../server/worker.ts"],
  ["lib/client/server-session.ts", "../directory/shm/client-table.ts"],
  ["lib/client/server-session.ts", "../cli/main.ts"],
];

const allowed: readonly Case[] = [
  ["lib/ipc/semaphore.ts", "../native.ts"],
  ["lib/ipc/lock/failpoint.ts", "../names.ts"],
  ["lib/net/dial.ts", "../base/errors.ts"],
  ["lib/wire/resp.ts", "../base/endpoint.ts"],
  ["lib/crypto/seal.ts", "../base/errors.ts"],
  ["lib/directory/open.ts", "./shm/shm-host.ts"],
  ["lib/directory/entry-wire.ts", "../wire/resp-writer.ts"],
  ["lib/directory/shm/client-table.ts", "../../ipc/index.ts"],
  ["lib/server/worker.ts", "../directory/open.ts"],
  ["lib/client/server-session.ts", "../presence/local-table.ts"],
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
