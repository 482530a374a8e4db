// What the commands of one worker work on, and the little that several of them do.
import { randomBytes } from "node:crypto";
import type { ConcurrencyLimit } from "../base/async.ts";
import type { ClientTable } from "../directory/shm/client-table.ts";
import { LookupReplyCache } from "../directory/shm/lookup-reply-cache.ts";
import type { NameLog } from "../directory/shm/name-log.ts";
import type { FoundRecord } from "../directory/shm/stored-entry.ts";
import type { WriteBatcher } from "../directory/shm/write-batcher.ts";
import type { Announcer } from "./announcer.ts";
import type { Connection } from "./connection.ts";
import { REMOVAL_RETRY_MS } from "./limits.ts";
import type { Log } from "./log.ts";
import { LongReplies } from "./long-replies.ts";
import type { SendToPrimary, WorkerConfig, WorkerLoad } from "./messages.ts";

const NONCE_BYTES = 32;

export interface ServiceParts {
  readonly config: WorkerConfig;
  readonly table: ClientTable;
  readonly writes: WriteBatcher;
  readonly bindings: NameLog;
  readonly announcer: Announcer;
  readonly alls: ConcurrencyLimit;
  readonly log: Log;
  readonly send: SendToPrimary;
}

/** One worker's view of the directory. */
export class WorkerContext implements ServiceParts {
  readonly config: WorkerConfig;
  readonly table: ClientTable;
  readonly writes: WriteBatcher;
  readonly bindings: NameLog;
  readonly announcer: Announcer;
  readonly alls: ConcurrencyLimit;
  readonly log: Log;
  readonly send: SendToPrimary;
  readonly longReplies: LongReplies;
  readonly connections = new Map<number, Connection>();
  /** Workers that are alive; records of others wait for their client's return. */
  owners: ReadonlySet<number> = new Set();
  readonly refusals = new Map<string, number>();
  requests = 0;
  clients = 0;
  readonly answers: LookupReplyCache;
  readonly #questions = new Map<number, (text: string) => void>();
  #lastQuestion = 0;

  constructor(parts: ServiceParts) {
    this.config = parts.config;
    this.table = parts.table;
    this.answers = new LookupReplyCache(parts.table);
    this.writes = parts.writes;
    this.bindings = parts.bindings;
    this.announcer = parts.announcer;
    this.alls = parts.alls;
    this.longReplies = new LongReplies(parts.config.limits);
    this.log = parts.log;
    this.send = parts.send;
  }

  newNonce(): string {
    return randomBytes(NONCE_BYTES).toString("base64");
  }

  refused(reason: string): void {
    this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1);
  }

  /** Notes that the connection's client has asked for somebody. */
  noteLookup(connection: Connection): void {
    if (connection.client !== null) this.table.touch(connection.client.slot, connection.client.version, Date.now());
  }

  /** The record that this connection registered, unless somebody took it over or it was repaired away. */
  own(connection: Connection): FoundRecord | null {
    const { client } = connection;
    if (client === null) return null;
    const found = this.table.at(client.slot);
    return found !== null && found.record.version === client.version ? found : null;
  }

  /** Takes the connection's client out of the directory; goes on until that is done. */
  async unregister(connection: Connection): Promise<void> {
    const { client } = connection;
    if (client === null) return;
    connection.client = null;
    this.clients--;
    for (;;) {
      try {
        const removed = await this.writes.run(() => this.table.remove(client.slot, client.version));
        if (removed) {
          this.announcer.announce({ kind: "left", version: client.version, name: client.name });
          this.log.info("left", { name: client.name });
        }
        return;
      } catch (error) {
        this.log.warn("record not removed yet", { name: client.name, error });
        await new Promise((resolve) => setTimeout(resolve, REMOVAL_RETRY_MS));
      }
    }
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
