// One user who is on: registered with the lookup server, listed on this machine, reachable by the others. Puts session,
// address book, peer transport and the row of the local table together; each of them does its own work.
import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { debuglog } from "node:util";
import { defaultStateDir } from "../config.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { type Identity, loadOrCreateIdentity } from "../crypto/identity.ts";
import { TalkError } from "../errors.ts";
import { validateName } from "../names.ts";
import {
  DEFAULT_SERVER,
  formatServerAddress,
  isLoopback,
  parseServerAddress,
  type ServerAddress,
} from "../server-address.ts";
import { listLocal } from "../table/local-list.ts";
import { AddressBook } from "./address-book.ts";
import { publicRecord } from "./directory-record.ts";
import { withEmbeddedServer } from "./embedded-server.ts";
import { Journeys } from "./journeys.ts";
import { KnownPeers, KnownServers } from "./known-peers.ts";
import { LocalPresence } from "./local-presence.ts";
import { PeerTransport } from "./peer/transport.ts";
import type { IncomingMessage } from "./peer/types.ts";
import { failedCode, sendFailure } from "./send-failure.ts";
import { Session } from "./session.ts";
import { keyFile } from "./state-dir.ts";
import type {
  ClientRecord,
  ConnectOptions,
  LocalRecord,
  SendOptions,
  SendResult,
  TalkClientEvents,
  TalkConnection,
  TalkMessage,
} from "./types.ts";

const debug = debuglog("ptalk-client");

/** Longest message, in bytes of UTF-8. */
export const MAX_TEXT_BYTES = 65_536;
export const DEFAULT_SEND_TIMEOUT_MS = 10_000;
/** Messages under way at once; one more fails at once instead of queueing without end. */
export const MAX_UNDER_WAY = 4096;

/**
 * A user of a lookup server.
 *
 *     const client = await TalkClient.connect({ name: "alice" });
 *     client.on("message", ({ from, text }) => console.log(`${from}: ${text}`));
 *     await client.send("bob", "hello");   // resolves once bob's program has handed it to its output
 *     await client.close();
 *
 * Events: see {@link TalkClientEvents}. A "message" listener may be async: the sender learns "delivered" when it is done.
 */
export class TalkClient extends EventEmitter<TalkClientEvents> implements TalkConnection {
  readonly name: string;
  /** "HOST:PORT" of the lookup server. */
  readonly server: string;
  /** "SHA256:…" of this user's public key. */
  readonly fingerprint: string;
  readonly #session: Session;
  readonly #transport: PeerTransport;
  readonly #book: AddressBook;
  readonly #deliver: ConnectOptions["deliver"];
  #presence: LocalPresence | undefined;
  readonly #journeys: Journeys;
  #underWay = 0;
  #ended: Error | undefined;

