// A client's standing with the lookup server: its name is its own for as long as it lives, whatever happens to the
// connection. Owns the connection, the claim to the name, and the way back. Knows nothing of messages.
//
//  1. open() connects and greets.
//  2. register() or claim() makes the name count on this connection, and says how to do so on the next one.
//  3. What the server pushes becomes "seen", "peer" and "server" events.
//  4. When addresses of this host change, the row changes with them: on the same connection, if that lives on.
//  5. A lost connection is replaced, with backoff and jitter, and the name is taken up again by the claim id that it had.
//  6. A name that another program has taken over, or a refusal that no retry mends, ends the session: "gone".
import { EventEmitter } from "node:events";
import { debuglog } from "node:util";
import { abortable, backoffMs, sleep, withTimeout } from "../base/async.ts";
import { areSameEndpoints, type ClientEndpoint, withoutZone } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import { isLoopback, type ServerAddress } from "../base/server-address.ts";
import type { Identity } from "../crypto/identity.ts";
import { claimIdOf } from "../crypto/signed-statements.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import { ownAddresses, watchOwnAddresses } from "../net/own-addresses.ts";
import { ReplyError, type RespValue } from "../wire/resp-reply.ts";
import { allEntries, entryFrom, lookupEntry, ownerOf } from "./directory-reader.ts";
import { ownEndpoints } from "./endpoints.ts";
import { claimRequest, isPassing, isUnknown, registrationError, registrationRequest } from "./register-request.ts";
import { ServerConnection, type ServerGreeting } from "./server-connection.ts";
import type { PeerEvent, ServerEvent, ServerStats } from "./types.ts";

const debug = debuglog("ptalk-client");

const RECONNECT = { firstMs: 100, maxMs: 5_000 };
/**
 * Milliseconds after the start of a server in which clients of the one before it may still be on their way back: the longest
 * pause between two attempts, and as much again for a server that a thousand clients return to at once.
 */
export const SETTLING_MS = 2 * RECONNECT.maxMs;
/** Connections that may break off under a first registration; of the last one the error counts. */
const MAX_FIRST_ENTRIES = 5;
/** Registrations of which one may have been carried out; one is added by each connection that breaks off before the answer. */
const MAX_CLAIM_IDS = 8;
/** Milliseconds between the questions that find out that a silent server is gone (a reply has 10 s). */
const PING_EVERY_MS = 10_000;
/** Milliseconds that leaving waits for the server to know it; the end of the connection tells it anyway. */
const LEAVE_LIMIT_MS = 1_000;

export interface ServerSessionOptions {
  readonly name: string;
  readonly address: ServerAddress;
  readonly identity: Identity;
  readonly insecure: boolean;
  readonly checkCertificate: (certificate: Buffer) => void;
  /** Aborts opening and entering; afterwards it has no effect. */
  readonly signal?: AbortSignal | undefined;
}

interface SessionEvents {
  server: [event: ServerEvent];
  peer: [event: PeerEvent];
  /** The server has told where a client is, asked or unasked: it joined, or is about to talk to us. Comes before "peer". */
  seen: [entry: DirectoryEntry];
  /** The name is lost for good. */
  gone: [error: Error];
}

export class ServerSession extends EventEmitter<SessionEvents> {
  readonly #options: ServerSessionOptions;
  #connection: ServerConnection;
  #greeting: ServerGreeting;
  #serverStartedAt: number;
  /** The last registration's. */
  #endpoints: readonly ClientEndpoint[] = [];
  #addressWatch: Disposable | undefined;
  /** Changes of the row, one after the other. */
  #renewal: Promise<void> = Promise.resolve();
  /** Makes the name count on a fresh connection. */
  #enter: () => Promise<void> = async () => {};
  /** Claim ids of which one names our row, if there is one: of the last registration, then of later ones without an answer. */
  #claimIds: readonly string[] = [];
  #isRegistered = false;
  /** The server knows the TOUCH request. */
  #takesTouch = true;
  #isClosing = false;
  #ended: Error | undefined;
  #reconnects = 0;
  readonly #stop = new AbortController();
  /** Callers of whenConnected(). */
  readonly #waiting = new Set<() => void>();
  #ping: NodeJS.Timeout | undefined;

  private constructor(options: ServerSessionOptions, connection: ServerConnection, greeting: ServerGreeting) {
    super();
    this.#options = options;
    this.#connection = connection;
    this.#greeting = greeting;
    this.#serverStartedAt = performance.now() - greeting.uptimeMs;
  }

  /** Connects and greets; register() or claim() makes it count. @throws TalkError unreachable, refused, protocol; AbortError */
  static async open(options: ServerSessionOptions): Promise<ServerSession> {
    const { connection, greeting } = await ServerConnection.greeted(options);
    return new ServerSession(options, connection, greeting);
  }

  /** This machine's address on the way to the server. */
  get localAddress(): string {
    return this.#connection.localAddress;
  }

