// `npm run test:nodes [-- MAJOR...]`: the tarball, installed and tried on every supported Node, and the ipc tests on each.
// The nodes come from npm, into a cache folder outside of the project (PTALK_NODES_CACHE, or the user's cache).
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { check, finish, install, pack, root, run, withNode, works } from "./packing.js";

const majors = process.argv.length > 2 ? process.argv.slice(2) : ["20", "22", "24", "26"];
const home = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
const cache = process.env.PTALK_NODES_CACHE || join(home, "ptalk-nodes");
const tests = ["test/ipc", "test/conformance", "test/interop"];

/** The path of that Node; null when npm has none. No install scripts: the package is the binary itself. */
function nodeOf(major) {
  const folder = join(cache, major);
  const node = join(folder, `node_modules/node-linux-${process.arch}/bin/node`);
  if (!existsSync(node)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
    const name = `node-linux-${process.arch}@${major}`;
    if (!run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", name], { cwd: folder }).ok) return null;
  }
  return node;
}

const tarball = pack();
const folder = install(tarball);
check("the tarball installs", folder !== null);
for (const major of folder ? majors : []) {
  const node = nodeOf(major);
  if (!check(`Node ${major} is there`, node !== null)) continue;
  const env = withNode(node);
  const { stdout: version } = run(node, ["--version"]);
  check(`the tarball works on Node ${version}`, works(folder, { node, env }));
  const ran = run(node, ["node_modules/vitest/vitest.mjs", "run", ...tests], { cwd: root, env });
  const summary = /Tests\s+.*$/m.exec(ran.stdout)?.[0] ?? "no summary";
  check(`the ipc tests on Node ${version}: ${summary}`, ran.ok);
}
finish();
