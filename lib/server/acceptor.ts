// Takes connections off the listening socket and shares them out among the workers; refuses what is over a bound.
import { fstatSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { unmapped, withoutZone } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import { formatServerAddress, isLoopback, type ServerAddress } from "../base/server-address.ts";
import { holderOfPort } from "../directory/live-server.ts";
import { ownerOfConnection } from "../ipc/listeners.ts";
import { type Ban, type Bans, banText } from "./bans.ts";
import { descriptorsForConnections } from "./descriptors.ts";
import type { Limits } from "./limits.ts";
import type { Log } from "./log.ts";
import { boundKey, type Origin, tcpOrigin } from "./origin.ts";
import { NO_DESCRIPTOR, refuse, TOO_MANY } from "./rejection.ts";
import type { WorkerBus } from "./worker-bus.ts";

/**
 * Connections that wait while no worker is up; the kernel's own queue waits behind them. After a restart the clients of a large server
 * come before its workers have begun: one that is refused then comes again, and makes the crowd larger.
 */
const MAX_WAITING = 8_192;
/** Connections that the kernel completes ahead of us; it has its own bound (net.core.somaxconn). */
const BACKLOG = 4096;
/** Connections over a bound that each worker may be given, to exchange for others that have not registered. */
const EXCHANGES = 4;
/** Connections beyond all bounds, in all and at each worker, for root and the administrators: they repair things where others are refused. */
export const ADMIN_CONNECTIONS = 8;
/** Ms between two log lines about refused connections. */
const REFUSAL_LOG_MS = 10_000;

/** Judges those who connect. */
export interface Doorkeeper {
  /** Connections are kept for this user. */
  hasReserve(uid: number | null): boolean;
  /** Why the user gets no connection; null: it gets one. */
  readonly bans: Pick<Bans, "of" | "hasUids">;
}

export interface ListenTarget {
  readonly address: ServerAddress;
  /** A descriptor that listens already. */
  readonly fd: number | null;
  readonly tls: boolean;
}

export class Acceptor {
  readonly refusals = new Map<string, number>();
  /** When the last connection came, on the clock of performance.now(). */
  acceptedAt = Number.NEGATIVE_INFINITY;
  readonly #server: Server;
  readonly #limits: Limits;
  readonly #log: Log;
  readonly #tls: boolean;
  readonly #waiting: { socket: Socket; origin: Origin }[] = [];
  readonly #roomPerWorker = descriptorsForConnections();
  #bus: WorkerBus | null = null;
  #doorkeeper: Doorkeeper | null = null;
  #ready: number[] = [];
  #turn = 0;
  #refusalLoggedAt = -REFUSAL_LOG_MS;

  private constructor(tls: boolean, limits: Limits, log: Log) {
    this.#tls = tls;
    this.#limits = limits;
    this.#log = log;
    // Reads nothing: every byte belongs to the worker, as the connection soon does.
    this.#server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      // Undefined: it has gone again already.
      const [address, own] = [socket.remoteAddress, socket.localAddress].map((end) => withoutZone(unmapped(end ?? "")));
      this.accept(socket, tcpOrigin(address as string, own));
    });
  }

  /** @throws TalkError unreachable if the address cannot be had */
  static async listen(target: ListenTarget, limits: Limits, log: Log): Promise<Acceptor> {
    const acceptor = new Acceptor(target.tls, limits, log);
    await new Promise<void>((resolve, reject) => {
      const server = acceptor.#server;
      const { host, port } = target.address;
      server.once("error", reject);
      const listening = () => {
        server.off("error", reject);
        resolve();
      };
      if (target.fd !== null) server.listen({ fd: target.fd, exclusive: true }, listening);
      else server.listen({ host, port, backlog: BACKLOG, exclusive: true }, listening);
    });
    // Out of descriptors, mostly: the connection is lost, the server is not.
    acceptor.#server.on("error", (error) => acceptor.#refuse((error as NodeJS.ErrnoException).code ?? "accept"));
    return acceptor;
  }

  /** Where it listens, with the port that the system picked. */
  get address(): ServerAddress {
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string" || bound.port === undefined) {
      throw wrongSocket();
    }
    return { host: bound.address, port: bound.port };
  }

  /** Inode of the listening socket, by which the kernel lists it (proc_net_tcp(5)); 0 where Node does not tell. */
  get inode(): number {
    const { fd } = (this.#server as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle ?? {};
    return fd === undefined || fd < 0 ? 0 : fstatSync(fd).ino;
  }

  /** From now on connections go to this bus's workers, in turn. */
  serve(bus: WorkerBus, doorkeeper: Doorkeeper): void {
    this.#bus = bus;
    this.#doorkeeper = doorkeeper;
  }

  /** @param ids workers that take connections */
  setReady(ids: readonly number[]): void {
    this.#ready = [...ids];
    if (this.#ready.length === 0) return;
    for (const { socket, origin } of this.#waiting.splice(0)) this.assign(socket, origin); // a bound may be met by now
  }

  close(): void {
    this.#server.close();
    for (const { socket } of this.#waiting.splice(0)) socket.destroy();
  }

  /** A connection that has come just now, on this socket or on one of this host's (local-sockets.ts). */
  accept(socket: Socket, origin: Origin): void {
    socket.on("error", () => {});
    this.acceptedAt = performance.now();
    this.assign(socket, origin);
  }

  /** Finds a worker for a connection; a bound may refuse it. */
  assign(socket: Socket, origin: Origin): void {
    const ban = this.#banOf(socket, origin);
    const bound = this.#boundOf(origin);
    if (ban !== null) this.#refuseBanned(socket, ban, origin);
    else if (bound !== null && (this.#bus?.connectionsOf(boundKey(origin)) ?? 0) >= bound.most) {
      this.reject(socket, bound.reason, origin);
    } else if (this.#ready.length > 0) {
      this.#hand(socket, origin);
    } else if (this.#waiting.length < MAX_WAITING) {
      this.#waiting.push({ socket, origin });
    } else {
      this.reject(socket, "the server is starting, try again", origin);
    }
  }

  /** The ban of the user who connects. On TCP of this host it is the owner of the socket, looked up while some user is banned. */
  #banOf(socket: Socket, { address, peerUid }: Origin): Ban | null {
    const bans = this.#doorkeeper?.bans;
    if (bans?.hasUids !== true) return null;
    const uid = peerUid ?? (address === null ? null : localOwner(socket));
    return uid === null ? null : bans.of(String(uid));
  }

  #refuseBanned(socket: Socket, ban: Ban, { address }: Origin): void {
    this.#refuse("banned");
    refuse(socket, banText(ban), this.#tls && address !== null, "BANNED");
  }

  /**
   * What bounds the connections of the same user, else of the same address; null for root and the administrators. On TCP from this machine
   * all users are one: together they have as much as one user.
   */
  #boundOf({ address, uid, peerUid }: Origin): { readonly most: number; readonly reason: string } | null {
    const { connectionsPerUid, connectionsPerAddress } = this.#limits;
    if (this.#hasReserve(uid)) return null;
    if (peerUid !== null) return { most: connectionsPerUid, reason: "too many connections of your user" };
    if (address === null || isLoopback(address)) {
      return { most: connectionsPerUid, reason: "too many connections of this host over TCP" };
    }
    return { most: connectionsPerAddress, reason: "too many connections from your address" };
  }

  #hasReserve(uid: number | null): boolean {
    return this.#doorkeeper?.hasReserve(uid) ?? false;
  }

  /** To the next worker in turn that has room, or that can make some. */
  #hand(socket: Socket, origin: Origin): void {
    const bus = this.#bus as WorkerBus;
    const reserve = this.#hasReserve(origin.uid) ? ADMIN_CONNECTIONS : 0;
    const over = bus.connections - this.#limits.connections;
    const roomy = over < reserve ? this.#next(bus, this.#roomPerWorker + reserve) : null;
    if (roomy !== null) {
      bus.hand(roomy, socket, origin, false);
      return;
    }
    const isRoomy = reserve > 0 || over < EXCHANGES * this.#ready.length;
    const exchange = isRoomy ? this.#next(bus, this.#roomPerWorker + reserve + EXCHANGES) : null;
    if (exchange !== null) bus.hand(exchange, socket, origin, true);
    else this.reject(socket, over < 0 ? NO_DESCRIPTOR : TOO_MANY, origin);
  }

  /** The next worker in turn that has fewer connections. */
  #next(bus: WorkerBus, connections: number): number | null {
    for (let i = 0; i < this.#ready.length; i++) {
      const id = this.#ready[this.#turn++ % this.#ready.length] as number;
      if (bus.connectionsAt(id) < connections) return id;
    }
    return null;
  }

  reject(socket: Socket, reason: string, { address }: Origin): void {
    this.#refuse(reason);
    refuse(socket, reason, this.#tls && address !== null);
  }

  #refuse(reason: string): void {
    this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1);
    const now = performance.now();
    if (now - this.#refusalLoggedAt < REFUSAL_LOG_MS) return;
    this.#refusalLoggedAt = now;
    this.#log.warn("connection refused", { reason });
  }
}

