// The lookup server: LOOKUP beside Redis's GET, then 10,000 clients.
import { besideRedis } from "./server/beside-redis.js";
import { crowd } from "./server/crowd.js";
import { has } from "./server/programs.js";

export async function run(report) {
  if (!has("redis-benchmark") || !has("redis-server")) throw new Error("needs redis-server and redis-benchmark");
  await besideRedis(report);
  await crowd(report);
}
