// One worker of a lookup server in this process, on a directory that the test makes, with connections from wherever the test says.
import { createServer, type Server, type Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Identity } from "../../lib/crypto/identity.ts";
import type { Directory, OpenOptions } from "../../lib/directory/directory.ts";
import { newDirectoryId } from "../../lib/directory/directory-id.ts";
import { MemoryHost } from "../../lib/directory/memory-directory.ts";
import { NO_RIGHT } from "../../lib/directory/name-right.ts";
import { defaultLimits } from "../../lib/server/limits.ts";
import { silentLog } from "../../lib/server/log.ts";
import type { ToPrimary, WorkerConfig, WorkerLoad } from "../../lib/server/messages.ts";
import { tcpOrigin } from "../../lib/server/origin.ts";
import { Worker } from "../../lib/server/worker.ts";
import { Client, until } from "./lookup-server.ts";

const CAPACITY = 64;
const WORKER = 1;

/** The directory, but for what a test wants to be otherwise. */
export function standIn(directory: Directory, changes: Partial<Directory>): Directory {
  return new Proxy(directory, {
    get(target, property) {
      const source = property in changes ? changes : target;
      const value: unknown = Reflect.get(source, property, source);
      return typeof value === "function" ? value.bind(source) : value;
    },
  });
}

export interface WorkerHostOptions {
  /** Makes of a directory in memory the one that the worker gets. */
  readonly directory?: (memory: Directory) => Directory;
  readonly config?: Partial<WorkerConfig>;
}

export class WorkerHost implements AsyncDisposable {
  readonly worker: Worker;
  /** The directory behind the worker's. */
  readonly memory: Directory;
  /** Where the next connections come from, as the primary says it. */
  address = "127.0.0.1";
  /** Whether the next connections are there in exchange for others, as the primary says it. */
  full = false;
  /** In the worker's log. */
  readonly errors: string[] = [];
  readonly warnings: string[] = [];
  readonly #server: Server;
  readonly #sent: ToPrimary[] = [];
  #lastQuestion = 0;

  private constructor(server: Server, { directory = (memory) => memory, config = {} }: WorkerHostOptions) {
    this.#server = server;
    const error = (event: string) => void this.errors.push(event);
    const log = { ...silentLog, error, warn: (event: string) => void this.warnings.push(event) };
    const options: OpenOptions = { log, publish: () => {} };
    this.memory = new MemoryHost({ capacity: CAPACITY, nameLimit: CAPACITY }).open(options);
    this.memory.setLiveWorkers([WORKER]);
    const seed = Buffer.alloc(32, 1);
    const serverKey = new Identity(seed).publicKey.toString("base64");
    const complete: WorkerConfig = {
      id: WORKER,
      hasPeers: false,
      serverName: "",
      directory: null,
      limits: defaultLimits(CAPACITY),
      version: "0",
      serverKey,
      serverSeed: seed.toString("base64"),
      directoryId: newDirectoryId(),
      insecure: false,
      scope: "host",
      startedAt: Date.now(),
      abstractName: "@none",
      port: 1,
      serverUser: null,
      openNames: false,
      tokenSecret: Buffer.alloc(32, 2).toString("base64"),
      munge: false,
      relayRate: 256 * 1024,
      workers: 1,
      isPrivate: false,
      tls: null,
      json: false,
      quiet: true,
      bans: [],
      ...config,
    };
    const send = async (message: ToPrimary): Promise<void> => {
      this.#sent.push(message);
      await nextTurn();
      if (message.type === "ask-right") this.worker.handle({ type: "right", id: message.id, right: NO_RIGHT });
      if (message.type === "ask-login") this.worker.handle({ type: "login", id: message.id, login: null });
      if (message.type === "interest") this.worker.handle({ type: "interest-known" });
      // The primary passes these on, here to the only worker.
      if (message.type === "call" || message.type === "replaced") this.worker.handle(message);
    };
    this.worker = new Worker({ config: complete, directory: directory(this.memory), log, send });
    server.on("connection", (socket: Socket) => {
      this.worker.handle({ type: "connection", origin: tcpOrigin(this.address), ticket: 0, full: this.full }, socket);
    });
  }

  static async start(options: WorkerHostOptions = {}): Promise<WorkerHost> {
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new WorkerHost(server, options);
  }

  async client(): Promise<Client> {
    const { port } = this.#server.address() as { port: number };
    const client = await Client.connect(port);
    await client.ask("HELLO", 3);
    return client;
  }

  async load(): Promise<WorkerLoad> {
    const id = ++this.#lastQuestion;
    this.worker.handle({ type: "ask-load", id });
    const isAnswer = (message: ToPrimary) => message.type === "load" && message.id === id;
    await until("the load", () => this.#sent.some(isAnswer));
    return (this.#sent.find(isAnswer) as ToPrimary & { type: "load" }).load;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.worker.stop("over");
    await this.worker.emptied();
    this.worker.close();
    this.#server.close();
  }
}
