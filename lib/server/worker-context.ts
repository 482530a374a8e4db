// What the commands of one worker work on: the directory, the connections, the counters.
import { randomBytes } from "node:crypto";
import type { ConcurrencyLimit } from "../base/async.ts";
import { NONCE_BYTES } from "../crypto/signed-statements.ts";
import type { Directory } from "../directory/directory.ts";
import type { Announcer } from "./announcer.ts";
import type { Connection } from "./connection.ts";
import type { Log } from "./log.ts";
import { LongReplies } from "./long-replies.ts";
import type { SendToPrimary, WorkerConfig, WorkerLoad } from "./messages.ts";

export interface WorkerContextParts {
  readonly config: WorkerConfig;
  readonly directory: Directory;
  readonly announcer: Announcer;
  readonly alls: ConcurrencyLimit;
  readonly log: Log;
  readonly send: SendToPrimary;
  /** Signs with the server's key. */
  readonly sign: (bytes: Buffer) => Buffer;
}

export class WorkerContext implements WorkerContextParts {
  readonly config: WorkerConfig;
  readonly directory: Directory;
  readonly announcer: Announcer;
  readonly alls: ConcurrencyLimit;
  readonly log: Log;
  readonly send: SendToPrimary;
  readonly sign: (bytes: Buffer) => Buffer;
  readonly longReplies: LongReplies;
  readonly connections = new Map<number, Connection>();
  readonly refusals = new Map<string, number>();
  requests = 0;
  clients = 0;
  readonly #questions = new Map<number, (text: string) => void>();
  #lastQuestion = 0;

  constructor(parts: WorkerContextParts) {
    this.config = parts.config;
    this.directory = parts.directory;
    this.announcer = parts.announcer;
    this.alls = parts.alls;
    this.longReplies = new LongReplies(parts.config.limits);
    this.log = parts.log;
    this.send = parts.send;
    this.sign = parts.sign;
  }

  newNonce(): string {
    return randomBytes(NONCE_BYTES).toString("base64");
  }

  refused(reason: string): void {
    this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1);
  }

  /** Notes that the connection's client has asked for somebody. */
  noteLookup(connection: Connection): void {
    if (connection.client !== null) this.directory.lookedUp(connection.client.claim, Date.now());
  }

  /** Takes the connection's client out of the directory. */
  async unregister(connection: Connection): Promise<void> {
    const { client } = connection;
    if (client === null) return;
    connection.client = null;
    this.clients--;
    const { claim } = client;
    if (await this.directory.remove(claim)) this.log.info("left", { name: claim.name });
  }

  /** The whole server's INFO, put together by the primary. */
  askInfo(): Promise<string> {
    const id = ++this.#lastQuestion;
    return new Promise((resolve) => {
      this.#questions.set(id, resolve);
      void this.send({ type: "ask-info", id });
    });
  }

  answerInfo(id: number, text: string): void {
    this.#questions.get(id)?.(text);
    this.#questions.delete(id);
  }

  load(loopDelayP99: number): WorkerLoad {
    return {
      id: this.config.id,
      pid: process.pid,
      connections: this.connections.size,
      clients: this.clients,
      requests: this.requests,
      loopDelayP99,
      memory: process.memoryUsage.rss(),
      refusals: Object.fromEntries(this.refusals),
    };
  }
}
