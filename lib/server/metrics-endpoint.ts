// `--metrics`: a port on which Prometheus asks for the counters of the whole server, over HTTP.
import { createServer, type Server, type ServerResponse } from "node:http";
import { TalkError } from "../base/errors.ts";
import { formatServerAddress, isLoopback, type ServerAddress } from "../base/server-address.ts";
import { listenError } from "./acceptor.ts";
import type { Log } from "./log.ts";
import type { MetricsText } from "./metrics.ts";

/** A scraper or two, and somebody who looks. */
const MAX_CONNECTIONS = 16;
/** Ms for a request to arrive. */
const REQUEST_MS = 5_000;
const PATH = "/metrics";

export class MetricsEndpoint {
  readonly #server: Server;
  #read: (() => Promise<MetricsText>) | null = null;

  private constructor(log: Log) {
    this.#server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
      const path = request.url?.split("?", 1)[0];
      if (path !== PATH) answer(response, 404, `The counters are at ${PATH}\n`);
      else if (request.method !== "GET" && request.method !== "HEAD") answer(response, 405, "GET only\n");
      else this.#answer(response, log);
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** @throws TalkError usage (an address that other machines reach, without `insecure`), unreachable, refused */
  static async listen(address: ServerAddress, insecure: boolean, log: Log): Promise<MetricsEndpoint> {
    if (!isLoopback(address.host) && !insecure) {
      throw new TalkError(
        "usage",
        `${address.host} can be reached from other machines, and the metrics are for everybody who asks`,
        {
          remedy: "local-metrics",
        },
      );
    }
    const endpoint = new MetricsEndpoint(log);
    const server = endpoint.#server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => {
        const { code, message, cause } = listenError(error, address, "the metrics");
        reject(new TalkError(code, message, { cause, remedy: "other-metrics-port" }));
      });
      server.listen({ host: address.host, port: address.port, exclusive: true }, resolve);
    });
    server.removeAllListeners("error").on("error", (error) => log.warn("metrics", { error }));
    return endpoint;
  }

  /** "HOST:PORT", with the port that the system picked. */
  get address(): string {
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string") throw TalkError.closed("the metrics endpoint");
    return formatServerAddress({ host: bound.address, port: bound.port });
  }

  /** From now on requests are answered. */
  serve(read: () => Promise<MetricsText>): void {
    this.#read = read;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(response: ServerResponse, log: Log): void {
    if (this.#read === null) {
      answer(response, 503, "The server is starting\n");
      return;
    }
    this.#read().then(
      ({ contentType, text }) => answer(response, 200, text, contentType),
      (error: unknown) => {
        log.error("metrics failed", { error });
        answer(response, 500, "The server's log says why\n");
      },
    );
  }
}

function answer(
  response: ServerResponse,
  status: number,
  text: string,
  contentType = "text/plain; charset=utf-8",
): void {
  response.writeHead(status, {
    "Content-Type": contentType,
    "Content-Length": Buffer.byteLength(text),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
  });
  response.end(text);
}
