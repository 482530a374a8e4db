// Requires a script with the code that V8 compiled of it last time: reading and compiling takes longer than most commands do.
// Node does this by itself from 22.8 on (module.enableCompileCache); before that, here.
const fs = require("node:fs");
const module_ = require("node:module");
const os = require("node:os");
const path = require("node:path");

const CONTENTS = /^\/\/([0-9a-f]{64})\n/; // the script's first line says what it contains

/** @param file CommonJS, in ASCII; its first line is "//" and the SHA-256 of the rest */
exports.requireCompiled = (file) => {
  const folder = ownFolder();
  if (folder === undefined) return require(file);
  if (module_.enableCompileCache !== undefined) {
    module_.enableCompileCache(folder);
    return require(file);
  }
  return requireWithCache(file, folder);
};

/** Where compiled code is kept: only where nobody else can write, since it is trusted as much as the program. */
function ownFolder() {
  try {
    const { XDG_CACHE_HOME: base } = process.env;
    const caches = base && path.isAbsolute(base) ? base : path.join(os.homedir(), ".cache");
    const folder = path.join(caches, "ptalk");
    // Not recursively: where the system says ENOENT in a folder that exists (/proc), Node 20 would try for ever.
    for (const each of [caches, folder]) if (!fs.existsSync(each)) fs.mkdirSync(each, { mode: 0o700 });
    return isOwn(fs.lstatSync(folder)) ? folder : undefined;
  } catch {
    return undefined; // no home, a full or read-only disk: it goes without
  }
}

const isOwn = ({ uid, mode }) => uid === process.geteuid() && (mode & 0o022) === 0;

function requireWithCache(file, folder) {
  const vm = require("node:vm");
  const source = fs.readFileSync(file, "latin1");
  const [, contents] = CONTENTS.exec(source) ?? [];
  if (contents === undefined) return require(file);
  const kept = path.join(folder, `${path.basename(file)}-${process.version}-${process.arch}`);
  const cached = readKept(kept, contents);
  const script = new vm.Script(module_.wrap(source), {
    filename: file,
    cachedData: cached,
  });
  if (cached === undefined || script.cachedDataRejected) process.once("exit", () => keep(kept, contents, script));
  const loaded = { exports: {} };
  script.runInThisContext()(loaded.exports, module_.createRequire(file), loaded, file, path.dirname(file));
  return loaded.exports;
}

/** What was kept for a script of these contents; V8 itself checks that it is of this V8. */
function readKept(kept, contents) {
  try {
    const bytes = fs.readFileSync(kept);
    return bytes.latin1Slice(0, contents.length) === contents ? bytes.subarray(contents.length) : undefined;
  } catch {
    return undefined;
  }
}

function keep(kept, contents, script) {
  const unfinished = `${kept}.${process.pid}`;
  try {
    fs.writeFileSync(unfinished, Buffer.concat([Buffer.from(contents, "latin1"), script.createCachedData()]), {
      flag: "wx",
      mode: 0o600,
    });
    fs.renameSync(unfinished, kept);
  } catch {
    fs.rmSync(unfinished, { force: true }); // the next start tries again
  }
}
