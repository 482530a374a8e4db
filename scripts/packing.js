// For test-package.js and test-nodes.js: packs the package, installs the tarball elsewhere, and tries what it gives.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";

export const root = join(import.meta.dirname, "..");
export const scratch = mkdtempSync(join(tmpdir(), "ptalk-package-"));
process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));

let folders = 0;
let failures = 0;

/** Runs a command; shows what it said when it fails, unless that is `expected`. */
export function run(command, args, { cwd = scratch, env = process.env, uid, gid, expected = false } = {}) {
  const result = spawnSync(command, args, { cwd, env, uid, gid, encoding: "utf8" });
  const ok = result.status === 0;
  if (!ok && !expected)
    console.error(`$ ${command} ${args.join(" ")}\n${result.error ?? ""}${result.stdout ?? ""}${result.stderr ?? ""}`);
  return { ok, stdout: (result.stdout ?? "").trim(), stderr: (result.stderr ?? "").trim() };
}

/** One line for each thing tried. */
export function check(what, ok) {
  console.log(`${ok ? "ok    " : "FAILED"} ${what}`);
  if (!ok) failures++;
  return ok;
}

export function finish() {
  console.log(failures === 0 ? "all well" : `${failures} failed`);
  process.exitCode = failures === 0 ? 0 : 1;
}

/** The tarball that would be published, prebuilt addons in it. */
export function pack() {
  if (!run("npm", ["pack", "--pack-destination", scratch], { cwd: root }).ok) process.exit(1);
  const [file] = readdirSync(scratch).filter((name) => name.endsWith(".tgz"));
  return join(scratch, file);
}

/** An empty folder with the tarball installed in it; null when that failed. */
export function install(tarball, { args = [], env = process.env, name = `install-${folders++}` } = {}) {
  const folder = join(scratch, name);
  mkdirSync(folder);
  writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
  const npm = ["install", "--no-audit", "--no-fund", "--prefer-offline", ...args, tarball];
  return run("npm", npm, { cwd: folder, env }).ok ? folder : null;
}

const trial = `
import { IpcError, ReadersWriterLock, Semaphore, SharedMemory, isAlive, processIdentity, sigaction, sigqueue } from "ptalk/ipc";
const name = "/ptalk-packed-" + process.pid;
const segment = SharedMemory.create(name, { size: 4096 });
const semaphore = Semaphore.create(name, { value: 1 });
const lock = ReadersWriterLock.create(name + ".lock");
try {
  new Int32Array(segment.buffer)[3] = 42;
  if (SharedMemory.open(name, { readOnly: true }).read(12, 1)[0] !== 42) throw new Error("memory");
  if (!(await semaphore.waitAsync()) || semaphore.tryWait()) throw new Error("semaphore");
  if ((await lock.withWrite(() => 7)) !== 7) throw new Error("lock");
  if (!isAlive(processIdentity())) throw new Error("identity");
  try { SharedMemory.create(name, { size: 1 }); throw new Error("not exclusive"); }
  catch (error) { if (!(error instanceof IpcError) || error.code !== "EEXIST") throw error; }
  await new Promise((resolve) => {
    const alive = setInterval(() => {}, 1000);
    sigaction("SIGRTMIN+1", ({ value }) => { clearInterval(alive); if (value === 9) resolve(); });
    sigqueue(process.pid, "SIGRTMIN+1", 9);
  });
} finally { segment.unlink(); semaphore.unlink(); lock.unlink(); }
const { Directory, LookupServer, TalkClient } = await import("ptalk");
for (const entry of [Directory, LookupServer, TalkClient]) if (typeof entry !== "function") throw new Error("entry points");
console.log("works");
`;

/** Imports both entry points in that folder, uses all of ptalk/ipc once, and asks the command its version. */
export function works(folder, { node = process.execPath, env = process.env, uid, gid } = {}) {
  writeFileSync(join(folder, "trial.mjs"), trial);
  const imported = run(node, ["trial.mjs"], { cwd: folder, env, uid, gid });
  const command = run(node, ["node_modules/ptalk/bin/ptalk.js", "--version"], { cwd: folder, env, uid, gid });
  return imported.ok && imported.stdout === "works" && command.ok && /^(ptalk )?\d+\.\d+\.\d+/.test(command.stdout);
}

/** An environment whose PATH has node, npm and the shell's basic tools, but no compiler, make or Python. */
export function withoutCompiler() {
  const bin = join(scratch, "bin");
  mkdirSync(bin);
  const which = (name) => spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).stdout.trim();
  for (const name of ["node", "npm", "sh", "env", "uname", "ls", "cat"]) symlinkSync(which(name), join(bin, name));
  return { ...process.env, PATH: bin, CC: "", CXX: "" };
}

/** An environment in which that node comes first. */
export function withNode(node) {
  return { ...process.env, NO_COLOR: "1", PATH: [join(node, ".."), process.env.PATH].join(delimiter) };
}

const caches = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");

/** The path of that Node; null when npm has none. Kept in PTALK_NODES_CACHE, or in the user's cache. No install scripts: the package is the binary itself. */
export function nodeOf(major, arch = process.arch) {
  const folder = join(
    process.env.PTALK_NODES_CACHE || join(caches, "ptalk-nodes"),
    arch === process.arch ? major : `${major}-${arch}`,
  );
  const node = join(folder, `node_modules/node-linux-${arch}/bin/node`);
  if (!existsSync(node)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
    const name = `node-linux-${arch}@${major}`;
    if (!run("npm", ["install", "--force", "--ignore-scripts", "--no-audit", "--no-fund", name], { cwd: folder }).ok)
      return null;
  }
  return node;
}
