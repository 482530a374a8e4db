// `npm install` of the package: uses the prebuilt addon when one loads here, and compiles it otherwise.
// A clone compiles anew whenever native/ is newer than what was built (git pull && npm ci must not leave an old addon).
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname, "..");
const require = createRequire(import.meta.url);

/** True when the addon that the package would load is there, loads, and is not older than its sources. */
function usable() {
  if (process.env.npm_config_build_from_source) return false;
  try {
    const addon = require("node-gyp-build/node-gyp-build.js").path(root);
    require(addon);
    if (!addon.startsWith(join(root, "build"))) return true;
    const sources = ["binding.gyp", ...readdirSync(join(root, "native")).map((file) => join("native", file))];
    return sources.every((file) => statSync(join(root, file)).mtimeMs <= statSync(addon).mtimeMs);
  } catch {
    return false;
  }
}

/** The command to run node-gyp: our own (a clone), or the one npm brings and puts on PATH for install scripts. */
function nodeGyp() {
  try {
    return [process.execPath, require.resolve("node-gyp/bin/node-gyp.js")];
  } catch {
    return ["node-gyp"];
  }
}

/** Headers that came with this node are preferred to a download: they match, and the machine may be offline. */
function headers() {
  const prefix = join(dirname(process.execPath), "..");
  const configured = process.env.npm_config_nodedir || process.env.npm_package_config_node_gyp_nodedir;
  return !configured && existsSync(join(prefix, "include/node/common.gypi")) ? [`--nodedir=${prefix}`] : [];
}

if (!usable()) {
  const [command, ...first] = nodeGyp();
  const built = spawnSync(command, [...first, "rebuild", ...headers()], { cwd: root, stdio: "inherit" });
  if (built.status !== 0) {
    console.error(
      [
        `ptalk: no prebuilt addon loads on this machine (${process.platform}-${process.arch}), and compiling it failed.`,
        "It needs Linux with glibc, g++ (or clang++) with C++17, make and python3: on Debian or Ubuntu, apt install g++ make python3.",
        "Then: npm rebuild ptalk --build-from-source",
      ].join("\n"),
    );
    process.exit(1);
  }
}
