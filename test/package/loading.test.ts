// What the command, the library and the install script say where the addon cannot be loaded: one line, with what to do.
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
/** A copy of what an install has, but for the addons. */
const folder = mkdtempSync(join(tmpdir(), "ptalk-loading-"));
const addon = join(folder, `prebuilds/linux-${process.arch}/ptalk.glibc.node`);
const MACHINE = 18; // e_machine of elf(5)
const RISC_V = 243;
const BUILD =
  "compile it with `node \\S+/scripts/install\\.js --build-from-source`, which takes g\\+\\+, make and Python 3";

beforeAll(() => {
  for (const name of ["bin", "dist", "package.json", "scripts/install.js"])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  mkdirSync(join(addon, ".."), { recursive: true });
  // As Node reports it on a system with musl: no version of glibc.
  writeFileSync(join(folder, "musl.cjs"), "process.report.getReport = () => ({ header: {} });\n");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(...words: string[]): { status: number | null; stderr: string } {
  const env = { ...process.env, PTALK_ADDON: "", HOME: folder, XDG_CACHE_HOME: join(folder, "cache") };
  const { status, stderr } = spawnSync(process.execPath, words, { cwd: folder, env, encoding: "utf8" });
  return { status, stderr };
}

const commands = [["list"], ["send", "bob", "hello"], ["serve"]];

test.each(commands)("no addon: %s says how to build one", (...words) => {
  rmSync(addon, { force: true });
  const { status, stderr } = run("bin/ptalk.js", ...words);
  expect(stderr).toMatch(new RegExp(`^ptalk: ptalk has no addon for linux-${process.arch} in \\S+: ${BUILD}\\n$`));
  expect(status).toBe(70);
});

test.each(commands)("an addon for another processor: %s says so", (...words) => {
  const bytes = readFileSync(join(root, "build/Release/ptalk.node"));
  bytes.writeUInt16LE(RISC_V, MACHINE);
  writeFileSync(addon, bytes);
  const { status, stderr } = run("bin/ptalk.js", ...words);
  const reason = "does not load \\(a node_modules folder that was copied from another machine\\?\\): .*";
  expect(stderr).toMatch(new RegExp(`^ptalk: the addon for linux-${process.arch} ${reason}; ${BUILD}\\n$`));
  expect(status).toBe(70);
});

test.each(commands)("a system with musl: %s names one that will do", (...words) => {
  rmSync(addon, { force: true });
  const { status, stderr } = run("--require", "./musl.cjs", "bin/ptalk.js", ...words);
  expect(stderr).toMatch(/^ptalk: ptalk needs glibc, and this system has musl: use an image of Debian, [^\n]+\n$/);
  expect(status).toBe(70);
});

test("the install script compiles nothing on musl", () => {
  const { status, stderr } = run("--require", "./musl.cjs", "scripts/install.js");
  expect(stderr).toMatch(/^ptalk needs glibc, and this system has musl: use an image of Debian, [^\n]+\n$/);
  expect(status).toBe(1);
});

test.each(["index.js", "ipc/index.js"])("the library's %s throws the same sentence", (entry) => {
  rmSync(addon, { force: true });
  const { stderr } = run(
    "--input-type=module",
    "-e",
    `await import("./dist/${entry}").catch((e) => console.error(e.message))`,
  );
  expect(stderr).toMatch(new RegExp(`^ptalk has no addon for linux-${process.arch} in \\S+: ${BUILD}\\n$`));
});
