// `npm run test:package`: what is published installs from its tarball in an empty folder and works: with no compiler,
// compiled from source, with no install scripts run (as npm 12 does for dependencies), by pnpm and yarn, read-only, under a path with blanks,
// and for TypeScript users. And an old Node says what it is.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, finish, install, nodeOf, pack, root, run, scratch, withoutCompiler, works } from "./packing.js";

const tarball = pack();
const addon = (folder) => join(folder, "node_modules/ptalk/build/Release/ptalk.node");

const bare = withoutCompiler();
check(
  "there is no compiler in the bare environment",
  !run("sh", ["-c", "! command -v g++ cc make python3"], { env: bare }).stdout,
);
const prebuilt = install(tarball, { env: bare });
check("installs without a compiler", prebuilt !== null && !existsSync(addon(prebuilt)));
check("works without a compiler", prebuilt !== null && works(prebuilt, { env: bare }));

const unscripted = install(tarball, { args: ["--ignore-scripts"] });
check("installs with no install script run", unscripted !== null && !existsSync(addon(unscripted)));
check("works with no install script run", unscripted !== null && works(unscripted));

/** Packages and bytes of a node_modules folder. */
function sizeOf(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const isPackage = (file) => /node_modules\/(@[^/]+\/)?[^/@]+\/package\.json$/.test(file);
  return {
    packages: files.filter(isPackage).length,
    megabytes: files.reduce((sum, file) => sum + statSync(file).size, 0) / 1e6,
  };
}
const MOST_PACKAGES = 25;
const MOST_MEGABYTES = 10;
if (unscripted) {
  const { packages, megabytes } = sizeOf(join(unscripted, "node_modules"));
  check(
    `${packages} packages, ${megabytes.toFixed(1)} MB; ${(statSync(tarball).size / 1e6).toFixed(1)} MB to download`,
    packages <= MOST_PACKAGES && megabytes <= MOST_MEGABYTES,
  );
}

const blank = install(tarball, { args: ["--ignore-scripts"], name: "a path with blanks" });
check("works under a path with blanks", blank !== null && works(blank));

// Root may write anywhere, so the user nobody tries.
const reader = { uid: 65534, gid: 65534 };
if (blank && process.getuid() === 0) {
  chmodSync(scratch, 0o755);
  run("chmod", ["-R", "a+rX,a-w", join(blank, "node_modules")]);
  const home = join(scratch, "home");
  mkdirSync(home);
  run("chown", ["65534", home]);
  const env = { ...process.env, HOME: home };
  check("works from a read-only node_modules, for another user", works(blank, { env, ...reader }));
}

for (const manager of ["pnpm@10", "yarn@1"]) {
  const name = manager.slice(0, -manager.split("@").pop().length - 1);
  const tools = join(scratch, `tools-${name}`);
  mkdirSync(tools);
  const there = run("npm", ["install", "--prefix", tools, "--no-audit", "--no-fund", manager]).ok;
  if (!check(`${manager} is there`, there)) continue;
  const folder = join(scratch, name);
  mkdirSync(folder);
  writeFileSync(
    join(folder, "package.json"),
    '{ "private": true, "name": "user", "version": "1.0.0", "license": "MIT" }\n',
  );
  const cache =
    name === "yarn" ? ["--cache-folder", join(scratch, "yarn-cache")] : ["--store-dir", join(scratch, "pnpm-store")];
  const added = run(join(tools, "node_modules/.bin", name), ["add", tarball, ...cache], { cwd: folder }).ok;
  check(`works installed by ${manager}`, added && works(folder));
}

/** What the foreign addon does in its own Node, emulated: objects, waits, the lock, and a signal with its value. */
const FOREIGN = `
  const { ReadersWriterLock, Semaphore, SharedMemory, sigaction, sigqueue } = require("ptalk/ipc");
  const name = "/test-package-" + process.pid;
  setInterval(() => {}, 1000); // waiting for a signal keeps no process alive
  (async () => {
    const memory = SharedMemory.create(name, { size: 4096 });
    new Int32Array(memory.buffer)[1023] = 7;
    const again = SharedMemory.open(name);
    const semaphore = Semaphore.create(name, { value: 0 });
    const lock = ReadersWriterLock.openOrCreate(name + ".lock");
    try {
      setTimeout(() => semaphore.post(), 10);
      const woken = await semaphore.waitAsync({ timeoutMs: 10_000 });
      const inside = await lock.withWrite(() => lock.stats().acquisitions.write);
      const signal = new Promise((resolve) => sigaction("SIGRTMIN+1", resolve));
      sigqueue(process.pid, "SIGRTMIN+1", 42);
      const { pid, value } = await signal;
      console.log([process.arch, new Int32Array(again.buffer)[1023], woken, inside, pid === process.pid, value].join(" "));
    } finally {
      for (const object of [memory, semaphore, lock]) object.unlink();
    }
    process.exit();
  })();
`;
const OTHER = process.arch === "arm64" ? "x64" : "arm64";
const TARGET = OTHER === "arm64" ? "aarch64" : "x86_64";
const emulator = `qemu-${TARGET}-static`;
if (unscripted && run("sh", ["-c", `command -v ${emulator}`], { expected: true }).ok) {
  const node = nodeOf("22", OTHER);
  const emulated = () => run(emulator, ["-L", `/usr/${TARGET}-linux-gnu`, node, "-e", FOREIGN], { cwd: unscripted });
  check(
    `the addon for ${OTHER} works, emulated`,
    node !== null && emulated().stdout.trim() === `${OTHER} 7 true 1 true 42`,
  );
} else {
  console.log(`skipped: the addon for ${OTHER} (apt install qemu-user-static)`);
}

