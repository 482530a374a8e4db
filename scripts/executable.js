// `npm run executable [-- --arch arm64] [--node FILE]`: out/ptalk-VERSION-linux-ARCH, the command with Node and both addons in one file (Node's
// "single executable application"). Node is the newest of MAJOR from npm. The same sources give the same bytes, in whichever folder.
// Another processor's code cache is made by its own Node under qemu-user.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { parseArgs } from "node:util";
import { rolldown } from "rolldown";
import { fromVendor, noProtoLoader, plainAssert, rareParts, vendored } from "./bundling.js";
import { nodeOf } from "./packing.js";

/** Needs glibc 2.28 and nothing else that a minimal system lacks; 26 needs libatomic. */
const MAJOR = "22";
const FUSE = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2"; // nodejs.org, Single executable applications
const TRIPLETS = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");
const { version } = createRequire(import.meta.url)("../package.json");
const { values: options } = parseArgs({ options: { arch: { type: "string" }, node: { type: "string" } } });
const arch = options.arch ?? process.arch;
if (!(arch in TRIPLETS)) fail(64, `no such processor: ${arch}; there are ${Object.keys(TRIPLETS).join(", ")}`);

function fail(status, why) {
  console.error(why);
  process.exit(status);
}

function run(command, args, settings = {}) {
  const { status, error, stderr } = spawnSync(command, args, { encoding: "utf8", ...settings });
  if (status !== 0) fail(1, `${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
}

/** The path that a module of dist has in the executable. */
const place = (id) => `/ptalk/dist/${relative(dist, id)}`;

/** Modules that are the beginning of a process. */
const entries = ["cli/main.js", "cli/quick-send.js", "cli/quick-unread.js"].concat(
  readdirSync(dist, { recursive: true }).filter((file) => /^(?!cli\/).*-main\.js$/.test(file)),
);

/** What executable-main.js imports. The addons are assets; dlopen(3) wants a file, which no other user can see or change. */
const RUNTIME = `
const sea = require("node:sea");
const fs = require("node:fs");
const os = require("node:os");
const O_TMPFILE = 0o20000000 | fs.constants.O_DIRECTORY;

exports.args = () => process.argv.slice(2);
exports.licences = () => sea.getAsset("licences", "utf8");
exports.mains = {
${entries.map((entry) => `  "/ptalk/dist/${entry}": () => require(${JSON.stringify(join(dist, entry))}),`).join("\n")}
};
exports.isOurs = (file) => Object.hasOwn(exports.mains, file);

/** Empty for a user that the user database does not know. */
function home() {
  try {
    return os.homedir();
  } catch {
    return "";
  }
}

/**
 * The descriptors stay open: for the loader, another file under the same /proc/self/fd path would be the same library. /dev/shm comes last:
 * it has no room to spare (64 MiB in a container), and what ptalk is for is there.
 */
exports.addon = (name) => {
  const bytes = new Uint8Array(sea.getRawAsset(name));
  const places = [process.env.XDG_RUNTIME_DIR, os.tmpdir(), "/tmp", "/var/tmp", home(), "/dev/shm"];
  const folders = new Set(places.filter((folder) => folder));
  let reason = "";
  for (const folder of folders) {
    for (const load of [fromDescriptor, fromFile]) {
      try {
        return load(folder, bytes);
      } catch (error) {
        reason = error.message;
      }
    }
  }
  console.error(
    "ptalk: the addon does not load from any of " + [...folders].join(", ") + " (noexec, full or read-only?): " + reason +
      "; TMPDIR=FOLDER names another",
  );
  process.exit(70);
};

function fromDescriptor(folder, bytes) {
  const fd = fs.openSync(folder, O_TMPFILE | fs.constants.O_RDWR, 0o700);
  try {
    fs.writeSync(fd, bytes);
    return opened("/proc/self/fd/" + fd);
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** Without /proc, or on a file system without O_TMPFILE. */
function fromFile(folder, bytes) {
  const own = fs.mkdtempSync(folder + "/ptalk-");
  try {
    fs.writeFileSync(own + "/addon.node", bytes, { mode: 0o700, flag: "wx" });
    return opened(own + "/addon.node");
  } finally {
    fs.rmSync(own, { recursive: true, force: true });
  }
}

function opened(path) {
  const loaded = { exports: {} };
  process.dlopen(loaded, path);
  return loaded.exports;
}
`;

const runtime = {
  name: "runtime",
  resolveId: (id) => (id === "\0executable" ? id : null),
  load: (id) => {
    if (id === "\0executable") return RUNTIME;
    return /sodium-native\/binding\.js$/.test(id)
      ? 'module.exports = require("\0executable").addon("sodium.node");'
      : null;
  },
};

/** Modules look for files beside them; there are none. What they require lazily is in the file as well. */
const noFiles = {
  name: "no-files",
  transform: {
    filter: { id: /\/dist\/(?!vendor\/).*\.js$/ },
    handler(code, id) {
      let own = code
        .replace(/^const require = createRequire\(import\.meta\.url\);$/m, "")
        .replaceAll("createRequire(import.meta.url)(", "require(");
      if (id === join(dist, "native.js")) {
        own = own.replace(
          "export const native = load();",
          'export const native = require("\0executable").addon("ptalk.node");',
        );
        if (!own.includes('addon("ptalk.node")')) throw new Error("lib/native.ts loads its addon in another way");
      }
      return own
        .replaceAll("import.meta.dirname", JSON.stringify(dirname(place(id))))
        .replaceAll("import.meta.url", JSON.stringify(`file://${place(id)}`));
    },
  },
};

const scratch = mkdtempSync(join(tmpdir(), "ptalk-executable-"));
process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));

