// How long a client that joins at one server stays unseen at another: from the moment at which it asks to be registered to the push that a
// watcher of its name gets there.
import { Identity } from "../../dist/crypto/identity.js";
import { Client } from "../server/client.js";
import { pause, startPtalk } from "../server/programs.js";

const CAPACITY = 8_192;
const PER_SECOND = 300;
const SECONDS = 8;
/** Joins that are not counted: the programs compile what they do. */
const WARM_UP = 300;
const JOINS = WARM_UP + PER_SECOND * SECONDS;
const NAMES_EACH = 900;
const KEYS = 64;
const PATIENCE_MS = 10_000;
const MAX_P99_MS = 250;

const nameOf = (i) => `joins${i}`;
/** Of times in order. */
const percentile = (times, part) => times[Math.min(times.length - 1, Math.floor(times.length * part))];

export async function joins(report, nodes) {
  const words = ["--directory", nodes.address("joins")];
  const here = await startPtalk(1, CAPACITY, false, { words });
  const there = await startPtalk(1, CAPACITY, false, { words });
  const askedAt = new Map();
  const times = [];
  let seen = 0;
  const watchers = [];
  for (let first = 0; first < JOINS; first += NAMES_EACH) {
    const watcher = new Client(there.port);
    await watcher.ask("HELLO", 3);
    const names = Array.from({ length: Math.min(NAMES_EACH, JOINS - first) }, (_, i) => nameOf(first + i));
    const reply = await watcher.ask("WATCH", ...names);
    if (reply !== "OK") throw reply;
    watcher.onPush = ([kind, name]) => {
      if (kind !== "joined") return;
      seen++;
      if (Number(name.slice("joins".length)) >= WARM_UP) times.push(performance.now() - askedAt.get(name));
    };
    watchers.push(watcher);
  }
  const identities = Array.from({ length: KEYS }, () => Identity.generate());
  const clients = [];
  const pending = [];
  const begun = performance.now();
  for (let i = 0; i < JOINS; i++) {
    const wait = begun + (i * 1000) / PER_SECOND - performance.now();
    if (wait > 0) await pause(wait);
    const client = new Client(here.port);
    clients.push(client);
    const asks = () => askedAt.set(nameOf(i), performance.now());
    pending.push(client.register(nameOf(i), identities[i % KEYS], asks));
  }
  await Promise.all(pending);
  const took = (performance.now() - begun) / 1000;
  const until = performance.now() + PATIENCE_MS;
  while (seen < JOINS && performance.now() < until) await pause(10);
  if (seen < JOINS) throw new Error(`${JOINS - seen} of ${JOINS} joins were not seen at the other server`);
  times.sort((a, b) => a - b);
  const p99 = percentile(times, 0.99);
  report.row({ name: "joins at one server", value: JOINS / took, unit: "/s" });
  report.row({ name: "until seen at the other, median", value: percentile(times, 0.5), unit: "ms" });
  const held = { target: `< ${MAX_P99_MS} ms`, met: p99 < MAX_P99_MS };
  report.row({ name: "until seen at the other, 99 %", value: p99, unit: "ms", ...held });
  for (const { socket } of [...clients, ...watchers]) socket.destroy();
  await here.stop();
  await there.stop();
}
