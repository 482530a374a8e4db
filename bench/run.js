// `npm run bench [-- NAME...]`: runs bench/NAME.bench.js (all of them without a name), each in a process of its own so
// that one benchmark's heap, handlers and descriptors do not colour the next. Prints a table, writes bench/results.json
// (runs of single benchmarks replace only their own part), and exits 1 when one threw or a target was missed.
import { fork } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { table } from "./table.js";

const here = import.meta.dirname;
const resultsFile = join(here, "results.json");
const suffix = ".bench.js";

const known = readdirSync(here)
  .filter((file) => file.endsWith(suffix))
  .map((file) => file.slice(0, -suffix.length))
  .sort();
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`no benchmark named ${unknown.join(", ")}; there are: ${known.join(", ")}`);
  process.exit(64);
}
if (!existsSync(join(here, "../dist"))) {
  console.error("benchmarks run on the built package: npm run build, first");
  process.exit(69);
}

/** One benchmark in its own process: {rows, error}. */
function measure(name) {
  return new Promise((resolve) => {
    const rows = [];
    let error = null;
    const child = fork(join(here, "child.js"), [name], { execArgv: ["--expose-gc"] });
    child.on("message", (message) => {
      if (message.row) {
        rows.push(message.row);
        process.stderr.write(".");
      } else if (message.error) error = message.error;
    });
    child.on("exit", (code, signal) => {
      if (code !== 0 && error === null) error = `ended with ${signal ?? `exit code ${code}`}`;
      resolve({ rows, error });
    });
  });
}

const results = existsSync(resultsFile) ? JSON.parse(readFileSync(resultsFile, "utf8")) : { benchmarks: {} };
let failures = 0;
for (const name of asked.length > 0 ? asked : known) {
  process.stderr.write(`${name} `);
  const at = new Date().toISOString();
  const { rows, error } = await measure(name);
  process.stderr.write("\n");
  console.log(`\n${name}\n${table(rows)}`);
  if (error) console.error(`${name} failed: ${error}`);
  failures += (error ? 1 : 0) + rows.filter((row) => row.met === false).length;
  results.benchmarks[name] = { at, rows, ...(error ? { error } : {}) };
}

results.machine = {
  node: process.version,
  kernel: release(),
  cpu: cpus()[0]?.model ?? "unknown",
  cores: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
};
writeFileSync(resultsFile, `${JSON.stringify(results, null, 2)}\n`);
console.log(failures === 0 ? "\nevery target met" : `\n${failures} missed or failed`);
process.exitCode = failures === 0 ? 0 : 1;
