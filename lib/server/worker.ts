// One worker: serves the connections that the primary hands over, and carries out the primary's messages. It does not know
// whether it is a process of its own (worker-main.ts) or part of its host's (local-worker.ts).
import type { Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { ConcurrencyLimit } from "../base/async.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { foldName } from "../base/names.ts";
import { isLoopback } from "../base/server-address.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { Identity } from "../crypto/identity.ts";
import type { Directory, DirectoryConfig } from "../directory/directory.ts";
import { DirectoryEntry, type PackedEntry } from "../directory/entry.ts";
import { setUserTimeout } from "../net/sockets.ts";
import { RequestParser } from "../wire/resp-request.ts";
import { ReplyWriter } from "../wire/resp-writer.ts";
import { Announcer, callPush, closingPush, knockPush, mailPush, probePush, removedPush } from "./announcer.ts";
import { isUid } from "./bans.ts";
import { tellOfMail } from "./commands/mailbox.ts";
import { showObserved } from "./commands/register.ts";
import { Connection, type ConnectionHost } from "./connection.ts";
import { dispatch } from "./dispatch.ts";
import { firstByte, TLS_HANDSHAKE } from "./first-byte.ts";
import {
  CONCURRENT_ALLS,
  DRAIN_TURN_MS,
  HANDSHAKE_MS,
  HEALTH_CHECK_MS,
  KEEPALIVE_MS,
  PROBE_AFTER_MS,
  PROBE_ANSWER_MS,
  UNACKNOWLEDGED_MS,
} from "./limits.ts";
import type { Log } from "./log.ts";
import { LoopDelay } from "./loop-delay.ts";
import type { Callee, ClientRow, KnockMessage, Removal, SendToPrimary, ToWorker, WorkerConfig } from "./messages.ts";
import type { Origin } from "./origin.ts";
import { refuse, refusePlain, TOO_MANY } from "./rejection.ts";
import { READ_BYTES } from "./shared-read.ts";
import { WorkerContext } from "./worker-context.ts";

export interface WorkerParts {
  readonly config: WorkerConfig;
  /** Closed with the worker. */
  readonly directory: Directory;
  readonly log: Log;
  readonly send: SendToPrimary;
}

export class Worker {
  readonly #context: WorkerContext;
  readonly #host: ConnectionHost;
  readonly #delay = new LoopDelay();
  readonly #healthTimer: NodeJS.Timeout;
  readonly #secureContext: SecureContext | null;
  /** Connections to a TLS server that have not said yet whether they are plain. */
  readonly #undecided = new Set<Socket>();
  #lastConnection = 0;

  constructor({ config, directory, log, send }: WorkerParts) {
    const identity = new Identity(Buffer.from(config.serverSeed, "base64"));
    const context = new WorkerContext({
      config,
      directory,
      announcer: new Announcer(directory, {
        watchLimit: config.limits.watchLimit,
        report: (change) => void send({ type: "interest", ...change }),
      }),
      alls: new ConcurrencyLimit(CONCURRENT_ALLS),
      log,
      send,
      sign: (bytes) => identity.sign(bytes),
    });
    this.#context = context;
    this.#host = {
      parser: new RequestParser(),
      out: new ReplyWriter(),
      readBuffer: new Uint8Array(READ_BYTES),
      limits: config.limits,
      dispatch: (connection, request, out) => dispatch(context, connection, request, out),
      refused: (reason) => context.refused(reason),
      waiting: ({ origin }, bytes) => context.waiting.add(origin, bytes),
      wantsTls: ({ address }) =>
        context.rareLog.warn("a client speaks TLS, and this server is plain; it needs --insecure", { address }),
      closed: (connection) => this.#closed(connection),
    };
    this.#secureContext = config.tls === null ? null : createSecureContext({ ...config.tls, minVersion: "TLSv1.2" });
    this.#healthTimer = setInterval(() => this.#checkHealth(), HEALTH_CHECK_MS).unref();
    void send({ type: "ready" });
  }

  /** Carries out a message of the primary. */
  handle(message: ToWorker, socket?: Socket): void {
    const context = this.#context;
    switch (message.type) {
      case "connection":
        // The descriptor is lost on its way when this process has no room for one more.
        if (socket === undefined || socket === null) this.#lostConnection(message.origin);
        else if (message.full && !this.#makeRoom()) this.#reject(socket, message.origin);
        else this.#adopt(socket, message.origin);
        break;
      case "owners":
        context.directory.setLiveWorkers(message.owners);
        break;
      case "events":
        context.directory.deliver(message.events);
        break;
      case "interest-known":
        context.announcer.reported();
        break;
      case "call":
        this.#call(message.to, message.from);
        break;
      case "replaced":
        this.#replaced(message.to);
        break;
      case "observed":
        void this.#observed(message.to.connection, { address: message.address, port: message.port });
        break;
      case "knock":
        this.#knock(message);
        break;
      case "relay":
        context.deliverRelayed(message.to, message.from, Buffer.from(message.bytes, "base64"));
        break;
      case "relay-users":
        context.relays?.setUsers(message.client, message.workers);
        break;
      case "mail":
        this.#mail(message.to, message.count);
        break;
      case "waiting":
        void tellOfMail(context, message.name, message.count);
        break;
      case "mailbox":
        context.answer(message.id, message.answer);
        break;
      case "info":
        context.answer(message.id, message.text);
        break;
      case "servers":
        context.answer(message.id, message.rows);
        break;
      case "right":
        context.answer(message.id, { right: message.right, isOver: message.isOver ?? false });
        break;
      case "login":
        context.answer(message.id, message.login);
        break;
      case "admin":
        context.answer(message.id, message.answer);
        break;
      case "is-admin":
        context.answer(message.id, message.isAdmin);
        break;
      case "ask-clients":
        void context.send({ type: "clients", id: message.id, rows: this.#rows() });
        break;
      case "remove":
        void this.#remove(message.removal).then((count) => context.send({ type: "removed", id: message.id, count }));
        break;
      case "bans":
        context.bans.replace(message.bans);
        break;
      case "drain":
        this.#drain(message.withinMs, message.except);
        break;
      case "ask-load":
        void context.send({ type: "load", id: message.id, load: context.load(this.#delay.p99()) });
        break;
      case "reopen":
        void this.#reopen(message.config);
        break;
      case "away":
        context.directory.setAway?.(message.isAway);
        break;
      case "start":
      case "stop":
      case "directory":
        break; // these are the process's, see worker-main.ts
    }
  }

  async #reopen(config: DirectoryConfig | null): Promise<void> {
    try {
      if (config !== null) await this.#context.directory.reopen(config);
      void this.#context.send({ type: "reopened" });
    } catch (error) {
      this.#context.log.error("the directory's new objects cannot be opened", { error }); // the primary ends this worker
    }
  }

  /** Says goodbye to every connection. The rows go with the directory. */
  stop(reason: string): void {
    this.#context.isStopping = true;
    clearInterval(this.#healthTimer);
    this.#delay.stop();
    for (const socket of this.#undecided) socket.destroy();
    const push = closingPush(reason);
    for (const connection of this.#context.connections.values()) {
      const hears =
        connection.protocol === 3 &&
        (connection.watching || connection.interests !== null || connection.client !== null);
      if (hears) this.#context.push(connection, push);
      connection.client = null;
      connection.end();
    }
  }

  /** Tells all clients, and ends their connections one after the other: they do not all come to the next server at once. */
  #drain(withinMs: number, except: number | null): void {
    const context = this.#context;
    context.isDraining = true;
    const push = closingPush("drain");
    const left: Connection[] = [];
    for (const connection of context.connections.values()) {
      if (connection.id === except) continue;
      if (connection.protocol === 3) context.push(connection, push);
      left.push(connection);
    }
    const turns = Math.max(1, Math.floor(withinMs / DRAIN_TURN_MS));
    const perTurn = Math.ceil(left.length / turns);
    const timer = setInterval(() => {
      for (const connection of left.splice(0, perTurn)) {
        connection.client = null; // the row goes with the directory, without a `left` push
        connection.end();
      }
      if (left.length === 0) clearInterval(timer);
    }, DRAIN_TURN_MS).unref();
  }

  #rows(): ClientRow[] {
    const worker = this.#context.config.id;
    return [...this.#context.connections.values()]
      .filter((connection) => !connection.ended)
      .map((connection) => {
        const { id, client, origin, key, since, transport } = connection;
        const print = key === null ? null : fingerprint(Buffer.from(key, "base64"));
        const { uid, address } = origin;
        const name = client?.claim.name ?? null;
        return { worker, connection: id, name, user: null, uid, address, transport, fingerprint: print, since };
      });
  }

  /** Pushes `removed` to each, and closes it. Fulfilled when the rows are gone. */
  async #remove(removal: Removal): Promise<number> {
    const context = this.#context;
    const found = [...context.connections.values()].filter(
      (connection) => !connection.ended && isMeant(removal, connection),
    );
    for (const connection of found) {
      if (connection.protocol === 3) context.push(connection, removedPush(removal));
      connection.end();
    }
    await Promise.all(found.map((connection) => context.unregister(connection)));
    return found.length;
  }

  close(): void {
    for (const connection of this.#context.connections.values()) connection.destroy();
    this.#context.directory.close();
  }

  /** Resolves when every connection has ended. */
  async emptied(): Promise<void> {
    while (this.#context.connections.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  #adopt(socket: Socket, origin: Origin): void {
    socket.allowHalfOpen = true; // a client that has sent everything still gets the replies
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    setUserTimeout(socket, UNACKNOWLEDGED_MS);
    const secureContext = this.#secureContext;
    const { address } = origin;
    if (secureContext === null || address === null) this.#connect(socket, origin, true);
    else {
      this.#undecided.add(socket);
      firstByte(socket, HANDSHAKE_MS, (byte) => {
        this.#undecided.delete(socket);
        if (byte === null) void this.#context.send({ type: "closed", origin });
        else if (byte === TLS_HANDSHAKE) this.#connect(secured(socket, secureContext), origin, false);
        // From this machine plain is as good: its clients need no certificate of a server that they share a kernel with.
        else if (isLoopback(address)) this.#connect(socket, origin, false);
        else this.#refusePlain(socket, origin);
      });
    }
  }

  #refusePlain(socket: Socket, origin: Origin): void {
    const context = this.#context;
    context.refused("plain to a TLS server");
    context.rareLog.warn("a client speaks plain, and this server takes TLS only; it has to leave --insecure out", {
      address: origin.address,
    });
    socket.once("close", () => void context.send({ type: "closed", origin }));
    refusePlain(socket);
  }

  /** @param untouched the socket is the connection itself, and nothing has read from it */
  #connect(stream: Socket, origin: Origin, untouched: boolean): void {
    const id = ++this.#lastConnection;
    this.#context.connections.set(id, new Connection(id, stream, origin, this.#host, untouched));
  }

  /** Ends the connection that has been there longest without registering: a client that talks comes before one that only asks. */
  #makeRoom(): boolean {
    const { connections, registering } = this.#context;
    for (const connection of connections.values()) {
      if (connection.client !== null || registering.has(connection.id)) continue;
      this.#context.refused("made room");
      if (connection.protocol === 3) this.#context.push(connection, closingPush("full"));
      connection.destroy();
      return true;
    }
    const [undecided] = this.#undecided;
    undecided?.destroy();
    return undecided !== undefined;
  }

  #reject(socket: Socket, origin: Origin): void {
    this.#context.refused(TOO_MANY);
    refuse(socket, TOO_MANY, this.#secureContext !== null && origin.address !== null);
    void this.#context.send({ type: "closed", origin });
  }

  #lostConnection(origin: Origin): void {
    this.#context.refused("no descriptor");
    void this.#context.send({ type: "workerError", reason: "a worker has no descriptor left for a connection" });
    void this.#context.send({ type: "closed", origin });
  }

  #closed(connection: Connection): void {
    const context = this.#context;
    context.connections.delete(connection.id);
    context.announcer.unwatch(connection);
    void context.send({ type: "closed", origin: connection.origin });
    if (connection.hasTaken) void context.send({ type: "mailbox-release", connection: connection.id });
    void context.unregister(connection);
  }

  #call(to: Callee, from: PackedEntry): void {
    const callee = this.#listenerOf(to);
    if (callee?.calledRate.take()) this.#context.push(callee, callPush(new DirectoryEntry(from)));
  }

  #knock({ to, key, from }: KnockMessage): void {
    const callee = this.#listenerOf(to);
    if (callee?.calledRate.take()) this.#context.push(callee, knockPush(key, from));
  }

  #mail(to: Callee, count: number): void {
    const owner = this.#listenerOf(to);
    if (owner !== null) this.#context.push(owner, mailPush(count));
  }

  /** Null: without RESP3 there are no pushes; another registration of the same connection is not the one that is meant. */
  #listenerOf({ connection, claimId }: Callee): Connection | null {
    const found = this.#context.connections.get(connection);
    return found?.protocol === 3 && found.client?.claim.id === claimId ? found : null;
  }

  async #observed(id: number, seen: Endpoint): Promise<void> {
    const connection = this.#context.connections.get(id);
    if (connection === undefined || connection.origin.address === null) return;
    connection.observed = seen;
    await showObserved(this.#context, connection).catch((error: unknown) => {
      this.#context.log.warn("an observed endpoint is not shown", { error });
    });
  }

  #replaced({ connection, claimId }: Callee): void {
    const context = this.#context;
    const pending = context.registering.get(connection);
    if (pending?.claimId === claimId) pending.isReplaced = true; // the directory was quicker than its own answer
    const found = context.connections.get(connection);
    const claim = found?.client?.claim;
    if (found !== undefined && claim?.id === claimId) context.endReplaced(found, claim.name);
  }

  /** Ends silent and stuck connections. */
  #checkHealth(): void {
    const now = performance.now();
    for (const connection of this.#context.connections.values()) {
      if (connection.isStuck(now)) {
        connection.tooSlow();
      } else if (connection.client?.probe && connection.protocol === 3) {
        this.#probe(connection, now);
      }
    }
  }

  #probe(connection: Connection, now: number): void {
    const { silence } = connection;
    // A client that is reading a long reply has a separate time limit; a probe would wait behind the reply.
    if (connection.heard || connection.replying) {
      connection.heard = false;
      silence.since = now;
      silence.probedAt = null;
    } else if (silence.probedAt === null) {
      if (now - silence.since < PROBE_AFTER_MS) return;
      silence.probedAt = now;
      this.#context.push(connection, probePush());
    } else if (now - silence.probedAt > PROBE_ANSWER_MS) {
      this.#context.refused("silent");
      connection.destroy();
    }
  }
}

/** Whether an administrator closes this connection. */
function isMeant({ name, target }: Removal, { client, origin, key }: Connection): boolean {
  if (name !== undefined) return client !== null && foldName(client.claim.name) === name;
  if (target === undefined) return false;
  if (isUid(target)) return String(origin.peerUid) === target;
  return key !== null && fingerprint(Buffer.from(key, "base64")) === target;
}

/** Cuts a connection that does not finish the handshake in time. TLS itself closes one that fails it. */
function secured(socket: Socket, secureContext: SecureContext): TLSSocket {
  const secure = new TLSSocket(socket, { isServer: true, secureContext });
  secure.allowHalfOpen = true;
  const killTimer = setTimeout(() => secure.destroy(), HANDSHAKE_MS).unref();
  secure.once("secure", () => clearTimeout(killTimer));
  secure.once("close", () => clearTimeout(killTimer));
  return secure;
}
