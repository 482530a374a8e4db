// How a client measures how long ways stay open, against a server that answers as a NAT of that kind would let it.
import { afterEach, describe, expect, it } from "vitest";
import { HoleLifetime } from "../../lib/client/hole-lifetime.ts";
import { DatagramSocket } from "../../lib/net/datagram-socket.ts";
import { decodeBindingRequest, encodeBindingResponse } from "../../lib/net/stun.ts";

const TIMES = { silences: [10, 20, 40, 80], first: 1, graceMs: 1_000 };
const open: Disposable[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one[Symbol.dispose]();
});

/** @param answers what becomes of the second answer after so long a silence */
function network(answers: (silenceMs: number, nth: number) => boolean, { isOld = false } = {}) {
  const tried: number[] = [];
  const token = Buffer.alloc(28);
  const socket: DatagramSocket = new DatagramSocket("127.0.0.1", 0, 65_536, {
    onDatagram: (datagram, address, port) => {
      const request = decodeBindingRequest(datagram);
      if (request === null) return;
      const { transaction, lateMs } = request;
      tried.push(lateMs ?? 0);
      const seen = { address, port };
      socket.send(encodeBindingResponse(transaction, seen, isOld ? {} : { lateMs: lateMs ?? 0 }), address, port);
      const nth = tried.filter((one) => one === lateMs).length;
      if (answers(lateMs ?? 0, nth)) socket.send(encodeBindingResponse(transaction, seen), address, port);
    },
    onRead: () => {},
    onError: () => {},
  });
  const session = { observer: { endpoint: { address: "127.0.0.1", port: socket.port }, token } };
  const lifetime = new HoleLifetime(session, () => {}, TIMES);
  open.push({
    [Symbol.dispose]: () => {
      lifetime.close();
      socket.close();
    },
  });
  return { lifetime, tried, session };
}

describe("the time that ways stay open", () => {
  it("is found between two silences, and no loss of one answer shortens it", async () => {
    const { lifetime, tried } = network((ms, nth) => (ms === 20 ? nth === 2 : ms < 70));
    await lifetime.measure();
    expect([lifetime.openMs, lifetime.closedMs]).toEqual([40, 80]);
    expect(tried).toEqual([20, 20, 40, 80, 80]);
  });

  it("is found below the usual one", async () => {
    const { lifetime } = network((ms) => ms < 15);
    await lifetime.measure();
    expect([lifetime.openMs, lifetime.closedMs]).toEqual([10, 20]);
  });

  it("has no end where everything comes in, and no length where nothing does", async () => {
    const all = network(() => true);
    await all.lifetime.measure();
    expect([all.lifetime.openMs, all.lifetime.closedMs]).toEqual([80, null]);
    const none = network(() => false);
    await none.lifetime.measure();
    expect([none.lifetime.openMs, none.lifetime.closedMs]).toEqual([0, 10]);
  });

  it("is not known from a server that answers once, and another measurement begins anew", async () => {
    const { lifetime, session, tried } = network(() => false, { isOld: true });
    await lifetime.measure();
    expect([lifetime.openMs, lifetime.closedMs, new Set(tried)]).toEqual([0, null, new Set([20])]);
    const other = network(() => true);
    Object.assign(session, other.session);
    await lifetime.measure();
    expect([lifetime.openMs, lifetime.closedMs]).toEqual([80, null]);
  });
});
