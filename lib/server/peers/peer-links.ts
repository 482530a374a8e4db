// The links between servers of one directory. Each server dials those that it has something for, and only writes there; what it reads comes
// by the connections that others have made. Both sides show their certificates (TLS 1.3), and both have to be those that the directory
// states of a server that is alive.
//
//  1. send() finds the server in the directory, and dials it when there is no connection. What comes meanwhile waits, within a bound.
//  2. A server that cannot be reached, or shows another certificate, rests; the link drops frames for it until then.
//  3. A link without anything to send is closed, and so is a connection whose server is in the directory no more.
import type { X509Certificate } from "node:crypto";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, createServer, type Server, type TLSSocket } from "node:tls";
import { TalkError } from "../../base/errors.ts";
import { formatServerAddress, type ServerAddress } from "../../base/server-address.ts";
import { fingerprint } from "../../crypto/fingerprint.ts";
import { ReplyDecoder } from "../../wire/resp-reply.ts";
import { listenError } from "../acceptor.ts";
import type { Log } from "../log.ts";
import { RareLog } from "../rare-log.ts";
import type { TlsFiles } from "../tls.ts";
import { decodeFromPeer, encodeForPeer, type PeerMessage } from "./peer-frames.ts";
import { type PeerServer, peerServer, type StatedServers, serverWith } from "./peer-servers.ts";

/** Connections that other servers may have here: more servers share no directory. Handshakes count. */
const MAX_CONNECTIONS = 64;
/** Ms for the TLS handshake, either way. */
const HANDSHAKE_MS = 5_000;
/** Bytes that wait for one server: a second of a busy relay. The link drops the rest. */
const MAX_QUEUED_BYTES = 4 * 2 ** 20;
/** Frames a second that one server may send here: the link drops the rest. A worker takes some 50,000 pushes a second. */
const FRAMES_A_SECOND = 20_000;
/** Ms for which a server that could not be reached is left alone. */
const REST_MS = 1_000;
/** Ms without a frame after which a link is closed. */
const IDLE_MS = 60_000;

/** A listener whose connections wait until the server has begun. */
export class PeerListener {
  readonly #server: Server;
  readonly tls: TlsFiles;

  private constructor(server: Server, tls: TlsFiles) {
    this.#server = server;
    this.tls = tls;
  }

  /** @throws TalkError unreachable, refused, usage: an address under which no other server finds this one */
  static async listen(address: ServerAddress, tls: TlsFiles): Promise<PeerListener> {
    if (address.host === "0.0.0.0" || address.host === "::") {
      throw new TalkError(
        "usage",
        `peer-listen: ${address.host} is no address under which other servers reach this one`,
        {
          subject: "peer-listen",
        },
      );
    }
    const { cert, key } = tls;
    const server = createServer({
      ...{ cert, key, requestCert: true, rejectUnauthorized: false, minVersion: "TLSv1.3" },
      handshakeTimeout: HANDSHAKE_MS,
    });
    server.maxConnections = MAX_CONNECTIONS;
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(listenError(error, address, "other servers")));
      server.listen({ host: address.host, port: address.port, exclusive: true }, resolve);
    });
    server.removeAllListeners("error");
    return new PeerListener(server, tls);
  }

  /** "HOST:PORT", as other servers find it. @param host of the option: a name stays one */
  addressAs(host: string): string {
    return formatServerAddress({ host, port: (this.#server.address() as AddressInfo).port });
  }

  serve(onConnection: (socket: TLSSocket) => void, onError: (error: Error) => void): void {
    this.#server.on("secureConnection", onConnection).on("error", onError);
    this.#server.on("tlsClientError", (error, socket) => {
      socket.destroy();
      onError(error);
    });
  }

  close(): void {
    this.#server.close();
  }
}

interface Link {
  readonly socket: TLSSocket;
  /** Whether the right server was there: once that is known. */
  readonly opened: Promise<boolean>;
  readonly settle: (isOpen: boolean) => void;
  /** When the other side was known to be the right one; null: not yet. */
  openedAt: number | null;
  /** Before the connection is there. */
  waiting: Buffer[];
  waitingBytes: number;
}

export class PeerLinks {
  readonly #listener: PeerListener;
  readonly #stated: StatedServers;
  readonly #deliver: (message: PeerMessage) => void;
  readonly #rareLog: RareLog;
  /** Dialled, by the server's name. */
  readonly #links = new Map<string, Link>();
  readonly #taken = new Set<TLSSocket>();
  /** By the server's name: until when it rests. */
  readonly #resting = new Map<string, number>();
  /** By the server's name: why there was no link, last. */
  readonly #reasons = new Map<string, string>();
  #isClosed = false;
  // Counters for INFO.
  #sent = 0;
  #received = 0;
  #lost = 0;
  #refused = 0;

  constructor(listener: PeerListener, stated: StatedServers, deliver: (message: PeerMessage) => void, log: Log) {
    this.#listener = listener;
    this.#stated = stated;
    this.#deliver = deliver;
    this.#rareLog = new RareLog(log);
    listener.serve(
      (socket) => this.#take(socket),
      (error) => {
        this.#refused++;
        this.#rareLog.warn("a server's connection failed", { error });
      },
    );
  }

