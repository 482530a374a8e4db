// Rows of the client table as the benchmarks write them: an IPv4 address, a short host name.
import { randomBytes } from "node:crypto";
import { packEntry } from "../../dist/directory/entry.js";

const key = randomBytes(32).toString("base64");
const claimId = randomBytes(12).toString("base64");

export function benchClient(name, connection) {
  const entry = packEntry({
    name,
    key,
    endpoints: [{ address: "192.168.1.20", port: 4000, kind: "host" }],
    host: "node17",
    startedAt: 1_790_000_000_000,
  });
  return { entry, claimId, place: { worker: 1, connection } };
}
