// One user who is on: registered with the lookup server, listed on this machine, reachable by the others. Puts session,
// address book, peer transport and the row of the local table together; each of them does its own work.
import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { TalkError } from "../base/errors.ts";
import { defaultStateDir } from "../base/files.ts";
import { validateName } from "../base/names.ts";
import {
  DEFAULT_SERVER,
  formatServerAddress,
  isLoopback,
  parseServerAddress,
  type ServerAddress,
} from "../base/server-address.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { type Identity, loadOrCreateIdentity } from "../crypto/identity.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import { PeerTransport } from "../peer/transport.ts";
import { listLocal } from "../presence/local-list.ts";
import { LocalPresence } from "../presence/presence.ts";
import { KnownPeers, KnownServers } from "../store/known-peers.ts";
import { keyFile } from "../store/state-paths.ts";
import { AddressBook } from "./address-book.ts";
import { emitSafely } from "./client-events.ts";
import { InFlight } from "./in-flight.ts";
import { InboundMessages } from "./inbound.ts";
import { OutboundMessages } from "./outbound.ts";
import { failedCode, sendFailure } from "./send-failure.ts";
import { checkSendRequest } from "./send-request.ts";
import { ServerSession } from "./server-session.ts";
import type { ConnectOptions, LocalEntry, SendOptions, SendResult, TalkClientEvents, TalkConnection } from "./types.ts";

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
  readonly #session: ServerSession;
  readonly #transport: PeerTransport;
  readonly #book: AddressBook;
  readonly #reception: InboundMessages;
  #presence: LocalPresence | undefined;
  readonly #journeys: InFlight;
  readonly #sending: OutboundMessages;
  #ended: Error | undefined;

  private constructor(options: ConnectOptions, parts: Parts) {
    super();
    this.name = options.name;
    this.server = parts.server;
    this.fingerprint = parts.fingerprint;
    this.#session = parts.session;
    this.#transport = parts.transport;
    this.#book = parts.book;
    this.#journeys = new InFlight(parts.transport);
    this.#sending = new OutboundMessages({ ...parts, from: this.name, journeys: this.#journeys });
    this.#reception = new InboundMessages({
      book: parts.book,
      client: this,
      deliver: options.deliver,
      onReceived: () => this.#presence?.received(),
    });
    const { register } = options;
    this.#transport.on("message", (message, settle) => {
      if (register === "never") settle("declined");
      else void this.#reception.take(message, settle);
    });
    this.#transport.on("error", (error) => this.#fail(error));
    this.#session.on("server", (event) => {
      if (event.state === "back") this.#cameBack();
      emitSafely(this, "server", event);
    });
    this.#session.on("seen", (record) => {
      this.#book.learn(record);
      this.#journeys.follow(record);
    });
    this.#session.on("peer", (event) => {
      if (event.state === "left") this.#book.forget(event.name);
      emitSafely(this, "peer", event);
    });
    this.#session.on("gone", (error) => this.#fail(error));
  }

  /**
   * Registers and begins to receive.
   * @throws TalkError bad-name, name-taken, full, unreachable, protocol, refused (certificate, key file); the signal's reason
   */
  static async connect(options: ConnectOptions): Promise<TalkClient> {
    validateName(options.name);
    const { stateDir = defaultStateDir(), signal } = options;
    const address = parseServerAddress(options.server ?? DEFAULT_SERVER, "server");
    const identity = loadOrCreateIdentity(keyFile(stateDir));
    const join = () => TalkClient.#join(options, { address, stateDir, identity });
    if (!options.startServer) return join();
    const { withEmbeddedServer } = await import("./embedded-server.ts");
    return withEmbeddedServer({ address, stateDir, signal }, join);
  }

  static async #join(options: ConnectOptions, { address, stateDir, identity }: Place): Promise<TalkClient> {
    const { register = "always", recipients = [], signal } = options;
    const server = formatServerAddress(address);
    const servers = new KnownServers(stateDir);
    const session = await ServerSession.open({
      name: options.name,
      address,
      identity,
      insecure: options.insecure ?? false,
      checkCertificate: (certificate) => servers.remember(server, fingerprint(certificate)),
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
      for (const name of recipients) book.lookAhead(name);
      await (register === "never" ? session.claim() : session.register(transport.port));
      signal?.throwIfAborted();
      if (register === "always") client.#presence = LocalPresence.join(client);
      client.#reception.connected();
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
   * @param text at most 65,536 bytes of UTF-8
   * @throws TalkError no-such-user, not-delivered, key-mismatch, declined, not-understood, too-long; the signal's reason;
   * TypeError or RangeError for arguments that are none, and then nothing was sent and no event tells of it
   */
  async send(to: string, text: string, options: SendOptions = {}): Promise<SendResult> {
    const timeoutMs = checkSendRequest(to, text, options);
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    const id = randomUUID();
    const startedAt = performance.now();
    emitSafely(this, "sent", { id, to, at: Date.now() });
    let record: DirectoryEntry;
    try {
      record = await this.#sending.send(id, to, text, { timeoutMs, signal });
    } catch (error) {
      const failure = sendFailure(to, error, timeoutMs, signal);
      const message = failure instanceof Error ? failure.message : String(failure);
      emitSafely(this, "failed", { id, to, code: failedCode(failure), message });
      throw failure;
    }
    const ms = Math.round((performance.now() - startedAt) * 1000) / 1000;
    this.#book.remember(to, record.key);
    this.#presence?.sent();
    emitSafely(this, "delivered", { id, to, at: Date.now(), ms });
    return { id, to, ms };
  }

  /** @returns the client of that name, null if nobody of that name is on. @throws TalkError unreachable */
  async lookup(name: string): Promise<DirectoryEntry | null> {
    return this.#session.lookup(name);
  }

  /** Everyone who is on. @throws TalkError unreachable */
  async all(): Promise<DirectoryEntry[]> {
    return this.#session.all();
  }

  /** Every ptalk client on this machine, from shared memory: no server is asked. */
  async list(): Promise<LocalEntry[]> {
    return listLocal();
  }

  /** Leaves: gives what is under way a second, then fails it, says goodbye and frees everything. */
  async close(): Promise<void> {
    this.#ended ??= TalkError.closed("the client");
    this.#reception.close();
    await this.#transport.close();
    await this.#session.close();
    this.#presence?.leave();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #cameBack(): void {
    this.#presence?.moved(this.address);
    // Who was restarted while the server was away is announced to nobody.
    this.#book.invalidate();
    for (const name of this.#journeys.names()) this.#session.lookup(name).catch(() => {});
  }

  #fail(error: Error): void {
    this.#ended ??= error;
    if (this.listenerCount("error") > 0) emitSafely(this, "error", error);
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
  readonly session: ServerSession;
  readonly transport: PeerTransport;
  readonly book: AddressBook;
}
