// A server of a simulated world: the worker, its connections, its handlers, the bus between them, and the directory that it shares with others
// are what is shipped. In the place of the primary with its processes and its shared memory stands what is here.
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { foldName } from "../../lib/base/names.ts";
import { Identity, SEED_BYTES } from "../../lib/crypto/identity.ts";
import { kindOfChange } from "../../lib/directory/claim-rules.ts";
import type {
  Directory,
  DirectoryEvent,
  DirectoryHost,
  HostAnswer,
  HostRequest,
  Interest,
  OpenOptions,
  RegisterRequest,
} from "../../lib/directory/directory.ts";
import { DirectoryError } from "../../lib/directory/directory-error.ts";
import { DirectoryEntry } from "../../lib/directory/entry.ts";
import { leftRooms } from "../../lib/directory/entry-index.ts";
import type { Engine, EngineEvent, EngineState } from "../../lib/directory/etcd/engine.ts";
import type { Keys } from "../../lib/directory/etcd/keys.ts";
import { SharedDirectory } from "../../lib/directory/etcd/shared-directory.ts";
import { EventFeed } from "../../lib/directory/event-feed.ts";
import { HostedDirectory, type LocalTable } from "../../lib/directory/hosted-directory.ts";
import { MemoryDirectory, MemoryHost } from "../../lib/directory/memory-directory.ts";
import { NO_RIGHT } from "../../lib/directory/name-right.ts";
import type { SharedTable, TableChange } from "../../lib/directory/shared-table.ts";
import { defaultLimits } from "../../lib/server/limits.ts";
import { LocalWorker } from "../../lib/server/local-worker.ts";
import { silentLog } from "../../lib/server/log.ts";
import type { WorkerConfig } from "../../lib/server/messages.ts";
import { placeOfToken } from "../../lib/server/observation-token.ts";
import { tcpOrigin } from "../../lib/server/origin.ts";
import { StunServer } from "../../lib/server/stun-server.ts";
import { WorkerBus } from "../../lib/server/worker-bus.ts";
import { MemoryConnection, type MemoryStore } from "../directory/etcd/support/memory-engine.ts";
import type { Network } from "./network.ts";
import { Process, type World } from "./world.ts";

export const SERVER_PORT = 5518;
const CAPACITY = 2_000;
const START_RETRY_MS = 300;
const WORKERS = [1, 2];
/** Times that a request to the engine ends as unknown though nothing is cut, and ms that it takes. */
const ENGINE = { unknown: 0.002, delayMs: 4 };

/** Makes a part of a server faulty, for a checker that has to notice. */
export interface ServerSabotage {
  readonly engine?: (engine: Engine, store: MemoryStore) => Engine;
}

/** The table that the workers of one server read. */
class Table extends MemoryHost implements SharedTable {
  async apply(changes: readonly TableChange[]): Promise<(DirectoryEvent | null)[]> {
    return changes.map((change) => this.#applyOne(change));
  }

  find(name: string): ReturnType<MemoryDirectory["find"]> {
    return this.#reader.find(name);
  }
  readonly #reader = new MemoryDirectory(this, { log: silentLog, publish() {} });

  #applyOne(change: TableChange): DirectoryEvent | null {
    if (change.kind === "owner") {
      this.names.apply(change.line);
      return null;
    }
    const folded = foldName(change.kind === "gone" ? change.name : change.entry.name);
    const before = this.rows.get(folded);
    const old = before === undefined ? null : new DirectoryEntry(before.packed);
    if (change.kind === "gone") {
      if (before === undefined) return null;
      this.delete(folded, before);
      const { packed, version } = before;
      return { kind: "off", name: packed.name, version, ...leftRooms(old, null) };
    }
    const { entry: packed, claimId, place } = change;
    const row = this.put(folded, { packed, claimId, place, lastLookupAt: null }, before);
    const left = leftRooms(old, new DirectoryEntry(packed));
    return { kind: kindOfChange(old, packed), name: packed.name, version: row.version, entry: packed, ...left };
  }

