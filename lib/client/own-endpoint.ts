// How this client's chat socket looks from the server, asked by STUN. The server sees it by the same question and says it in the
// directory.
//  1. Asked at the start, after each reconnection and each change of addresses.
//  2. Behind a NAT again and again: its mapping ends otherwise, and an answer from another port tells that it has ended.
//  3. No answer to SILENT_QUESTIONS in a row, while the connection with the server works: what a router holds for this socket is dead,
//     and each question keeps it so. The socket goes on from another port, once until there is an answer again.
import type { Endpoint } from "../base/endpoint.ts";
import type { PeerTransport } from "../peer/transport.ts";
import type { ServerSession } from "./server-session.ts";

/** Milliseconds between two questions behind a NAT: RFC 4787 asks for mappings of two minutes, many have 30 s. */
const KEEPALIVE_MS = 20_000;
/** Each is repeated for three seconds by itself. */
const SILENT_QUESTIONS = 3;
/** Milliseconds between two questions where UDP is blocked, it seems: the way may open. */
const BLOCKED_MS = 60_000;

type Session = Pick<ServerSession, "observer" | "ownAddresses" | "isConnected" | "count" | "changePort">;
type Transport = Pick<PeerTransport, "observe" | "port" | "changePort">;

export class OwnEndpoint {
  readonly #session: Session;
  readonly #transport: Transport;
  readonly #onPortChanged: () => void;
  #timer: NodeJS.Timeout | undefined;
  #isAsking = false;
  /** ask() was called meanwhile: the answer may be of another network, or of another server. */
  #isOutdated = false;
  #seen: Endpoint | null = null;
  #silent = 0;
  #hasChangedPort = false;
  #isClosed = false;

  constructor(session: Session, transport: Transport, onPortChanged: () => void = () => {}) {
    this.#session = session;
    this.#transport = transport;
    this.#onPortChanged = onPortChanged;
  }

  /** As the server saw it last; null: it did not answer, or cannot see it. */
  get seen(): Endpoint | null {
    return this.#seen;
  }

  /** The network or the server is another one, or may be. Never rejects; no answer is none. */
  async ask(): Promise<void> {
    this.#silent = 0;
    this.#hasChangedPort = false;
    this.#isOutdated = this.#isAsking;
    if (!this.#isAsking) await this.#ask();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #ask(): Promise<void> {
    clearTimeout(this.#timer);
    const { observer } = this.#session;
    if (observer === null || this.#isClosed) return;
    this.#isAsking = true;
    const seen = await this.#transport.observe(observer.endpoint, observer.token);
    this.#isAsking = false;
    if (this.#isOutdated) {
      this.#isOutdated = false;
      await this.#ask();
      return;
    }
    this.#seen = seen;
    if (seen === null) await this.#onSilence();
    else this.#onAnswer(seen);
  }

  #onAnswer(seen: Endpoint): void {
    this.#silent = 0;
    this.#hasChangedPort = false;
    if (this.#isTranslated(seen)) this.#askAfter(KEEPALIVE_MS);
  }

  async #onSilence(): Promise<void> {
    if (!this.#session.isConnected) return; // asked again when it is back
    if (++this.#silent < SILENT_QUESTIONS) {
      await this.#ask();
      return;
    }
    this.#silent = 0;
    if (this.#hasChangedPort || !(await this.#isServerThere()) || !this.#transport.changePort()) {
      this.#askAfter(BLOCKED_MS);
      return;
    }
    this.#hasChangedPort = true;
    await this.#session.changePort(this.#transport.port);
    this.#onPortChanged();
    await this.#ask();
  }

  /** The connection may be dead without having noticed. */
  #isServerThere(): Promise<boolean> {
    return this.#session.count().then(
      () => true,
      () => false,
    );
  }

  #askAfter(ms: number): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), ms).unref();
  }

  #isTranslated({ address, port }: Endpoint): boolean {
    return port !== this.#transport.port || !this.#session.ownAddresses.includes(address);
  }
}
