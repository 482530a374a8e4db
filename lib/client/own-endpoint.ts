// How this client's chat socket looks from the server, asked by STUN. The server sees it by the same question and says it in the
// directory.
//  1. Asked at the start, after each reconnection and each change of addresses.
//  2. Behind a NAT, or a firewall that closes ways again: repeated before that happens (hole-lifetime.ts measures when). An answer that
//     tells another port says that the mapping has ended all the same, and it is measured anew.
//  3. No answer to SILENT_QUESTIONS in a row, while the connection with the server works: what a router holds for this socket is dead,
//     and each question keeps it so. The socket goes on from another port, once until there is an answer again.
import { type Endpoint, isSameEndpoint } from "../base/endpoint.ts";
import type { PeerTransport } from "../peer/transport.ts";
import type { HoleLifetime } from "./hole-lifetime.ts";
import type { ServerSession } from "./server-session.ts";

/** Milliseconds between two questions behind a NAT before anything is measured: many keep a mapping for 30 s. */
const KEEPALIVE_MS = 20_000;
/** Of the time that a way has stayed open: a question may be lost, and is repeated within three seconds. */
const SAFETY = 0.8;
/** Where ways close after a few seconds: 17,000 questions a day. */
const MIN_KEEPALIVE_MS = 5_000;
/** Each is repeated for three seconds by itself. */
const SILENT_QUESTIONS = 3;
/** Milliseconds between two questions where UDP is blocked, it seems: the way may open. */
const BLOCKED_MS = 60_000;

type Session = Pick<ServerSession, "observer" | "ownAddresses" | "isConnected" | "count" | "changePort">;
type Lifetime = Pick<HoleLifetime, "openMs" | "closedMs" | "measure" | "close">;
type Transport = Pick<PeerTransport, "observe" | "port" | "changePort">;

export interface OwnEndpointParts {
  readonly session: Session;
  readonly transport: Transport;
  readonly lifetime?: Lifetime | null;
  /** The socket has another port, and the row says so. */
  readonly onPortChanged?: () => void;
}

export class OwnEndpoint {
  readonly #session: Session;
  readonly #transport: Transport;
  readonly #lifetime: Lifetime | null;
  readonly #onPortChanged: () => void;
  #timer: NodeJS.Timeout | undefined;
  #isAsking = false;
  /** ask() was called meanwhile: the answer may be of another network, or of another server. */
  #isOutdated = false;
  #seen: Endpoint | null = null;
  #isMeasured = false;
  #silent = 0;
  #hasChangedPort = false;
  #isClosed = false;

  /** @param parts without a lifetime nothing is measured: a client that is gone in a moment */
  constructor({ session, transport, lifetime = null, onPortChanged = () => {} }: OwnEndpointParts) {
    this.#session = session;
    this.#transport = transport;
    this.#lifetime = lifetime;
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
    this.#isMeasured = false;
    this.#isOutdated = this.#isAsking;
    if (!this.#isAsking) await this.#ask();
  }

  /** Another time was measured. */
  lifetimeChanged(): void {
    if (this.#seen !== null && !this.#isAsking) this.#askInTime(this.#seen);
  }

  close(): void {
    this.#isClosed = true;
    this.#lifetime?.close();
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
    const before = this.#seen;
    this.#seen = seen;
    if (seen === null) await this.#onSilence();
    else this.#onAnswer(seen, before);
  }

  #onAnswer(seen: Endpoint, before: Endpoint | null): void {
    this.#silent = 0;
    this.#hasChangedPort = false;
    const isOther = before !== null && !isSameEndpoint(before, seen.address, seen.port);
    if ((isOther || !this.#isMeasured) && !this.#isClosed) void this.#lifetime?.measure();
    this.#isMeasured = true;
    this.#askInTime(seen);
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
    this.#isMeasured = false;
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

  /** Before the way to this socket closes, if it does. */
  #askInTime(seen: Endpoint): void {
    const { openMs, closedMs } = this.#lifetime ?? { openMs: 0, closedMs: null };
    if (closedMs === null && !this.#isTranslated(seen)) return;
    if (openMs > 0) this.#askAfter(Math.max(SAFETY * openMs, MIN_KEEPALIVE_MS));
    else this.#askAfter(closedMs === null ? KEEPALIVE_MS : MIN_KEEPALIVE_MS);
  }

  #isTranslated({ address, port }: Endpoint): boolean {
    return port !== this.#transport.port || !this.#session.ownAddresses.includes(address);
  }
}
