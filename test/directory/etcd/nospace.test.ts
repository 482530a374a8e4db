// A real etcd whose space is used up (alarm NOSPACE), and what an operator does about it (docs/OPERATIONS.md, "etcd").
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Claim } from "../../../lib/directory/directory.ts";
import { EtcdEngine } from "../../../lib/directory/etcd/etcd-engine.ts";
import { EtcdCluster, etcdMissing } from "../../helpers/etcd.ts";
import { requestOf } from "../support/asking.ts";
import { SharingServer, until } from "./support/etcd-hosts.ts";

const QUOTA_BYTES = 400_000;
const START_MS = 90_000;
/** For one call. */
const PATIENCE_MS = 20_000;
const REASON = "its space is used up (alarm NOSPACE)";

describe.skipIf(etcdMissing !== null)(`an etcd without space (${etcdMissing ?? "runs"})`, { shuffle: false }, () => {
  let etcd: EtcdCluster;
  let a: SharingServer;
  let b: SharingServer;
  let ann: Claim;
  beforeAll(async () => {
    etcd = await EtcdCluster.start({ flags: ["--quota-backend-bytes", String(QUOTA_BYTES)] });
    a = await SharingServer.start(etcd.access(), "s1");
    b = await SharingServer.start(etcd.access(), "s2");
    ann = (await a.directory.register(requestOf("ann"))).claim;
    await a.directory.register(requestOf("bob"));
    const fill = async () => {
      for (let i = 0; i * 20_000 < 2 * QUOTA_BYTES; i++) await etcd.ctl(["put", `filling/${i}`, "x".repeat(20_000)]);
    };
    await expect(fill()).rejects.toThrow("database space exceeded");
  }, START_MS);
  afterAll(async () => {
    await a?.close();
    await b?.close();
    await etcd?.[Symbol.asyncDispose]();
  });

  it("takes no claim and no change, and the refusal says why", async () => {
    expect(await a.register(requestOf("carl"))).toMatch(
      /^try-again: the directory's engine takes no changes: its space/,
    );
    await expect(async () => a.directory.update(ann, { rooms: ["#ops"] })).rejects.toMatchObject({
      code: "try-again",
      message: expect.stringContaining(REASON),
    });
    expect(a.warnings.filter((text) => text.includes(REASON))).toHaveLength(1);
  });

  it("keeps leases, and what is removed goes", async () => {
    expect(await a.directory.remove(ann)).toBe(true);
    await until("the other server hears of it", async () => (await b.find("ann")) === null);
    // Two renewals on.
    const seen = performance.now();
    await until("time has passed", () => performance.now() - seen > 5_000);
    expect([a, b].map((server) => server.stat("engine_claiming"))).toEqual([1, 1]);
    expect([a, b].map((server) => server.stat("engine_incarnations"))).toEqual([1, 1]);
    expect([a.isAway, b.isAway]).toEqual([false, false]);
  });

  it("gives no lease to a server that has lost its own, whose reads go on", async () => {
    const engine = new EtcdEngine(etcd.access());
    const [own] = (await engine.list("/ptalk/s/s1/", { limit: 1, revision: 0, deadline: PATIENCE_MS })).values;
    await engine.revokeLease(own?.lease ?? "0", PATIENCE_MS);
    engine.close();
    await until("it has noticed", () => a.stat("engine_claiming") === 0);
    expect(await a.register(requestOf("carl"))).toContain(REASON);
    expect(a.stat("engine_claiming")).toBe(0);
    expect((await a.find("bob"))?.entry.name).toBe("bob");
  });

  it("lets the server back by itself once it is compacted, defragmented and disarmed", async () => {
    await etcd.ctl(["del", "--prefix", "filling/"]);
    const [{ Status: status }] = JSON.parse(await etcd.ctl(["endpoint", "status", "-w", "json"]));
    await etcd.compact(status.header.revision);
    await etcd.ctl(["defrag"]);
    await etcd.ctl(["alarm", "disarm"]);
    await until("it claims again", () => a.stat("engine_claiming") === 1);
    expect(await a.register(requestOf("carl"))).toBe("ok");
    expect(a.warnings.at(-1)).toContain("takes changes again");
    for (const name of ["bob", "carl"])
      await until(`${name} is at both`, async () => (await b.find(name)) !== null && (await a.find(name)) !== null);
    expect(a.replaced).toEqual([]);
  });
});
