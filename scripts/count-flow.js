// Counts the files and calls that a registration, a first message and a warm message pass, on both ends and in the server: V8's
// precise coverage of dist/ in one process that holds all three. Run after `npm run build`: `npm run flow [-- --list]`.
import { mkdtempSync, rmSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { LookupServer, TalkClient } from "../dist/index.js";

const dist = pathToFileURL(join(import.meta.dirname, "../dist/")).href;
const inspector = new Session();
inspector.connect();
await inspector.post("Profiler.enable");
await inspector.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });

/** What ran since the last call: {file: calls}. */
async function taken() {
  const { result } = await inspector.post("Profiler.takePreciseCoverage");
  const calls = {};
  for (const { url, functions } of result) {
    if (!url.startsWith(dist) || url.startsWith(`${dist}vendor/`)) continue; // libraries are not our files
    const file = url.slice(dist.length).replace(/\.js$/, ".ts");
    for (const { ranges, functionName } of functions) {
      // A module's own code, which runs when it is loaded, is the function without a name that begins at 0.
      if (functionName === "" && ranges[0].startOffset === 0) continue;
      if (ranges[0].count > 0) calls[file] = (calls[file] ?? 0) + ranges[0].count;
    }
  }
  return calls;
}

const settled = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function measure(what, run) {
  await settled(300); // what came before has come to rest
  await taken();
  await run();
  const calls = await taken();
  const files = Object.keys(calls).sort();
  const sum = files.reduce((total, file) => total + calls[file], 0);
  console.log(`${what.padEnd(16)}${String(files.length).padStart(3)} files ${String(sum).padStart(5)} calls`);
  if (process.argv.includes("--list"))
    for (const file of files) console.log(`    ${String(calls[file]).padStart(4)}  ${file}`);
}

const state = mkdtempSync(join(tmpdir(), "ptalk-flow-"));
const server = await LookupServer.start({ listen: "127.0.0.1:0", workers: 0, stateDir: join(state, "server") });
const connect = (name) => TalkClient.connect({ name, server: server.address, stateDir: join(state, name) });
try {
  const bob = await connect("bob");
  bob.on("message", () => {});
  let alice;
  await measure("a registration", async () => {
    alice = await connect("alice");
  });
  await measure("a first message", () => alice.send("bob", "hello"));
  for (let i = 0; i < 20; i++) await alice.send("bob", "warm");
  await measure("a warm message", () => alice.send("bob", "hello"));
  await alice.close();
  await bob.close();
} finally {
  await server.stop();
  rmSync(state, { recursive: true, force: true });
  inspector.disconnect();
}
