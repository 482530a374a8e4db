// The lookup server as an object: from what it needs (resources.ts) to workers that serve; and the way back.
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { hostname } from "node:os";
import { foldName } from "../base/names.ts";
import { formatServerAddress, isLoopback } from "../base/server-address.ts";
import { userName } from "../base/users.ts";
import type { DirectoryHost, HostAnswer, HostMaker } from "../directory/directory.ts";
import { hostDirectoryId } from "../directory/directory-id.ts";
import { adminSocketPath, socketPath } from "../directory/live-server.ts";
import { type NameRight, NO_RIGHT } from "../directory/name-right.ts";
import { hostMaker } from "../directory/open.ts";
import { signalCounts } from "../ipc/index.ts";
import { hasMunge } from "../net/munge.ts";
import type { Acceptor } from "./acceptor.ts";
import { Accounts } from "./accounts.ts";
import { Administration } from "./administration.ts";
import { IdleShutdown } from "./idle-shutdown.ts";
import { infoText, type ServerFacts } from "./info-text.ts";
import { DRAIN_MS } from "./limits.ts";
import type { LocalSockets } from "./local-sockets.ts";
import { LocalWorker } from "./local-worker.ts";
import { LoopDelay } from "./loop-delay.ts";
import type { MailboxOffice } from "./mailbox-office.ts";
import type { WorkerConfig } from "./messages.ts";
import { metricsText } from "./metrics.ts";
import type { MetricsEndpoint } from "./metrics-endpoint.ts";
import { type NameQuestion, rightTo } from "./name-rights.ts";
import { placeOfToken } from "./observation-token.ts";
import { readOptions, type ServerOptions, type ServerSettings } from "./options.ts";
import { MailHandover } from "./peers/mail-handover.ts";
import type { PeerMessage } from "./peers/peer-frames.ts";
import { PeerLinks } from "./peers/peer-links.ts";
import { type ClientFacts, type PeerFacts, peerServer, toldServers } from "./peers/peer-servers.ts";
import { NO_DESCRIPTOR } from "./rejection.ts";
import { acquireResources, type Resources } from "./resources.ts";
import type { StateDir } from "./server-state.ts";
import { watchForService } from "./service-watch.ts";
import { startError } from "./start-error.ts";
import { StunServer } from "./stun-server.ts";
import type { TlsFiles } from "./tls.ts";
import { UserDatabase } from "./user-database.ts";
import { WorkerBus } from "./worker-bus.ts";
import { WorkerPool } from "./worker-pool.ts";

/** Bytes: a server's name may have 64, with ":" and the port. */
const MAX_HOST_NAME = 58;
/** Links that a client may have checked at once; more servers share no directory. */
const MAX_CHECKED_LINKS = 64;
/** Ms for which names are held for the clients of a server that has died: longer than they take to come back. */
const HELD_MS = 10_000;
const VERSION: string = (createRequire(import.meta.url)("../../package.json") as { version: string }).version;

/**
 * A lookup server.
 *
 *     const server = await LookupServer.start({ listen: "127.0.0.1:0" });
 *     console.log(server.address);
 *     await server.stop();
 *
 * It takes no signals and writes nothing to stdout: that is `ptalk serve`.
 */
export class LookupServer implements AsyncDisposable {
  /** "HOST:PORT" that it serves on, with the port that the system picked. */
  readonly address: string;
  readonly port: number;
  /** Fingerprint of the TLS certificate ("SHA256:…"), null without TLS. */
  readonly certificate: string | null;
  /** Settles when the server begins to stop. */
  readonly stopping: Promise<void>;
  /** Settles when the server has stopped, however it came to that. */
  readonly stopped: Promise<void>;
  readonly #host: string;
  readonly #settings: ServerSettings;
  readonly #acceptor: Acceptor;
  readonly #sockets: LocalSockets;
  readonly #users: UserDatabase;
  readonly #directory: DirectoryHost;
  readonly #state: StateDir;
  readonly #tls: TlsFiles | null;
  readonly #bus: WorkerBus;
  readonly #pool: WorkerPool;
  readonly #mailbox: MailboxOffice;
  readonly #metrics: MetricsEndpoint | null;
  readonly #peers: PeerLinks | null;
  readonly #handover: MailHandover | null;
  readonly #loopDelay = new LoopDelay();
  readonly #administration: Administration;
  readonly #accounts: Accounts;
  readonly #empty: IdleShutdown | null;
  readonly #serverName: string;
  readonly #startedAt = Date.now();
  readonly #tokenSecret = randomBytes(32);
  #stun: StunServer | null = null;
  /** Once for all workers: HELLO says it. */
  readonly #munge = hasMunge();
  #local: LocalWorker | null = null;
  #serviceWatch: Disposable | null = null;
  /** Ends the server that an administrator drains. */
  #drainTimer: NodeJS.Timeout | null = null;
  /** Login of the user that the server runs as; null when there is none. */
  #user: string | null = null;
  #stop: Promise<void> | null = null;
  #settleStopped: () => void = () => {};
  #settleStopping: () => void = () => {};

