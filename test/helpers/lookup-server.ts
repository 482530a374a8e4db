// A lookup server, as `ptalk serve` in a process of its own or in this one, and raw connections to it.

import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import type { ClientEndpoint } from "../../lib/base/endpoint.ts";
import {
  type ConnectionStatement,
  claimBytes,
  claimIdOf,
  greetingBytes,
  isSigned,
  LOCAL_BINDING,
  registrationBytes,
  tlsBinding,
} from "../../lib/crypto/signed-statements.ts";
import { LookupServer } from "../../lib/index.ts";
import type { ServerOptions } from "../../lib/server/options.ts";
import { encodeCommand, type RespArgument } from "../../lib/wire/resp-command.ts";
import { ReplyDecoder, type RespValue } from "../../lib/wire/resp-reply.ts";
import { commandLine } from "./command.js";

/** Far beyond any answer: a hang fails with a message that says whose. */
const WATCHDOG_MS = 30_000;

export function freshStateDir(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "ptalk-server-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** What is in shared memory of the server on that port, semaphores included. */
export function remains(port: number): string[] {
  return readdirSync("/dev/shm").filter((name) => name.includes(`ptalk-server-${port}-`));
}

export class ServerProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<[number | null, NodeJS.Signals | null]>;
  output = "";
  log = "";
  address = "";
  port = 0;
  host = "";

  private constructor(args: readonly string[], env: NodeJS.ProcessEnv) {
    this.child = spawn(...commandLine(["serve", ...args]), {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    this.exited = once(this.child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
    this.child.stdout?.on("data", (chunk) => {
      this.output += chunk;
    });
    this.child.stderr?.on("data", (chunk) => {
      this.log += chunk;
    });
    this.child.stdin?.on("error", () => {});
  }

  /** Starts one; resolves when it says that it serves, or has ended (then `port` is 0). */
  static async start(args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<ServerProcess> {
    const listen = args.includes("--listen") ? [] : ["--listen", "127.0.0.1:0"];
    const server = new ServerProcess([...listen, ...args], env);
    let ended = false;
    void server.exited.then(() => {
      ended = true;
    });
    await until("the server to start", () => ended || /serving on \S+\n/.test(server.output));
    const match = /serving on (\S+):(\d+)\n/.exec(server.output);
    if (match !== null) {
      server.host = (match[1] as string).replace(/[[\]]/g, "");
      server.port = Number(match[2]);
      server.address = `${match[1]}:${match[2]}`;
    }
    return server;
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  async stop(): Promise<number | null> {
    this.child.kill("SIGTERM");
    return (await within("the server to stop", this.exited))[0];
  }

  async client(protocol: 2 | 3 = 3): Promise<Client> {
    const client = await Client.connect(this.port, this.host);
    if (protocol === 3) await client.ask("HELLO", 3);
    return client;
  }
}

/** A server in this process, its directory in memory: for rules that no other process has a part in. */
export class LocalServer implements AsyncDisposable {
  readonly server: LookupServer;

  private constructor(server: LookupServer) {
    this.server = server;
  }

  static async start(options: ServerOptions = {}): Promise<LocalServer> {
    const common: ServerOptions = { listen: "127.0.0.1:0", workers: 0, directory: "memory" };
    return new LocalServer(await LookupServer.start({ ...common, ...options }));
  }

  get port(): number {
    return this.server.port;
  }

  async client(protocol: 2 | 3 = 3): Promise<Client> {
    const client = await Client.connect(this.port);
    if (protocol === 3) await client.ask("HELLO", 3);
    return client;
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

export interface Keys {
  readonly key: string;
  readonly privateKey: KeyObject;
}

export function newKeys(): Keys {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  return { key: publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64"), privateKey };
}

export interface Registering {
  readonly port?: number;
  readonly endpoints?: readonly ClientEndpoint[];
  readonly host?: string;
  readonly protocol?: number;
  readonly probe?: boolean;
  readonly replace?: boolean;
  /** Claim id. */
  readonly takeover?: string;
  readonly unlisted?: boolean;
}

export class Client {
  readonly socket: Socket;
  readonly pushes: RespValue[][] = [];
  readonly closed: Promise<unknown>;
  readonly #decoder = new ReplyDecoder();
  readonly #waiting: ((value: RespValue) => void)[] = [];
  readonly unasked: RespValue[] = [];
  isClosed = false;
  /** Of the last registration that was asked for. */
  claimId = "";

  constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("error", () => {});
    socket.once("close", () => {
      this.isClosed = true;
    });
    socket.on("data", (chunk) => {
      this.#decoder.push(chunk);
      for (let reply = this.#decoder.next(); reply !== undefined; reply = this.#decoder.next()) {
        if (reply.push) this.pushes.push(reply.value as RespValue[]);
        else (this.#waiting.shift() ?? ((value) => this.unasked.push(value)))(reply.value);
      }
    });
  }

  static async connect(port: number, host = "127.0.0.1"): Promise<Client> {
    const socket = connect(port, host);
    await within("a connection", once(socket, "connect"));
    return new Client(socket);
  }

  /** @param path of a Unix socket; an abstract one begins with NUL */
  static async connectTo(path: string): Promise<Client> {
    const socket = connect({ path });
    await within("a connection", once(socket, "connect"));
    return new Client(socket);
  }

  ask(...args: RespArgument[]): Promise<RespValue> {
    return within(`the answer to ${args[0]}`, this.tell(...args));
  }

  /** Like ask, but it may take forever. */
  tell(...args: RespArgument[]): Promise<RespValue> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.socket.write(encodeCommand(args));
    });
  }

  /** Says HELLO 3 with a nonce; checks that the server has signed it. */
  async hello(): Promise<ConnectionStatement> {
    const clientNonce = randomBytes(32).toString("base64");
    const reply = (await this.ask("HELLO", 3, "NONCE", clientNonce)) as Map<string, string>;
    const [serverNonce, serverKey] = [reply.get("nonce") as string, reply.get("serverkey") as string];
    const directory = reply.get("directory") as string;
    // With somebody in between the two ends see different channels.
    const isGreeting = (channel: "plain" | "tls"): boolean => {
      const greeting = greetingBytes({ serverNonce, clientNonce, serverKey, directory, channel });
      return isSigned(greeting, serverKey, reply.get("signature") as string);
    };
    if (!isGreeting("plain") && !isGreeting("tls")) throw new Error("the greeting is not signed");
    return { serverNonce, clientNonce, serverKey, binding: this.#binding };
  }

  /** Says HELLO 3 and registers. */
  async register(name: string, keys: Keys, options: Registering = {}): Promise<RespValue> {
    const statement = await this.hello();
    this.claimId = claimIdOf(statement.serverNonce);
    return this.ask(...registerCommand(statement, name, keys, options));
  }

  /** Says HELLO 3 and claims the name. */
  async claim(name: string, keys: Keys): Promise<RespValue> {
    return this.ask(...claimCommand(await this.hello(), name, keys));
  }

  /** As RFC 9266 says. */
  get #binding(): string {
    if (!("exportKeyingMaterial" in this.socket)) return LOCAL_BINDING;
    const secure = this.socket as TLSSocket;
    return tlsBinding(secure.exportKeyingMaterial(32, "EXPORTER-Channel-Binding", Buffer.alloc(0)));
  }

  async push(kind: string): Promise<RespValue[]> {
    await until(`a push ${kind}`, () => this.pushes.some((push) => push[0] === kind));
    const index = this.pushes.findIndex((push) => push[0] === kind);
    return this.pushes.splice(index, 1)[0] as RespValue[];
  }

  close(): void {
    this.socket.destroy();
  }
}

/** A request of version 2, signed. */
export function registerCommand(
  statement: ConnectionStatement,
  name: string,
  keys: Keys,
  options: Registering = {},
): (string | number)[] {
  const { port = 4000, endpoints = [], host = "", protocol = 2, probe = false, replace = false } = options;
  const { takeover, unlisted = false } = options;
  const words = [
    ...(probe ? ["PROBE"] : []),
    ...(replace ? ["REPLACE"] : []),
    ...(takeover === undefined ? [] : [`TAKEOVER ${takeover}`]),
    ...(unlisted ? ["UNLISTED"] : []),
  ];
  const bytes = registrationBytes({ ...statement, name, port, endpoints, host, protocol, options: words });
  return [
    ...["REGISTER", name, "KEY", keys.key, "PROTOCOL", protocol, "PORT", port],
    ...endpoints.flatMap(({ kind, address, port }) => ["ENDPOINT", kind, address, port]),
    ...(host === "" ? [] : ["HOST", host]),
    ...["SIG", sign(null, bytes, keys.privateKey).toString("base64")],
    ...words.flatMap((word) => word.split(" ")),
  ];
}

export function claimCommand(statement: ConnectionStatement, name: string, keys: Keys): string[] {
  const signature = sign(null, claimBytes({ ...statement, name }), keys.privateKey).toString("base64");
  return ["CLAIM", name, "KEY", keys.key, "SIG", signature];
}

/** Where a client says that it is. */
export function hostEndpoint(address: string, port = 4000): ClientEndpoint {
  return { address, port, kind: "host" };
}

export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WATCHDOG_MS;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${WATCHDOG_MS / 1000} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const watchdog = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${WATCHDOG_MS / 1000} s for ${what}`)), WATCHDOG_MS);
  });
  try {
    return await Promise.race([promise, watchdog]);
  } finally {
    clearTimeout(timer);
  }
}

/** Starts a server without waiting; `ports` tells what it has said so far. */
export function startQuietly(stateDir: string): { child: ChildProcess; ports: () => number[] } {
  const args = ["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--state-dir", stateDir];
  const child = spawn(...commandLine(args), { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout?.on("data", (chunk) => {
    output += chunk;
  });
  return { child, ports: () => [...output.matchAll(/serving on \S+:(\d+)/g)].map((match) => Number(match[1])) };
}
