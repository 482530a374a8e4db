// The lookup server beside Redis: the same redis-benchmark, the same core, in turns. Then with 10,000 clients on.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { Identity } from "../dist/crypto/identity.js";
import { registrationBytes } from "../dist/wire/registration.js";
import { encodeCommand } from "../dist/wire/resp-command.js";
import { ReplyDecoder } from "../dist/wire/resp-reply.js";

const PROGRAM = join(import.meta.dirname, "../bin/ptalk.js");
const ROUNDS = 3;
const CROWD = 10_000;
const CROWD_AT_ONCE = 100;
const IDLE_MS = 3_000;
const KIB = 1024;

const has = (tool) => spawnSync(tool, ["--version"]).error === undefined;
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Two cores or more: the servers share the first, the load has the second. With one everything shares it. */
const cores = availableParallelism() > 1 && has("taskset") ? { server: "0", load: "1" } : null;
const pinned = (core, command, args) =>
  cores === null ? [command, args] : ["taskset", ["-c", cores[core], command, ...args]];

async function startPtalk(workers, capacity, pin) {
  const stateDir = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  const args = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--workers", String(workers)];
  args.push("--capacity", String(capacity), "--state-dir", stateDir);
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
    rmSync(stateDir, { recursive: true, force: true });
  };
  return { port, pid: child.pid, stop };
}

async function startRedis() {
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

class Client {
  #waiting = [];
  #decoder = new ReplyDecoder();

  constructor(port) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("data", (chunk) => {
      this.#decoder.push(chunk);
      for (let reply = this.#decoder.next(); reply !== undefined; reply = this.#decoder.next()) {
        if (!reply.push) this.#waiting.shift()(reply.value);
      }
    });
  }

  ask(...args) {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.socket.write(encodeCommand(args));
    });
  }

  async register(name, identity) {
    const nonce = (await this.ask("HELLO", 3)).get("nonce");
    const bytes = registrationBytes({ nonce, name, port: 4000, addresses: [], host: "bench" });
    const signature = identity.sign(bytes).toString("base64");
    const key = identity.publicKey.toString("base64");
    const reply = await this.ask("REGISTER", name, "KEY", key, "PORT", 4000, "HOST", "bench", "SIG", signature);
    if (reply !== "OK") throw reply;
  }
}

/** Requests a second, by redis-benchmark, and CPU time of the server per request in microseconds. */
function load(port, pid, requests, options, command) {
  const before = cpuSeconds(pid);
  const args = ["-h", "127.0.0.1", "-p", String(port), "-n", String(requests), "--csv", ...options, ...command];
  const [file, full] = pinned("load", "redis-benchmark", args);
  const output = execFileSync(file, full, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const rate = Number(output.trim().split("\n").at(-1).split(",")[1].replaceAll('"', ""));
  return { rate, cpu: ((cpuSeconds(pid) - before) / requests) * 1e6 };
}

function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100; // clock ticks are hundredths of a second on Linux
}

const residentBytes = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))[1]) * KIB;

async function workerPids(client) {
  return [...(await client.ask("INFO")).matchAll(/,pid=(\d+),/g)].map((match) => Number(match[1]));
}

/** LOOKUP beside GET, in turns, so that whatever else the machine does meets both. */
async function besideRedis(report) {
  const ptalk = await startPtalk(1, 4096, true);
  const redis = await startRedis();
  const bob = new Client(ptalk.port);
  await bob.register("bob", Identity.generate());
  const [worker] = await workerPids(bob);
  execFileSync("redis-cli", ["-p", String(redis.port), "SET", "bob", "abc"]);
  // A reply of the same shape as LOOKUP's: what redis-benchmark itself spends on taking it apart is the same, then.
  const fields = [...(await bob.ask("LOOKUP", "bob"))].flatMap(([field, value]) => [field, String(value)]);
  execFileSync("redis-cli", ["-p", String(redis.port), "HSET", "bob-hash", ...fields]);
  const cases = [
    { what: "-c 50", options: ["-c", "50"], requests: 50_000 },
    { what: "-c 50 -P 50", options: ["-c", "50", "-P", "50"], requests: 500_000 },
  ];
  for (const { what, options, requests } of cases) {
    const lookups = [];
    const gets = [];
    const hashes = [];
    for (let round = 0; round < ROUNDS; round++) {
      lookups.push(load(ptalk.port, worker, requests, options, ["LOOKUP", "bob"]));
      gets.push(load(redis.port, redis.pid, requests, options, ["GET", "bob"]));
      hashes.push(load(redis.port, redis.pid, requests, options, ["HGETALL", "bob-hash"]));
    }
    const rate = (runs) => median(runs.map((run) => run.rate));
    const cpu = (runs) => median(runs.map((run) => run.cpu));
    const ratio = rate(lookups) / rate(gets);
    report.row({ name: `Redis GET ${what}`, value: rate(gets), unit: "/s" });
    report.row({
      name: `LOOKUP ${what}`,
      value: rate(lookups),
      unit: "/s",
      ratio,
      target: ">= 1x Redis GET",
      met: ratio >= 1,
    });
    report.row({ name: `Redis HGETALL ${what}`, value: rate(hashes), unit: "/s" });
    report.row({
      name: `LOOKUP ${what}, beside HGETALL`,
      value: rate(lookups),
      unit: "/s",
      ratio: rate(lookups) / rate(hashes),
    });
    report.row({ name: `Redis GET ${what}: CPU a request`, value: cpu(gets), unit: "us" });
    report.row({
      name: `LOOKUP ${what}: CPU a request`,
      value: cpu(lookups),
      unit: "us",
      ratio: cpu(lookups) / cpu(gets),
    });
  }
  bob.socket.destroy();
  await ptalk.stop();
  await redis.stop();
}

