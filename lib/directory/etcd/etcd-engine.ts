// The engine that is etcd (3.4 or later), over its gRPC calls KV, Lease, Watch and Auth.
import type { EtcdAccess } from "./address.ts";
import { Cluster, type Report } from "./cluster.ts";
import {
  type Engine,
  EngineError,
  type LeaseId,
  type Operation,
  type Page,
  type Revision,
  type Transaction,
  type TransactionResult,
  type WatchListener,
} from "./engine.ts";
import { EtcdWatch } from "./etcd-watch.ts";
import { LEASE_GRANT, LEASE_KEEP_ALIVE, LEASE_REVOKE, RANGE, TXN } from "./messages.ts";

/** To ask how far the cluster is. */
const STATE_MS = 5_000;

export class EtcdEngine implements Engine {
  readonly #cluster: Cluster;
  readonly #watches = new Set<EtcdWatch>();

  /** @param report what the operator has to know is said once */
  constructor(access: EtcdAccess, report: Report = () => {}) {
    this.#cluster = new Cluster(access, report, (member) => {
      for (const watch of [...this.#watches]) watch.memberLeft(member);
    });
  }

  transact(transaction: Transaction, deadline: number): Promise<TransactionResult> {
    return this.#cluster.call(TXN, transaction, { ms: deadline, isRepeatable: !writes(transaction) });
  }

  list(
    prefix: string,
    { after = "", limit, revision, deadline }: { after?: string; limit: number; revision: Revision; deadline: number },
  ): Promise<Page> {
    return this.#cluster.call(RANGE, { prefix, after, limit, revision }, { ms: deadline, isRepeatable: true });
  }

  /** A grant that is repeated leaves an empty lease behind, which ends by itself. */
  grantLease(seconds: number, deadline: number): Promise<LeaseId> {
    return this.#cluster.call(LEASE_GRANT, seconds, { ms: deadline, isRepeatable: true });
  }

  async keepAlive(lease: LeaseId, deadline: number): Promise<number> {
    const options = { ms: deadline, isRepeatable: true, isStream: true };
    const seconds = await this.#cluster.call(LEASE_KEEP_ALIVE, lease, options);
    if (seconds === 0) throw new EngineError("no-lease", `etcd knows no lease ${lease}`);
    return seconds;
  }

  async revokeLease(lease: LeaseId, deadline: number): Promise<void> {
    try {
      await this.#cluster.call(LEASE_REVOKE, lease, { ms: deadline, isRepeatable: true });
    } catch (error) {
      // It is gone: by an earlier attempt, or by its end.
      if (!(error instanceof EngineError && error.code === "no-lease")) throw error;
    }
  }

  watch(prefix: string, from: Revision, listener: WatchListener): Disposable {
    const told: WatchListener = {
      events: (events, state) => listener.events(events, state),
      progress: (state) => listener.progress(state),
      ended: (why, error) => {
        this.#watches.delete(watch);
        listener.ended(why, error);
      },
    };
    const ask = () => this.list(prefix, { limit: 1, revision: 0, deadline: STATE_MS });
    const watch: EtcdWatch = new EtcdWatch(this.#cluster, ask, prefix, from, told);
    this.#watches.add(watch);
    return {
      [Symbol.dispose]: () => {
        this.#watches.delete(watch);
        watch[Symbol.dispose]();
      },
    };
  }

  close(): void {
    for (const watch of this.#watches) watch[Symbol.dispose]();
    this.#watches.clear();
    this.#cluster.close();
  }
}

function writes({ then, otherwise }: Transaction): boolean {
  const isWrite = (operation: Operation): boolean =>
    "put" in operation || "delete" in operation || ("transaction" in operation && writes(operation.transaction));
  return then.some(isWrite) || otherwise.some(isWrite);
}