/** The uid of the socket at the other end, where that is on this host. */
function localOwner({ remoteAddress, remotePort, localAddress, localPort }: Socket): number | null {
  if (remoteAddress === undefined || localAddress === undefined) return null;
  const [from, to] = [remoteAddress, localAddress].map((address) => withoutZone(unmapped(address))) as [string, string];
  if (!isLoopback(from) && from !== to) return null;
  return ownerOfConnection({ address: from, port: remotePort ?? 0 }, { address: to, port: localPort ?? 0 });
}

/** Of a descriptor that another program has opened. */
export function wrongSocket(cause?: unknown): TalkError {
  const reason =
    "the descriptor that was handed over is no TCP socket and no Unix socket that listens (in a socket unit: ListenStream=)";
  return new TalkError("usage", reason, { cause });
}

/** The present holder of the address, as a clause. */
function describeHolder(address: ServerAddress): string {
  const holder = holderOfPort(address);
  if (holder === null) return "another program uses that port";
  const { user, uid, pid, isServer } = holder;
  const who = uid === process.geteuid?.() ? "" : ` of user ${user}`;
  const process_ = pid === null ? "" : ` (pid ${pid})`;
  return isServer
    ? `a lookup server${who}${process_} is serving there already`
    : `another program${who}${process_} uses that port`;
}

/** The error of a listen that failed, for people. @param what the port serves, if not clients */
export function listenError(error: unknown, address: ServerAddress, what = ""): TalkError {
  const { code } = error as NodeJS.ErrnoException;
  const where = formatServerAddress(address);
  const reasons: Readonly<Record<string, string>> = {
    EADDRNOTAVAIL: "this machine does not have that address",
    EACCES: "that port needs privileges; take one from 1024 up",
    ENOTFOUND: "that host name is not known",
  };
  const reason = code === "EADDRINUSE" ? describeHolder(address) : reasons[code ?? ""];
  const message = `cannot serve ${what === "" ? "" : `${what} `}on ${where}: ${reason ?? (error as Error).message}`;
  if (code === "EACCES") return TalkError.refused(message, error);
  return new TalkError(
    "unreachable",
    message,
    code === "EADDRINUSE" ? { cause: error, remedy: "other-port" } : { cause: error },
  );
}
