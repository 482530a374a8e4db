// `npm run test:nodes [-- MAJOR...]`: the tarball, installed and tried on every supported Node, and the ipc tests on each.
// The nodes come from npm, into a cache folder outside of the project (PTALK_NODES_CACHE, or the user's cache).
import { check, finish, install, nodeOf, pack, root, run, withNode, works } from "./packing.js";

const majors = process.argv.length > 2 ? process.argv.slice(2) : ["20", "22", "24", "26"];
const tests = ["test/ipc", "test/conformance", "test/interop"];

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
