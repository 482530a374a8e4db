// The programs of the server's benchmark: servers on the first core, load generators on the second.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";

const PROGRAM = join(import.meta.dirname, "../../bin/ptalk.js");
const KIB = 1024;

export const has = (tool) => spawnSync(tool, ["--version"]).error === undefined;
export const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Two cores or more: the servers share the first, the load has the second. With one everything shares it. */
const cores = availableParallelism() > 1 && has("taskset") ? { server: "0", load: "1" } : null;
const pinned = (core, command, args) =>
  cores === null ? [command, args] : ["taskset", ["-c", cores[core], command, ...args]];

/** @param options stateDir (kept at the end; default: one of its own), port (default: the system picks) and more words of the command line */
export async function startPtalk(workers, capacity, pin, options = {}) {
  const { port: asked = 0, stateDir = mkdtempSync(join(tmpdir(), "ptalk-bench-")), words = [] } = options;
  const args = [PROGRAM, "serve", "--listen", `127.0.0.1:${asked}`, "--workers", String(workers)];
  args.push("--capacity", String(capacity), "--state-dir", stateDir, ...words);
  const command = pin ? pinned("server", process.execPath, args) : [process.execPath, args];
  const child = spawn(...command, { stdio: ["ignore", "pipe", "ignore"] });
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  while (!/serving on \S+\n/.test(output)) await pause(20);
  const port = Number(/:(\d+)\n/.exec(output)[1]);
  const stop = async () => {
    child.kill("SIGTERM");
    await once(child, "exit");
    if (options.stateDir === undefined) rmSync(stateDir, { recursive: true, force: true });
  };
  return { port, pid: child.pid, child, stop };
}

export async function startRedis() {
  const port = 20_000 + (process.pid % 20_000);
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const child = spawn(...pinned("server", "redis-server", args), { stdio: "ignore" });
  while (spawnSync("redis-cli", ["-p", String(port), "PING"], { encoding: "utf8" }).stdout.trim() !== "PONG")
    await pause(50);
  const stop = async () => {
    child.kill("SIGTERM");
    await once(child, "exit");
  };
  return { port, pid: child.pid, stop };
}

/** Requests a second, by redis-benchmark, and CPU time of the server per request in microseconds. */
export function load(port, pid, requests, options, command) {
  const before = cpuSeconds(pid);
  const args = ["-h", "127.0.0.1", "-p", String(port), "-n", String(requests), "--csv", ...options, ...command];
  const [file, full] = pinned("load", "redis-benchmark", args);
  const output = execFileSync(file, full, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const rate = Number(output.trim().split("\n").at(-1).split(",")[1].replaceAll('"', ""));
  return { rate, cpu: ((cpuSeconds(pid) - before) / requests) * 1e6 };
}

/** reference/load.c, or null where there is no compiler. */
export function compileLoad() {
  const folder = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, "load");
  const source = join(import.meta.dirname, "../reference/load.c");
  const { status } = spawnSync("cc", ["-std=gnu11", "-O2", "-o", program, source]);
  return status === 0 ? program : null;
}

/** The same by a load generator that takes no reply apart. @param request an inline one */
export function countingLoad(program, port, pid, pipeline, requests, request) {
  const before = cpuSeconds(pid);
  const args = [port, 50, pipeline, requests, request].map(String);
  const rate = Number(execFileSync(...pinned("load", program, args), { encoding: "utf8" }));
  return { rate, cpu: ((cpuSeconds(pid) - before) / requests) * 1e6 };
}

export function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100; // clock ticks are hundredths of a second on Linux
}

export const residentBytes = (pid) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))[1]) * KIB;

export async function workerPids(client) {
  return [...(await client.ask("INFO")).matchAll(/,pid=(\d+),/g)].map((match) => Number(match[1]));
}
