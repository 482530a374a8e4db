// Requires a script with the code that V8 compiled of it last time: reading and compiling takes longer than most commands do.
// Node does this by itself from 22.8 on (module.enableCompileCache); before that, here.
const fs = require("node:fs");
const module_ = require("node:module");
const os = require("node:os");
const path = require("node:path");

const CONTENTS = /^\/\/([0-9a-f]{64})\n/; // the script's first line says what it contains

/**
 * The cache is never worth failing for: whatever is wrong with it, the script is read and compiled as if there were none.
 * @param file CommonJS, in ASCII; its first line is "//" and the SHA-256 of the rest
 */
exports.requireCompiled = (file) => {
  const folder = ownFolder();
  if (folder === undefined) return require(file);
  if (module_.enableCompileCache !== undefined) {
    module_.enableCompileCache(folder); // says by its result, which nobody needs, whether that worked
    return require(file);
  }
  const compiled = compileWithCache(file, folder);
  return compiled === undefined ? require(file) : run(compiled, file);
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
      if (fs.existsSync(each)) continue;
      if (!isOutOfReach(path.dirname(each))) return undefined;
      fs.mkdirSync(each, { mode: 0o700 });
    }
    const found = fs.lstatSync(folder);
    return isOurs(found) && (found.mode & 0o722) === 0o700 && isOutOfReach(folder) ? folder : undefined;
  } catch {
    return undefined; // no home, a full or read-only disk: it goes without
  }
}

const isOurs = ({ uid }) => uid === process.geteuid();

/** Links in one path: as many as Linux follows (path_resolution(7)). */
const MAX_LINKS = 40;
const STICKY = 0o1000;
const WRITABLE_BY_OTHERS = 0o022; // with an access control list: by whomever it names

/**
 * Whether no other user, root aside, can put something else in place of the folder, or of anything on the way to it: where
 * others may write, they rename what is there. In a sticky folder they can only do that to what is theirs.
 */
function isOutOfReach(folder) {
  const steps = folder.split("/").filter((step) => step !== "");
  let at = "/";
  let links = 0;
  for (let place = fs.lstatSync(at); ; place = fs.lstatSync(at)) {
    if (!isOurs(place) && place.uid !== 0) return false;
    if (place.isSymbolicLink()) {
      if (++links > MAX_LINKS) return false;
      const target = fs.readlinkSync(at);
      steps.unshift(...target.split("/").filter((step) => step !== ""));
      at = path.isAbsolute(target) ? "/" : path.dirname(at);
    } else if ((place.mode & WRITABLE_BY_OTHERS) !== 0 && (place.mode & STICKY) === 0) return false;
    else if (steps.length === 0) return true;
    else at = path.join(at, steps.shift());
  }
}

/** @returns undefined where compiled code is of no use, or the script cannot be read like this */
function compileWithCache(file, folder) {
  try {
    const source = fs.readFileSync(file, "latin1");
    const [, contents] = CONTENTS.exec(source) ?? [];
    if (contents === undefined) return undefined;
    const kept = path.join(folder, `${path.basename(file)}-${process.version}-${process.arch}`);
    const { size, mtimeMs } = fs.statSync(process.execPath); // without /proc Node does not know its own path
    const made = `${contents} ${size} ${mtimeMs}`; // of this program, by this very Node: V8 looks only at versions and lengths
    const cachedData = readKept(kept, made);
    const vm = require("node:vm");
    const script = new vm.Script(module_.wrap(source), { filename: file, cachedData });
    if (cachedData === undefined || script.cachedDataRejected) process.once("exit", () => keep(kept, made, script));
    return script;
  } catch {
    return undefined;
  }
}

function run(script, file) {
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