  get stats(): Readonly<Record<string, number>> {
    return {
      ...{ peer_links: this.#links.size, peer_connections: this.#taken.size },
      ...{ peer_sent: this.#sent, peer_received: this.#received, peer_lost: this.#lost, peer_refused: this.#refused },
    };
  }

  /** Sends it to that server, or loses it. @returns false: it is lost already */
  send(server: string, message: PeerMessage): boolean {
    const link = this.#links.get(server) ?? this.#dial(server);
    const frame = link === null ? null : encodeForPeer(message);
    if (link === null || frame === null || link.waitingBytes + link.socket.writableLength > MAX_QUEUED_BYTES) {
      this.#lost++;
      return false;
    }
    this.#sent++;
    if (link.openedAt !== null) link.socket.write(frame);
    else {
      link.waiting.push(frame);
      link.waitingBytes += frame.length;
    }
    return true;
  }

  /** Makes sure of a link. @returns false: that server cannot be reached now */
  reach(server: string): Promise<boolean> {
    const link = this.#links.get(server) ?? this.#dial(server);
    return link?.opened ?? Promise.resolve(false);
  }

  close(): void {
    this.#isClosed = true;
    this.#listener.close();
    for (const { socket } of this.#links.values()) socket.destroy();
    for (const socket of this.#taken) socket.destroy();
  }

  /** Whether a server can be reached. @returns why not; null: it can */
  async check(server: string): Promise<string | null> {
    // A timer may be a millisecond early.
    for (let restMs = 1; restMs > 0 && !this.#links.has(server); ) {
      restMs = (this.#resting.get(server) ?? 0) - performance.now();
      if (restMs > 0) await sleep(restMs, undefined, { ref: false });
    }
    if (await this.reach(server)) return null;
    return this.#reasons.get(server) ?? "it cannot be reached";
  }

  #dial(server: string): Link | null {
    const peer = peerServer(this.#stated().get(server));
    if (this.#isClosed || peer === null || performance.now() < (this.#resting.get(server) ?? 0)) return null;
    const { cert, key } = this.#listener.tls;
    const { host, port } = peer.address;
    const socket = connect({ host, port, cert, key, rejectUnauthorized: false, minVersion: "TLSv1.3" });
    let settle: Link["settle"] = () => {};
    const opened = new Promise<boolean>((resolve) => {
      settle = resolve;
    });
    const link: Link = { socket, opened, settle, openedAt: null, waiting: [], waitingBytes: 0 };
    this.#links.set(server, link);
    const late = setTimeout(() => socket.destroy(new Error(`no answer within ${HANDSHAKE_MS} ms`)), HANDSHAKE_MS);
    socket.setNoDelay(true).setKeepAlive(true, IDLE_MS);
    socket.on("error", (error) => {
      this.#reasons.set(server, error.message);
      this.#rareLog.warn("another server cannot be reached", { server, error });
    });
    socket.once("secureConnect", () => {
      clearTimeout(late);
      this.#open(server, link, peer);
    });
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on("close", () => {
      clearTimeout(late);
      if (this.#links.get(server) === link) this.#links.delete(server);
      // A side that does not know this server's certificate closes right behind the handshake.
      const now = performance.now();
      if (link.openedAt === null || now - link.openedAt < REST_MS) this.#resting.set(server, now + REST_MS);
      this.#lost += link.waiting.length;
      settle(false);
    });
    socket.resume(); // nothing comes
    return link;
  }

  #open(server: string, link: Link, { certificate }: PeerServer): void {
    const shown = printOf(link.socket);
    if (shown !== certificate) {
      link.socket.destroy(
        new Error(`it shows the certificate ${shown ?? "of nobody"}, and the directory states ${certificate}`),
      );
      return;
    }
    link.openedAt = performance.now();
    this.#reasons.delete(server);
    this.#resting.delete(server);
    for (const frame of link.waiting.splice(0)) link.socket.write(frame);
    link.waitingBytes = 0;
    link.settle(true);
  }

  #take(socket: TLSSocket): void {
    const shown = printOf(socket);
    const server = shown === null ? null : serverWith(shown, this.#stated());
    socket.on("error", () => {});
    if (this.#isClosed) {
      socket.destroy(); // its handshake was under way
      return;
    }
    if (server === null) {
      // The directory may tell of a server that has just begun a moment later: it comes again.
      this.#refused++;
      this.#rareLog.warn("no server of the directory has this certificate", { certificate: shown ?? "none" });
      socket.destroy();
      return;
    }
    this.#taken.add(socket);
    socket.on("close", () => this.#taken.delete(socket));
    socket.setTimeout(2 * IDLE_MS, () => socket.destroy());
    const decoder = new ReplyDecoder();
    let second = 0;
    let frames = 0;
    socket.on("data", (chunk: Buffer) => {
      try {
        decoder.push(chunk);
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
          const message = decodeFromPeer(frame.value);
          if (message === null) throw TalkError.protocol("it sends bytes that are no frame of this version");
          const now = Math.floor(performance.now() / 1000);
          if (now !== second) {
            if (serverWith(shown as string, this.#stated()) === null)
              throw TalkError.refused("it has left the directory");
            [second, frames] = [now, 0];
          }
          if (++frames > FRAMES_A_SECOND || !this.#isFrom(message, shown)) this.#lost++;
          else {
            this.#received++;
            this.#deliver(message);
          }
        }
      } catch (error) {
        this.#refused++;
        this.#rareLog.warn("another server's link is closed", { server, error });
        socket.destroy();
      }
    });
  }

  /** Of a server that has just been started again under another name, the directory states two with one certificate. */
  #isFrom(message: PeerMessage, certificate: string | null): boolean {
    return !("server" in message) || peerServer(this.#stated().get(message.server))?.certificate === certificate;
  }
}

function printOf(socket: TLSSocket): string | null {
  const certificate: X509Certificate | undefined = socket.getPeerX509Certificate();
  return certificate === undefined ? null : fingerprint(certificate.raw);
}