  /** The server is on this host, or speaks through a forwarder on it. */
  get isBesideServer(): boolean {
    return isLoopback(this.localAddress);
  }

  /** All clients of this server are on this host. */
  get isOfHost(): boolean {
    return this.isBesideServer && !this.#greeting.isForNetwork;
  }

  /** The address that the directory shows of us first. */
  get address(): string {
    return this.#endpoints[0]?.address ?? this.localAddress;
  }

  get isConnected(): boolean {
    return !this.#connection.closed;
  }

  /** When the server that we are connected to started, in monotonic milliseconds. */
  get serverStartedAt(): number {
    return this.#serverStartedAt;
  }

  /** Milliseconds for which clients of the server before this one may still be on their way back; 0 when it has settled. */
  get settlingMs(): number {
    return Math.max(0, SETTLING_MS - (performance.now() - this.#serverStartedAt));
  }

  /**
   * Puts this client into the directory and keeps it there.
   * @param port UDP port of the chat socket
   * @throws TalkError name-taken, full, bad-name, refused, unreachable; the signal's reason
   */
  async register(port: number): Promise<void> {
    await this.#begin(() => this.#register(port));
    this.#addressWatch = watchOwnAddresses(() => this.#onAddressesChanged(port));
  }

  /** Speaks under the name without being in the directory: no other client hears of it. @throws as register() */
  claim(): Promise<void> {
    const { name, identity } = this.#options;
    return this.#begin(() => this.#prove(claimRequest({ name, identity, statement: this.#greeting.statement })));
  }

  /** @throws TalkError unreachable while there is no connection; protocol */
  async lookup(name: string): Promise<DirectoryEntry | null> {
    const entry = await lookupEntry(this.#connection, name);
    if (entry) this.emit("seen", entry);
    return entry;
  }

  /** The key that a name belongs to. @throws as lookup() */
  ownerOf(name: string): Promise<string | null> {
    return ownerOf(this.#connection, name);
  }

  all(): Promise<DirectoryEntry[]> {
    return allEntries(this.#connection);
  }

  /** Tells the server that this client has looked somebody up without asking it. Waits for nothing; a failure is passed over. */
  touch(): void {
    if (!this.#isRegistered || !this.#takesTouch || !this.isConnected) return;
    this.#connection.command("TOUCH").catch((error: unknown) => {
      if (error instanceof ReplyError) this.#takesTouch = false; // a server of an older version
    });
  }

  /** Waits until the server answers again. @throws TalkError closed or whatever ended the session; the signal's reason */
  async whenConnected(signal: AbortSignal): Promise<void> {
    while (!this.isConnected) {
      if (this.#ended) throw this.#ended;
      let wake = (): void => {};
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      this.#waiting.add(wake);
      try {
        await abortable(woken, signal);
      } finally {
        this.#waiting.delete(wake);
      }
    }
  }

  stats(): ServerStats {
    const { roundTripMs } = this.#connection;
    return { isConnected: this.isConnected, reconnects: this.#reconnects, roundTripMs };
  }

  /** Leaves the directory; resolves when the server knows or cannot be told. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#ended ??= TalkError.closed("the session");
    clearInterval(this.#ping);
    this.#addressWatch?.[Symbol.dispose]();
    if (this.isConnected && this.#isRegistered) {
      const left = this.#connection.command("UNREGISTER").catch(() => {});
      await withTimeout(LEAVE_LIMIT_MS, left, undefined);
    }
    this.#end(this.#ended);
  }

  #end(reason: Error): void {
    this.#stop.abort(reason);
    this.#connection.close();
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  async #begin(enter: () => Promise<void>): Promise<void> {
    this.#enter = enter;
    for (let attempt = 1; ; attempt++) {
      this.#listen();
      try {
        await abortable(enter(), this.#options.signal);
        break;
      } catch (error) {
        // A worker process of the server has died under the request: the server goes on with another one.
        if (!this.#connection.closed || !isUnknown(error) || attempt === MAX_FIRST_ENTRIES) throw error;
      }
      await sleep(backoffMs(attempt - 1, RECONNECT), this.#options.signal);
      const { connection, greeting } = await ServerConnection.greeted(this.#options);
      this.#adopt(connection, greeting);
    }
    this.#watchOver();
  }

  /** An answer that was lost leaves it open which request the directory has carried out: the row may be of any of them. */
  async #register(port: number): Promise<void> {
    const watching = this.#connection.ask("WATCH");
    watching.catch(() => {}); // awaited below, unless the registration fails first
    const takeovers = this.#claimIds.length === 0 ? [null] : this.#claimIds.toReversed();
    for (const [index, takeover] of takeovers.entries()) {
      try {
        await this.#registerOnce(port, takeover);
        break;
      } catch (error) {
        const isTaken = error instanceof TalkError && error.code === "name-taken";
        if (!isTaken || index === takeovers.length - 1) throw error;
        this.#greeting = await this.#connection.hello(); // the nonce is used up
      }
    }
    await watching;
    this.#isRegistered = true;
  }

  async #registerOnce(port: number, takeover: string | null): Promise<void> {
    const { name, identity } = this.#options;
    const { statement } = this.#greeting;
    const endpoints = this.#endpointsNow(port);
    const claimId = claimIdOf(statement.serverNonce);
    const before = this.#claimIds;
    this.#claimIds = [...before, claimId].slice(-MAX_CLAIM_IDS);
    try {
      await this.#prove(registrationRequest({ name, identity, statement, port, endpoints, takeover }));
      this.#claimIds = [claimId];
      this.#endpoints = endpoints;
    } catch (error) {
      if (!isUnknown(error)) this.#claimIds = before;
      throw error;
    }
  }

  /** Where others reach the chat socket, as things are. */
  #endpointsNow(port: number): ClientEndpoint[] {
    if (this.isOfHost) return []; // the server sees loopback, and so does everybody else
    return ownEndpoints({ port, local: this.localAddress, seen: this.#greeting.seen, own: ownAddresses() });
  }

  #onAddressesChanged(port: number): void {
    if (this.#isClosing || this.isOfHost || !this.isConnected) return; // who reconnects registers what is so then
    const local = withoutZone(this.localAddress);
    if (!this.isBesideServer && !ownAddresses().includes(local)) {
      debug("this host has lost %s: the connection with the server is dead", local);
      this.#connection.abandon(`this host no longer has the address ${local}`);
      return;
    }
    this.#renewal = this.#renewal.then(() => this.#renew(port));
  }

  /** The row follows this host's addresses. Whoever waits for a message finds out from the push that this causes. */
  async #renew(port: number): Promise<void> {
    if (this.#isClosing || !this.isConnected || areSameEndpoints(this.#endpoints, this.#endpointsNow(port))) return;
    try {
      this.#greeting = await this.#connection.hello();
      await this.#registerOnce(port, this.#claimIds.at(-1) ?? null);
    } catch (error) {
      // A connection that breaks off is replaced; a server that refuses keeps the row as it was.
      debug("the row keeps its addresses: %s", error instanceof Error ? error.message : error);
    }
  }

  async #prove(request: (string | number)[]): Promise<void> {
    try {
      await this.#connection.command(...request);
    } catch (error) {
      throw registrationError(error, this.#options.name);
    }
  }

  /** Before the first request on a connection: pushes come right behind an answer. */
  #listen(): void {
    this.#connection.on("push", (values) => this.#onPush(values));
  }

  #watchOver(): void {
    const connection = this.#connection;
    connection.once("close", () => this.#onLost());
    if (connection.closed) this.#onLost();
    clearInterval(this.#ping);
    this.#ping = setInterval(() => connection.command("PING").catch(() => {}), PING_EVERY_MS).unref();
  }

  #onPush([kind, name, client]: RespValue[]): void {
    // The server asks a silent client whether it is there: any request is the answer.
    if (kind === "probe") this.#connection.command("PING").catch(() => {});
    else if (kind === "replaced") this.#giveUp(TalkError.replaced(this.#options.name));
    else if (kind === "closing") this.emit("server", { state: "closing" });
    else if (name === this.#options.name) return;
    else if (kind === "left" && typeof name === "string") this.emit("peer", { name, state: "left" });
    else if ((kind === "joined" || kind === "call") && client !== undefined) {
      const entry = entryFrom(client);
      if (entry === null) return;
      this.emit("seen", entry);
      if (kind === "joined") this.emit("peer", { name: entry.name, state: "joined" });
    }
  }

  #onLost(): void {
    clearInterval(this.#ping);
    if (this.#isClosing) return;
    this.emit("server", { state: "lost" });
    this.#reconnect().catch((error: Error) => this.#giveUp(error));
  }

  #giveUp(error: Error): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#addressWatch?.[Symbol.dispose]();
    this.#ended = error;
    clearInterval(this.#ping);
    this.#end(error);
    this.emit("gone", error);
  }

  async #reconnect(): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      await sleep(backoffMs(attempt, RECONNECT), this.#stop.signal);
      try {
        const { connection, greeting } = await ServerConnection.greeted({
          ...this.#options,
          signal: this.#stop.signal,
        });
        this.#adopt(connection, greeting);
        this.#listen();
        await this.#enter();
        break;
      } catch (error) {
        this.#connection.close();
        if (!isPassing(error)) throw error;
      }
    }
    if (this.#isClosing) return this.#connection.close();
    this.#reconnects++;
    this.#watchOver();
    this.emit("server", { state: "back" });
    this.#wake();
  }

  #adopt(connection: ServerConnection, greeting: ServerGreeting): void {
    this.#connection = connection;
    this.#greeting = greeting;
    this.#serverStartedAt = performance.now() - greeting.uptimeMs;
    this.#takesTouch = true;
  }
}
