// A link to a server that a test can cut and mend: connections to the proxy's port go on to the target.
import { connect, createServer, type Server, type Socket } from "node:net";

export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;
  /** "127.0.0.1:PORT" */
  readonly address: string;

  private constructor(server: Server, address: string) {
    this.#server = server;
    this.address = address;
  }

  static to(port: number): Promise<TcpProxy> {
    return new Promise((resolve) => {
      const server = createServer();
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        const own = typeof address === "object" && address !== null ? address.port : 0;
        const proxy = new TcpProxy(server, `127.0.0.1:${own}`);
        server.on("connection", (socket) => proxy.#join(socket, port));
        resolve(proxy);
      });
    });
  }

  /** Ends all connections, and every new one at once. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#isCut = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(socket: Socket, port: number): void {
    socket.on("error", () => {});
    if (this.#isCut) {
      socket.destroy();
      return;
    }
    const target = connect(port, "127.0.0.1");
    target.on("error", () => {});
    for (const [one, other] of [
      [socket, target],
      [target, socket],
    ] as const) {
      this.#sockets.add(one);
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }
}
