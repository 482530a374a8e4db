// Servers that share a directory in etcd, which runs on this machine as well: one node, or three. PTALK_BENCH_NAMES=500000 builds a large
// directory instead of a small one.
import { claims } from "./etcd/claims.js";
import { joins } from "./etcd/joins.js";
import { lookups } from "./etcd/lookups.js";
import { names } from "./etcd/names.js";
import { etcdVersion, Nodes } from "./etcd/nodes.js";
import { raiseDescriptors } from "./growth/descriptors.js";

export async function run(report) {
  if (etcdVersion() === null) {
    console.error("etcd is not installed (Debian: etcd-server): nothing is measured");
    return;
  }
  raiseDescriptors();
  for (const count of [1, 3]) {
    const nodes = await Nodes.start(count);
    try {
      const where = count === 1 ? "1 node" : `${count} nodes`;
      await claims(report, nodes, where);
      if (count === 1) continue;
      await lookups(report, nodes);
      await joins(report, nodes);
      await names(report, nodes);
    } finally {
      await nodes.stop();
    }
  }
}
