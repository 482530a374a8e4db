// One connection to the lookup server that speaks RESP3: requests in order, replies in order, pushes aside.
// Knows the protocol's framing, nothing of registrations or reconnecting.
import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { existsSync } from "node:fs";
import { isIP, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { abortable, backoffMs, sleep } from "../base/async.ts";
import { canonicalAddress, type Endpoint } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import { formatServerAddress, isLoopback, type ServerAddress } from "../base/server-address.ts";
import { isServiceAt, SERVICE_SOCKET } from "../base/service.ts";
import {
  type Channel,
  type ConnectionStatement,
  channelBytes,
  greetingBytes,
  isSigned,
  LOCAL_BINDING,
  NONCE_BYTES,
  TLS_EXPORTER_BYTES,
  TLS_EXPORTER_LABEL,
  tlsBinding,
  uidBinding,
} from "../crypto/signed-statements.ts";
import { findLiveServer, listenersAt } from "../directory/live-server.ts";
import { type DialOptions, dialServer } from "../net/dial.ts";
import { encodeCommand, type RespArgument } from "../wire/resp-command.ts";
import { ReplyDecoder, ReplyError, type RespValue } from "../wire/resp-reply.ts";
import { canBeAttested, checkPortOwners, checkSameServer, checkServerProcess } from "./local-server.ts";
import { namingHolder } from "./port-holder.ts";
import { cannotTell } from "./register-request.ts";
import type { Transport } from "./types.ts";

/** Requests that may be under way at once; the caller of one more gets an error instead of a queue without end. */
const MAX_PENDING = 4096;
/** Requests under way with which a datagram is lost rather than relayed: a quarter of a second at the relay's usual rate. */
const MAX_RELAYED = 256;
/** Milliseconds in which a reply has to come: past it the server counts as gone. */
const REPLY_LIMIT_MS = 10_000;
/** The same for the greeting, which costs a server nothing: what holds the port may be something else. */
const GREETING_LIMIT_MS = 4_000;
/** Connections that may break off before a greeting; of the last one the error counts. */
const MAX_GREETINGS = 4;
const GREETING_RETRY = { firstMs: 50, maxMs: 400 };
/** ContentType alert (RFC 8446 section 5.1): no reply of RESP begins so. */
const TLS_ALERT = 0x15;
/** Characters of an error reply that are passed on. */
const REPLY_SHOWN = 200;

/** The form of {@link DialOptions.socket}. */
const ABSTRACT_NAME = /^@[!-~]{1,100}$/;

/** Of a new measurement in the smoothed round trip (RFC 6298 section 2.3, alpha). */
const ROUND_TRIP_GAIN = 1 / 8;

/** What the server says of itself in HELLO. */
export interface ServerGreeting {
  readonly version: string;
  /** Milliseconds that the server had been up when it greeted; infinite if it does not say. */
  readonly uptimeMs: number;
  /** This client's address as the server sees it; null if it sees none. */
  readonly seen: string | null;
  /** Clients of other hosts may want to reach us: the server can be reached from there, or does not say. */
  readonly isForNetwork: boolean;
  /** The server knows this client's chat socket by it, in a STUN request; null where it sees none. */
  readonly token: Buffer | null;
  /** It passes datagrams on between clients. */
  readonly relays: boolean;
  /** What the next REGISTER or CLAIM on this connection signs. */
  readonly statement: ConnectionStatement;
  /** Id of its directory, which the server's key has signed. */
  readonly directory: string;
  /** False: a program between here and there ends a TLS connection. */
  readonly isDirect: boolean;
  /** The uid that the server says it runs under; null of an older one. */
  readonly serverUid: number | null;
  /** Login of that uid, as the server says; null when it has none. */
  readonly serverUser: string | null;
  /** It came by TCP here and by a Unix socket there, or from another host's loopback: a program between passes it on. */
  readonly isForwarded: boolean;
  /** The uid that may read a MUNGE credential for this server; null: it takes none. */
  readonly mungeReader: number | null;
  /** Our own uid, as the server's kernel vouches for it; null where it does not. */
  readonly peerUid: number | null;
  /**
   * Told over loopback TCP: the name ("@name") of an abstract socket on which the kernel tells the server this client's
   * uid, and the TCP port on which the server listens itself.
   */
  readonly local: { readonly path: string; readonly port: number } | null;
}

interface Pending {
  readonly resolve: (value: RespValue) => void;
  readonly reject: (error: Error) => void;
  readonly askedAt: number;
}

/** A connection that has greeted. */
export interface GreetedConnection {
  readonly connection: ServerConnection;
  readonly greeting: ServerGreeting;
}

interface ServerConnectionEvents {
  push: [values: RespValue[]];
  /** The relay knows no client at that place. */
  notHere: [place: string];
  /** Once, whoever ended it. */
  close: [reason: Error];
}

export class ServerConnection extends EventEmitter<ServerConnectionEvents> {
  readonly server: string;
  readonly transport: Transport;
  /** Of the Unix socket, "@name" for an abstract one; null on TCP. */
  readonly path: string | null;
  readonly #socket: Socket;
  readonly #signal: AbortSignal | undefined;
  readonly #decoder = new ReplyDecoder();
  readonly #pending: Pending[] = []; // oldest first
  readonly #watchdog: NodeJS.Timeout;
  #closed: Error | undefined;
  #isGreeted = false;
  #isExpired = false;
  #roundTripMs: number | null = null;

  private constructor(socket: Socket, { address, socket: path, signal }: DialOptions) {
    super();
    const server = formatServerAddress(address);
    this.server = server;
    this.transport = path !== undefined ? "unix" : "exportKeyingMaterial" in socket ? "tls" : "tcp";
    this.path = path ?? null;
    this.#socket = socket;
    this.#signal = signal;
    this.#watchdog = setInterval(() => this.#expire(), 1_000).unref();
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (error) => this.#end(TalkError.unreachable(server, error.message, error)));
    socket.on("close", () => this.#end(TalkError.unreachable(server, "it closed the connection")));
  }

  /** Connects; `signal` is heeded until hello() has its answer. @throws TalkError unreachable, refused (certificate) */
  static async open(options: DialOptions): Promise<ServerConnection> {
    return new ServerConnection(await dialServer(options), options);
  }

  /**
   * Connects and says hello: again, when the connection breaks off before the greeting. A server whose worker process has died goes
   * on with another one. From loopback TCP the connection moves to the server's abstract socket, see local-server.ts.
   * @throws as open(), hello() and checkServerProcess()
   */
  static async greeted(options: DialOptions & { readonly isAdmin?: boolean }): Promise<GreetedConnection> {
    if (isServiceAt(options.address)) return ServerConnection.#greetedByService(options);
    const local = await ServerConnection.#greetedBesideObjects(options);
    if (local !== null) return local;
    const first = await ServerConnection.#greetedAt(options);
    if (first.greeting.isForwarded) checkForwarder(first, options.address);
    if (first.greeting.local === null || !canBeAttested()) return first;
    const { path, port } = first.greeting.local;
    let moved: GreetedConnection;
    try {
      moved = await ServerConnection.#greetedAt({ ...options, socket: path });
    } catch (error) {
      // The port forwards to a server of another host or network namespace: it has none of this kernel's sockets.
      if (error instanceof TalkError && error.code === "unreachable") {
        return { ...first, greeting: { ...first.greeting, isForwarded: true } };
      }
      first.connection.close();
      throw error;
    }
    try {
      const { server } = first.connection;
      checkSameServer(server, [first.greeting.statement.serverKey, moved.greeting.statement.serverKey]);
      const owners = ownersAt(options.address);
      checkPortOwners(server, owners, moved.greeting.serverUid);
      // Through our own forwarder: its user wants the connection to go that way.
      const isDirect = port === options.address.port && owners.size > 0;
      (isDirect ? first : moved).connection.close();
      return isDirect ? moved : first;
    } catch (error) {
      first.connection.close();
      moved.connection.close();
      throw error;
    }
  }

  /** @throws TalkError unreachable, with the remedy: the client never falls back to another user's server */
  static async #greetedByService(options: DialOptions): Promise<GreetedConnection> {
    try {
      return await ServerConnection.#greetedAt({ ...options, socket: SERVICE_SOCKET });
    } catch (error) {
      if (!(error instanceof TalkError) || error.code !== "unreachable") throw error;
      const message = `the service's socket ${SERVICE_SOCKET} is there, and no server answers: ${reasonOf(error)}`;
      throw new TalkError("unreachable", message, { cause: error, remedy: "start-service", subject: SERVICE_SOCKET });
    }
  }

  /** The socket that a server has beside its objects; null where there is none for us, or not that server's. */
  static async #greetedBesideObjects({
    isAdmin = false,
    ...options
  }: DialOptions & { readonly isAdmin?: boolean }): Promise<GreetedConnection | null> {
    const live = isLoopback(options.address.host) && canBeAttested() ? findLiveServer(options.address) : null;
    const places = live === null ? [] : isAdmin ? [live.socket, live.adminSocket] : [live.socket];
    const socket = places.find((place) => existsSync(place));
    if (live === null || socket === undefined) return null;
    let found: GreetedConnection;
    try {
      found = await ServerConnection.#greetedAt({ ...options, socket });
    } catch (error) {
      if (error instanceof TalkError) return null; // somebody was quicker at that path: the port decides
      throw error;
    }
    if (found.greeting.serverUid === live.uid) return found;
    found.connection.close();
    return null;
  }

  static async #greetedAt(options: DialOptions): Promise<GreetedConnection> {
    for (let attempt = 1; ; attempt++) {
      const connection = await ServerConnection.open(options);
      try {
        const greeting = await connection.hello();
        const { socket: path } = options;
        if (path !== undefined) checkServerProcess(connection.#socket, path, greeting.serverUid);
        return { connection, greeting };
      } catch (error) {
        const isBrokenOff = connection.closed && !connection.#isExpired;
        connection.close();
        if (!isBrokenOff || attempt === MAX_GREETINGS) {
          throw options.socket === undefined ? namingHolder(error, options.address) : error;
        }
      }
      await sleep(backoffMs(attempt - 1, GREETING_RETRY), options.signal);
    }
  }

  /** The address of this machine as the server sees it, and whether it is loopback: where the chat socket belongs. */
  get localAddress(): string {
    return this.#socket.localAddress ?? "127.0.0.1";
  }

  /** Where the server's UDP port is: the TCP port's number; null over a Unix socket. */
  get serverEndpoint(): Endpoint | null {
    const { remoteAddress: address, remotePort: port } = this.#socket;
    return this.transport === "unix" || address === undefined || port === undefined ? null : { address, port };
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** It was given up because no answer came in time. */
  get isExpired(): boolean {
    return this.#isExpired;
  }

  /** Milliseconds from a request to its reply, smoothed; null before the first reply. */
  get roundTripMs(): number | null {
    return this.#roundTripMs;
  }

  /**
   * Greets, and checks that the server's key signs our nonce: a recorded greeting is of no use.
   * @throws TalkError unreachable, protocol, full; the reason of the signal given to open()
   */
  async hello(): Promise<ServerGreeting> {
    const clientNonce = randomBytes(NONCE_BYTES).toString("base64");
    const reply = await abortable(this.ask("HELLO", 3, "NONCE", clientNonce), this.#signal);
    if (!(reply instanceof Map)) throw TalkError.protocol("HELLO is not answered with a map");
    this.#isGreeted = true;
    const [version, serverNonce, serverKey, signature] = ["version", "nonce", "serverkey", "signature"].map((field) =>
      reply.get(field),
    );
    if (typeof version !== "string" || typeof serverNonce !== "string" || typeof serverKey !== "string") {
      throw TalkError.protocol("HELLO has no nonce");
    }
    const directory = reply.get("directory");
    const own = this.transport === "tls" ? "tls" : "plain";
    const signedFor = (channel: Channel): boolean =>
      typeof directory === "string" &&
      typeof signature === "string" &&
      isSigned(greetingBytes({ serverNonce, clientNonce, serverKey, directory, channel }), serverKey, signature);
    const channel = signedFor(own) ? own : (["plain", "tls"] as const).find(signedFor);
    if (typeof directory !== "string" || channel === undefined) {
      throw TalkError.protocol(`the server (ptalk ${version}) does not sign its greeting: it is of another version`);
    }
    const bound = { serverNonce, clientNonce, binding: this.#binding };
    const isOnChannel = (proof: unknown): boolean =>
      typeof proof === "string" && isSigned(channelBytes(bound), serverKey, proof);
    const [uid, user, path, port] = [reply.get("uid"), reply.get("user"), reply.get("unix"), reply.get("port")];
    const tellsSocket = this.transport === "tcp" && typeof path === "string" && typeof port === "number";
    const peerUid = reply.get("peeruid");
    const token = reply.get("token");
    const isOwnUid = typeof peerUid === "number" && peerUid === process.geteuid?.() && this.#binding !== LOCAL_BINDING;
    const munge = reply.get("munge");
    const uptime = reply.get("uptime");
    const uptimeMs = typeof uptime === "number" && uptime >= 0 ? uptime : Number.POSITIVE_INFINITY;
    const address = reply.get("address");
    const seen = typeof address === "string" && isIP(address) !== 0 ? canonicalAddress(address) : null;
    return {
      version,
      uptimeMs,
      seen,
      isForNetwork: reply.get("scope") !== "host",
      token: typeof token === "string" ? decodeToken(token) : null,
      relays: reply.get("relay") === 1,
      statement: { serverNonce, clientNonce, serverKey, binding: this.#binding },
      directory,
      isDirect: channel === own && (own === "plain" || isOnChannel(reply.get("channel"))),
      serverUid: typeof uid === "number" && uid >= 0 ? uid : null,
      serverUser: typeof user === "string" ? user : null,
      isForwarded: this.transport === "tcp" && reply.get("address") === null,
      peerUid: isOwnUid ? peerUid : null,
      mungeReader: this.transport !== "unix" && typeof munge === "number" && munge >= 0 ? munge : null,
      local: tellsSocket && ABSTRACT_NAME.test(path) ? { path, port } : null,
    };
  }

  /** What ties a signature to this very connection. */
  get #binding(): string {
    if (this.transport === "unix" && canBeAttested()) return uidBinding(process.geteuid?.() ?? 0);
    if (!("exportKeyingMaterial" in this.#socket)) return LOCAL_BINDING;
    const secure = this.#socket as TLSSocket;
    return tlsBinding(secure.exportKeyingMaterial(TLS_EXPORTER_BYTES, TLS_EXPORTER_LABEL, Buffer.alloc(0)));
  }

  /** @returns the reply. @throws ReplyError for an error reply, TalkError unreachable when the connection ends first */
  command(...args: RespArgument[]): Promise<RespValue> {
    if (this.#closed) return Promise.reject(this.#closed);
    if (this.#pending.length >= MAX_PENDING) {
      return Promise.reject(TalkError.unreachable(this.server, `${MAX_PENDING} requests are already under way`));
    }
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject, askedAt: performance.now() });
      // Everything that is asked until the present callback returns leaves together.
      this.#socket.cork();
      this.#socket.write(encodeCommand(args));
      process.nextTick(() => this.#socket.uncork());
    });
  }

  /** Passes a datagram on to that place, or loses it: more than a few that wait for their answers only wait for each other. */
  relay(place: string, datagram: Uint8Array): void {
    if (this.#pending.length >= MAX_RELAYED) return;
    this.command("RELAY", place, datagram).then(
      (reply) => {
        if (reply === null) this.emit("notHere", place);
      },
      () => {}, // a loss, as any other
    );
  }

  /** command(), for requests that no server in its right mind refuses. @throws TalkError unreachable, protocol, full, try-again */
  async ask(...args: (string | number)[]): Promise<RespValue> {
    try {
      return await this.command(...args);
    } catch (error) {
      if (!(error instanceof ReplyError)) throw error;
      const said = `${error.code} ${error.message}`.slice(0, REPLY_SHOWN);
      if (error.code === "TLS") throw this.#tlsWanted(error);
      if (error.code === "FULL") throw new TalkError("full", `the server refuses: ${said}`, { cause: error });
      if (error.code === "TRYAGAIN") throw cannotTell(error);
      if (isForbidden(error)) throw TalkError.refused(`the server refuses: ${error.message}`, error);
      throw TalkError.protocol(`${args[0]} is answered with "${said}"`, error);
    }
  }

  /** Nothing comes through any more, though neither side has closed it. */
  abandon(why: string): void {
    this.#end(TalkError.unreachable(this.server, why));
  }

  close(): void {
    this.#end(TalkError.closed(`the connection to ${this.server}`));
  }

  /** Lets the process end while the connection is open. */
  unref(): void {
    this.#socket.unref();
  }

  #tlsWanted(cause?: Error): TalkError {
    return TalkError.unreachable(this.server, "it takes TLS connections only", cause, "tls-server");
  }

  #read(chunk: Buffer): void {
    if (!this.#isGreeted && chunk[0] === TLS_ALERT) {
      this.#end(this.#tlsWanted()); // a TLS server that says it in TLS
      return;
    }
    try {
      this.#decoder.push(chunk);
      for (let reply = this.#decoder.next(); reply !== undefined; reply = this.#decoder.next()) {
        if (reply.push) this.emit("push", reply.value as RespValue[]);
        else this.#settle(reply.value);
        if (this.#closed) return;
      }
    } catch (error) {
      const known = error instanceof TalkError;
      this.#end(known ? error : TalkError.protocol(error instanceof Error ? error.message : String(error), error));
    }
  }

  #settle(value: RespValue): void {
    const pending = this.#pending.shift();
    if (pending === undefined) {
      // An error without a request is how a server says why it closes: too many connections, too slow, idle.
      if (!(value instanceof ReplyError)) throw TalkError.protocol("a reply without a request");
      this.#end(
        isForbidden(value)
          ? TalkError.refused(`the server refuses: ${value.message}`, value)
          : TalkError.unreachable(this.server, value.message, value),
      );
      return;
    }
    const sample = performance.now() - pending.askedAt;
    this.#roundTripMs = sample * ROUND_TRIP_GAIN + (this.#roundTripMs ?? sample) * (1 - ROUND_TRIP_GAIN);
    if (value instanceof ReplyError) pending.reject(value);
    else pending.resolve(value);
  }

  #expire(): void {
    const oldest = this.#pending[0];
    const limitMs = this.#isGreeted ? REPLY_LIMIT_MS : GREETING_LIMIT_MS;
    if (oldest && performance.now() - oldest.askedAt > limitMs) {
      this.#isExpired = true;
      this.#end(TalkError.unreachable(this.server, `no answer within ${limitMs / 1000} s`));
    }
  }

  #end(reason: Error): void {
    if (this.#closed) return;
    this.#closed = reason;
    clearInterval(this.#watchdog);
    this.#socket.destroy();
    for (const { reject } of this.#pending.splice(0)) reject(reason);
    this.emit("close", reason);
  }
}

/** A rule of the server's administrator, which no second attempt changes. */
const isForbidden = ({ code }: ReplyError): boolean => code === "BANNED" || code === "NOPERM";

/** Uids of the sockets that take connections to that address; none where that cannot be seen. */
const ownersAt = (address: ServerAddress): ReadonlySet<number> => new Set(listenersAt(address).map(({ uid }) => uid));

/** Our own forwarder may be there. @throws TalkError refused for another user's */
function checkForwarder({ connection, greeting }: GreetedConnection, address: ServerAddress): void {
  try {
    checkPortOwners(connection.server, ownersAt(address), greeting.serverUid);
  } catch (error) {
    connection.close();
    throw error;
  }
}

const MAX_TOKEN = 128;
const decodeToken = (text: string): Buffer | null => (text.length <= MAX_TOKEN ? Buffer.from(text, "base64") : null);

/** What the system says, where it says anything. */
const reasonOf = (error: TalkError): string => (error.cause instanceof Error ? error.cause.message : error.message);