  private constructor(parts: Resources, makeHost: HostMaker) {
    const { settings, acceptor, sockets, state, mailbox, metrics, tls, peers } = parts;
    this.#settings = settings;
    this.#acceptor = acceptor;
    this.#accounts = new Accounts(settings.limits);
    this.#users = new UserDatabase({ log: settings.log });
    this.#sockets = sockets;
    this.#state = state;
    this.#mailbox = mailbox;
    this.#metrics = metrics;
    this.#tls = tls;
    this.port = acceptor.address.port;
    this.#host = acceptor.address.host;
    this.address = formatServerAddress(acceptor.address);
    this.certificate = tls?.fingerprint ?? null;
    this.stopping = new Promise((resolve) => {
      this.#settleStopping = resolve;
    });
    this.stopped = new Promise((resolve) => {
      this.#settleStopped = resolve;
    });
    const { predecessor } = settings;
    this.#serverName = settings.directory === "etcd" ? serverNameOf(this.port) : "";
    this.#directory = makeHost({
      server: this.#serverName,
      facts: { ...peerFacts(parts), ...clientFacts(parts) },
      port: this.port,
      listener: acceptor.inode,
      directoryId: state.directoryId,
      predecessor: predecessor === null ? null : { name: predecessor, heldUntil: this.#startedAt + HELD_MS },
      capacity: settings.capacity,
      mode: settings.tableMode,
      names: state.names,
      nameLimit: settings.limits.names,
      log: settings.log,
      onEvents: (events) => {
        this.#bus.announce(events);
        for (const { kind, name } of events) if (kind !== "off") this.#handover?.look(foldName(name));
      },
      onSettled: () => this.#empty?.recheck(),
      onReplaced: (place, claimId) => this.#bus.replaced({ ...place, claimId }),
      onAway: (isAway) => {
        settings.log.warn(isAway ? "the directory's engine does not answer" : "the directory's engine answers again");
        this.#bus.broadcast({ type: "away", isAway });
      },
      onRestored: async () => {
        await Promise.all([this.#bus.reopen(this.#directory.config), this.#openSocket()]);
      },
    });
    this.#bus = new WorkerBus({
      changed: (id, events) => {
        this.#directory.observe(id, events);
        this.#empty?.clientSeen();
      },
      mailbox: (id, request) => this.#mailbox.answer(id, request),
      mailboxRelease: (id, connection) => this.#mailbox.release(id, connection),
      watchingChanged: () => this.#empty?.recheck(),
      up: (id) => this.#pool.configure(id),
      ready: (id) => this.#pool.ready(id),
      elsewhere: (server, message) => this.#peers?.send(server, message),
      directory: (request) => this.#directory.answer?.(request) ?? Promise.resolve(NOT_HOSTED),
      workerError: (reason) => settings.log.error(reason),
      infoText: (loads) => infoText(this.#facts(), loads),
      servers: (withLinks) => this.#servers(withLinks),
      rightTo: (id, question) => this.#rightTo(id, question),
      clientGone: (id, account) => this.#accounts.giveBackClient(id, account),
      loginOf: (uid) => this.#loginOf(uid),
      admin: (worker, { uid, connection, request }) =>
        this.#administration.answer({ worker, connection, uid }, request),
      isAdmin: async (uid) => (await this.#administration.isAdmin(uid)) === true,
    });
    const stated = () => this.#directory.others?.() ?? new Map();
    this.#peers =
      peers === null ? null : new PeerLinks(peers, stated, (message) => this.#fromPeer(message), settings.log);
    this.#handover =
      this.#peers === null
        ? null
        : new MailHandover({
            server: this.#serverName,
            office: mailbox,
            links: this.#peers,
            serverOf: (name) => this.#directory.serverOf?.(name) ?? null,
            tell: (to, waiting) => this.#bus.tellOfMail(to, waiting),
            log: settings.log,
          });
    mailbox.onWaiting = (to) => this.#handover?.look(to);
    this.#administration = new Administration({
      admins: settings.admins,
      owner: settings.ephemeral ? null : (process.geteuid?.() ?? null),
      find: (user, isAnew) => this.#users.find(user, isAnew),
      clients: () => this.#bus.clients(),
      remove: (removal) => this.#bus.removeClients(removal),
      broadcast: (message) => this.#bus.broadcast(message),
      drain: (last) => this.#drain(last),
      folder: state.path,
      log: settings.log,
    });
    mailbox.onReceipt = (to, waiting) => {
      this.#bus.tellOfMail(to, waiting);
      this.#handover?.look(to);
    };
    this.#pool = new WorkerPool(
      this.#bus,
      {
        configOf: (id) => this.#workerConfig(id),
        readyChanged: (ids) => acceptor.setReady(ids),
        died: (id, stranded) => {
          this.#directory.workerDied(id);
          this.#accounts.workerDied(id);
          this.#mailbox.workerDied(id);
          for (const { socket, origin } of stranded) acceptor.assign(socket, origin);
        },
        lost: ({ socket, origin }) => acceptor.reject(socket, NO_DESCRIPTOR, origin),
      },
      settings.log,
    );
    this.#empty = settings.exitWhenEmpty
      ? new IdleShutdown(
          // A client that waits for a user (`ptalk send --wait`) is not on, and watches.
          () => this.clients + (this.#bus.isWatched ? 1 : 0),
          () => performance.now() - acceptor.acceptedAt,
          () => void this.stop("empty"),
        )
      : null;
  }

