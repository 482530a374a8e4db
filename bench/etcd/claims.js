// What a claim costs beside the transaction that it is in the engine: rows and owners of new names, written by both through clients of
// their own, in turns. The directory also decides, keeps its table in shared memory, and hears of all its rows again from its watch.
import { randomBytes } from "node:crypto";
import { packEntry } from "../../dist/directory/entry.js";
import { EtcdHost } from "../../dist/directory/etcd/etcd-host.js";
import { Keys } from "../../dist/directory/etcd/keys.js";
import { beginIncarnation, writeRow } from "../../dist/directory/etcd/transactions.js";
import { today } from "../../dist/directory/name-ownership.js";
import { inParallel } from "../growth/server-load.js";
import { median } from "../server/programs.js";

const CAPACITY = 262_144;
const ROUNDS = 9;
/** Rounds in which the program compiles what it does most. */
const WARM_UP = 3;
const REQUEST_MS = 10_000;
const LEASE_SECONDS = 600;
const LEAST_RATIO = 0.8;
/** How many at once, and how many in one round. */
const LOADS = [
  { atOnce: 1, claims: 200 },
  { atOnce: 8, claims: 800 },
  { atOnce: 50, claims: 2_000 },
];
/** A server has many clients: what it does when they come together is what the promise is about. */
const PROMISED_AT_ONCE = 50;
const WORKER = 1;
const CLAIM_ID_BYTES = 12;

/** A registration that a worker asks its server's directory for. */
export function requestOf(name, key) {
  const endpoints = [{ address: "192.0.2.7", port: 4000, kind: "host" }];
  return {
    entry: { name, key, endpoints, host: "bench", startedAt: Date.now() },
    claimId: randomBytes(CLAIM_ID_BYTES).toString("base64"),
    place: { worker: WORKER, connection: 1 },
    takeover: null,
    replace: false,
  };
}

export const keyOf = () => randomBytes(32).toString("base64");

/** A server's directory in this process, as its primary has it. */
export async function openHost(nodes, prefix, server) {
  const host = new EtcdHost({
    engine: nodes.engine(prefix),
    prefix,
    members: nodes.members,
    server,
    directoryId: server,
    realm: "",
    capacity: CAPACITY,
    nameLimit: CAPACITY,
    port: 1,
    listener: 0,
    predecessor: null,
    mode: 0o600,
    names: null,
    log: { warn: (event, fields) => console.error(event, fields) },
    onEvents() {},
    onSettled() {},
    onRestored: async () => {},
  });
  await host.start();
  return host;
}

/** The transaction of a claim that nothing is in the way of, by a client of its own, without a directory. */
export class BareClaims {
  #own = null;
  #keys;
  #engine;

  static async open(nodes, prefix) {
    const bare = new BareClaims();
    bare.#engine = nodes.engine(prefix);
    bare.#keys = new Keys(prefix);
    const lease = await bare.#engine.grantLease(LEASE_SECONDS, REQUEST_MS);
    const key = bare.#keys.server("bare", "1");
    const begin = beginIncarnation({ key, lease, value: Buffer.from("{}"), last: null });
    bare.#own = { key, epoch: (await bare.#engine.transact(begin, REQUEST_MS)).revision };
    return bare;
  }

  async claim(name, key) {
    const { entry, claimId, place } = requestOf(name, key);
    const row = { packed: packEntry(entry), claimId, server: "bare", incarnation: "123456789012", place };
    const owner = { known: null, line: { folded: name, key, day: today() } };
    const write = { folded: name, row, before: null, deadServer: null, owner, givesWay: null };
    const { succeeded } = await this.#engine.transact(writeRow(this.#keys, this.#own, write), REQUEST_MS);
    if (!succeeded) throw new Error(`${name} is there already`);
  }

  close() {
    this.#engine.close();
  }
}

/** In one process, in turns: the same names by the bare transaction, and by a directory. */
export async function claims(report, nodes, where) {
  const bare = await BareClaims.open(nodes, "/bare");
  const host = await openHost(nodes, "/claims", "s1");
  const worker = host.open({ log: { warn() {} }, publish() {} });
  worker.setLiveWorkers([WORKER]);
  const ways = {
    bare: (name, key) => bare.claim(name, key),
    directory: (name, key) => worker.register(requestOf(name, key)),
  };
  let names = 0;
  const round = async (claim, { atOnce, claims: count }) => {
    const first = names;
    names += count;
    const keys = Array.from({ length: count }, keyOf);
    const at = performance.now();
    await inParallel(count, atOnce, (i) => claim(`name${first + i}`, keys[i]));
    return (count / (performance.now() - at)) * 1000;
  };
  for (const load of LOADS) {
    const rates = [];
    for (let i = -WARM_UP; i < ROUNDS; i++) {
      const found = {};
      const turns = i % 2 === 0 ? ["bare", "directory"] : ["directory", "bare"];
      for (const way of turns) found[way] = await round(ways[way], load);
      if (i >= 0) rates.push(found);
    }
    const middle = (pick) => median(rates.map(pick));
    const what = `${load.atOnce} at once, ${where}`;
    report.row({ name: `bare transactions, ${what}`, value: middle(({ bare: rate }) => rate), unit: "/s" });
    const ratio = middle((found) => found.directory / found.bare);
    const isPromised = load.atOnce === PROMISED_AT_ONCE;
    const held = isPromised ? { target: ">= 0.8x bare", met: ratio >= LEAST_RATIO } : {};
    report.row({ name: `claims, ${what}`, value: middle(({ directory }) => directory), unit: "/s", ratio, ...held });
  }
  bare.close();
  worker.close();
  await host.close();
}