const bundled = await rolldown({
  input: join(import.meta.dirname, "executable-main.js"),
  platform: "node",
  plugins: [runtime, fromVendor(vendored()), noProtoLoader, rareParts, plainAssert, noFiles],
});
await bundled.write({
  file: join(scratch, "main.cjs"),
  format: "cjs",
  codeSplitting: false,
  minify: { compress: false, mangle: { keepNames: { class: true, function: false } } }, // as in bundle.js
});
const left = /[^\w$.}]import\(/.exec(readFileSync(join(scratch, "main.cjs"), "utf8"));
if (left) fail(1, "main.cjs has a dynamic import()");

const prebuilds = join(root, "prebuilds", `linux-${arch}`);
for (const name of ["ptalk.glibc.node", "sodium.node"]) {
  if (!existsSync(join(prebuilds, name))) fail(69, `${join(prebuilds, name)} is missing: npm run prebuilds -- ${arch}`);
  copyFileSync(join(prebuilds, name), join(scratch, name));
}
const node = options.node ?? nodeOf(MAJOR, arch) ?? fail(69, `npm has no node-linux-${arch}@${MAJOR}`);
const nodeLicence = join(dirname(node), "../LICENSE");
writeFileSync(
  join(scratch, "licences"),
  [join(root, "LICENSE"), join(dist, "LICENCES.txt"), nodeLicence]
    .filter((file) => existsSync(file))
    .map((file) => readFileSync(file, "utf8"))
    .join(`\n${"-".repeat(80)}\n\n`),
);
// Names without a folder: the path of the main script gets into the blob.
writeFileSync(
  join(scratch, "config.json"),
  JSON.stringify({
    main: "main.cjs",
    output: "blob",
    disableExperimentalSEAWarning: true,
    useCodeCache: true,
    execArgv: ["--disable-sigusr1"], // the debugger's signal is a user's
    execArgvExtension: "none", // NODE_OPTIONS are for other programs
    assets: { "ptalk.node": "ptalk.glibc.node", "sodium.node": "sodium.node", licences: "licences" },
  }),
);

// Before the blob is in it: stripping afterwards breaks the file.
copyFileSync(node, join(scratch, "node"));
chmodSync(join(scratch, "node"), 0o755);
run(`${TRIPLETS[arch]}-strip`, [join(scratch, "node")]);
const emulator =
  arch === process.arch
    ? []
    : [`qemu-${arch === "arm64" ? "aarch64" : "x86_64"}-static`, "-L", `/usr/${TRIPLETS[arch]}`];
// Compiled code depends on the hash seed, which is random otherwise.
const [command, ...args] = [...emulator, node, "--random-seed=42", "--experimental-sea-config", "config.json"];
run(command, args, { cwd: scratch });
const postject = createRequire(import.meta.url).resolve("postject/dist/cli.js");
run(process.execPath, [postject, "node", "NODE_SEA_BLOB", "blob", "--sentinel-fuse", FUSE], { cwd: scratch });

mkdirSync(join(root, "out"), { recursive: true });
const file = join(root, "out", `ptalk-${version}-linux-${arch}`);
// Another inode: a copy that runs may be there.
copyFileSync(join(scratch, "node"), `${file}.new`);
chmodSync(`${file}.new`, 0o755);
renameSync(`${file}.new`, file);
console.log(relative(process.cwd(), file));
