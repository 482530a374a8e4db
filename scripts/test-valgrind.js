// `npm run test:valgrind`: the addon's functions under valgrind's memcheck, each many times, with its addon built for debugging.
// V8's own reads and writes drown a whole test suite in reports, so one script makes every call there is; a report counts
// when the addon is on its stack, a leak when the addon allocated it.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const addon = join(root, "build-valgrind/Debug/ptalk.node");
const script = join(root, "test/fixtures/ipc/all-calls.js");

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit", ...options });
  if (result.error) throw result.error;
  return result;
}

if (spawnSync("valgrind", ["--version"]).status !== 0) {
  console.error("valgrind is missing: apt install valgrind");
  process.exit(69);
}
const build = ["cmake-js", "compile", "--out", "build-valgrind", "-D", "--log-level=error"];
if (run("npx", build).status !== 0 || run("npm", ["run", "--silent", "build"]).status !== 0) process.exit(1);

const scratch = mkdtempSync(join(tmpdir(), "ptalk-valgrind-"));
const log = join(scratch, "log");
const options = [
  "--leak-check=full",
  "--show-leak-kinds=definite",
  "--num-callers=30",
  "--error-limit=no",
  `--log-file=${log}`,
];
const node = [process.execPath, "--expose-gc", "--jitless", script];
// Node's files of io_uring and its like are not known to valgrind; threads of the pool are enough.
const env = { ...process.env, PTALK_ADDON: addon, UV_USE_IO_URING: "0" };
const ended = run("valgrind", [...options, ...node], { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8", env });
const text = readFileSync(log, "utf8");
rmSync(scratch, { recursive: true, force: true });

// Paragraphs of the log: each report is one, its lines begin with ==PID==.
const reports = text
  .split(/^==\d+== *$/m)
  .map((part) => part.trim())
  .filter((part) =>
    /ptalk\.node|\/native\/|\((addon|error|guard|mqueue|order|peer|process|record-lock|sem|shm|signal|signal_order|socket|udp|wait|watch)\.cc:/.test(
      part,
    ),
  )
  .filter((part) => !/napi_register_module_v1/.test(part))
  // V8's collector reads the whole stack, uninitialised words included; a callback of the addon may stand on it.
  .filter((part) => !/ at 0x[0-9A-F]+: heap::base::.*IteratePointersInStack/.test(part));
const ours = reports.filter((report) => {
  if (!/definitely lost/.test(report)) return true;
  // Allocated by the addon: it comes before anything of node's.
  return /\.cc:\d+\)/.test(report.split(/\(in [^)]*\/node\)/)[0] ?? "");
});
for (const report of ours) console.error(`\n${report}`);
const summary = /ERROR SUMMARY:.*/.exec(text)?.[0] ?? "valgrind ended early";
const done = ended.stdout.includes("done");
console.log(
  `valgrind: ${ours.length} reports about the addon (of all, node's included: ${summary})${done ? "" : "; the script did not end well"}`,
);
process.exitCode = ours.length === 0 && done ? 0 : 1;
