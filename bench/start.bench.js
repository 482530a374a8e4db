// Cold starts: `ptalk send` beside an empty Node, in one run, taking turns. The promise: at most 1.5x an empty `node -e 0`, plus
// the network round trips; these are measured as a warm program's connect, send and close.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { TalkClient } from "../dist/index.js";

const PTALK = join(import.meta.dirname, "../bin/ptalk.js");
const ROUNDS = 15;
const WARM_ROUNDS = 10;
const TARGET = 1.5;

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

function timed(args, env) {
  const start = performance.now();
  const { status, stderr } = spawnSync(process.execPath, args, { env, stdio: ["ignore", "ignore", "pipe"] });
  if (status !== 0) throw new Error(`${args.join(" ")} ended with ${status}: ${stderr}`);
  return performance.now() - start;
}

async function running(args, env) {
  const child = spawn(process.execPath, [PTALK, ...args], { env, stdio: ["ignore", "pipe", "ignore"] });
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  child.stdout.resume();
  return { line, stop: () => child.kill("SIGTERM") && once(child, "exit") };
}

export async function run(report) {
  const home = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  const envOf = (user) => ({
    ...process.env,
    HOME: home,
    XDG_STATE_HOME: join(home, user),
    XDG_CONFIG_HOME: join(home, "config"),
    XDG_CACHE_HOME: join(home, "cache"),
  });
  const server = await running(["serve", "--listen", "127.0.0.1:0", "--workers", "1"], envOf("server"));
  const [address] = /127\.0\.0\.1:\d+/.exec(server.line);
  const receiver = await running(["recv", "--as", "bob", "--json", "--server", address], envOf("bob"));
  const send = [PTALK, "send", "--server", address, "--as", "alice", "bob", "hello"];
  const all = [PTALK, "all", "--server", address];
  try {
    const [empty, sends, alls] = [[], [], []];
    timed(send, envOf("alice")); // makes the key
    for (let i = 0; i < ROUNDS; i++) {
      empty.push(timed(["-e", "0"], process.env));
      sends.push(timed(send, envOf("alice")));
      alls.push(timed(all, envOf("alice")));
    }
    const trips = [];
    for (let i = 0; i < WARM_ROUNDS; i++) {
      const start = performance.now();
      const client = await TalkClient.connect({ name: "carol", server: address, stateDir: join(home, "carol") });
      await client.send("bob", "hello");
      await client.close();
      trips.push(performance.now() - start);
    }
    const base = median(empty);
    const warm = median(trips);
    const cold = median(sends);
    const ratio = (cold - warm) / base;
    report.row({ name: "node -e 0", value: base, unit: "ms" });
    report.row({ name: "round trips: connect, send, close in a warm program", value: warm, unit: "ms" });
    report.row({ name: "ptalk all", value: median(alls), unit: "ms", ratio: median(alls) / base });
    report.row({ name: "ptalk send, all in all", value: cold, unit: "ms", ratio: cold / base });
    const target = `<= ${TARGET}x node -e 0`;
    report.row({
      name: "ptalk send less round trips",
      value: cold - warm,
      unit: "ms",
      ratio,
      target,
      met: ratio <= TARGET,
    });
  } finally {
    await receiver.stop();
    await server.stop();
    rmSync(home, { recursive: true, force: true });
  }
}
