// `npm install` of the package: uses the prebuilt addon when one loads here, and compiles it otherwise; with --build-from-source, or
// npm_config_build_from_source in the environment, it always compiles.
// A clone compiles anew whenever native/ is newer than what was built (git pull && npm ci must not leave an old addon).
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url)); // an old Node has no import.meta.dirname
const require = createRequire(import.meta.url);
const oldNode = require("../bin/old-node.js");

/** True when the addon that the package would load is there, loads, and is not older than its sources. */
function usable() {
  if (process.env.npm_config_build_from_source || process.argv.includes("--build-from-source")) return false;
  try {
    const compiled = join(root, "build/Release/ptalk.node");
    const addon = existsSync(compiled) ? compiled : join(root, `prebuilds/linux-${process.arch}/ptalk.glibc.node`);
    require(addon);
    if (addon !== compiled) return true;
    const sources = ["binding.gyp", ...readdirSync(join(root, "native")).map((file) => join("native", file))];
    return sources.every((file) => statSync(join(root, file)).mtimeMs <= statSync(addon).mtimeMs);
  } catch {
    return false;
  }
}

/** The command to run node-gyp: our own (a clone), npm's, which puts it on PATH for install scripts, or one that npm fetches. */
function nodeGyp() {
  for (const from of [import.meta.url, join(dirname(process.execPath), "../lib/node_modules/npm/package.json")]) {
    try {
      return [process.execPath, createRequire(from).resolve("node-gyp/bin/node-gyp.js")];
    } catch {
      // The next place.
    }
  }
  const isOnPath = spawnSync("node-gyp", ["--version"], { stdio: "ignore" }).status === 0;
  return isOnPath ? ["node-gyp"] : ["npm", "exec", "--yes", "node-gyp", "--"];
}

/** Headers that came with this node are preferred to a download: they match, and the machine may be offline. */
function headers() {
  const prefix = join(dirname(process.execPath), "..");
  const configured = process.env.npm_config_nodedir || process.env.npm_package_config_node_gyp_nodedir;
  return !configured && existsSync(join(prefix, "include/node/common.gypi")) ? [`--nodedir=${prefix}`] : [];
}

if (oldNode.isOld) {
  console.error(`ptalk ${oldNode.refusal}`);
  process.exit(1);
}
if (process.report?.getReport().header.glibcVersionRuntime === undefined) {
  console.error("ptalk needs glibc, and this system has musl: use an image of Debian, Ubuntu or RHEL (node:22-slim)");
  process.exit(1);
}
if (!usable()) {
  const [command, ...first] = nodeGyp();
  const built = spawnSync(command, [...first, "rebuild", ...headers()], { cwd: root, stdio: "inherit" });
  if (built.status !== 0) {
    console.error(
      [
        `ptalk: no prebuilt addon loads on this machine (${process.platform}-${process.arch}), and compiling it failed.`,
        "It needs Linux with glibc, g++ (or clang++) with C++17, make and python3: on Debian or Ubuntu, apt install g++ make python3.",
        `Then: node ${fileURLToPath(import.meta.url)} --build-from-source`,
      ].join("\n"),
    );
    process.exit(1);
  }
}
