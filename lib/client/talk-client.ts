// One user who is on: registered with the lookup server, listed on this machine, reachable by the others. Puts session, address
// book, peer transport and the row of the local table together, and tells the program what happens; each of them does its own work.
//
//  connect()  options are checked -> session greets -> UDP socket opens -> name is registered -> row in the local table
//  send()     "sent" -> outbound.ts -> "delivered" or "failed"
//  inbound    transport -> inbound.ts -> "message" listeners
//  pushes     session -> address book -> messages under way follow (outbound.ts); "peer" and "server" events
import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { TalkError } from "../base/errors.ts";
import { defaultStateDir } from "../base/files.ts";
import { foldIfValid, validateName } from "../base/names.ts";
import { DEFAULT_SERVER, formatServerAddress, parseServerAddress, type ServerAddress } from "../base/server-address.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { type Identity, loadOrCreateIdentity } from "../crypto/identity.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import { PeerTransport } from "../peer/transport.ts";
import { listLocal } from "../presence/local-list.ts";
import { LocalPresence } from "../presence/presence.ts";
import type { HistoryJournal } from "../store/history/journal.ts";
import { IgnoreList } from "../store/ignored.ts";
import { KnownPeers, KnownServers } from "../store/known-peers.ts";
import { keyFile } from "../store/state-paths.ts";
import { AddressBook } from "./address-book.ts";
import { Admission } from "./admission.ts";
import { checkConnectOptions } from "./connect-options.ts";
import { reachableEndpoints } from "./endpoints.ts";
import { openHistory, readKept } from "./history.ts";
import { InboundMessages } from "./inbound.ts";
import { checkSend, failedCode, OutboundMessages } from "./outbound.ts";
import { ServerSession } from "./server-session.ts";
import type {
  ClientStats,
  ConnectOptions,
  HistoryOptions,
  HistoryRecord,
  LocalEntry,
  SendOptions,
  SendResult,
  ServerEvent,
  TalkClientEvents,
  TalkConnection,
} from "./types.ts";

