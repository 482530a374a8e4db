// A client's standing with the lookup server: registered under its name for as long as it lives, whatever happens to the
// connection. Reconnects with backoff and jitter and takes its name up again. Knows nothing of messages.
import { EventEmitter, once } from "node:events";
import type { Identity } from "../crypto/identity.ts";
import { TalkError } from "../errors.ts";
import type { ServerAddress } from "../server-address.ts";
import { ReplyError, type RespValue } from "../wire/resp-reply.ts";
import { backoffMs } from "./backoff.ts";
import { allRecords, lookupRecord } from "./directory-queries.ts";
import { type DirectoryRecord, directoryRecord } from "./directory-record.ts";
import { isPassing, registrationError, registrationRequest } from "./registration.ts";
import { ServerConnection } from "./server-connection.ts";
import type { PeerEvent, ServerEvent } from "./types.ts";

const RECONNECT = { firstMs: 100, maxMs: 5_000 };
/** Milliseconds between the questions that find out that a silent server is gone (a reply has 10 s). */
const PING_EVERY_MS = 10_000;
/** Why the server closes: another process of this user has taken the name over. */
const REPLACED = "replaced";

export interface SessionOptions {
  readonly name: string;
  readonly address: ServerAddress;
  readonly identity: Identity;
  readonly insecure: boolean;
  readonly checkCertificate: (certificate: string) => void;
  /** "if-free": a client of the same key that holds the name already is no error; then we speak without being listed. */
  readonly register: "always" | "if-free";
  readonly signal?: AbortSignal | undefined;
}

interface SessionEvents {
  server: [event: ServerEvent];
  peer: [event: PeerEvent];
  /** The server has told of a client unasked: it joined, or is about to talk to us. Comes before "peer". */
  seen: [record: DirectoryRecord];
  /** The name is lost for good. */
  gone: [error: Error];
}

export class Session extends EventEmitter<SessionEvents> {
  readonly #options: SessionOptions;
  #connection: ServerConnection;
  #nonce: string;
  #port = 0;
  #listed = false;
  #closing = false;
  #ended: Error | undefined;
  readonly #stop = new AbortController();
  #ping: NodeJS.Timeout | undefined;

  private constructor(options: SessionOptions, connection: ServerConnection, nonce: string) {
    super();
    this.#options = options;
    this.#connection = connection;
    this.#nonce = nonce;
  }

  /** Connects and greets; register() makes it count. @throws TalkError unreachable, refused, protocol; AbortError */
  static async open(options: SessionOptions): Promise<Session> {
    const connection = await connectAndGreet(options, options.signal);
    return new Session(options, connection.connection, connection.nonce);
  }

  /** This machine's address on the way to the server. */
  get localAddress(): string {
    return this.#connection.localAddress;
  }
  /** Whether the directory lists this client (see SessionOptions.register). */
  get listed(): boolean {
    return this.#listed;
  }
  get connected(): boolean {
    return !this.#connection.closed;
  }

  /**
   * Puts this client into the directory and keeps it there.
   * @param port UDP port of the chat socket
   * @throws TalkError name-taken, full, bad-name, refused, unreachable
   */
  async register(port: number): Promise<void> {
    this.#port = port;
    await this.#register(false);
    this.#watchOver();
  }

  /** @throws TalkError unreachable while there is no connection */
  lookup(name: string): Promise<DirectoryRecord | null> {
    return lookupRecord(this.#connection, name);
  }

  all(): Promise<DirectoryRecord[]> {
    return allRecords(this.#connection);
  }

  /** Waits until the server answers again. @throws TalkError closed or whatever ended the session; AbortError */
  async whenConnected(signal: AbortSignal): Promise<void> {
    while (!this.connected) {
      if (this.#ended) throw this.#ended;
      await once(this, "server", { signal: AbortSignal.any([signal, this.#stop.signal]) });
    }
  }

  /** Leaves the directory; resolves when the server knows or cannot be told. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#ended ??= TalkError.closed("the session");
    clearInterval(this.#ping);
    if (this.connected && this.#listed) await this.#connection.command("UNREGISTER").catch(() => {});
    this.#stop.abort(this.#ended);
    this.#connection.close();
  }

  async #register(takeOver: boolean): Promise<void> {
    const { name, identity } = this.#options;
    try {
      const request = { name, identity, nonce: this.#nonce, port: this.#port, takeOver };
      await this.#connection.command(...registrationRequest(request));
      this.#listed = true;
    } catch (error) {
      if (!(await this.#mayShareName(error))) throw registrationError(error, name);
    }
    await this.#connection.command("WATCH");
  }

  async #mayShareName(error: unknown): Promise<boolean> {
    if (this.#options.register !== "if-free" || !(error instanceof ReplyError) || error.code !== "TAKEN") return false;
    const holder = await this.lookup(this.#options.name);
    return holder?.key === this.#options.identity.publicKey.toString("base64");
  }

  #watchOver(): void {
    const connection = this.#connection;
    connection.on("push", (values) => this.#pushed(values));
    connection.once("close", () => this.#lost());
    if (connection.closed) this.#lost();
    clearInterval(this.#ping);
    this.#ping = setInterval(() => connection.command("PING").catch(() => {}), PING_EVERY_MS).unref();
  }

  #pushed([kind, name, client]: RespValue[]): void {
    // The server asks a silent client whether it is there: any request is the answer.
    if (kind === "probe") this.#connection.command("PING").catch(() => {});
    else if (kind === "closing" && name === REPLACED) this.#giveUp(TalkError.nameTaken(this.#options.name));
    else if (kind === "closing") this.emit("server", { state: "closing" });
    else if (name === this.#options.name) return;
    else if (kind === "left" && typeof name === "string") this.emit("peer", { name, state: "left" });
    else if ((kind === "joined" || kind === "call") && client !== undefined) {
      const record = directoryRecord(client);
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
    this.#stop.abort(error);
    this.#connection.close();
    this.emit("gone", error);
  }

  async #reconnect(): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      await pause(backoffMs(attempt, RECONNECT), this.#stop.signal);
      try {
        const fresh = await connectAndGreet(this.#options, this.#stop.signal);
        this.#connection = fresh.connection;
        this.#nonce = fresh.nonce;
        await this.#register(this.#listed);
        break;
      } catch (error) {
        this.#connection.close();
        if (!isPassing(error)) throw error;
      }
    }
    if (this.#closing) return this.#connection.close();
    this.#watchOver();
    this.emit("server", { state: "back" });
  }
}

async function connectAndGreet(options: SessionOptions, signal: AbortSignal | undefined) {
  const connection = await ServerConnection.open({
    address: options.address,
    insecure: options.insecure,
    checkCertificate: options.checkCertificate,
    ...(signal && { signal }),
  });
  try {
    return { connection, nonce: (await connection.hello()).nonce };
  } catch (error) {
    connection.close();
    throw error;
  }
}

// Reconnecting never keeps a process alive that has nothing else to do; the chat socket does while it is open.
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
