// The engine that is etcd, against real nodes.
import { EtcdEngine } from "../../../lib/directory/etcd/etcd-engine.ts";
import { EtcdCluster, etcdMissing } from "../../helpers/etcd.ts";
import { engineConformance } from "./engine-conformance.ts";

engineConformance({
  name: "etcd",
  missing: etcdMissing,
  async start() {
    const cluster = await EtcdCluster.start();
    const engines: EtcdEngine[] = [];
    const another = () => {
      const engine = new EtcdEngine(cluster.access());
      engines.push(engine);
      return engine;
    };
    return {
      engine: another(),
      another,
      compact: (revision) => cluster.compact(revision),
      elapse: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      async [Symbol.asyncDispose]() {
        for (const engine of engines) engine.close();
        await cluster[Symbol.asyncDispose]();
      },
    };
  },
});
