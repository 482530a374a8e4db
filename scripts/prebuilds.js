// `npm run prebuilds [-- x64 arm64]`: the addons as the published package carries them, in prebuilds/linux-ARCH/: ours, for glibc 2.28 and
// later (native/old_glibc.h), and libsodium's. Foreign processors by the cross compiler (apt install g++-aarch64-linux-gnu). Builds in a
// copy of the sources (`--if-needed`, before npm pack: when there are none, or older than the sources): prebuildify would leave the last one's objects in build/, which this checkout loads.
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { lowerGlibc } from "./old-glibc.js";

const root = join(import.meta.dirname, "..");
const copy = join(root, "build-prebuild");
const triplets = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };

/** libsodium, as its package carries it for a dozen systems: ours carries two of them. */
const near = createRequire(createRequire(import.meta.url).resolve("sodium-universal"));
const sodiumPackage = dirname(near.resolve("sodium-native/package.json"));

const args = process.argv.slice(2);
const asked = args.filter((arg) => arg !== "--if-needed");
const wanted = (asked.length > 0 ? asked : Object.keys(triplets)).filter(
  (arch) => !args.includes("--if-needed") || !isFresh(arch),
);

/** Both addons are there, and ours is not older than what it is made of. */
function isFresh(arch) {
  const [ours, theirs] = ["ptalk.glibc.node", "sodium.node"].map((name) => join(root, `prebuilds/linux-${arch}`, name));
  if (!existsSync(ours) || !existsSync(theirs)) return false;
  const sources = ["binding.gyp", ...readdirSync(join(root, "native")).map((file) => join("native", file))];
  return sources.every((file) => statSync(join(root, file)).mtimeMs <= statSync(ours).mtimeMs);
}

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
    CXXFLAGS: `-include ${join(copy, "native/old_glibc.h")}`,
    LDFLAGS:
      "-static-libstdc++ -Wl,--exclude-libs,ALL -Wl,--no-as-needed -l:librt.so.1 -l:libpthread.so.0 -l:libdl.so.2",
  };
  const options = ["--napi", "--strip", "--tag-libc", `--arch=${arch}`, `--out=${root}`, `--target=${process.version}`];
  const built = spawnSync("npx", ["prebuildify", ...options], { cwd: copy, stdio: ["ignore", 2, 2], env }); // stdout is npm pack's
  rmSync(copy, { recursive: true, force: true });
  if (built.status !== 0) process.exit(built.status ?? 1);
  const folder = join(root, "prebuilds", `linux-${arch}`);
  try {
    lowerGlibc(join(folder, "ptalk.glibc.node"));
  } catch (error) {
    rmSync(folder, { recursive: true, force: true }); // nothing that a later run would take for good
    throw error;
  }
  const sodium = join(folder, "sodium.node");
  copyFileSync(join(sodiumPackage, `prebuilds/linux-${arch}/sodium-native.node`), sodium);
  lowerGlibc(sodium);
}
