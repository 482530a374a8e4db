// How this client's chat socket looks from the server: asked at the start, after each reconnection and each change of addresses, and
// again and again behind a NAT, whose mapping ends otherwise. The server sees it by the same question and says it in the directory.
import type { Endpoint } from "../base/endpoint.ts";
import type { PeerTransport } from "../peer/transport.ts";
import type { ServerSession } from "./server-session.ts";

/** Milliseconds between two questions behind a NAT: RFC 4787 asks for mappings of two minutes, many have 30 s. */
const KEEPALIVE_MS = 20_000;

export class OwnEndpoint {
  readonly #session: Pick<ServerSession, "observer" | "ownAddresses" | "isConnected">;
  readonly #transport: Pick<PeerTransport, "observe" | "port">;
  #timer: NodeJS.Timeout | undefined;
  #isAsking = false;
  #seen: Endpoint | null = null;
  #isClosed = false;

  constructor(
    session: Pick<ServerSession, "observer" | "ownAddresses" | "isConnected">,
    transport: Pick<PeerTransport, "observe" | "port">,
  ) {
    this.#session = session;
    this.#transport = transport;
  }

  /** As the server saw it last; null: it did not answer, or cannot see it. */
  get seen(): Endpoint | null {
    return this.#seen;
  }

  /** Never rejects; no answer is none. */
  async ask(): Promise<void> {
    const { observer } = this.#session;
    if (observer === null || this.#isAsking || this.#isClosed) return;
    this.#isAsking = true;
    clearTimeout(this.#timer);
    this.#seen = await this.#transport.observe(observer.endpoint, observer.token);
    this.#isAsking = false;
    if (this.#isClosed || this.#seen === null || !this.#isTranslated(this.#seen)) return;
    this.#timer = setTimeout(() => void this.ask(), KEEPALIVE_MS).unref();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #isTranslated({ address, port }: Endpoint): boolean {
    return port !== this.#transport.port || !this.#session.ownAddresses.includes(address);
  }
}