/**
 * A user of a lookup server.
 *
 *     const client = await TalkClient.connect({ name: "alice" });
 *     client.on("message", ({ from, text }) => console.log(`${from}: ${text}`));
 *     await client.send("bob", "hello");   // resolves once bob's program has handed it to its output
 *     await client.close();
 *
 * Events: see {@link TalkClientEvents}. A "message" listener may be async: the sender learns "delivered" when it is done. A
 * program that does not listen declines what is sent to it.
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
  readonly #inbound: InboundMessages;
  readonly #outbound: OutboundMessages;
  readonly #stateDir: string;
  readonly #ignored: IgnoreList;
  readonly #journal: HistoryJournal | undefined;
  #presence: LocalPresence | undefined;
  #ended: Error | undefined;

  private constructor(
    options: ConnectOptions,
    { server, identity, peers, session, transport, stateDir, journal }: Parts,
  ) {
    super();
    this.#stateDir = stateDir;
    this.#journal = journal;
    this.name = options.name;
    this.server = server;
    this.fingerprint = identity.fingerprint;
    this.#session = session;
    this.#transport = transport;
    this.#book = new AddressBook({
      server,
      peers,
      source: session,
      endpointsOf: (entry) => reachableEndpoints(entry, session),
      hasSession: (peer) => transport.hasSession(peer),
      onLearned: (name, entry) => this.#outbound.follow(name, entry),
    });
    this.#outbound = new OutboundMessages({ from: this.name, book: this.#book, transport });
    this.#ignored = new IgnoreList(stateDir);
    this.#inbound = new InboundMessages({
      book: this.#book,
      admission: new Admission({ accept: options.accept ?? "all", ignored: this.#ignored, book: this.#book }),
      journal,
      onFolded: options.fold ? (event) => this.#tell("folded", event) : undefined,
      client: this,
      deliver: options.deliver,
      onReceived: () => this.#presence?.received(),
      onRefused: (error) => this.#tell("refused", error),
      onListenerError: (reason) => this.#onListenerError(reason),
    });
    transport.on("message", (message, settle) => {
      if (options.register === "never") settle("declined");
      else void this.#inbound.receive(message, settle);
    });
    transport.on("error", (error) => this.#fail(error));
    session.on("server", (event) => this.#onServer(event));
    session.on("seen", (entry) => this.#book.learn(entry));
    session.on("peer", (event) => {
      if (event.state === "left") this.#book.onLeft(event.name);
      this.#tell("peer", event);
    });
    session.on("gone", (error) => this.#fail(error));
  }

  /**
   * Registers and begins to receive.
   * @throws TalkError usage (an option that is none: its name is the error's `subject`), bad-name, name-taken, full, unreachable,
   * protocol, refused (certificate, key file); the system's error for a UDP port that cannot be had; the signal's reason
   */
  static async connect(options: ConnectOptions): Promise<TalkClient> {
    checkConnectOptions(options);
    const { stateDir = defaultStateDir(), signal } = options;
    signal?.throwIfAborted();
    const address = parseServerAddress(options.server ?? DEFAULT_SERVER, "server");
    const identity = loadOrCreateIdentity(keyFile(stateDir));
    const join = () => TalkClient.#join(options, { address, stateDir, identity });
    if (!options.startServer) return join();
    const { withEmbeddedServer } = await import("./embedded-server.ts");
    return withEmbeddedServer({ address, stateDir, signal }, join);
  }

  static async #join(options: ConnectOptions, { address, stateDir, identity }: Home): Promise<TalkClient> {
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
      // Where all clients of the server are on this host, nobody else has to reach the socket.
      const bound = session.isOfHost ? { address: session.localAddress } : {};
      const transport = await PeerTransport.open({ identity, port: options.port ?? 0, ...bound });
      undo.push(() => transport.close({ timeoutMs: 0 }));
      const peers = new KnownPeers(stateDir);
      const client = new TalkClient(options, {
        ...{ server, identity, peers, session, transport, stateDir },
        journal: await openHistory({ ...options, stateDir }),
      });
      for (const name of recipients) client.#lookAhead(name);
      await (register === "never" ? session.claim() : session.register(transport.port));
      signal?.throwIfAborted();
      if (register === "always") client.#presence = LocalPresence.join(client);
      client.#inbound.onConnected();
      return client;
    } catch (error) {
      await Promise.all(undo.map((step) => step()));
      throw error;
    }
  }

  /** The address that the directory shows first: this machine's on the way to the server, or as others see it. */
  get address(): string {
    return this.#session.address;
  }
  /** UDP port of the chat socket. */
  get port(): number {
    return this.#transport.port;
  }

  /**
   * Sends one message; resolves when the receiving program has handed it to its output. A program that is restarted meanwhile
   * gets it at its new address.
   * @param to a name; compared as the server does, case-folded
   * @param text at most 65,536 bytes of UTF-8
   * @throws TalkError with the code of the "failed" event; usage for an argument that is none (then nothing was sent, and no event
   * tells of it); the signal's reason
   */
  async send(to: string, text: string, options: SendOptions = {}): Promise<SendResult> {
    const limits = checkSend(to, text, options);
    limits.signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    const id = randomUUID();
    const startedAt = performance.now();
    this.#tell("sent", { id, to, at: Date.now() });
    const said = { direction: "out", with: to, room: null, id, text } as const;
    let recipient: DirectoryEntry;
    try {
      recipient = await this.#outbound.send({ id, to, text, auto: limits.auto }, limits);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const remedy = error instanceof TalkError ? error.remedy : null;
      this.#tell("failed", { id, to, code: failedCode(error), message, remedy });
      this.#journal?.add({ ...said, at: Date.now(), state: "failed", via: null, fingerprint: null });
      throw error;
    }
    const ms = Math.round((performance.now() - startedAt) * 1000) / 1000;
    this.#presence?.sent();
    const at = Date.now();
    this.#tell("delivered", { id, to, at, ms });
    this.#journal?.add({ ...said, at, state: "delivered", via: "direct", fingerprint: recipient.fingerprint });
    return { id, to, ms };
  }

  /** @returns the client of that name, null if there is none. @throws TalkError unreachable, usage */
  async lookup(name: string): Promise<DirectoryEntry | null> {
    if (typeof name !== "string") {
      throw new TalkError("usage", `lookup(): name must be a string, not ${typeof name}`, { subject: "name" });
    }
    const folded = foldIfValid(name);
    return folded === null ? null : this.#book.lookup(folded);
  }

  /** Everyone who is on. @throws TalkError unreachable */
  async all(): Promise<DirectoryEntry[]> {
    this.#book.tellLookups(); // so that they are in what is asked for
    return this.#session.all();
  }

  /** Every ptalk client on this machine, from shared memory: no server is asked. */
  async list(): Promise<LocalEntry[]> {
    this.#presence?.update();
    return listLocal();
  }

  /**
   * Declines what NAME sends from now on, to any program of this user: by the uid that the server's kernel vouches for, else by
   * key and name. Kept in the state directory.
   * @throws TalkError bad-name; bad-config for a list that cannot be read
   */
  async ignore(name: string): Promise<void> {
    const folded = validateName(name);
    this.#ignored.add({ name: folded, ...(await this.#book.identityOf(folded)) });
  }

  /** @returns whether it was ignored. @throws as ignore() */
  unignore(name: string): boolean {
    return this.#ignored.remove(validateName(name));
  }

  /** Folded names of those that are ignored. @throws TalkError bad-config */
  ignored(): string[] {
    return this.#ignored.names();
  }

  stats(): ClientStats {
    return {
      server: this.#session.stats(),
      directory: this.#book.stats(),
      messages: { ...this.#outbound.stats, ...this.#inbound.stats },
      peers: this.#transport.stats(),
    };
  }

  /**
   * What was said, by all programs of this user that keep it (see ConnectOptions.history), in the order of its time.
   * @throws TalkError usage; the system's error for files that cannot be read
   */
  async *history(options: HistoryOptions = {}): AsyncGenerator<HistoryRecord, void> {
    await this.#journal?.written();
    yield* readKept(this.#stateDir, options);
  }

  /** Leaves: gives what is under way a second, then fails it, says goodbye and frees everything. */
  async close(): Promise<void> {
    this.#ended ??= TalkError.closed("the client");
    this.#inbound.close();
    await this.#transport.close();
    this.#book.close();
    await this.#session.close();
    this.#presence?.leave();
    await this.#journal?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #lookAhead(name: string): void {
    const folded = foldIfValid(name);
    if (folded !== null) this.#book.lookup(folded).catch(() => {}); // asked again when it is sent to
  }

  #onServer(event: ServerEvent): void {
    if (event.state === "back") {
      this.#presence?.moved(this.address);
      this.#book.invalidate();
      this.#outbound.lookAgain();
    }
    this.#tell("server", event);
  }

  #fail(error: Error): void {
    this.#ended ??= error;
    if (this.listenerCount("error") > 0) this.#tell("error", error);
  }

  /** A listener's mistake is the program's: not the message's fate, not the connection's. */
  #tell<E extends keyof TalkClientEvents>(event: E, ...args: TalkClientEvents[E]): void {
    try {
      (this as EventEmitter).emit(event, ...args);
    } catch (error) {
      this.#onListenerError(error);
    }
  }

  /** As a rejection is told of under EventEmitter's `captureRejections`. */
  #onListenerError(reason: unknown): void {
    const error = reason instanceof Error ? reason : new Error(String(reason));
    process.nextTick(() => this.emit("error", error)); // without a listener for it, emit() throws: an uncaught exception
  }
}

/** Where a user's key and pins are, and the server. */
interface Home {
  readonly address: ServerAddress;
  readonly stateDir: string;
  readonly identity: Identity;
}

interface Parts {
  readonly server: string;
  readonly identity: Identity;
  readonly peers: KnownPeers;
  readonly session: ServerSession;
  readonly transport: PeerTransport;
  readonly stateDir: string;
  readonly journal: HistoryJournal | undefined;
}
