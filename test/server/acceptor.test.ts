// Connections that come before the first worker is ready.
import { Socket } from "node:net";
import { afterEach, expect, it } from "vitest";
import { Acceptor } from "../../lib/server/acceptor.ts";
import { Bans } from "../../lib/server/bans.ts";
import { defaultLimits } from "../../lib/server/limits.ts";
import { silentLog } from "../../lib/server/log.ts";
import { tcpOrigin } from "../../lib/server/origin.ts";
import { type BusOwner, WorkerBus } from "../../lib/server/worker-bus.ts";

const address = { host: "127.0.0.1", port: 0 };
let acceptor: Acceptor | null = null;
afterEach(() => acceptor?.close());

it("connections that waited for a worker meet the bound of their user or address", async () => {
  const limits = { ...defaultLimits(100), connectionsPerUid: 2, connectionsPerAddress: 3 };
  acceptor = await Acceptor.listen({ address, fd: null, tls: false }, limits, silentLog);
  const bus = new WorkerBus({} as BusOwner);
  const handed: (string | null)[] = [];
  bus.add({ id: 1, send: () => {}, kill: () => {}, hand: (_, origin) => void handed.push(origin.address) });
  acceptor.serve(bus, { hasReserve: () => false, bans: new Bans() });
  for (let i = 0; i < 5; i++) {
    for (const from of ["127.0.0.1", "192.0.2.1"]) acceptor.accept(new Socket(), tcpOrigin(from));
  }
  expect(handed).toEqual([]);
  acceptor.setReady([1]);
  expect(handed.sort()).toEqual(["127.0.0.1", "127.0.0.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"]);
  expect([...acceptor.refusals.values()].sort()).toEqual([2, 3]);
});
