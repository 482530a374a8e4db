// LOOKUP beside Redis's GET: the same load, the same core, in turns, so that whatever else the machine does meets both. A ratio
// is the median of the rounds' ratios: what was measured within the same seconds is compared.
import { execFileSync } from "node:child_process";
import { Identity } from "../../dist/crypto/identity.js";
import { Client } from "./client.js";
import { compileLoad, countingLoad, load, median, startPtalk, startRedis, workerPids } from "./programs.js";

const ROUNDS = 9;
const FRAMING_BYTES = 6; // of an element in RESP: "$", a digit or two, and two line ends
const CASES = [
  { what: "-c 50", pipeline: 1, requests: 100_000 },
  { what: "-c 50 -P 50", pipeline: 50, requests: 1_000_000 },
];

export async function besideRedis(report) {
  const ptalk = await startPtalk(1, 4096, true);
  const redis = await startRedis();
  const bob = new Client(ptalk.port);
  await bob.register("bob", Identity.generate());
  const [worker] = await workerPids(bob);
  execFileSync("redis-cli", ["-p", String(redis.port), "SET", "bob", "abc"]);
  // A reply of the same shape as LOOKUP's: what redis-benchmark itself spends on taking it apart is the same, then. A list of
  // one element is one value, and null an empty one.
  const fields = [...(await bob.ask("LOOKUP", "bob"))].flatMap(([field, value]) => [field, String(value ?? "")]);
  execFileSync("redis-cli", ["-p", String(redis.port), "HSET", "bob-hash", ...fields]);
  // And one of as many bytes in one piece: what the kernel spends on it is the same.
  const bytes = fields.reduce((sum, field) => sum + field.length + FRAMING_BYTES, 0);
  execFileSync("redis-cli", ["-p", String(redis.port), "SET", "bob-bytes", "x".repeat(bytes)]);
  const counted = compileLoad();
  for (const { what, pipeline, requests } of CASES) {
    const [lookups, gets, sized, hashes, countedLookups, countedGets] = [[], [], [], [], [], []];
    const options = ["-c", "50", "-P", String(pipeline)];
    for (let round = 0; round < ROUNDS; round++) {
      const turns = [
        () => lookups.push(load(ptalk.port, worker, requests, options, ["LOOKUP", "bob"])),
        () => gets.push(load(redis.port, redis.pid, requests, options, ["GET", "bob"])),
        () => sized.push(load(redis.port, redis.pid, requests, options, ["GET", "bob-bytes"])),
        () => hashes.push(load(redis.port, redis.pid, requests, options, ["HGETALL", "bob-hash"])),
      ];
      if (counted !== null) {
        turns.push(
          () => countedLookups.push(countingLoad(counted, ptalk.port, worker, pipeline, requests, "LOOKUP bob")),
          () => countedGets.push(countingLoad(counted, redis.port, redis.pid, pipeline, requests, "GET bob")),
        );
      }
      if (round % 2 === 1) turns.reverse(); // nobody is always the one behind a busy Redis
      for (const turn of turns) turn();
    }
    const middle = (runs, figure) => median(runs.map((run) => run[figure]));
    const times = (runs, others, figure) => median(runs.map((run, round) => run[figure] / others[round][figure]));
    const row = (name, runs, others, promise) => {
      const ratio = others && times(runs, others, "rate");
      const held = promise && { target: `>= 1x ${promise}`, met: ratio >= 1 };
      report.row({ name, value: middle(runs, "rate"), unit: "/s", ...(others && { ratio }), ...held });
    };
    row(`Redis GET ${what}`, gets);
    row(`LOOKUP ${what}`, lookups, gets, "Redis GET");
    row(`Redis GET ${what}, of as many bytes`, sized);
    row(`LOOKUP ${what}, beside that`, lookups, sized);
    row(`Redis HGETALL ${what}, of the same elements`, hashes);
    row(`LOOKUP ${what}, beside that`, lookups, hashes, "Redis HGETALL");
    report.row({ name: `Redis GET ${what}: CPU a request`, value: middle(gets, "cpu"), unit: "us" });
    report.row({
      name: `LOOKUP ${what}: CPU a request`,
      value: middle(lookups, "cpu"),
      unit: "us",
      ratio: times(lookups, gets, "cpu"),
    });
    if (counted === null) continue;
    row(`Redis GET ${what}, replies only counted`, countedGets);
    row(`LOOKUP ${what}, replies only counted`, countedLookups, countedGets);
  }
  bob.socket.destroy();
  await ptalk.stop();
  await redis.stop();
}