  /** As one worker sees it. */
  reader({ log, publish }: OpenOptions): LocalTable {
    const reader = new MemoryDirectory(this, { log, publish() {} });
    const feed = new EventFeed(publish);
    const changes: Partial<LocalTable> = {
      emit: (event) => feed.emit(event),
      watch: (interest: Interest, listener: Parameters<Directory["watch"]>[1]) => feed.watch(interest, listener),
      deliver: (events) => feed.deliver(events, (name) => reader.find(name)),
      close: () => feed.close(),
    };
    return new Proxy(reader, {
      get(target, property) {
        const source = property in changes ? changes : target;
        const value: unknown = Reflect.get(source, property, source);
        return typeof value === "function" ? value.bind(source) : value;
      },
    }) as unknown as LocalTable;
  }
}

export interface ServerParts {
  readonly network: Network;
  readonly store: MemoryStore;
  readonly keys: Keys;
  readonly name: string;
  readonly address: string;
  readonly sabotage: ServerSabotage;
  /** A worker asks for this registration. */
  readonly onRegister: (request: RegisterRequest) => void;
}

/** One run of a server: after it was killed, another one begins. */
export class Server {
  readonly process: Process;
  readonly connection: MemoryConnection;
  readonly table: Table;
  readonly shared: SharedDirectory;
  /** It takes connections. */
  isUp = false;
  readonly #parts: ServerParts;
  readonly #bus: WorkerBus;
  readonly #world: World;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    const { network, store, keys, name, address, sabotage } = parts;
    const { world } = network;
    this.#world = world;
    this.process = new Process(name, address);
    this.table = new Table({ capacity: CAPACITY, nameLimit: CAPACITY });
    const clock = world.clockOf(this.process);
    this.connection = new MemoryConnection(store, world.clockOf(null), clock, world.random, name, ENGINE);
    const engine = backHome(world, this.process, this.connection);
    this.shared = new SharedDirectory({
      engine: sabotage.engine?.(engine, store) ?? engine,
      keys,
      server: name,
      facts: {},
      realm: "",
      id: "5".repeat(32),
      nameLimit: CAPACITY,
      clock,
      log: silentLog,
      table: this.table,
      newIncarnation: () => String(world.inner.below(2 ** 30)),
      onEvents: (events) => this.#bus.announce(events),
      onReplaced: (place, claimId) => this.#bus.replaced({ ...place, claimId }),
      onAway: (isAway) => this.#bus.broadcast({ type: "away", isAway }),
    });
    this.#bus = this.#newBus();
    world.after(0, this.process, () => void this.#begin());
  }

  /** As SIGKILL. */
  kill(): void {
    this.#parts.network.kill(this.process);
    this.connection.isCut = true;
    this.connection.close();
  }

  async #begin(): Promise<void> {
    for (;;) {
      try {
        await this.shared.start();
        break;
      } catch {
        await sleep(START_RETRY_MS);
      }
    }
    const { network, name } = this.#parts;
    // Its state directory has the same key for every run.
    const seed = Buffer.alloc(SEED_BYTES, name);
    const host = this.#host();
    for (const id of WORKERS) new LocalWorker(this.#bus, this.#config(id, seed), host, silentLog);
    let next = 0;
    network.listen(this.process, SERVER_PORT, (socket) => {
      const worker = WORKERS[next++ % WORKERS.length] as number;
      socket.pause();
      this.#bus.hand(worker, socket as unknown as Socket, tcpOrigin(socket.remoteAddress), false);
    });
    new StunServer({
      host: this.process.address,
      port: SERVER_PORT,
      log: silentLog,
      placeOf: (token) => placeOfToken(seed, token),
      onSeen: (place, seen) => this.#bus.observed(place, seen),
    });
    this.isUp = true;
  }

