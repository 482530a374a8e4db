// `npm run test:asan [-- TEST...]`: builds the addon with AddressSanitizer and UndefinedBehaviorSanitizer (cmake-js) and
// runs the whole ipc test suite on it, child processes included. Fails on any report about the addon, leaks too.
// Node itself leaks by design at its end: a leak counts when the addon allocated it.
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const addon = join(root, "build-asan/Debug/ptalk.node");
const suite = ["test/ipc", "test/conformance", "test/interop"];

function run(command, args, env = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } });
  if (result.error) throw result.error;
  return result.status ?? 1;
}

/** The compiler's own runtime: it must be the first library of the process, before node. */
function runtime(name) {
  const path = spawnSync("g++", [`-print-file-name=${name}`], { encoding: "utf8" }).stdout?.trim();
  if (!path || !existsSync(path)) throw new Error(`g++ has no ${name} here: install it (libasan, part of GCC)`);
  return path;
}

/** Whether the addon allocated it: its sources come on the stack before anything of node's. */
function isOurs(leak) {
  return leak.split(`(${process.execPath}+`)[0].includes(join(root, "native/"));
}

/** The reports among the logs that are about the addon: every error, and the leaks that it allocated. */
function reports(folder) {
  return readdirSync(folder).flatMap((file) => {
    const text = readFileSync(join(folder, file), "utf8");
    if (text.includes("ERROR: AddressSanitizer") || text.includes("runtime error:")) return [text];
    return text
      .split(/\n(?=Direct leak|Indirect leak)/)
      .filter((part) => /^(Direct|Indirect) leak/.test(part) && isOurs(part));
  });
}

if (run("npx", ["cmake-js", "compile", "--out", "build-asan", "-D", "--CDSANITIZE=ON", "--log-level=error"]) !== 0)
  process.exit(1);
if (run("npm", ["run", "--silent", "build"]) !== 0) process.exit(1);

const logs = mkdtempSync(join(tmpdir(), "ptalk-asan-"));
// Tests run processes as other users, which report too.
chmodSync(logs, 0o1777);
const slow = ["--testTimeout=300000", "--hookTimeout=300000"];
const status = run("npx", ["vitest", "run", ...slow, ...(process.argv.length > 2 ? process.argv.slice(2) : suite)], {
  PTALK_ADDON: addon,
  LD_PRELOAD: [runtime("libasan.so"), runtime("libubsan.so")].join(":"),
  ASAN_OPTIONS: `log_path=${join(logs, "asan")}:detect_leaks=1:detect_stack_use_after_return=1:strict_init_order=1`,
  LSAN_OPTIONS: "exitcode=0",
  UBSAN_OPTIONS: `log_path=${join(logs, "ubsan")}:print_stacktrace=1`,
});
const found = reports(logs);
const processes = readdirSync(logs).length;
for (const text of found) console.error(`\n${text}`);
rmSync(logs, { recursive: true, force: true });
console.log(`sanitizers: ${found.length} reports about the addon (${processes} processes wrote a log)`);
process.exitCode = status === 0 && found.length === 0 ? 0 : 1;
