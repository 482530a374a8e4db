// Two servers at a real etcd of three members, in order of increasing damage: a member that is stopped, a date that jumps, a leader that is
// killed, and one member alone for longer than the leases live.
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { EtcdAccess } from "../../../lib/directory/etcd/address.ts";
import { EtcdCluster, etcdMissing } from "../../helpers/etcd.ts";
import { requestOf } from "../support/asking.ts";
import { KEYS } from "../support/entries.ts";
import { SharingServer, until } from "./support/etcd-hosts.ts";

const START_MS = 90_000;
const YEAR_MS = 365 * 86_400_000;

const title = `members of an etcd cluster (${etcdMissing ?? "run"})`;
describe.skipIf(etcdMissing !== null)(title, { shuffle: false }, () => {
  let etcd: EtcdCluster;
  let a: SharingServer;
  let b: SharingServer;
  let names = 0;

  beforeAll(async () => {
    etcd = await EtcdCluster.start({ nodes: 3 });
    // Each begins at another member.
    const access = etcd.access();
    const turned: EtcdAccess = { ...access, members: [...access.members.slice(1), ...access.members.slice(0, 1)] };
    a = await SharingServer.start(access, "s1");
    b = await SharingServer.start(turned, "s2");
  }, START_MS);
  afterAll(async () => {
    await a?.close();
    await b?.close();
    await etcd?.[Symbol.asyncDispose]();
  });

  const stats = (name: string) => [a.stat(name), b.stat(name)];
  /** A name that is claimed at one server is seen at the other one. */
  async function goesOn(): Promise<void> {
    for (const [here, there] of [
      [a, b],
      [b, a],
    ] as const) {
      const name = `n${++names}`;
      // While a leader is elected, the outcome of an attempt may be unknown: the same claim again.
      const request = requestOf(name);
      await until(`${name} is claimed`, async () => {
        const said = await here.register(request);
        if (said !== "ok") expect(said).toMatch(/^try-again/);
        return said === "ok";
      });
      await until(`${name} is seen`, async () => (await there.find(name).catch(() => null)) !== null);
    }
  }

  it("one that is stopped is left for the next, with the lease that there was", async () => {
    await goesOn();
    etcd.pause(0);
    await goesOn();
    etcd.resume(0);
    expect(stats("engine_incarnations")).toEqual([1, 1]);
    expect([a.isAway, b.isAway]).toEqual([false, false]);
  });

  it("a date that jumps, forward and back, ends no lease and no call", async () => {
    const renewals = a.stat("engine_revision");
    try {
      for (const jump of [YEAR_MS, -2 * YEAR_MS]) {
        vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + jump });
        await goesOn();
      }
      await until("the keys of both were written again", () => a.stat("engine_revision") > renewals + 6);
    } finally {
      vi.useRealTimers();
    }
    expect(stats("engine_claiming")).toEqual([1, 1]);
    expect(stats("engine_incarnations")).toEqual([1, 1]);
    expect([a.isAway, b.isAway]).toEqual([false, false]);
  });

  it("the leader that is killed has a successor", async () => {
    await etcd.kill(await etcd.leader());
    await goesOn();
    expect(stats("engine_incarnations")).toEqual([1, 1]);
  });

  it("one alone has no leader: what is known goes on, nothing is claimed, and all is back with the others", async () => {
    const held = requestOf("held");
    expect(await a.register(held)).toBe("ok");
    await until("held is seen", async () => (await b.find("held")) !== null);
    const watches = stats("engine_watches");
    const left = etcd.running;
    for (const index of left.slice(1)) etcd.pause(index);
    await until("both have noticed", () => a.isAway && b.isAway);
    for (const server of [a, b]) {
      expect((await server.find("held"))?.entry.stale).toBe(true);
      await expect(server.find("nobody")).rejects.toMatchObject({ code: "try-again" });
    }
    const late = b.register(requestOf("late", { fields: { key: KEYS[1] as string } }));
    await until("both have lost their leases", () => stats("engine_claiming").every((is) => is === 0));
    expect(await late).toMatch(/^try-again/);
    for (const index of left.slice(1)) etcd.resume(index);
    await until("both are back", () => !a.isAway && !b.isAway && stats("engine_claiming").every((is) => is === 1));
    await goesOn();
    // A new leader gives every lease its whole time again (etcd's lessor, Promote): a lease that no leader has ended yet goes on.
    for (const leases of stats("engine_incarnations")) expect([1, 2]).toContain(leases);
    // Watches at a member without a leader had ended, instead of hearing nothing.
    stats("engine_watches").forEach((now, i) => {
      expect(now).toBeGreaterThan(watches[i] as number);
    });
    // The client is on at the first server still, with the claim that it had.
    expect((await b.find("held"))?.claimId).toBe(held.claimId);
    expect([a.replaced, b.replaced]).toEqual([[], []]);
    expect([a.warnings, b.warnings].flat().filter((text) => !text.includes("lost its place"))).toEqual([]);
  });
});
