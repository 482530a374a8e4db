// Makes the published files from the compiler's output, so that an install brings no other packages: each package that a module imports
// becomes one file in dist/vendor. And the command becomes one file, dist/ptalk.cjs, of lib/cli and all it needs: Node takes longer to
// find, read and link a hundred small modules than most commands take to do their work; and a CommonJS script is what V8's compiled code
// can be kept of (bin/compiled.js). `ptalk send`, which scripts call often, and `ptalk unread`, for prompts, have smaller files of their
// own. Programs that import ptalk get the modules as they are. Run by `npm run build`, behind the compiler.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { decode, encode } from "@jridgewell/sourcemap-codec";
import { rolldown } from "rolldown";
import { fromVendor, noProtoLoader, plainAssert, rareParts, vendorFile } from "./bundling.js";

const dist = join(import.meta.dirname, "../dist");
const require = createRequire(import.meta.url);
const { devDependencies } = require("../package.json");

/** A module in one file with others still means its own place by import.meta. */
const ownPlace = {
  name: "own-place",
  transform: {
    filter: { code: /import\.meta\./ },
    handler(code, id) {
      const place = (path) => `(__dirname + ${JSON.stringify(`/${relative(dist, path)}`)})`;
      return code
        .replaceAll("import.meta.dirname", place(dirname(id)))
        .replaceAll("import.meta.url", `process.getBuiltinModule("node:url").pathToFileURL(${place(id)}).href`);
    },
  },
};

/**
 * sodium-native looks for its addon through a dozen modules, 10 ms. In the package it lies beside our own (scripts/prebuilds.js); in a
 * checkout it is where npm has put it.
 * @param root from the file that is made to the package's root
 */
const sodiumAddon = (root) => ({
  name: "sodium-addon",
  load: {
    filter: { id: /sodium-native\/binding\.js$/ },
    handler: () => `
      const packed = __dirname + "/${root}/prebuilds/linux-" + process.arch + "/sodium.node";
      if (require("node:fs").existsSync(packed)) module.exports = require(packed);
      else {
        const { createRequire } = require("node:module");
        const near = createRequire(createRequire(__filename).resolve("sodium-universal"));
        module.exports = near("sodium-native/prebuilds/linux-" + process.arch + "/sodium-native.node");
      }`,
  },
});

/** What the modules import of other packages, by import or by the require() of those that are needed now and then. */
const IMPORTED = /\b(from|import|require\()\s*"([a-z@][^":]*)"/g;

/** Puts the packages that modules of the library import into dist/vendor, and points the imports there. */
async function vendor() {
  const modules = readdirSync(dist, { recursive: true }).filter((file) => /^(?!cli\/|vendor\/).*\.js$/.test(file));
  const packages = new Set();
  for (const module of modules) {
    const file = join(dist, module);
    const code = readFileSync(file, "utf8");
    const pointed = code.replace(IMPORTED, (all, how, name) => {
      if (!Object.hasOwn(devDependencies, name)) return all; // in a comment
      packages.add(name);
      const path = relative(dirname(file), join(dist, "vendor", vendorFile(name)));
      return `${how}${how === "require(" ? "" : " "}"${path.startsWith(".") ? path : `./${path}`}"`;
    });
    if (pointed !== code) writeFileSync(file, pointed);
  }
  const written = [];
  for (const name of packages) {
    const bundled = await rolldown({
      input: require.resolve(name),
      platform: "node",
      plugins: [inVendor(packages, name), noProtoLoader, plainAssert, sodiumAddon("../..")],
    });
    const file = join(dist, "vendor", vendorFile(name));
    const options = { file, format: "cjs", codeSplitting: false, minify: { compress: false, mangle: false } };
    const { output } = await bundled.write(options);
    written.push(...output.flatMap(({ moduleIds = [] }) => moduleIds));
  }
  return { packages, moduleIds: written };
}

/** A package that another one imports too is one file for both. */
const inVendor = (packages, self) => ({
  name: "in-vendor",
  resolveId: (id) => (packages.has(id) && id !== self ? { id: `./${vendorFile(id)}`, external: true } : null),
});

