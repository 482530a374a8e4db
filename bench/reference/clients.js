// Clients as the benchmarks register them: an IPv4 address, a short host name.
import { randomBytes } from "node:crypto";

const key = randomBytes(32).toString("base64");

export function benchClient(name, connection) {
  return {
    name,
    key,
    addresses: ["192.168.1.20"],
    port: 4000,
    host: "node17",
    pid: 4711,
    startTime: 123_456,
    startedAt: 1_790_000_000_000,
    owner: 1,
    connection,
  };
}
