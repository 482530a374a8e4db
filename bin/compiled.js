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
    if (!path.isAbsolute(caches)) return undefined; // an odd HOME: the present folder may be anybody's work
    const folder = path.join(caches, "ptalk");
    // Not recursively: where the system says ENOENT in a folder that exists (/proc), Node 20 would try for ever.
    for (const each of [caches, folder]) {
      // With somebody else's home (sudo -E) a folder of ours would be in that user's way.
      if (!isOurs(fs.statSync(path.dirname(each)))) return undefined;
      if (!fs.existsSync(each)) fs.mkdirSync(each, { mode: 0o700 });
    }
    const found = fs.lstatSync(folder);
    return isOurs(found) && (found.mode & 0o722) === 0o700 ? folder : undefined;
  } catch {
    return undefined; // no home, a full or read-only disk: it goes without
  }
}

const isOurs = ({ uid }) => uid === process.geteuid();

function requireWithCache(file, folder) {
  const vm = require("node:vm");
  const source = fs.readFileSync(file, "latin1");
  const [, contents] = CONTENTS.exec(source) ?? [];
  if (contents === undefined) return require(file);
  const kept = path.join(folder, `${path.basename(file)}-${process.version}-${process.arch}`);
  const { size, mtimeMs } = fs.statSync(process.execPath);
  const made = `${contents} ${size} ${mtimeMs}`; // of this program, by this very Node: V8 looks only at versions and lengths
  const cachedData = readKept(kept, made);
  const script = new vm.Script(module_.wrap(source), { filename: file, cachedData });
  if (cachedData === undefined || script.cachedDataRejected) process.once("exit", () => keep(kept, made, script));
  const loaded = { exports: {} };
  script.runInThisContext()(loaded.exports, module_.createRequire(file), loaded, file, path.dirname(file));
  return loaded.exports;
}

const digest = (data) => require("node:crypto").createHash("sha256").update(data).digest("hex");

/** The compiled code behind a line that says of what, by what, and its hash; undefined unless all of it is as it was written. */
function readKept(kept, made) {
  try {
    const bytes = fs.readFileSync(kept);
    const end = bytes.indexOf("\n");
    const data = bytes.subarray(end + 1);
    return bytes.latin1Slice(0, end) === `${made} ${digest(data)}` ? data : undefined;
  } catch {
    return undefined;
  }
}

function keep(kept, made, script) {
  const unfinished = `${kept}.${process.pid}`;
  try {
    const data = script.createCachedData();
    fs.writeFileSync(unfinished, Buffer.concat([Buffer.from(`${made} ${digest(data)}\n`), data]), {
      flag: "wx",
      mode: 0o600,
    });
    fs.renameSync(unfinished, kept);
  } catch {
    remove(unfinished); // the next start tries again
  }
}

function remove(file) {
  try {
    fs.rmSync(file, { force: true });
  } catch {
    // Nothing that the command should fail for.
  }
}
