// Two servers at a real etcd that goes back in time: a backup that is restored, in the same cluster and as a new one; a history that is compacted,
// or is another one, while a server is cut off.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EtcdCluster, etcdMissing } from "../../helpers/etcd.ts";
import { TcpProxy } from "../../helpers/tcp-proxy.ts";
import { requestOf } from "../support/asking.ts";
import { KEYS } from "../support/entries.ts";
import { SharingServer, until } from "./support/etcd-hosts.ts";

/** How often each method has been called, by etcd's own count. */
async function callsAt(etcd: EtcdCluster): Promise<Map<string, number>> {
  const text = await (await fetch(`http://${etcd.members[0]}/metrics`)).text();
  const calls = new Map<string, number>();
  for (const [, method = "", count] of text.matchAll(
    /^grpc_server_started_total\{grpc_method="(\w+)",.*\} (\d+(?:\.\d+(?:e\+\d+)?)?)$/gm,
  ))
    calls.set(method, Number(count));
  return calls;
}

const START_MS = 90_000;
const K2 = KEYS[1] as string;

describe.skipIf(etcdMissing !== null)(`an etcd that goes back (${etcdMissing ?? "runs"})`, { shuffle: false }, () => {
  let etcd: EtcdCluster;
  let proxy: TcpProxy;
  let a: SharingServer;
  /** Its way to etcd can be cut. */
  let b: SharingServer;

  beforeAll(async () => {
    etcd = await EtcdCluster.start();
    const access = etcd.access();
    proxy = await TcpProxy.to(Number(access.members[0]?.split(":")[1]));
    a = await SharingServer.start(access, "s1");
    b = await SharingServer.start({ ...access, members: [proxy.address] }, "s2");
  }, START_MS);
  afterAll(async () => {
    await a?.close();
    await b?.close();
    await proxy?.[Symbol.asyncDispose]();
    await etcd?.[Symbol.asyncDispose]();
  });

  /** It begins anew: the engine has gone back, or the server's key is gone. */
  const GONE_BACK = "the server has lost its place in the directory";
  /** Both have said so once more than the numbers say. */
  const noticed = (before: readonly number[]) =>
    until("both servers have noticed", () => timesGoneBack().every((times, i) => times > (before[i] as number)));
  const timesGoneBack = () => [a, b].map(({ warnings }) => warnings.filter((text) => text.includes(GONE_BACK)).length);
  const named = (name: string, key = KEYS[0] as string) => requestOf(name, { fields: { key } });
  const seenAtBoth = (name: string) =>
    until(`${name} is at both servers`, async () => {
      const [one, other] = await Promise.all([a, b].map((server) => server.find(name).catch(() => null)));
      return one != null && one.claimId === other?.claimId && !one.entry.stale && !other.entry.stale;
    });
  const goneAtBoth = (name: string) =>
    until(`${name} is gone at both servers`, async () => {
      const rows = await Promise.all([a, b].map((server) => server.find(name).catch(() => undefined)));
      return rows.every((row) => row === null);
    });

  it("has two requests every two seconds from a server where nothing happens, however much it is asked", async () => {
    expect(await a.register(named("quiet"))).toBe("ok");
    await seenAtBoth("quiet");
    const [before, begun] = [await callsAt(etcd), performance.now()];
    let asked = 0;
    await until("time has passed", async () => {
      b.directory.lookedUp({ name: "quiet", id: (await b.find("quiet"))?.claimId ?? "", version: 0 }, Date.now());
      asked++;
      return performance.now() - begun > 4_500;
    });
    const after = await callsAt(etcd);
    const pulses = 2 * (Math.ceil((performance.now() - begun) / 2_000) + 1);
    expect(asked).toBeGreaterThan(50);
    expect(after.get("Txn")).toBeGreaterThan(before.get("Txn") ?? 0);
    for (const [method, count] of after) {
      const isPulse = method === "Txn" || method === "LeaseKeepAlive";
      expect(count - (before.get(method) ?? 0), method).toBeLessThanOrEqual(isPulse ? pulses : 0);
    }
  });

  it("while a server was cut off and history is compacted, it lists, and shows what there is", async () => {
    const gone = named("gone");
    const { claim } = await a.directory.register(gone);
    await seenAtBoth("gone");
    const lists = b.stat("engine_lists");
    proxy.cut();
    await a.directory.remove(claim);
    expect(await a.register(named("new"))).toBe("ok");
    await etcd.compact(a.stat("engine_revision"));
    proxy.mend();
    await seenAtBoth("new");
    await goneAtBoth("gone");
    expect(b.stat("engine_lists")).toBeGreaterThan(lists);
  });

  it("is noticed by every server: who is on stays on, who has gone stays gone, and nobody has a second owner", async () => {
    const leaver = named("leaver");
    const { claim } = await a.directory.register(leaver);
    expect(await a.register(named("before"))).toBe("ok");
    const backup = await etcd.backup();
    expect(await a.register(named("here"))).toBe("ok");
    expect(await b.register(named("there", K2))).toBe("ok");
    expect(await a.directory.remove(claim)).toBe(true);
    const times = timesGoneBack();
    await etcd.restore(backup);
    await noticed(times);
    for (const name of ["before", "here", "there"]) await seenAtBoth(name);
    await goneAtBoth("leaver");
    for (const server of [a, b]) expect(await server.directory.ownerOf("there")).toBe(K2);
    // The owner that was lost is written again with the row, and refuses others.
    expect(await a.register(named("there"))).toMatch(/^taken/);
    expect([a.replaced, b.replaced]).toEqual([[], []]);
  });

  it("of another cluster, which has another id: the same", async () => {
    const backup = await etcd.backup();
    expect(await a.register(named("late"))).toBe("ok");
    const times = timesGoneBack();
    await etcd.restore(backup, { token: "another" });
    await noticed(times);
    for (const name of ["before", "here", "late"]) await seenAtBoth(name);
    expect([a.replaced, b.replaced]).toEqual([[], []]);
  });

  it("is noticed by a server that was cut off, though its own key is as it was and the revision is beyond", async () => {
    const { claim } = await a.directory.register(named("lost"));
    await seenAtBoth("lost");
    const backup = await etcd.backup();
    // What it hears after the backup is undone, and nothing tells it so.
    expect(await a.directory.remove(claim)).toBe(true);
    expect(await a.register(named("undone"))).toBe("ok");
    await goneAtBoth("lost");
    await seenAtBoth("undone");
    proxy.cut();
    const times = timesGoneBack();
    await etcd.restore(backup);
    await until("the first has noticed", () => (timesGoneBack()[0] as number) > (times[0] as number));
    for (let i = 0; i < 20; i++) await etcd.ctl(["put", "/ptalk/x", String(i)]);
    proxy.mend();
    await noticed(times);
    for (const name of ["before", "here", "late", "undone"]) await seenAtBoth(name);
    await goneAtBoth("lost");
    expect([a.replaced, b.replaced]).toEqual([[], []]);
  });
});
