// A client's standing with the lookup server: its name is its own for as long as it lives, whatever happens to the
// connection. Reconnects with backoff and jitter and takes its name up again. Knows nothing of messages.
import { EventEmitter } from "node:events";
import { abortable, backoffMs, sleep, withTimeout } from "../base/async.ts";
import { TalkError } from "../base/errors.ts";
import type { ServerAddress } from "../base/server-address.ts";
import type { Identity } from "../crypto/identity.ts";
import { type ConnectionStatement, claimIdOf } from "../crypto/signed-statements.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import type { RespValue } from "../wire/resp-reply.ts";
import { allEntries, entryFrom, lookupEntry, ownerOf } from "./directory-queries.ts";
import { claimRequest, isPassing, registrationError, registrationRequest } from "./register-request.ts";
import { ServerConnection } from "./server-connection.ts";
import type { PeerEvent, ServerEvent } from "./types.ts";

const RECONNECT = { firstMs: 100, maxMs: 5_000 };
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
  seen: [record: DirectoryEntry];
  /** The name is lost for good. */
  gone: [error: Error];
}

export class ServerSession extends EventEmitter<SessionEvents> {
  readonly #options: ServerSessionOptions;
  #connection: ServerConnection;
  #statement: ConnectionStatement;
  /** Makes the name count on a fresh connection. */
  #enter: () => Promise<void> = async () => {};
  /** Of our registration; null while there was none. */
  #claimId: string | null = null;
  #listed = false;
  #closing = false;
  #ended: Error | undefined;
  readonly #stop = new AbortController();
  /** Those who wait for the connection to come back, or for the end. */
  readonly #waiting = new Set<() => void>();
  #ping: NodeJS.Timeout | undefined;

  private constructor(options: ServerSessionOptions, connection: ServerConnection, statement: ConnectionStatement) {
    super();
    this.#options = options;
    this.#connection = connection;
    this.#statement = statement;
  }

  /** Connects and greets; register() or claim() makes it count. @throws TalkError unreachable, refused, protocol; AbortError */
  static async open(options: ServerSessionOptions): Promise<ServerSession> {
    const { connection, statement } = await ServerConnection.greeted(options);
    return new ServerSession(options, connection, statement);
  }

  /** This machine's address on the way to the server. */
  get localAddress(): string {
    return this.#connection.localAddress;
  }
  get connected(): boolean {
    return !this.#connection.closed;
  }

  /**
   * Puts this client into the directory and keeps it there.
   * @param port UDP port of the chat socket
   * @throws TalkError name-taken, full, bad-name, refused, unreachable; the signal's reason
   */
  register(port: number): Promise<void> {
    return this.#begin(() => this.#register(port));
  }

  /** Speaks under the name without being in the directory: nobody hears of it. @throws as register() */
  claim(): Promise<void> {
    const { name, identity } = this.#options;
    return this.#begin(() => this.#prove(claimRequest({ name, identity, statement: this.#statement })));
  }

  /** @throws TalkError unreachable while there is no connection; protocol */
  async lookup(name: string): Promise<DirectoryEntry | null> {
    const record = await lookupEntry(this.#connection, name);
    if (record) this.emit("seen", record);
    return record;
  }

  /** The key that a name belongs to. @throws as lookup() */
  ownerOf(name: string): Promise<string | null> {
    return ownerOf(this.#connection, name);
  }

  all(): Promise<DirectoryEntry[]> {
    return allEntries(this.#connection);
  }

  /** Waits until the server answers again. @throws TalkError closed or whatever ended the session; the signal's reason */
  async whenConnected(signal: AbortSignal): Promise<void> {
    while (!this.connected) {
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

  /** Leaves the directory; resolves when the server knows or cannot be told. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#ended ??= TalkError.closed("the session");
    clearInterval(this.#ping);
    if (this.connected && this.#listed) {
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
    this.#listen();
    await abortable(enter(), this.#options.signal);
    this.#watchOver();
  }

  async #register(port: number): Promise<void> {
    const { name, identity } = this.#options;
    const statement = this.#statement;
    const request = registrationRequest({ name, identity, statement, port, takeover: this.#claimId });
    await Promise.all([this.#prove(request), this.#connection.ask("WATCH")]);
    this.#claimId = claimIdOf(statement.serverNonce);
    this.#listed = true;
  }

  async #prove(request: (string | number)[]): Promise<void> {
    try {
      await this.#connection.command(...request);
    } catch (error) {
      throw registrationError(error, this.#options.name);
    }
  }

  /** Before anything is asked on a connection: what is pushed comes right behind an answer. */
  #listen(): void {
    this.#connection.on("push", (values) => this.#pushed(values));
  }

  #watchOver(): void {
    const connection = this.#connection;
    connection.once("close", () => this.#lost());
    if (connection.closed) this.#lost();
    clearInterval(this.#ping);
    this.#ping = setInterval(() => connection.command("PING").catch(() => {}), PING_EVERY_MS).unref();
  }

  #pushed([kind, name, client]: RespValue[]): void {
    // The server asks a silent client whether it is there: any request is the answer.
    if (kind === "probe") this.#connection.command("PING").catch(() => {});
    else if (kind === "replaced") this.#giveUp(TalkError.replaced(this.#options.name));
    else if (kind === "closing") this.emit("server", { state: "closing" });
    else if (name === this.#options.name) return;
    else if (kind === "left" && typeof name === "string") this.emit("peer", { name, state: "left" });
    else if ((kind === "joined" || kind === "call") && client !== undefined) {
      const record = entryFrom(client);
      if (record === null) return;
      this.emit("seen", record);
      if (kind === "joined") this.emit("peer", { name: record.name, state: "joined" });
    }
  }

  #lost(): void {
    clearInterval(this.#ping);
    if (this.#closing) return;
    this.emit("server", { state: "lost" });
    this.#reconnect().catch((error: Error) => this.#giveUp(error));
  }

  #giveUp(error: Error): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#ended = error;
    clearInterval(this.#ping);
    this.#end(error);
    this.emit("gone", error);
  }

  async #reconnect(): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      await sleep(backoffMs(attempt, RECONNECT), this.#stop.signal);
      try {
        const fresh = await ServerConnection.greeted({ ...this.#options, signal: this.#stop.signal });
        this.#connection = fresh.connection;
        this.#statement = fresh.statement;
        this.#listen();
        await this.#enter();
        break;
      } catch (error) {
        this.#connection.close();
        if (!isPassing(error)) throw error;
      }
    }
    if (this.#closing) return this.#connection.close();
    this.#watchOver();
    this.emit("server", { state: "back" });
    this.#wake();
  }
}
