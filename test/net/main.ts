// `npm run test:net [-- KIND…]`: the table of paths, between hosts made of namespaces (test/fixtures/hosts/table.js). `-- transcript`: two people
// behind two NATs, as their terminals show it (transcript.js there).
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostCommand, whyNoHosts } from "../helpers/host.ts";

if (whyNoHosts) {
  console.error(`skipped: ${whyNoHosts}`);
  process.exit(0);
}
const isTranscript = process.argv[2] === "transcript";
const script = join(import.meta.dirname, "../fixtures/hosts", isTranscript ? "transcript.js" : "table.js");
const words = isTranscript ? [] : ["--doctor", ...process.argv.slice(2)];
const tmp = mkdtempSync(join(tmpdir(), "ptalk-table-"));
const [command, args] = hostCommand([process.execPath, ...process.execArgv, script, ...words]);
const child = spawn(command, args, { stdio: "inherit", env: { ...process.env, TMPDIR: tmp } });
child.once("exit", (status) => {
  rmSync(tmp, { recursive: true, force: true });
  process.exitCode = status ?? 1;
});
