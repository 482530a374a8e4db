// One worker: serves the connections it is given, and does what the primary tells it. Whether it is a process of its own
// or part of its host's is known only to whoever makes it.
import type { Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { ConcurrencyLimit } from "../base/async.ts";
import { isLoopback } from "../base/server-address.ts";
import { ClientTable } from "../directory/shm/client-table.ts";
import { NameLog } from "../directory/shm/name-log.ts";
import type { WriteBatcher } from "../directory/shm/write-batcher.ts";
import { setUserTimeout } from "../net/sockets.ts";
import { RequestParser } from "../wire/resp-request.ts";
import { ReplyWriter } from "../wire/resp-writer.ts";
import { Announcer, callPush, closingPush, probePush } from "./announcer.ts";
import { Connection, type ConnectionHost } from "./connection.ts";
import { dispatch } from "./dispatch.ts";
import { firstByte, TLS_HANDSHAKE } from "./first-byte.ts";
import {
  CONCURRENT_ALLS,
  HANDSHAKE_MS,
  HEALTH_CHECK_MS,
  KEEPALIVE_MS,
  PROBE_AFTER_MS,
  PROBE_ANSWER_MS,
  UNACKNOWLEDGED_MS,
} from "./limits.ts";
import type { Log } from "./log.ts";
import { LoopDelay } from "./loop-delay.ts";
import type { Callee, SendToPrimary, ToWorker, WorkerConfig } from "./messages.ts";
import { refuse, TOO_MANY } from "./rejection.ts";
import { READ_BYTES } from "./shared-read.ts";
import { WorkerContext } from "./worker-context.ts";

export interface WorkerParts {
  readonly config: WorkerConfig;
  readonly owners: readonly number[];
  readonly writes: WriteBatcher;
  readonly log: Log;
  readonly send: SendToPrimary;
}

export class Worker {
  readonly #service: WorkerContext;
  readonly #host: ConnectionHost;
  readonly #delay = new LoopDelay();
  readonly #healthTimer: NodeJS.Timeout;
  readonly #context: SecureContext | null;
  /** Connections to a TLS server that have not said yet whether they are plain. */
  readonly #undecided = new Set<Socket>();
  #lastConnection = 0;

  constructor({ config, owners, writes, log, send }: WorkerParts) {
    const service = new WorkerContext({
      config,
      table: ClientTable.open(config.table),
      writes,
      bindings: new NameLog(config.names, config.limits.names, log),
      announcer: new Announcer(send),
      alls: new ConcurrencyLimit(CONCURRENT_ALLS),
      log,
      send,
    });
    service.owners = new Set(owners);
    this.#service = service;
    this.#host = {
      parser: new RequestParser(),
      out: new ReplyWriter(),
      readBuffer: new Uint8Array(READ_BYTES),
      limits: config.limits,
      dispatch: (connection, request, out) => dispatch(service, connection, request, out),
      refused: (reason) => service.refused(reason),
      closed: (connection) => this.#closed(connection),
    };
    this.#context = config.tls === null ? null : createSecureContext({ ...config.tls, minVersion: "TLSv1.2" });
    this.#healthTimer = setInterval(() => this.#checkHealth(), HEALTH_CHECK_MS).unref();
    void send({ type: "ready" });
  }

  /** Does what the primary says. */
  handle(message: ToWorker, socket?: Socket): void {
    const service = this.#service;
    switch (message.type) {
      case "connection":
        // The descriptor is lost on its way when this process has no room for one more.
        if (socket === undefined || socket === null) this.#lostConnection(message.address);
        else if (message.full && !this.#makeRoom()) this.#reject(socket, message.address);
        else this.#adopt(socket, message.address);
        break;
      case "owners":
        service.owners = new Set(message.owners);
        break;
      case "events":
        service.announcer.tellOfOthers(message.events, (name) => service.table.find(name)?.record.version ?? null);
        break;
      case "call":
        this.#callee(message.to)?.push(callPush(message.from));
        break;
      case "replaced":
        this.#replaced(message.to);
        break;
      case "info":
        service.answerInfo(message.id, message.text);
        break;
      case "ask-load":
        void service.send({ type: "load", id: message.id, load: service.load(this.#delay.p99()) });
        break;
      case "start":
      case "stop":
        break; // these are the process's, see worker-main.ts
    }
  }

  /** Tells everybody and lets go. The records go with the table. */
  stop(reason: string): void {
    clearInterval(this.#healthTimer);
    this.#delay.stop();
    for (const socket of this.#undecided) socket.destroy();
    const push = closingPush(reason);
    for (const connection of this.#service.connections.values()) {
      if (connection.protocol === 3 && (connection.watching || connection.client !== null)) connection.push(push);
      connection.client = null;
      connection.end();
    }
  }

  close(): void {
    for (const connection of this.#service.connections.values()) connection.destroy();
    this.#service.bindings.close();
    this.#service.table.close();
  }

  /** Resolves when every connection has ended. */
  async emptied(): Promise<void> {
    while (this.#service.connections.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  #adopt(socket: Socket, address: string): void {
    socket.allowHalfOpen = true; // who has sent everything still gets the replies
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    setUserTimeout(socket, UNACKNOWLEDGED_MS);
    const context = this.#context;
    if (context === null) this.#connect(socket, address, true);
    else if (!isLoopback(address)) this.#connect(secured(socket, context), address, false);
    else {
      // From this machine plain is as good: its clients need no certificate of a server that they share a kernel with.
      this.#undecided.add(socket);
      firstByte(socket, HANDSHAKE_MS, (byte) => {
        this.#undecided.delete(socket);
        if (byte === null) void this.#service.send({ type: "closed", address });
        else this.#connect(byte === TLS_HANDSHAKE ? secured(socket, context) : socket, address, false);
      });
    }
  }

  /** @param untouched the socket is the connection itself, and nothing has read from it */
  #connect(stream: Socket, address: string, untouched: boolean): void {
    const id = ++this.#lastConnection;
    this.#service.connections.set(id, new Connection(id, stream, address, this.#host, untouched));
  }

  /** Ends the connection that has been there longest without registering: who wants to talk comes before who only asks. */
  #makeRoom(): boolean {
    for (const connection of this.#service.connections.values()) {
      if (connection.client !== null) continue;
      this.#service.refused("made room");
      if (connection.protocol === 3) connection.push(closingPush("full"));
      connection.destroy();
      return true;
    }
    const [undecided] = this.#undecided;
    undecided?.destroy();
    return undecided !== undefined;
  }

  #reject(socket: Socket, address: string): void {
    this.#service.refused(TOO_MANY);
    refuse(socket, TOO_MANY, this.#context !== null);
    void this.#service.send({ type: "closed", address });
  }

  #lostConnection(address: string): void {
    this.#service.refused("no descriptor");
    void this.#service.send({ type: "workerError", reason: "a worker has no descriptor left for a connection" });
    void this.#service.send({ type: "closed", address });
  }

  #closed(connection: Connection): void {
    const service = this.#service;
    service.connections.delete(connection.id);
    service.announcer.unwatch(connection);
    void service.send({ type: "closed", address: connection.address });
    void service.unregister(connection);
  }

  #callee({ connection, name }: Callee): Connection | null {
    const found = this.#service.connections.get(connection);
    return found?.client?.name === name && found.protocol === 3 ? found : null;
  }

  #replaced({ connection, name }: Callee): void {
    const found = this.#service.connections.get(connection);
    if (found?.client?.name !== name) return;
    if (found.protocol === 3) found.push(closingPush("replaced"));
    found.end();
  }

  /** Looks for the silent and the stuck. */
  #checkHealth(): void {
    const now = performance.now();
    for (const connection of this.#service.connections.values()) {
      if (connection.isStuck(now)) {
        connection.tooSlow();
      } else if (connection.client?.probe && connection.protocol === 3) {
        this.#probe(connection, now);
      }
    }
  }

  #probe(connection: Connection, now: number): void {
    const { silence } = connection;
    // Who is reading a long reply has its own time for that; a probe would wait behind the reply.
    if (connection.heard || connection.replying) {
      connection.heard = false;
      silence.since = now;
      silence.probedAt = null;
    } else if (silence.probedAt === null) {
      if (now - silence.since < PROBE_AFTER_MS) return;
      silence.probedAt = now;
      connection.push(probePush());
    } else if (now - silence.probedAt > PROBE_ANSWER_MS) {
      this.#service.refused("silent");
      connection.destroy();
    }
  }
}

/** Whoever does not finish the handshake in time is cut; whoever fails it is closed by TLS itself. */
function secured(socket: Socket, secureContext: SecureContext): TLSSocket {
  const secure = new TLSSocket(socket, { isServer: true, secureContext });
  secure.allowHalfOpen = true;
  const killTimer = setTimeout(() => secure.destroy(), HANDSHAKE_MS).unref();
  secure.once("secure", () => clearTimeout(killTimer));
  secure.once("close", () => clearTimeout(killTimer));
  return secure;
}
