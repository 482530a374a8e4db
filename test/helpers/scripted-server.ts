// Something that listens where a lookup server should: it answers each request as the test says, or not at all.
import { randomBytes } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import { Identity } from "../../lib/crypto/identity.ts";
import { greetingBytes, NONCE_BYTES } from "../../lib/crypto/signed-statements.ts";
import { newDirectoryId } from "../../lib/directory/directory-id.ts";
import { ReplyDecoder } from "../../lib/wire/resp-reply.ts";

/** @returns the bytes of the reply; null for none */
export type Script = (request: readonly string[], socket: Socket) => string | null;

const identity = Identity.generate();
const directory = newDirectoryId();

/** The greeting of a real server, signed; for the HELLO of a client. */
export function greeting(request: readonly string[]): string {
  const clientNonce = request[request.indexOf("NONCE") + 1] ?? "";
  const serverNonce = randomBytes(NONCE_BYTES).toString("base64");
  const serverKey = identity.publicKey.toString("base64");
  const signature = identity
    .sign(greetingBytes({ serverNonce, clientNonce, serverKey, directory, channel: "plain" }))
    .toString("base64");
  return `%5\r\n+directory\r\n+${directory}\r\n+version\r\n+0\r\n+nonce\r\n+${serverNonce}\r\n+serverkey\r\n+${serverKey}\r\n+signature\r\n+${signature}\r\n`;
}

export class ScriptedServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** "127.0.0.1:PORT" */
  readonly address: string;
  /** What it was asked. */
  readonly requests: (readonly string[])[] = [];

  private constructor(server: Server, address: string) {
    this.#server = server;
    this.address = address;
  }

  static start(script: Script = () => null): Promise<ScriptedServer> {
    return new Promise((resolve) => {
      const server = createServer();
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        const port = typeof address === "object" && address !== null ? address.port : 0;
        const scripted = new ScriptedServer(server, `127.0.0.1:${port}`);
        server.on("connection", (socket) => scripted.#serve(socket, script));
        resolve(scripted);
      });
    });
  }

  #serve(socket: Socket, script: Script): void {
    this.#sockets.add(socket);
    const requests = new ReplyDecoder(); // an array of strings looks the same both ways
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      requests.push(chunk);
      for (let next = requests.next(); next !== undefined; next = requests.next()) {
        this.requests.push(next.value as string[]);
        const reply = script(next.value as string[], socket);
        if (reply !== null) socket.write(reply);
      }
    });
  }

  /** Ends all connections; new ones are taken. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