  #config(id: number, seed: Buffer): WorkerConfig {
    return {
      id,
      hasPeers: false,
      serverName: this.#parts.name,
      directory: null,
      limits: defaultLimits(CAPACITY),
      version: "0",
      serverKey: new Identity(seed).publicKey.toString("base64"),
      serverSeed: seed.toString("base64"),
      directoryId: this.shared.id,
      insecure: true,
      scope: "network",
      startedAt: this.#world.date,
      abstractName: "@none",
      port: SERVER_PORT,
      serverUser: null,
      openNames: false,
      tokenSecret: seed.toString("base64"),
      munge: false,
      relayRate: 256 * 1024,
      workers: WORKERS.length,
      isPrivate: false,
      tls: null,
      json: false,
      quiet: true,
      bans: [],
    };
  }

  #newBus(): WorkerBus {
    return new WorkerBus({
      changed() {},
      mailbox: async () => ({ op: "refused", why: "none" }),
      mailboxRelease() {},
      watchingChanged() {},
      up() {},
      ready() {},
      elsewhere() {},
      servers: async () => [],
      directory: (request) => this.#answer(request),
      workerError() {},
      infoText: () => "",
      rightTo: async () => ({ right: NO_RIGHT, isOver: false }),
      clientGone() {},
      loginOf: async () => null,
      admin: async () => ({ is: "refused", line: "NOPERM none here" }),
      isAdmin: async () => false,
    });
  }

  #host(): DirectoryHost {
    const { table } = this;
    return {
      config: null,
      count: table.count,
      capacity: table.capacity,
      open: (options) =>
        new HostedDirectory(table.reader(options), (request) => this.#answer(request), this.shared.isAway),
      observe() {},
      workerDied() {},
      stats: () => ({}),
      close: async () => {},
    };
  }

  /** As lib/directory/etcd/etcd-host.ts. */
  async #answer(request: HostRequest): Promise<HostAnswer> {
    const { shared } = this;
    try {
      switch (request.op) {
        case "register":
          this.#parts.onRegister(request.request);
          return { is: "done", ...(await shared.register(request.request, request.live)) };
        case "update":
          return { is: "done", ...(await shared.update(request.claim, request.changes)) };
        case "remove": {
          const event = await shared.remove(request.claim);
          return typeof event === "string" ? { is: "done", was: event === "gone" } : { is: "done", was: true, event };
        }
        case "bind":
          await shared.bind(request.name, request.key, request.right);
          return { is: "done" };
        case "release":
          return { is: "done", was: await shared.release(request.name) };
        case "ask":
          await shared.ask(request.name);
          return { is: "done" };
      }
    } catch (error) {
      if (!(error instanceof DirectoryError)) throw error;
      const { code, message, holder, isRefusal } = error;
      return { is: "refused", code, message, holder, isRefusal };
    }
  }
}

/** What the engine answers reaches the process as an event of its own: it waits while that is stopped, and is lost with it. */
function backHome(world: World, process: Process, engine: MemoryConnection): Engine {
  const home = <T>(answer: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      answer.then(
        (value) => world.after(0, process, () => resolve(value)),
        (error) => world.after(0, process, () => reject(error)),
      );
    });
  const told = (tell: () => void): void => void world.after(0, process, tell);
  return {
    transact: (transaction, deadline) => home(engine.transact(transaction, deadline)),
    list: (prefix, options) => home(engine.list(prefix, options)),
    grantLease: (seconds, deadline) => home(engine.grantLease(seconds, deadline)),
    keepAlive: (lease, deadline) => home(engine.keepAlive(lease, deadline)),
    revokeLease: (lease, deadline) => home(engine.revokeLease(lease, deadline)),
    watch: (prefix, from, listener) => {
      let isOver = false;
      const watch = engine.watch(prefix, from, {
        events: (events: readonly EngineEvent[], state: EngineState) =>
          told(() => isOver || listener.events(events, state)),
        progress: (state) => told(() => isOver || listener.progress(state)),
        ended: (why, error) => told(() => isOver || listener.ended(why, error)),
      });
      return {
        [Symbol.dispose]: () => {
          isOver = true;
          watch[Symbol.dispose]();
        },
      };
    },
    close: () => engine.close(),
  };
}
