// The contract of a directory, on one that many servers can share, in a real etcd.
import { afterAll, beforeAll, describe } from "vitest";
import { EtcdCluster, etcdMissing } from "../../helpers/etcd.ts";
import { directoryConformance } from "../conformance.ts";
import { onEtcd } from "./support/etcd-world.ts";

describe.skipIf(etcdMissing !== null)("a directory on etcd", () => {
  let etcd: EtcdCluster;
  beforeAll(async () => {
    etcd = await EtcdCluster.start();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  directoryConformance(onEtcd(() => etcd.access()));
});
