// The server's Unix sockets: one at a path, made here or handed over, and one with a random name in the abstract namespace. HELLO tells
// the name to clients that come over loopback TCP: they move there, and the kernel gives their uid. unix(7).
import { randomBytes } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import { abstractPath } from "../base/socket-path.ts";
import { closeListening, type ListeningSocket, listenAtPath } from "../net/unix-socket.ts";
import { wrongSocket } from "./acceptor.ts";
import type { Log } from "./log.ts";
import { type Origin, unixOrigin } from "./origin.ts";

/** 128 bits: no client can guess the name. */
const NAME_BYTES = 16;
const BACKLOG = 4096;

export interface LocalSocketOptions {
  /** Null: none. */
  readonly path: string | null;
  /** A descriptor that listens already, from a service manager: its path is not ours to remove. */
  readonly fd: number | null;
}

type Accept = (socket: Socket, origin: Origin) => void;

export class LocalSockets {
  /** "@name" of the abstract socket. */
  readonly abstractName: string;
  readonly #log: Log;
  readonly #servers: Server[] = [];
  #path: ListeningSocket | null = null;
  /** Beside the directory's objects, and who accepts there. */
  #beside: ListeningSocket | null = null;
  #besideServer: Server | null = null;
  #accept: Accept | null = null;

  private constructor(log: Log) {
    this.#log = log;
    this.abstractName = `@ptalk-${randomBytes(NAME_BYTES).toString("hex")}`;
  }

  /** @throws TalkError usage, unreachable, refused: see listenAtPath() */
  static async open({ path, fd }: LocalSocketOptions, log: Log): Promise<LocalSockets> {
    const sockets = new LocalSockets(log);
    try {
      if (path !== null) {
        sockets.#path = await listenAtPath(path);
        await sockets.#listenAt(sockets.#path);
      }
      if (fd !== null) await sockets.#listen("path", { fd });
      await sockets.#listen("abstract", { path: abstractPath(sockets.abstractName) });
      return sockets;
    } catch (error) {
      sockets.close();
      throw error;
    }
  }

  /**
   * Listens beside the directory's objects: at that path, instead of the one before. Open connections stay.
   * @throws as open(); the one before is kept then
   */
  async moveTo(path: string): Promise<void> {
    const [before, server] = [this.#beside, this.#besideServer];
    const beside = await listenAtPath(path);
    this.#besideServer = await this.#listenAt(beside);
    this.#beside = beside;
    before?.unlink();
    server?.close();
  }

  /** From now on connections go there; until then they wait in the kernel's queue, or are turned away. */
  serve(accept: Accept): void {
    this.#accept = accept;
  }

  close(): void {
    this.#path?.unlink();
    this.#beside?.unlink();
    this.#path = null;
    this.#beside = null;
    for (const server of this.#servers) server.close();
  }

  async #listenAt(socket: ListeningSocket): Promise<Server> {
    try {
      return await this.#listen("path", { fd: socket.fd });
    } catch (error) {
      closeListening(socket);
      throw error;
    }
  }

  async #listen(kind: "path" | "abstract", where: { fd: number } | { path: string }): Promise<Server> {
    // Reads nothing: every byte belongs to the worker.
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => this.#take(socket, kind));
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => {
        reject("fd" in where ? wrongSocket(error) : error);
      });
      server.listen({ ...where, backlog: BACKLOG, exclusive: true }, resolve);
    });
    server.removeAllListeners("error");
    server.on("error", (error) => this.#log.warn("connection refused", { reason: error.message }));
    this.#servers.push(server);
    return server;
  }

  #take(socket: Socket, kind: "path" | "abstract"): void {
    socket.on("error", () => {});
    try {
      const origin = unixOrigin(socket, kind);
      if (this.#accept === null) socket.destroy();
      else this.#accept(socket, origin);
    } catch (error) {
      // It has gone again already, or its user is unknown.
      socket.destroy();
      this.#log.warn("connection refused", { reason: error instanceof Error ? error.message : String(error) });
    }
  }
}
