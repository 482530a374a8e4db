// `npm run test:package`: what is published installs from its tarball in an empty folder and works: with no compiler,
// compiled from source, with no install scripts run (as npm 12 does for dependencies), and for TypeScript users.
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, finish, install, pack, root, run, withoutCompiler, works } from "./packing.js";

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
}

const packed = prebuilt ? readdirSync(join(prebuilt, "node_modules/ptalk")).sort() : [];
const wanted = [
  "CHANGELOG.md",
  "LICENSE",
  "README.md",
  "SECURITY.md",
  "bin",
  "binding.gyp",
  "dist",
  "docs",
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