  private constructor(options: ConnectOptions, parts: Parts) {
    super();
    this.name = options.name;
    this.server = parts.server;
    this.fingerprint = parts.fingerprint;
    this.#session = parts.session;
    this.#transport = parts.transport;
    this.#book = parts.book;
    this.#journeys = new Journeys(parts.transport);
    this.#deliver = options.deliver;
    this.#transport.on("message", (message, accept, refuse) => {
      // An output that fails leaves the message undelivered; its sender is told nothing, which is the truth.
      this.#receive(message, accept, refuse).catch((error: unknown) =>
        debug("not handed over: %s", asError(error).message),
      );
    });
    this.#transport.on("error", (error) => this.#fail(error));
    this.#session.on("server", (event) => {
      if (event.state === "back") this.#cameBack();
      this.emit("server", event);
    });
    this.#session.on("seen", (record) => {
      this.#book.learn(record);
      this.#journeys.follow(record);
    });
    this.#session.on("peer", (event) => {
      if (event.state === "left") this.#book.forget(event.name);
      this.emit("peer", event);
    });
    this.#session.on("gone", (error) => this.#fail(error));
  }

  /**
   * Registers and begins to receive.
   * @throws TalkError bad-name, name-taken, full, unreachable, refused (certificate, key file); AbortError
   */
  static async connect(options: ConnectOptions): Promise<TalkClient> {
    validateName(options.name);
    const { stateDir = defaultStateDir(), signal } = options;
    const address = parseServerAddress(options.server ?? DEFAULT_SERVER, "server");
    const identity = loadOrCreateIdentity(keyFile(stateDir));
    const join = () => TalkClient.#join(options, { address, stateDir, identity });
    return options.startServer ? withEmbeddedServer({ address, stateDir, signal }, join) : join();
  }

  static async #join(options: ConnectOptions, { address, stateDir, identity }: Place): Promise<TalkClient> {
    const { signal } = options;
    const server = formatServerAddress(address);
    const servers = new KnownServers(stateDir);
    const session = await Session.open({
      name: options.name,
      address,
      identity,
      insecure: options.insecure ?? false,
      checkCertificate: (certificate) => servers.remember(server, certificate),
      register: options.register ?? "always",
      signal,
    });
    const undo: (() => Promise<unknown>)[] = [() => session.close()];
    try {
      // A client of a server on this machine is not reachable from any other, so its socket is not either.
      const bound = isLoopback(session.localAddress) ? { address: session.localAddress } : {};
      const transport = await PeerTransport.open({ identity, port: options.port ?? 0, ...bound });
      undo.push(() => transport.close({ timeoutMs: 0 }));
      const book = new AddressBook(server, session, new KnownPeers(stateDir));
      const client = new TalkClient(options, { server, fingerprint: identity.fingerprint, session, transport, book });
      await session.register(transport.port);
      signal?.throwIfAborted();
      // Who only sends one message is not "on": List need not show it, and its start is a few milliseconds shorter.
      if (options.register !== "if-free") client.#presence = LocalPresence.join(client);
      return client;
    } catch (error) {
      await Promise.all(undo.map((step) => step()));
      throw error;
    }
  }

  /** This machine's address on the way to the server: the one that the directory shows. */
  get address(): string {
    return this.#session.localAddress;
  }
  /** UDP port of the chat socket. */
  get port(): number {
    return this.#transport.port;
  }

  /**
   * Sends one message; resolves when the receiving program has handed it to its output.
   * @param to a name; compared as the server does, case-folded
   * @param text at most {@link MAX_TEXT_BYTES} bytes of UTF-8
   * @throws TalkError no-such-user, not-delivered, key-mismatch, too-long; the signal's reason (AbortError)
   */
  async send(to: string, text: string, options: SendOptions = {}): Promise<SendResult> {
    const { timeoutMs = DEFAULT_SEND_TIMEOUT_MS, signal } = options;
    signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    const id = randomUUID();
    const startedAt = performance.now();
    this.emit("sent", { id, to, at: Date.now() });
    try {
      await this.#send(id, to, text, { deadline: startedAt + timeoutMs, timeoutMs, ...(signal && { signal }) });
      const ms = Math.round((performance.now() - startedAt) * 1000) / 1000;
      this.#presence?.sent();
      this.emit("delivered", { id, to, at: Date.now(), ms });
      return { id, to, ms };
    } catch (error) {
      const failure = sendFailure(to, asError(error), timeoutMs);
      this.emit("failed", { id, to, code: failedCode(failure), message: failure.message });
      throw failure;
    }
  }

  /** @returns the client of that name, null if nobody of that name is on. @throws TalkError unreachable */
  async lookup(name: string): Promise<ClientRecord | null> {
    const record = await this.#session.lookup(name);
    return record && publicRecord(record);
  }

  /** Everyone who is on. @throws TalkError unreachable */
  async all(): Promise<ClientRecord[]> {
    return (await this.#session.all()).map(publicRecord);
  }

  /** Every ptalk client on this machine, from shared memory: no server is asked. */
  async list(): Promise<LocalRecord[]> {
    return listLocal();
  }

  /** Leaves: gives what is under way a second, then fails it, says goodbye and frees everything. */
  async close(): Promise<void> {
    this.#ended ??= TalkError.closed("the client");
    await this.#transport.close();
    await this.#session.close();
    this.#presence?.leave();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #send(id: string, to: string, text: string, limits: SendLimits): Promise<void> {
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_TEXT_BYTES) throw TalkError.tooLong(bytes, MAX_TEXT_BYTES);
    if (this.#underWay >= MAX_UNDER_WAY)
      throw TalkError.notDelivered(to, `${MAX_UNDER_WAY} messages are already under way`);
    this.#underWay++;
    const timeout = AbortSignal.timeout(limits.timeoutMs);
    const signal = limits.signal ? AbortSignal.any([limits.signal, timeout]) : timeout;
    try {
      const record = await this.#book.resolve(to, signal);
      const timeoutMs = Math.max(1, limits.deadline - performance.now());
      await this.#journeys.to(record, (peer) =>
        this.#transport.send(peer, { from: this.name, text, id }, { timeoutMs, signal }),
      );
      this.#book.remember(record.name, record.key);
    } finally {
      this.#underWay--;
    }
  }

  #cameBack(): void {
    this.#presence?.moved(this.address);
    // Who was restarted while the server was away is announced to nobody.
    for (const name of this.#journeys.names()) {
      this.#book.forget(name);
      this.#session.lookup(name).then(
        (record) => record && this.#journeys.follow(record),
        () => {},
      );
    }
  }

  async #receive(incoming: IncomingMessage, accept: () => void, refuse: () => void): Promise<void> {
    const standing = await this.#book.standingOf(incoming.from, incoming.key.toString("base64"));
    if ("refused" in standing) {
      refuse();
      this.emit("refused", standing.refused);
      return;
    }
    const { id, from, text, at } = incoming;
    await this.#handOver({ id, from, text, at, fingerprint: fingerprint(incoming.key), verified: standing.verified });
    accept();
    this.#presence?.received();
  }

  // Nobody is told "delivered" before an output has the text: without one the message waits, and its sender with it.
  async #handOver(message: TalkMessage): Promise<void> {
    if (this.#deliver) await this.#deliver(message);
    else while (this.listenerCount("message") === 0) await once(this, "newListener");
    // Not emit(): a listener may be async, and its promise is the hand-over.
    await Promise.all(this.rawListeners("message").map((listener) => listener.call(this, message)));
  }

  #fail(error: Error): void {
    this.#ended ??= error;
    if (this.listenerCount("error") > 0) this.emit("error", error);
  }
}

interface Place {
  readonly address: ServerAddress;
  readonly stateDir: string;
  readonly identity: Identity;
}

interface Parts {
  readonly server: string;
  readonly fingerprint: string;
  readonly session: Session;
  readonly transport: PeerTransport;
  readonly book: AddressBook;
}

interface SendLimits {
  readonly deadline: number; // on the clock of performance.now()
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

const asError = (value: unknown): Error => (value instanceof Error ? value : new Error(String(value)));
