// `npm run test:net [-- KIND…]`: the table of paths, between hosts made of namespaces (test/fixtures/hosts/table.js).
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostCommand, whyNoHosts } from "../helpers/host.ts";

if (whyNoHosts) {
  console.error(`skipped: ${whyNoHosts}`);
  process.exit(0);
}
const script = join(import.meta.dirname, "../fixtures/hosts/table.js");
const tmp = mkdtempSync(join(tmpdir(), "ptalk-table-"));
const [command, args] = hostCommand([process.execPath, script, "--doctor", ...process.argv.slice(2)]);
const child = spawn(command, args, { stdio: "inherit", env: { ...process.env, TMPDIR: tmp } });
child.once("exit", (status) => {
  rmSync(tmp, { recursive: true, force: true });
  process.exitCode = status ?? 1;
});
