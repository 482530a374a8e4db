// What the conformance suite runs in: a server with several workers, on a directory that it could share.
import { setTimeout as sleep } from "node:timers/promises";
import type { DirectoryEvent } from "../../../../lib/directory/directory.ts";
import type { EtcdAccess } from "../../../../lib/directory/etcd/address.ts";
import { systemClock } from "../../../../lib/directory/etcd/clock.ts";
import type { Engine } from "../../../../lib/directory/etcd/engine.ts";
import { EtcdEngine } from "../../../../lib/directory/etcd/etcd-engine.ts";
import { EtcdHost } from "../../../../lib/directory/etcd/etcd-host.ts";
import { Random } from "../../support/random.ts";
import { HostWorld, type Implementation, silent, type World, type WorldOptions } from "../../support/world.ts";
import { type Faults, MemoryConnection, MemoryStore } from "./memory-engine.ts";

/** @param revision the engine's, now */
async function makeWorld(
  { capacity, nameLimit, seed }: WorldOptions,
  engine: Engine,
  prefix: string,
  revision: () => number | Promise<number>,
): Promise<World> {
  let world: HostWorld | null = null;
  const host = new EtcdHost({
    ...{
      engine,
      prefix,
      members: [],
      capacity,
      nameLimit,
      server: "s1",
      directoryId: "d1",
      realm: "",
      port: 1,
      listener: 0,
      predecessor: null,
    },
    ...{ mode: 0o600, names: null, log: silent },
    onEvents: (events) => world?.announce(events),
    onSettled() {},
    onRestored: async () => {},
  });
  await host.start();
  const made = new HostWorld(host, seed, () => {});
  world = made;
  return {
    open: (worker) => made.open(worker),
    close: () => made.close(),
    async settled() {
      await made.settled();
      const wanted = await revision();
      while ((host.stats().engine_revision as number) < wanted) await sleep(1);
      await made.settled();
    },
  };
}

/** On the engine in memory. */
export function onMemoryEngine(name: string, faults: Faults): Implementation {
  return {
    name,
    isLocal: true,
    async make(options) {
      const store = new MemoryStore(systemClock);
      const random = new Random(options.seed);
      const engine = new MemoryConnection(store, systemClock, systemClock, random, "s1", { unknown: 0, delayMs: 0 });
      const world = await makeWorld(options, engine, "/t", () => store.state.revision);
      engine.faults = faults;
      return world;
    },
  };
}

/** Servers of one directory, on the engine in memory. */
export async function sharedHosts(
  servers: readonly string[],
  realm: string,
  onEvent: (event: DirectoryEvent) => void,
  onReplaced: (claimId: string) => void,
): Promise<{ hosts: EtcdHost[]; engine: () => Engine; close: () => Promise<void> }> {
  const store = new MemoryStore(systemClock);
  const random = new Random(1);
  const hosts: EtcdHost[] = [];
  for (const server of servers) {
    const engine = new MemoryConnection(store, systemClock, systemClock, random, server, { unknown: 0, delayMs: 1 });
    const host = new EtcdHost({
      ...{
        engine,
        prefix: "/t",
        members: [],
        capacity: 100,
        nameLimit: 1000,
        server,
        directoryId: server,
        realm,
        port: 1,
      },
      ...{ listener: 0, predecessor: null, mode: 0o600, names: null, log: silent },
      onEvents: (events) => events.forEach(onEvent),
      onReplaced: (_place, claimId) => onReplaced(claimId),
      onSettled() {},
      onRestored: async () => {},
    });
    hosts.push(host);
    await host.start();
  }
  return {
    hosts,
    engine: () => new MemoryConnection(store, systemClock, systemClock, random, "test", { unknown: 0, delayMs: 0 }),
    async close() {
      for (const host of hosts) await host.close();
    },
  };
}

/** On a real etcd, each world under a prefix of its own. */
export function onEtcd(access: () => EtcdAccess): Implementation {
  let worlds = 0;
  return {
    name: "on etcd",
    isLocal: true,
    make(options) {
      const prefix = `/world-${++worlds}`;
      const engine = new EtcdEngine({ ...access(), prefix });
      // What is told up to this key is everything that was written before it.
      const mark = { when: [], then: [{ put: `${prefix}/mark`, value: Buffer.from("") }], otherwise: [] };
      return makeWorld(options, engine, prefix, async () => (await engine.transact(mark, MARK_MS)).revision);
    },
  };
}

/** Ms; far beyond what it takes. */
const MARK_MS = 30_000;
