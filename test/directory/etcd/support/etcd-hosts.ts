// Servers' directories on a real etcd, in this process: for what happens when the engine is in trouble.
import { setTimeout as sleep } from "node:timers/promises";
import type { Directory, DirectoryEvent, DirectoryRow, RegisterRequest } from "../../../../lib/directory/directory.ts";
import { DirectoryError } from "../../../../lib/directory/directory-error.ts";
import type { EtcdAccess } from "../../../../lib/directory/etcd/address.ts";
import { EtcdEngine } from "../../../../lib/directory/etcd/etcd-engine.ts";
import { EtcdHost } from "../../../../lib/directory/etcd/etcd-host.ts";

/** Far beyond what any of it takes; only there so that a hang fails with a message. */
const WATCHDOG_MS = 60_000;
const LOOK_MS = 20;
const CAPACITY = 100;

/** One server's part of a shared directory, with one worker. */
export class SharingServer {
  readonly host: EtcdHost;
  readonly directory: Directory;
  readonly name: string;
  /** What it has told the operator. */
  readonly warnings: string[];
  /** Claim ids of clients that have lost their row to another registration. */
  readonly replaced: string[];
  readonly events: DirectoryEvent[];
  isAway = false;

  private constructor(access: EtcdAccess, name: string) {
    this.name = name;
    this.warnings = [];
    this.replaced = [];
    this.events = [];
    const { prefix, members } = access;
    const warn = (text: string, fields: Readonly<Record<string, unknown>> = {}) => {
      this.warnings.push(`${text} ${JSON.stringify(fields)}`);
    };
    this.host = new EtcdHost({
      ...{ engine: new EtcdEngine(access, warn), prefix, members, capacity: CAPACITY, nameLimit: 1000 },
      ...{ server: name, directoryId: name, realm: "", port: 1, listener: 0, predecessor: null, mode: 0o600 },
      ...{ names: null, log: { warn } },
      onEvents: (events) => this.events.push(...events),
      onReplaced: (_place, claimId) => this.replaced.push(claimId),
      onSettled() {},
      onRestored: async () => {},
      onAway: (isAway) => {
        this.isAway = isAway;
        this.directory.setAway?.(isAway);
      },
    });
    this.directory = this.host.open({ log: { warn }, publish: (events) => this.events.push(...events) });
    this.directory.setLiveWorkers([1]);
  }

  static async start(access: EtcdAccess, name: string): Promise<SharingServer> {
    const server = new SharingServer(access, name);
    try {
      await server.host.start();
    } catch (error) {
      await server.close();
      throw error;
    }
    return server;
  }

  async find(name: string): Promise<DirectoryRow | null> {
    return this.directory.find(name);
  }

  /** "ok", or the code and the message of the refusal. */
  async register(request: RegisterRequest): Promise<string> {
    try {
      await this.directory.register(request);
      return "ok";
    } catch (error) {
      if (error instanceof DirectoryError) return `${error.code}: ${error.message}`;
      throw error;
    }
  }

  stat(name: string): number {
    return this.host.stats()[name] ?? Number.NaN;
  }

  async close(): Promise<void> {
    await this.host.close();
  }
}

export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + WATCHDOG_MS;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${WATCHDOG_MS} ms: ${what}`);
    await sleep(LOOK_MS);
  }
}
