// What `ptalk top` shows, read afresh each time: INFO of the server (ServerMonitor), its table and lock in shared memory
// (Directory), the local tables. Nothing of it changes anything.
import { isIP } from "node:net";
import { TalkError } from "../../base/errors.ts";
import { parseServerAddress } from "../../base/server-address.ts";
import { type ServerInfo, ServerMonitor } from "../../client/server-monitor.ts";
import { MappedDirectory } from "../../directory/shm/mapped-directory.ts";
import { IpcError, type LockStats, type LockUser } from "../../ipc/index.ts";
import { localTables } from "../../presence/local-list.ts";
import type { Config } from "../config.ts";

export interface TopSnapshot {
  /** ISO 8601, UTC. */
  readonly at: string;
  /** null: none answers. */
  readonly server: TopServer | null;
  /** null where it cannot be seen: the server is on another host, or its table is not this user's to read. */
  readonly lock: TopLock | null;
  readonly signals: ServerInfo["signals"];
  readonly tables: readonly TopTable[];
}

export type TopServer = Pick<ServerInfo, "address" | "pid" | "uid" | "uptimeMs" | "clients" | "capacity" | "workers">;

export interface TopLock {
  readonly epoch: number;
  readonly holders: readonly TopLockUser[];
  readonly waiters: readonly TopLockUser[];
  readonly recoveries: number;
}

export interface TopLockUser {
  readonly pid: number;
  readonly kind: LockUser["kind"];
  readonly phase: LockUser["phase"];
  /** Milliseconds since the section, or the wait, began. */
  readonly sinceMs: number;
}

export interface TopTable {
  /** The POSIX name: "/name". */
  readonly name: string;
  readonly bytes: number;
  /** Clients in it. */
  readonly rows: number;
  /** User id. */
  readonly owner: number;
}

const CONNECT_LIMIT_MS = 10_000;
/** A server that has gone is asked for again this often; a table that cannot be opened is tried again as often. */
const RETRY_MS = 1_000;
/** The local tables are read this often: that takes a system call or two a client. */
const LOCAL_TABLES_MS = 1_000;

export class TopReader implements AsyncDisposable {
  readonly #config: Config;
  #monitor: ServerMonitor | null = null;
  #directory: MappedDirectory | null = null;
  #nextConnect = 0;
  #nextOpen = 0;
  #local: { readonly until: number; readonly tables: readonly TopTable[] } = { until: 0, tables: [] };

  constructor(config: Config) {
    this.#config = config;
  }

  /** @throws TalkError unreachable, refused, protocol: why the server does not answer, where one was asked for */
  async first(): Promise<TopSnapshot> {
    try {
      return await this.#read(await this.#ask());
    } catch (error) {
      const isNobody = error instanceof TalkError && error.code === "unreachable" && !this.#config.serverConfigured;
      if (!isNobody) throw error;
      return this.#read(null);
    }
  }

  /** As first(), but a server that does not answer (any more) is none. */
  async next(): Promise<TopSnapshot> {
    let info: ServerInfo | null = null;
    if (this.#monitor !== null || performance.now() >= this.#nextConnect) {
      try {
        info = await this.#ask();
      } catch (error) {
        if (!(error instanceof TalkError)) throw error;
      }
    }
    return this.#read(info);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#directory?.close();
    await this.#monitor?.close();
  }

  async #ask(): Promise<ServerInfo> {
    try {
      this.#monitor ??= await this.#connect();
      return await this.#monitor.info();
    } catch (error) {
      await this.#monitor?.close();
      this.#monitor = null;
      this.#nextConnect = performance.now() + RETRY_MS;
      throw error;
    }
  }

  async #connect(): Promise<ServerMonitor> {
    const { server, stateDir, insecure, ca } = this.#config;
    const signal = AbortSignal.timeout(CONNECT_LIMIT_MS);
    try {
      return await ServerMonitor.connect({ server, stateDir, insecure, ca, timeoutMs: CONNECT_LIMIT_MS, signal });
    } catch (error) {
      if (!signal.aborted) throw error;
      throw TalkError.unreachable(server, `no answer within ${CONNECT_LIMIT_MS / 1000} s`, error);
    }
  }

  #read(info: ServerInfo | null): TopSnapshot {
    const directory = this.#directoryOf(info);
    const lock = directory === null ? null : lockOf(directory);
    const own = directory === null ? [] : [tableOf(directory)];
    return {
      at: new Date().toISOString(),
      server: info === null ? null : serverOf(info),
      lock: lock === null ? null : shown(lock),
      signals: info?.signals ?? [],
      tables: [...own, ...this.#localTables()],
    };
  }

  /** The table of that very server, if it is on this host and this user may read it. */
  #directoryOf(info: ServerInfo | null): MappedDirectory | null {
    const current = this.#directory;
    if (current !== null && info !== null && !current.stale && current.pid === info.pid) return current;
    current?.close();
    this.#directory = null;
    if (info === null || performance.now() < this.#nextOpen) return null;
    this.#directory = openDirectoryOf(info);
    if (this.#directory === null) this.#nextOpen = performance.now() + RETRY_MS;
    return this.#directory;
  }

  #localTables(): readonly TopTable[] {
    const now = performance.now();
    if (now >= this.#local.until) {
      const tables = localTables().map(({ uid, ...table }) => ({ ...table, owner: uid }));
      this.#local = { until: now + LOCAL_TABLES_MS, tables };
    }
    return this.#local.tables;
  }
}

function openDirectoryOf({ address, pid }: ServerInfo): MappedDirectory | null {
  let directory: MappedDirectory;
  try {
    const { host, port } = parseServerAddress(address);
    directory = MappedDirectory.open({ port, ...(isIP(host) === 0 ? {} : { address: host }) });
  } catch (error) {
    if (error instanceof IpcError || error instanceof TalkError) return null;
    throw error;
  }
  // Another host's server may have the port that one of this host has.
  if (directory.pid === pid) return directory;
  directory.close();
  return null;
}

function lockOf(directory: MappedDirectory): LockStats | null {
  try {
    return directory.lockStats();
  } catch (error) {
    if (error instanceof IpcError) return null; // the server is just going
    throw error;
  }
}

const tableOf = ({ name, bytes, count, uid }: MappedDirectory): TopTable => ({ name, bytes, rows: count, owner: uid });

function serverOf({ address, pid, uid, uptimeMs, clients, capacity, workers }: ServerInfo): TopServer {
  return { address, pid, uid, uptimeMs, clients, capacity, workers };
}

function shown({ epoch, holders, waiting, recoveries }: LockStats): TopLock {
  const now = Date.now();
  const users = (list: readonly LockUser[]): TopLockUser[] =>
    list.map(({ pid, kind, phase, since }) => ({ pid, kind, phase, sinceMs: Math.max(0, now - since) }));
  return { epoch, holders: users(holders), waiters: users(waiting), recoveries };
}