const OLD = "18";
const old = nodeOf(OLD);
if (check(`Node ${OLD} is there`, old !== null) && unscripted) {
  const says = (args) => run(old, args, { cwd: unscripted, expected: true }).stderr;
  const line = /ptalk:? needs Node 20\.19 or later .*, and this is 18\.[\d.]+; try /;
  check("the command says so on an old Node, in one line", /^[^\n]+$/.test(says(["node_modules/ptalk/bin/ptalk.js"])));
  for (const args of [
    ["node_modules/ptalk/bin/ptalk.js", "send", "bob", "hello"],
    ["node_modules/ptalk/scripts/install.js"],
    ...["ptalk", "ptalk/ipc"].flatMap((entry) => [
      ["-e", `require("${entry}")`],
      ["--input-type=module", "-e", `import "${entry}"`],
    ]),
  ])
    check(`an old Node says so: ${args.join(" ")}`, line.test(says(args)));
}
if (unscripted) {
  const addon = join(unscripted, "node_modules/ptalk/prebuilds", `linux-${process.arch}`, "ptalk.glibc.node");
  const bytes = readFileSync(addon);
  const says = () => run(process.execPath, ["-e", 'require("ptalk/ipc")'], { cwd: unscripted, expected: true }).stderr;
  const command = /compile it with `node \S+scripts\/install\.js --build-from-source`/;
  rmSync(addon);
  check(
    "a missing addon names the command that builds it",
    /has no addon for linux-/.test(says()) && command.test(says()),
  );
  bytes.writeUInt16LE(0xf3, 18); // e_machine: RISC-V
  writeFileSync(addon, bytes);
  check("an addon for another processor is named as such", /does not load/.test(says()) && command.test(says()));
  const [, script = ""] = /`node (\S+) --build-from-source`/.exec(says()) ?? [];
  rmSync(addon);
  check("that command builds it", run(process.execPath, [script, "--build-from-source"]).ok && works(unscripted));
}

const compiled = install(tarball, { env: { ...process.env, npm_config_build_from_source: "true" } });
check("compiles from source on request", compiled !== null && existsSync(addon(compiled)));
check("works compiled from source", compiled !== null && works(compiled));

if (compiled) {
  const source = `
    import { SharedMemory, type SignalInfo, sigaction } from "ptalk/ipc";
    import { type Directory, LookupServer, TalkClient } from "ptalk";
    const size: number = SharedMemory.create("/x", { size: 1 }).size;
    sigaction("SIGRTMIN+1", (info: SignalInfo) => info.value + size);
    export const entry: readonly unknown[] = [TalkClient, LookupServer];
    export type Entry = Directory;
  `;
  writeFileSync(join(compiled, "user.mts"), source);
  const flags = [
    "--ignoreConfig",
    "--noEmit",
    "--strict",
    "--exactOptionalPropertyTypes",
    "--module",
    "nodenext",
    "--target",
    "es2023",
    "--lib",
    "es2023,esnext.disposable",
  ];
  const types = ["--types", "node", "--typeRoots", join(root, "node_modules/@types")];
  check(
    "its types serve a strict TypeScript user",
    run("npx", ["tsc", ...flags, ...types, join(compiled, "user.mts")], { cwd: root }).ok,
  );
  const required = `
    import ptalk = require("ptalk");
    import ipc = require("ptalk/ipc");
    const options: ptalk.ConnectOptions = { name: "bob" };
    export const both = [ptalk.TalkClient.connect(options), ipc.Semaphore.open("/x").value] as const;
  `;
  writeFileSync(join(compiled, "user.cts"), required);
  check(
    "and for a program that requires it",
    run("npx", ["tsc", ...flags, ...types, join(compiled, "user.cts")], { cwd: root }).ok,
  );
  // The rule and the views that are left out: the tool does not know "module-sync", by which every Node that is supported finds the module for
  // import and for require; it takes the file for old Nodes, which follows, for the entry. The two programs above are the proof.
  const rules = ["--profile", "esm-only", "--ignore-rules", "false-esm"];
  const attw = ["exec", "--yes", "--package", "@arethetypeswrong/cli", "--", "attw", tarball, ...rules];
  check("arethetypeswrong finds nothing else", run("npm", attw).ok);
}

const packed = prebuilt ? readdirSync(join(prebuilt, "node_modules/ptalk")).sort() : [];
const wanted = [
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "LICENSE",
  "README.md",
  "SECURITY.md",
  "bin",
  "binding.gyp",
  "dist",
  "contrib",
  "docs",
  "examples",
  "man",
  "native",
  "prebuilds",
  "scripts",
];
check(
  `carries what it should (${packed.join(" ")})`,
  [...wanted, "package.json"].every((name) => packed.includes(name)),
);
check(
  "carries no tests and no TypeScript sources",
  !packed.some((name) => ["test", "lib", "bench", "build"].includes(name)),
);
finish();
