// What `ptalk doctor` hears of the members of a real etcd cluster.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { memberReports } from "../../../lib/directory/etcd/etcd-status.ts";
import { EtcdCluster, etcdMissing } from "../../helpers/etcd.ts";

/** Ms that each member has for its answers. */
const PATIENCE = 10_000;
const KEPT_SHORT = 1_500;

const title = `the state of etcd's members${etcdMissing ? ` (${etcdMissing})` : ""}`;
describe.skipIf(etcdMissing !== null)(title, { shuffle: false }, () => {
  let cluster: EtcdCluster;
  beforeAll(async () => {
    cluster = await EtcdCluster.start({ nodes: 3 });
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  it("has version, leader, cluster and size of each", async () => {
    const reports = await memberReports(cluster.access(), PATIENCE);
    expect(reports.map(({ address }) => address)).toEqual(cluster.members);
    for (const { status, problem, readProblem, alarms } of reports) {
      expect({ problem, readProblem, alarms }).toEqual({ problem: null, readProblem: null, alarms: [] });
      expect(status?.version).toMatch(/^\d+\.\d+\.\d+/);
      expect(status?.size).toBeGreaterThan(0);
      expect(status?.cluster).toBe(reports[0]?.status?.cluster);
    }
    const leaders = new Set(reports.map(({ status }) => status?.leader));
    expect(leaders.size).toBe(1);
    expect(reports.map(({ status }) => status?.member)).toContain([...leaders][0]);
  });

  it("says of one that is stopped that it does not answer, and all of the others", async () => {
    cluster.pause(1);
    try {
      const [first, second, third] = await memberReports(cluster.access(), KEPT_SHORT);
      expect([first?.problem, third?.problem]).toEqual([null, null]);
      expect(second).toMatchObject({ status: null, problem: expect.stringMatching(/^no connection within \d+ ms$/) });
    } finally {
      cluster.resume(1);
    }
  });

  it("says of one without a majority that it has no leader, and that nothing can be read", async () => {
    await cluster.kill(0);
    await cluster.kill(2);
    await expect
      .poll(async () => (await memberReports(cluster.access(), PATIENCE))[1], { timeout: 60_000, interval: 200 })
      .toMatchObject({ status: { leader: "0" }, problem: null, readProblem: "no leader" });
    const [gone] = await memberReports(cluster.access(), PATIENCE);
    expect(gone).toMatchObject({ status: null, problem: expect.stringContaining("ECONNREFUSED") });
  });
});
