// One TCP (or TLS) connection to the lookup server that speaks RESP3: requests in order, replies in order, pushes aside.
// Knows the protocol's framing, nothing of registrations or reconnecting.
import { EventEmitter } from "node:events";
import { connect, type Socket } from "node:net";
import { TalkError } from "../errors.ts";
import { formatServerAddress, isLoopback, type ServerAddress } from "../server-address.ts";
import { encodeCommand } from "../wire/resp-command.ts";
import { ReplyDecoder, ReplyError, type RespValue } from "../wire/resp-reply.ts";

/** Requests that may be under way at once; the caller of one more gets an error instead of a queue without end. */
const MAX_PENDING = 4096;
const CONNECT_LIMIT_MS = 5_000;
/** Milliseconds in which a reply has to come: past it the server counts as gone. */
const REPLY_LIMIT_MS = 10_000;

export interface ServerConnectionOptions {
  readonly address: ServerAddress;
  /** Plain TCP to a server that is not on loopback. */
  readonly insecure?: boolean;
  /** Called with "sha256:HEX" of the server's certificate before anything is sent; throws to refuse it. */
  readonly checkCertificate?: (certificate: string) => void;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** What the server says of itself in HELLO. */
export interface ServerGreeting {
  readonly version: string;
  /** base64; the next REGISTER on this connection signs it. */
  readonly nonce: string;
}

interface Pending {
  readonly resolve: (value: RespValue) => void;
  readonly reject: (error: Error) => void;
  readonly deadline: number;
}

interface ServerConnectionEvents {
  push: [values: RespValue[]];
  /** Once, whoever ended it. */
  close: [reason: Error];
}

export class ServerConnection extends EventEmitter<ServerConnectionEvents> {
  readonly server: string;
  readonly #socket: Socket;
  readonly #decoder = new ReplyDecoder();
  readonly #pending: Pending[] = []; // oldest first
  readonly #watchdog: NodeJS.Timeout;
  #closed: Error | undefined;

  private constructor(server: string, socket: Socket) {
    super();
    this.server = server;
    this.#socket = socket;
    this.#watchdog = setInterval(() => this.#expire(), 1_000).unref();
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (error) => this.#end(TalkError.unreachable(server, error.message, error)));
    socket.on("close", () => this.#end(TalkError.unreachable(server, "it closed the connection")));
  }

  /** Connects and greets. @throws TalkError unreachable, refused (certificate), protocol; AbortError */
  static async open(options: ServerConnectionOptions): Promise<ServerConnection> {
    const socket = await openSocket(options);
    return new ServerConnection(formatServerAddress(options.address), socket);
  }

  /** The address of this machine as the server sees it, and whether it is loopback: where the chat socket belongs. */
  get localAddress(): string {
    return this.#socket.localAddress ?? "127.0.0.1";
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  async hello(): Promise<ServerGreeting> {
    const reply = await this.command("HELLO", 3);
    if (!(reply instanceof Map)) throw TalkError.protocol("HELLO is not answered with a map");
    const [version, nonce] = [reply.get("version"), reply.get("nonce")];
    if (typeof version !== "string" || typeof nonce !== "string") throw TalkError.protocol("HELLO has no nonce");
    return { version, nonce };
  }

  /** @returns the reply. @throws ReplyError for an error reply, TalkError unreachable when the connection ends first */
  command(...args: (string | number)[]): Promise<RespValue> {
    if (this.#closed) return Promise.reject(this.#closed);
    if (this.#pending.length >= MAX_PENDING) {
      return Promise.reject(TalkError.unreachable(this.server, `${MAX_PENDING} requests are already under way`));
    }
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject, deadline: performance.now() + REPLY_LIMIT_MS });
      this.#socket.write(encodeCommand(args));
    });
  }

  close(): void {
    this.#end(TalkError.closed(`the connection to ${this.server}`));
  }

  /** Lets the process end while the connection is open. */
  unref(): void {
    this.#socket.unref();
  }

  #read(chunk: Buffer): void {
    try {
      this.#decoder.push(chunk);
      for (let reply = this.#decoder.next(); reply !== undefined; reply = this.#decoder.next()) {
        if (reply.push) this.emit("push", reply.value as RespValue[]);
        else this.#settle(reply.value);
        if (this.#closed) return;
      }
    } catch (error) {
      this.#end(TalkError.protocol(error instanceof Error ? error.message : String(error), error));
    }
  }

  #settle(value: RespValue): void {
    const pending = this.#pending.shift();
    if (pending === undefined) {
      // An error without a request is how a server says why it closes: too many connections, too slow, idle.
      if (!(value instanceof ReplyError)) throw TalkError.protocol("a reply without a request");
      this.#end(TalkError.unreachable(this.server, value.message, value));
    } else if (value instanceof ReplyError) pending.reject(value);
    else pending.resolve(value);
  }

  #expire(): void {
    const oldest = this.#pending[0];
    if (oldest && performance.now() > oldest.deadline) {
      this.#end(TalkError.unreachable(this.server, `no answer within ${REPLY_LIMIT_MS / 1000} s`));
    }
  }

  #end(reason: Error): void {
    if (this.#closed) return;
    this.#closed = reason;
    clearInterval(this.#watchdog);
    this.#socket.destroy();
    for (const { reject } of this.#pending.splice(0)) reject(reason);
    this.emit("close", reason);
  }
}

async function openSocket(options: ServerConnectionOptions): Promise<Socket> {
  const { address, insecure = false, timeoutMs = CONNECT_LIMIT_MS, signal } = options;
  signal?.throwIfAborted();
  const server = formatServerAddress(address);
  const secure = !insecure && !isLoopback(address.host);
  // TLS costs a module and a handshake: only servers that are not on this machine need it.
  const socket = secure ? (await import("node:tls")).connect({ ...tlsOptions(address) }) : connect(address);
  await new Promise<void>((resolve, reject) => {
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void => fail(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
    const timer = setTimeout(
      () => fail(TalkError.unreachable(server, `no answer within ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
    signal?.addEventListener("abort", onAbort, { once: true });
    socket.once("error", (error) => fail(TalkError.unreachable(server, connectReason(error), error)));
    socket.once(secure ? "secureConnect" : "connect", resolve);
    socket.once("close", () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      reject(TalkError.unreachable(server, "it closed the connection"));
    });
    socket.once(secure ? "secureConnect" : "connect", () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    });
  });
  socket.removeAllListeners("error").removeAllListeners("close");
  try {
    if (secure) options.checkCertificate?.(certificateOf(socket));
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return socket;
}

// The certificate is pinned on first use, as a host key is (RFC 4251 section 4.1): no authority vouches for it.
const tlsOptions = ({ host, port }: ServerAddress) =>
  ({ host, port, rejectUnauthorized: false, minVersion: "TLSv1.3" }) as const;

function certificateOf(socket: Socket): string {
  const peer =
    "getPeerX509Certificate" in socket ? (socket as import("node:tls").TLSSocket).getPeerX509Certificate() : undefined;
  if (peer === undefined) throw TalkError.refused("the server showed no certificate");
  return `sha256:${peer.fingerprint256.replaceAll(":", "").toLowerCase()}`;
}

function connectReason(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case "ECONNREFUSED":
      return "nothing listens there (start one with: ptalk serve)";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "the host's name is not known";
    case "ENETUNREACH":
    case "EHOSTUNREACH":
      return "there is no way to that network from here";
    default:
      return error.message;
  }
}
