// LOOKUP beside Redis's GET: the same load, the same core, in turns, so that whatever else the machine does meets both.
import { execFileSync } from "node:child_process";
import { Identity } from "../../dist/crypto/identity.js";
import { Client } from "./client.js";
import { compileLoad, countingLoad, load, median, startPtalk, startRedis, workerPids } from "./programs.js";

const ROUNDS = 5;
const CASES = [
  { what: "-c 50", pipeline: 1, requests: 50_000 },
  { what: "-c 50 -P 50", pipeline: 50, requests: 1_000_000 },
];

export async function besideRedis(report) {
  const ptalk = await startPtalk(1, 4096, true);
  const redis = await startRedis();
  const bob = new Client(ptalk.port);
  await bob.register("bob", Identity.generate());
  const [worker] = await workerPids(bob);
  execFileSync("redis-cli", ["-p", String(redis.port), "SET", "bob", "abc"]);
  // A reply of the same shape as LOOKUP's: what redis-benchmark itself spends on taking it apart is the same, then.
  const fields = [...(await bob.ask("LOOKUP", "bob"))].flatMap(([field, value]) => [field, String(value)]);
  execFileSync("redis-cli", ["-p", String(redis.port), "HSET", "bob-hash", ...fields]);
  const counted = compileLoad();
  for (const { what, pipeline, requests } of CASES) {
    const [lookups, gets, hashes, countedLookups, countedGets] = [[], [], [], [], []];
    const options = ["-c", "50", "-P", String(pipeline)];
    for (let round = 0; round < ROUNDS; round++) {
      lookups.push(load(ptalk.port, worker, requests, options, ["LOOKUP", "bob"]));
      gets.push(load(redis.port, redis.pid, requests, options, ["GET", "bob"]));
      hashes.push(load(redis.port, redis.pid, requests, options, ["HGETALL", "bob-hash"]));
      if (counted === null) continue;
      countedLookups.push(countingLoad(counted, ptalk.port, worker, pipeline, requests, "LOOKUP bob"));
      countedGets.push(countingLoad(counted, redis.port, redis.pid, pipeline, requests, "GET bob"));
    }
    const rate = (runs) => median(runs.map((run) => run.rate));
    const cpu = (runs) => median(runs.map((run) => run.cpu));
    const row = (name, value, unit, other, promise) => {
      const ratio = other === undefined ? undefined : value / other;
      const held = promise && { target: `>= 1x ${promise}`, met: ratio >= 1 };
      report.row({ name, value, unit, ...(ratio === undefined ? {} : { ratio }), ...held });
    };
    row(`Redis GET ${what}`, rate(gets), "/s");
    row(`LOOKUP ${what}`, rate(lookups), "/s", rate(gets), "Redis GET");
    row(`Redis HGETALL ${what}, a reply of the same size`, rate(hashes), "/s");
    row(`LOOKUP ${what}, beside HGETALL`, rate(lookups), "/s", rate(hashes), "Redis HGETALL");
    row(`Redis GET ${what}: CPU a request`, cpu(gets), "us");
    row(`LOOKUP ${what}: CPU a request`, cpu(lookups), "us", cpu(gets));
    if (counted === null) continue;
    row(`Redis GET ${what}, replies only counted`, rate(countedGets), "/s");
    row(`LOOKUP ${what}, replies only counted`, rate(countedLookups), "/s", rate(countedGets));
  }
  bob.socket.destroy();
  await ptalk.stop();
  await redis.stop();
}
