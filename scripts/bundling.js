// For bundle.js and executable.js: what both tell rolldown.
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";

const require = createRequire(import.meta.url);
const { devDependencies } = require("../package.json");

/** Parts of Node that few commands need: loaded with the module that needs them, where all others are loaded at the start. */
const RARE = /^node:(child_process|dns\/promises|fs\/promises|http|perf_hooks|readline|tls|zlib)$/;
const VIRTUAL = "\0rare:";
export const rareParts = {
  name: "rare-parts",
  resolveId: { filter: { id: RARE }, handler: (id) => VIRTUAL + id },
  load: {
    filter: { id: new RegExp(`^${VIRTUAL}`) },
    handler: (id) => `module.exports = process.getBuiltinModule(${JSON.stringify(id.slice(VIRTUAL.length))});`,
  },
};

/** sodium-native checks its arguments by node:assert, which takes 1 ms to load and is used for nothing else. */
export const plainAssert = {
  name: "plain-assert",
  resolveId: { filter: { id: /^assert$/ }, handler: () => "\0assert" },
  load: {
    filter: { id: /^\0assert$/ },
    handler: () => `module.exports = (ok, message) => {
      if (!ok) throw new Error(message);
    };`,
  },
};

/** A package's file in dist/vendor. */
export const vendorFile = (name) => `${name.replace("@", "").replace("/", "-")}.cjs`;

/** Packages of a size that commands which do not need them should not have to read. */
const LARGE = new Set(["@grpc/grpc-js"]);

/**
 * In the command, which is one file anyway, the packages themselves.
 * @param besides whether dist/vendor is beside the file: large packages stay there
 */
export const fromVendor = (packages, { besides = false } = {}) => {
  const names = new Map([...packages].map((name) => [vendorFile(name), name]));
  return {
    name: "from-vendor",
    resolveId: {
      filter: { id: /\/vendor\/[^/]+\.cjs$/ },
      handler(id) {
        const name = names.get(basename(id));
        return besides && LARGE.has(name) ? { id: `./vendor/${basename(id)}`, external: true } : require.resolve(name);
      },
    },
  };
};

/** grpc-js loads a parser of .proto files, with all that it needs, for two services that ptalk does not offer. */
export const noProtoLoader = {
  name: "no-proto-loader",
  resolveId: { filter: { id: /^@grpc\/proto-loader$/ }, handler: () => "\0proto-loader" },
  load: {
    filter: { id: /^\0proto-loader$/ },
    handler: () => `exports.loadSync = () => {
      throw new Error("channelz and ORCA are not part of ptalk");
    };`,
  },
};

/** The packages that `npm run build` has put into dist/vendor. */
export function vendored() {
  const files = new Set(readdirSync(join(import.meta.dirname, "../dist/vendor")));
  return Object.keys(devDependencies).filter((name) => files.has(vendorFile(name)));
}