  /**
   * Starts a server and waits until it takes connections.
   * @throws TalkError usage (options), unreachable (the address or port is in use, with the pid of the server that has it),
   * refused (permissions, a state directory that is in use); AbortError
   */
  static async start(options: ServerOptions = {}): Promise<LookupServer> {
    const settings = readOptions(options);
    const { signal } = settings;
    try {
      // First: a mistake in the directory's address is an error before the server makes anything.
      const makeHost = await hostMaker(settings);
      const server = LookupServer.#of(await acquireResources(settings), makeHost);
      try {
        await server.#begin(signal);
      } catch (error) {
        await server.stop(signal?.aborted ? "aborted" : "failed");
        throw error;
      }
      return server;
    } catch (error) {
      throw startError(error, settings.capacity);
    }
  }

  /** From here on the server gives back itself what was acquired for it. */
  static #of(parts: Resources, makeHost: HostMaker): LookupServer {
    try {
      return new LookupServer(parts, makeHost);
    } catch (error) {
      parts.release();
      throw error;
    }
  }

  /** Clients that are on. */
  get clients(): number {
    return this.#directory.count;
  }

  /** Clients that there is room for. */
  get capacity(): number {
    return this.#settings.capacity;
  }

  /** "HOST:PORT" of the metrics, with the port that the system picked; null without. */
  get metricsAddress(): string | null {
    return this.#metrics?.address ?? null;
  }

  /** Pids of the worker processes. */
  get workers(): number[] {
    return this.#pool.pids;
  }

  /** Tells the clients, closes, and removes every shared object. Safe to call twice. */
  stop(reason = "shutdown"): Promise<void> {
    this.#stop ??= this.#stopAll(reason);
    return this.#stop;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #begin(signal: AbortSignal | null): Promise<void> {
    const uid = process.geteuid?.() ?? 0;
    const inFile = userName(uid);
    this.#user = inFile === String(uid) ? await this.#loginOf(uid) : inFile;
    await Promise.race([this.#directory.start?.(), aborted(signal)]);
    this.#acceptor.serve(this.#bus, this.#administration);
    this.#sockets.serve((socket, origin) => this.#acceptor.accept(socket, origin));
    if (this.#settings.workers === 0) {
      this.#local = new LocalWorker(this.#bus, this.#workerConfig(0), this.#directory, this.#settings.log);
      this.#acceptor.setReady([0]);
    } else {
      await Promise.race([this.#pool.start(this.#settings.workers), aborted(signal)]);
      this.#users.start();
    }
    this.#administration.start();
    await this.#openSocket();
    if (this.#settings.ephemeral) {
      this.#serviceWatch = watchForService(() => void this.stop("service"));
    }
    this.#metrics?.serve(async () => {
      const loads = await this.#bus.stats();
      const { stats: mailbox } = this.#mailbox;
      return metricsText({ ...this.#facts(), mailbox, loopDelayP99: this.#loopDelay.p99() }, loads);
    });
    this.#stun = new StunServer({
      host: this.#acceptor.address.host,
      port: this.port,
      log: this.#settings.log,
      placeOf: (token) => placeOfToken(this.#tokenSecret, token),
      onSeen: (place, seen) => this.#bus.observed(place, seen),
    });
    this.#empty?.start();
  }

  /**
   * Ends the server in order, as its administrator wants it: it takes no more connections, and gives up its sockets, so that the next server
   * can start; the clients hear of it, and go one after the other.
   */
  #drain(last: { readonly worker: number; readonly connection: number }): void {
    if (this.#drainTimer !== null || this.#stop !== null) return;
    this.#drainTimer = setTimeout(() => void this.stop("drain"), DRAIN_MS);
    this.#serviceWatch?.[Symbol.dispose]();
    this.#stun?.close();
    this.#acceptor.close();
    this.#sockets.close();
    this.#bus.drain(DRAIN_MS, last);
  }

  async #stopAll(reason: string): Promise<void> {
    this.#settleStopping();
    this.#settings.log.info("stopping", { reason, clients: this.clients });
    this.#empty?.stop();
    if (this.#drainTimer !== null) clearTimeout(this.#drainTimer);
    this.#administration.close();
    this.#serviceWatch?.[Symbol.dispose]();
    this.#stun?.close();
    this.#acceptor.close();
    this.#sockets.close();
    this.#metrics?.close();
    this.#handover?.[Symbol.dispose]();
    this.#peers?.close();
    this.#loopDelay.stop();
    await this.#pool.stop(reason);
    await this.#local?.stop(reason);
    await this.#mailbox.close();
    this.#users.close();
    await this.#directory.close();
    this.#state.release();
    this.#settleStopped();
  }

  /** The client counts from here on, so that many requests at once do not pass the bound together. */
  async #rightTo(worker: number, question: NameQuestion): Promise<{ right: NameRight; isOver: boolean }> {
    const { adds = null } = question;
    const isBounded = adds !== null && !this.#administration.hasReserve(adds.origin.uid);
    const isOver = isBounded && !this.#accounts.takeClient(worker, adds.origin, adds.isBack);
    return { right: isOver ? NO_RIGHT : await rightTo(question, (user) => this.#users.find(user)), isOver };
  }

  /** For a client that is on here, or for a connection that has only claimed its name. */
  #fromPeer(message: PeerMessage): void {
    if (message.type === "hand" || message.type === "took") {
      this.#handover?.receive(message);
      return;
    }
    const { elsewhere, claimId, ...there } = message.to;
    const place = elsewhere === undefined ? there : this.#directory.placeOf?.(elsewhere.name, claimId);
    if (place !== null && place !== undefined) this.#bus.deliver(message, place);
  }

  /** For the clients: the other servers of the directory; or how this one's links to them are. */
  async #servers(withLinks: boolean): Promise<readonly (readonly (string | null)[])[]> {
    const stated = this.#directory.others?.() ?? new Map<string, Readonly<Record<string, unknown>>>();
    if (!withLinks) return toldServers(stated, hostDirectoryId());
    const names = [...stated.keys()].sort().slice(0, MAX_CHECKED_LINKS);
    const states = names.map(async (server) => {
      if (this.#peers === null) return "this server has no --peer-listen";
      if (peerServer(stated.get(server)) === null) return "it has no --peer-listen";
      return this.#peers.check(server);
    });
    const reasons = await Promise.all(states);
    return names.map((server, i) => [server, reasons[i] ?? null]);
  }

  async #loginOf(uid: number): Promise<string | null> {
    const account = await this.#users.find(uid);
    return account.is === "yes" ? account.login : null;
  }

  /**
   * The Unix socket beside the objects: a client finds it by the port, and root counts as root there. Clients use that of a server that they
   * have started, and else the abstract one; administrators use it at every server.
   */
  async #openSocket(): Promise<void> {
    const { config } = this.#directory;
    if (config === null) return;
    try {
      const { ephemeral } = this.#settings;
      await this.#sockets.moveTo(ephemeral ? socketPath(config.table) : adminSocketPath(config.table));
    } catch (error) {
      this.#settings.log.warn("no Unix socket beside the objects", { error });
    }
  }

  #workerConfig(id: number): WorkerConfig {
    const { limits, insecure, json } = this.#settings;
    return {
      id,
      directory: this.#directory.config,
      serverName: this.#serverName,
      hasPeers: this.#peers !== null,
      limits,
      version: VERSION,
      serverKey: this.#state.serverKey,
      serverSeed: this.#state.serverSeed,
      directoryId: this.#directory.directoryId ?? this.#state.directoryId,
      insecure,
      startedAt: this.#startedAt,
      scope: isLoopback(this.#host) ? "host" : "network",
      abstractName: this.#sockets.abstractName,
      port: this.port,
      serverUser: this.#user,
      openNames: this.#settings.openNames,
      tokenSecret: this.#tokenSecret.toString("base64"),
      munge: this.#munge,
      relayRate: this.#settings.relay ? this.#settings.relayRate : 0,
      workers: Math.max(1, this.#settings.workers),
      isPrivate: this.#settings.private,
      tls: this.#tls === null ? null : { cert: this.#tls.cert, key: this.#tls.key },
      json,
      quiet: this.#settings.quiet,
      bans: this.#administration.bans.list,
    };
  }

  #facts(): ServerFacts {
    return {
      version: VERSION,
      pid: process.pid,
      uid: process.getuid?.() ?? 0,
      address: this.address,
      tls: this.#tls !== null,
      startedAt: this.#startedAt,
      clients: this.clients,
      capacity: this.#settings.capacity,
      connections: this.#bus.connections,
      accounts: this.#accounts.stats,
      relayed: this.#bus.relayed,
      workersReplaced: this.#pool.replaced,
      refusals: this.#acceptor.refusals,
      signals: signalCounts(),
      admin: { ...this.#administration.stats, draining: this.#drainTimer === null ? 0 : 1 },
      directory: { ...this.#directory.stats(), ...this.#peers?.stats, ...this.#handover?.stats },
    };
  }
}

/** A worker asks only a directory whose host makes the changes. */
const NOT_HOSTED: HostAnswer = {
  ...{
    is: "refused",
    code: "try-again",
    message: "this server's directory has no host",
    holder: null,
    isRefusal: true,
  },
};

/** What the other servers of the directory may know: how they reach this one, and by what they know it. */
function peerFacts({ peers, settings: { peerListen } }: Resources): Partial<PeerFacts> {
  if (peers === null || peerListen === null) return {};
  return { peer: peers.addressAs(peerListen.host), certificate: peers.tls.fingerprint };
}

/** What they tell their clients; nothing where no host name or address is known under which those reach this server. */
function clientFacts({ acceptor, tls, state, settings }: Resources): Partial<ClientFacts> {
  const { listenFd, listen, peerListen } = settings;
  const { host, port } = acceptor.address;
  const isAny = host === "0.0.0.0" || host === "::";
  const named = isAny ? peerListen?.host : listenFd === null ? listen.host : host;
  if (named === undefined) return {};
  const client = formatServerAddress({ host: named, port });
  return { client, tls: tls?.fingerprint ?? null, key: state.serverKey, host: hostDirectoryId() };
}

/** Among the servers of one directory. A name need not be unique: each life of a server has a random word besides. */
function serverNameOf(port: number): string {
  const host = hostname().replace(/[^A-Za-z0-9._-]/g, "_");
  return `${host.slice(0, MAX_HOST_NAME)}:${port}`;
}

/** Rejects when the signal is aborted; without one it never settles. */
function aborted(signal: AbortSignal | null): Promise<never> {
  return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason), { once: true }));
}