async function crowd(report) {
  const ptalk = await startPtalk(2, 16_384, false);
  const first = new Client(ptalk.port);
  const identity = Identity.generate();
  await first.register("bob", identity);
  const pids = [ptalk.pid, ...(await workerPids(first))];
  const memory = () => pids.reduce((sum, pid) => sum + residentBytes(pid), 0);
  const lookupRate = () =>
    median([1, 2, 3].map(() => load(ptalk.port, ptalk.pid, 20_000, ["-c", "20"], ["LOOKUP", "bob"]).rate));
  const [memoryBefore, rateBefore] = [memory(), lookupRate()];

  const began = performance.now();
  const clients = [];
  for (let i = 0; i < CROWD; i += CROWD_AT_ONCE) {
    const some = Array.from({ length: CROWD_AT_ONCE }, () => new Client(ptalk.port));
    await Promise.all(some.map((client, j) => client.register(`crowd${i + j}`, identity)));
    clients.push(...some);
  }
  const took = (performance.now() - began) / 1000;
  report.row({ name: `registered and connected`, value: await first.ask("COUNT"), unit: "clients" });
  report.row({ name: "registrations", value: CROWD / took, unit: "/s" });
  const each = (memory() - memoryBefore) / CROWD / KIB;
  report.row({ name: "server memory a client", value: each, unit: "KiB", target: "< 40 KiB", met: each < 40 });

  await pause(1_000);
  const cpuBefore = pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  await pause(IDLE_MS);
  const idle = ((pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0) - cpuBefore) / (IDLE_MS / 1000)) * 100;
  report.row({ name: `idle CPU, ${CROWD} clients`, value: idle, unit: "% of a core", target: "< 2 %", met: idle < 2 });

  const rateAfter = lookupRate();
  report.row({ name: "LOOKUP -c 20, nobody else on", value: rateBefore, unit: "/s" });
  report.row({ name: `LOOKUP -c 20, ${CROWD} on`, value: rateAfter, unit: "/s", ratio: rateAfter / rateBefore });

  await all(report, ptalk.port, first);
  for (const client of clients) client.socket.destroy();
  first.socket.destroy();
  await ptalk.stop();
}

/** Connections at both workers ask PING one after the other, while ALL is answered: the longest wait bounds the loop's. */
async function all(report, port, client) {
  const pingers = Array.from({ length: 4 }, () => new Client(port));
  const worst = async (until) => {
    let longest = 0;
    let over = false;
    void until.then(() => {
      over = true;
    });
    await Promise.all(
      pingers.map(async (pinger) => {
        while (!over) {
          const at = performance.now();
          await pinger.ask("PING");
          longest = Math.max(longest, performance.now() - at);
          await pause(1);
        }
      }),
    );
    return longest;
  };
  await client.ask("INFO"); // begins to watch the workers' loops
  const idle = await worst(pause(500));
  const redisCli = () => once(spawn("redis-cli", ["-p", String(port), "ALL"], { stdio: "ignore" }), "exit");
  const busy = await worst(
    (async () => {
      for (let i = 0; i < 5; i++) await redisCli(); // its own process: its parsing must not show here
    })(),
  );
  const delays = [...(await client.ask("INFO")).matchAll(/loop_delay_p99_ms=([\d.]+)/g)].map((match) =>
    Number(match[1]),
  );
  report.row({ name: "longest PING, nothing else", value: idle, unit: "ms" });
  report.row({
    name: `longest PING during ALL of ${CROWD}`,
    value: busy,
    unit: "ms",
    target: "< 50 ms",
    met: busy < 50,
  });
  report.row({ name: "event-loop delay under it, p99", value: Math.max(...delays), unit: "ms" });
  for (const pinger of pingers) pinger.socket.destroy();
}

export async function run(report) {
  if (!has("redis-benchmark") || !has("redis-server")) throw new Error("needs redis-server and redis-benchmark");
  await besideRedis(report);
  await crowd(report);
}