/** One file of everything behind a module of lib/cli. */
async function bundle(entry, name, packages) {
  const file = join(dist, name);
  const modules = await rolldown({
    input: join(dist, "cli", entry),
    platform: "node",
    plugins: [fromVendor(packages, { besides: true }), rareParts, plainAssert, ownPlace, sodiumAddon("..")],
    onLog(level, log, handler) {
      // ownPlace changes columns of a few lines, never lines: good enough for stacks.
      if (log.code !== "SOURCEMAP_BROKEN") handler(level, log);
    },
  });
  const { output } = await modules.write({
    file,
    format: "cjs",
    codeSplitting: false,
    // Short names: a quarter less to read, and half as long for V8 to take up what it compiled. Stacks name lines by the map beside it.
    // Classes keep theirs: commander's errors are told by them.
    minify: { compress: false, mangle: { keepNames: { class: true, function: false } } },
    sourcemap: true,
  });
  const written = readFileSync(file, "utf8");
  // Only ASCII: V8 then reads it as it is. And a name for these very contents, by which compiled code is kept.
  const script = written.replace(NOT_ASCII, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  writeMap(`${file}.map`, written);
  // Node 20 forgets how to import when it takes compiled code that was kept: what stays outside has to be required.
  if (/[^\w$.]import\(/.test(script)) throw new Error(`${name} has a dynamic import()`);
  writeFileSync(file, `//${createHash("sha256").update(script).digest("hex")}\n${script}`);
  return output.flatMap(({ moduleIds = [] }) => moduleIds);
}

const NOT_ASCII = /[^\0-\x7f]/g;
const ESCAPE_GROWTH = "\\u0000".length - 1;

/**
 * The bundle's source map, for stacks with file and line (`node --enable-source-maps`, NODE_DEBUG): moved down by the line that
 * names the contents, and right by what the escapes in a line have grown. The sources are the modules beside the bundle.
 */
function writeMap(path, written) {
  const map = JSON.parse(readFileSync(path, "utf8"));
  const lines = written.split("\n");
  const moved = decode(map.mappings).map((segments, index) => {
    const escapes = [...(lines[index] ?? "").matchAll(NOT_ASCII)].map((match) => match.index);
    let passed = 0;
    let [lastSource, lastLine] = [-1, -1];
    // A stack names lines: of a line of source the first place is enough, and a third of the bytes.
    return segments.flatMap(([column, source, line, at]) => {
      while (passed < escapes.length && escapes[passed] < column) passed++;
      if (source === undefined || (source === lastSource && line === lastLine)) return [];
      [lastSource, lastLine] = [source, line];
      return [[column + passed * ESCAPE_GROWTH, source, line, at]];
    });
  });
  map.mappings = encode([[], ...moved]);
  map.names = [];
  delete map.sourcesContent;
  writeFileSync(path, JSON.stringify(map));
}

/** Licences (SPDX) that ask for nothing but to be passed on. */
const FREE = new Set(["MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "0BSD"]);

/** The licences of the packages that the files contain: they ask to go with every copy. */
function writeLicences(moduleIds) {
  const roots = new Set(moduleIds.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id) ?? []));
  const licences = [...roots].sort().map((root) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    if (!FREE.has(license)) throw new Error(`${name} has the licence ${license}: may it be passed on with ptalk?`);
    const file = readdirSync(root).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new Error(`${name} comes without its licence`);
    return `${name} ${version}\n\n${readFileSync(join(root, file), "utf8").trim()}\n`;
  });
  licences.push(LIBSODIUM);
  writeFileSync(join(dist, "LICENCES.txt"), licences.join(`\n${"-".repeat(80)}\n\n`));
}

/** In prebuilds/, as sodium-native has compiled it. */
const LIBSODIUM = `libsodium

ISC License

Copyright (c) 2013-2025
Frank Denis <j at pureftpd dot org>

Permission to use, copy, modify, and/or distribute this software for any
purpose with or without fee is hereby granted, provided that the above
copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES
WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF
MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR
ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES
WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN
ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF
OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.
`;

const { packages, moduleIds } = await vendor();
writeLicences([
  ...moduleIds,
  ...(await bundle("main.js", "ptalk.cjs", packages)),
  ...(await bundle("quick-send.js", "send.cjs", packages)),
  ...(await bundle("quick-unread.js", "unread.cjs", packages)),
]);
