// LOOKUP at a server that shares its directory with others, beside a server that has its own: both answer from a table in shared memory.
import { Identity } from "../../dist/crypto/identity.js";
import { Client } from "../server/client.js";
import { has, load, median, startPtalk } from "../server/programs.js";

const CAPACITY = 4_096;
const ROUNDS = 9;
const REQUESTS = 50_000;
const LEAST_RATIO = 0.95;
const LOADS = [
  { what: "LOOKUP -c 50", options: ["-c", "50"] },
  { what: "LOOKUP -c 50 -P 16", options: ["-c", "50", "-P", "16"] },
];

export async function lookups(report, nodes) {
  if (!has("redis-benchmark")) {
    console.error("without redis-benchmark no LOOKUPs are measured (Debian: redis-tools)");
    return;
  }
  const words = ["--directory", nodes.address("lookups")];
  const servers = {
    embedded: await startPtalk(1, CAPACITY, true),
    shared: await startPtalk(1, CAPACITY, true, { words }),
  };
  const clients = Object.values(servers).map(({ port }) => new Client(port));
  for (const client of clients) await client.register("bob", Identity.generate());
  for (const { what, options } of LOADS) {
    const rate = (which) => load(servers[which].port, servers[which].pid, REQUESTS, options, ["LOOKUP", "bob"]).rate;
    const rounds = [];
    for (let i = -1; i < ROUNDS; i++) {
      const found = {};
      for (const which of i % 2 === 0 ? ["embedded", "shared"] : ["shared", "embedded"]) found[which] = rate(which);
      if (i >= 0) rounds.push(found);
    }
    const ratio = median(rounds.map(({ embedded, shared }) => shared / embedded));
    const held = { target: `>= ${LEAST_RATIO}x embedded`, met: ratio >= LEAST_RATIO };
    report.row({
      name: `${what}, embedded directory`,
      value: median(rounds.map(({ embedded }) => embedded)),
      unit: "/s",
    });
    report.row({
      name: `${what}, etcd`,
      value: median(rounds.map(({ shared }) => shared)),
      unit: "/s",
      ratio,
      ...held,
    });
  }
  for (const { socket } of clients) socket.destroy();
  for (const { stop } of Object.values(servers)) await stop();
}
