// An engine of which some calls are others: how faults are planted.
import type { Engine } from "../../../../lib/directory/etcd/engine.ts";

export function changed(engine: Engine, change: Partial<Engine>): Engine {
  return {
    transact: (transaction, deadline) => engine.transact(transaction, deadline),
    list: (prefix, options) => engine.list(prefix, options),
    grantLease: (seconds, deadline) => engine.grantLease(seconds, deadline),
    keepAlive: (lease, deadline) => engine.keepAlive(lease, deadline),
    revokeLease: (lease, deadline) => engine.revokeLease(lease, deadline),
    watch: (prefix, from, listener) => engine.watch(prefix, from, listener),
    close: () => engine.close(),
    ...change,
  };
}
