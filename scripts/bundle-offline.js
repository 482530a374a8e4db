// `npm run bundle:offline`: out/ptalk-VERSION-offline.tgz, which `npm install --global` takes with an empty cache and no network: the
// package with what it depends on inside, and nothing to be run or fetched.
import { cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { pack, root, run, scratch } from "./packing.js";

const MOST_BYTES = 4_000_000;

if (!run("tar", ["-xzf", pack(), "-C", scratch]).ok) process.exit(1);
const folder = join(scratch, "package");
const { devDependencies: _, scripts, ...manifest } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
const names = Object.keys(manifest.dependencies);
const bundled = { ...manifest, scripts: { install: scripts.install }, bundleDependencies: names };
writeFileSync(join(folder, "package.json"), `${JSON.stringify(bundled, null, 2)}\n`);
for (const name of names) {
  const from = join(root, "node_modules", name);
  const { dependencies = {} } = JSON.parse(readFileSync(join(from, "package.json"), "utf8"));
  if (Object.keys(dependencies).length > 0) throw new Error(`${name} has dependencies of its own`);
  cpSync(from, join(folder, "node_modules", name), { recursive: true });
}
mkdirSync(join(root, "out"), { recursive: true });
const packed = run("npm", ["pack", "--ignore-scripts", "--pack-destination", scratch, folder], { cwd: folder });
if (!packed.ok) process.exit(1);
const file = join(root, "out", `ptalk-${manifest.version}-offline.tgz`);
cpSync(join(scratch, `ptalk-${manifest.version}.tgz`), file);
const { size } = statSync(file);
if (size > MOST_BYTES) throw new Error(`${file} has ${size} bytes, more than ${MOST_BYTES}`);
console.log(relative(process.cwd(), file));
