// `npm run prebuilds [-- x64 arm64]`: the addon as the published package carries it, in prebuilds/linux-ARCH/, loaded by
// node-gyp-build. Foreign processors by the cross compiler (apt install g++-aarch64-linux-gnu). Builds in a copy of
// the sources: prebuildify would leave the last one's objects in build/, which this checkout loads.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname, "..");
const copy = join(root, "build-prebuild");
const triplets = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };

const asked = process.argv.slice(2);
const wanted = asked.length > 0 ? asked : Object.keys(triplets);

/** Headers beside the running node rather than a download; the same for every processor. */
function headers() {
  const prefix = join(dirname(process.execPath), "..");
  if (process.env.npm_config_nodedir || !existsSync(join(prefix, "include/node/common.gypi"))) return {};
  return { npm_config_nodedir: prefix };
}

for (const arch of wanted) {
  const triplet = triplets[arch];
  if (!triplet) {
    console.error(`no such processor: ${arch}; there are ${Object.keys(triplets).join(", ")}`);
    process.exit(64);
  }
  const tool = (name) => `${triplet}-${name}`;
  if (spawnSync(tool("g++"), ["--version"]).status !== 0) {
    console.error(`${tool("g++")} is missing: apt install g++-${triplet.replace("_", "-")}`);
    process.exit(69);
  }
  rmSync(copy, { recursive: true, force: true });
  mkdirSync(copy);
  for (const name of ["native", "binding.gyp", "package.json"])
    cpSync(join(root, name), join(copy, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  const env = {
    ...process.env,
    ...headers(),
    CC: tool("gcc"),
    CXX: tool("g++"),
    AR: tool("ar"),
    PREBUILD_STRIP_BIN: tool("strip"),
  };
  const args = ["--napi", "--strip", "--tag-libc", `--arch=${arch}`, `--out=${root}`, `--target=${process.version}`];
  const built = spawnSync("npx", ["prebuildify", ...args], { cwd: copy, stdio: "inherit", env });
  rmSync(copy, { recursive: true, force: true });
  if (built.status !== 0) process.exit(built.status ?? 1);
}
