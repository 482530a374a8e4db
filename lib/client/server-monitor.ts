// What a server says of itself, again and again: the request INFO, parsed.
import { TalkError } from "../base/errors.ts";
import { openConnection } from "./directory-reader.ts";
import type { ServerConnection } from "./server-connection.ts";
import type { OpenDirectoryOptions } from "./types.ts";

/** One process of a server that serves connections. */
export interface WorkerInfo {
  readonly id: number;
  readonly pid: number;
  readonly connections: number;
  /** Clients whose connection it has. */
  readonly clients: number;
  /** Since it started. */
  readonly requests: number;
  /** 99th percentile of the event loop's delay in the last interval looked at. */
  readonly loopDelayP99Ms: number;
}

/** A signal that the server's primary has taken. */
export interface ServerSignalInfo {
  readonly name: string;
  /** Since it started. */
  readonly count: number;
  /** The pid that sent the last one; 0 when no process did. */
  readonly lastPid: number;
}

/** A server's state, from its INFO. */
export interface ServerInfo {
  readonly version: string;
  /** "HOST:PORT" that it listens on. */
  readonly address: string;
  readonly pid: number;
  readonly uid: number;
  readonly uptimeMs: number;
  readonly clients: number;
  readonly capacity: number;
  readonly workers: readonly WorkerInfo[];
  readonly signals: readonly ServerSignalInfo[];
}

/**
 * A connection to a lookup server that asks how it is; it has no name, and is in no directory.
 *
 *     await using monitor = await ServerMonitor.connect({ server: "127.0.0.1:5518" });
 *     const { clients, workers } = await monitor.info();
 */
export class ServerMonitor implements AsyncDisposable {
  readonly #connection: ServerConnection;

  private constructor(connection: ServerConnection) {
    this.#connection = connection;
  }

  /** @throws TalkError unreachable, refused (certificate), protocol; AbortError */
  static async connect(options: OpenDirectoryOptions): Promise<ServerMonitor> {
    return new ServerMonitor(await openConnection(options));
  }

  /** False once the connection has ended: connect again. */
  get isOpen(): boolean {
    return !this.#connection.closed;
  }

  /** @throws TalkError unreachable when the connection has ended, protocol */
  async info(): Promise<ServerInfo> {
    const text = await this.#connection.ask("INFO");
    if (typeof text !== "string") throw TalkError.protocol("INFO is not answered with a text");
    return parseInfo(text);
  }

  async close(): Promise<void> {
    this.#connection.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** @throws TalkError protocol when a field is missing or no number */
export function parseInfo(text: string): ServerInfo {
  const fields = new Map(text.split("\r\n").map((line) => cut(line, ":")));
  const group = (prefix: string) => [...fields].filter(([field]) => field.startsWith(prefix));
  return {
    version: field(fields, "ptalk_version"),
    address: field(fields, "listening"),
    pid: count(fields, "process_id"),
    uid: count(fields, "process_uid"),
    uptimeMs: count(fields, "uptime_in_milliseconds"),
    clients: count(fields, "clients"),
    capacity: count(fields, "capacity"),
    workers: group("worker_").map(([, parts]) => workerInfo(pairsOf(parts))),
    signals: group("signal_").map(([name, parts]) => {
      const pairs = pairsOf(parts);
      return { name: name.slice("signal_".length), count: count(pairs, "count"), lastPid: count(pairs, "last_pid") };
    }),
  };
}

function workerInfo(parts: Fields): WorkerInfo {
  return {
    id: count(parts, "id"),
    pid: count(parts, "pid"),
    connections: count(parts, "connections"),
    clients: count(parts, "clients"),
    requests: count(parts, "requests"),
    loopDelayP99Ms: count(parts, "loop_delay_p99_ms"),
  };
}

type Fields = ReadonlyMap<string, string>;

/** "id=0,pid=17" */
const pairsOf = (text: string): Fields => new Map(text.split(",").map((pair) => cut(pair, "=")));

function cut(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function field(fields: Fields, name: string): string {
  const value = fields.get(name);
  if (value === undefined) throw TalkError.protocol(`INFO has no ${name}: the server is of another version`);
  return value;
}

function count(fields: Fields, name: string): number {
  const text = field(fields, name);
  const value = Number(text);
  if (text === "" || !Number.isFinite(value) || value < 0) throw TalkError.protocol(`INFO's ${name} is no count`);
  return value;
}
