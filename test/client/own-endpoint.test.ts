// When a client asks how its socket looks from the server, and when it takes another port: with answers that the test gives.
import { describe, expect, it, vi } from "vitest";
import type { Endpoint } from "../../lib/base/endpoint.ts";
import { OwnEndpoint } from "../../lib/client/own-endpoint.ts";

/** @param answers of the server to each question: which address it sees; null: none */
function client(answers: readonly (string | null)[], { isServerThere = true, isPortFixed = false } = {}) {
  const said: string[] = [];
  const left = [...answers];
  let port = 4000;
  let isConnected = true;
  const session = {
    observer: { endpoint: { address: "192.0.2.1", port: 5518 }, token: Buffer.alloc(28) },
    ownAddresses: ["10.0.0.5"],
    get isConnected() {
      return isConnected;
    },
    count: async () => {
      said.push("count");
      if (!isServerThere) throw new Error("no answer");
      return 1;
    },
    changePort: async (to: number) => void said.push(`registered ${to}`),
  };
  const transport = {
    get port() {
      return port;
    },
    observe: async (): Promise<Endpoint | null> => {
      said.push(`asked from ${port}`);
      const address = left.shift();
      if (address === undefined) isConnected = false;
      return typeof address === "string" ? { address, port } : null;
    },
    changePort: () => {
      if (!isPortFixed) port++;
      return !isPortFixed;
    },
  };
  const lifetime = {
    openMs: 0,
    closedMs: null as number | null,
    measure: async () => void said.push("measured"),
    close: () => {},
  };
  const own = new OwnEndpoint({ session, transport, lifetime, onPortChanged: () => void said.push("shown") });
  return { own, said, lifetime };
}
const asked = (port: number, times: number): string[] => Array(times).fill(`asked from ${port}`);

describe("a client whose questions stay without an answer", () => {
  it("takes another port after three of them, registers it, and asks from there", async () => {
    const { own, said } = client(["203.0.113.9", null, null, null, "203.0.113.9"]);
    await own.ask();
    await own.ask();
    own.close();
    const first = [...asked(4000, 1), "measured"];
    const change = ["count", "registered 4001", "shown"];
    expect(said).toEqual([...first, ...asked(4000, 3), ...change, ...asked(4001, 1), "measured"]);
    expect(own.seen).toEqual({ address: "203.0.113.9", port: 4001 });
  });

  it("keeps its port when an answer comes after two", async () => {
    const { own, said } = client([null, null, "203.0.113.9", null, null, "203.0.113.9"]);
    await own.ask();
    await own.ask();
    own.close();
    expect(said).toEqual([...asked(4000, 3), "measured", ...asked(4000, 3), "measured"]);
  });

  it("keeps its port while the server does not answer over TCP either, or when the user has chosen the port", async () => {
    const down = client([null, null, null], { isServerThere: false });
    await down.own.ask();
    down.own.close();
    expect(down.said).toEqual([...asked(4000, 3), "count"]);
    const fixed = client([null, null, null], { isPortFixed: true });
    await fixed.own.ask();
    fixed.own.close();
    expect(fixed.said).toEqual([...asked(4000, 3), "count"]);
  });

  it("takes one other port where UDP is blocked, and the next one only when the network is another one", async () => {
    const { own, said } = client(Array(9).fill(null));
    await own.ask();
    expect(said).toEqual([...asked(4000, 3), "count", "registered 4001", "shown", ...asked(4001, 3)]);
    await own.ask();
    own.close();
    expect(said.slice(9)).toEqual([...asked(4001, 3), "count", "registered 4002", "shown", ...asked(4002, 1)]);
  });
});

describe("a client behind a NAT", () => {
  it("asks again before the way closes, as it was measured, and measures anew when its mapping is another one", async () => {
    vi.useFakeTimers();
    try {
      const { own, said, lifetime } = client([
        "203.0.113.9",
        "203.0.113.9",
        "203.0.113.9",
        "203.0.113.10",
        "203.0.113.10",
      ]);
      const asksWithin = async (ms: number): Promise<string[]> => {
        const before = said.length;
        await vi.advanceTimersByTimeAsync(ms);
        return said.slice(before);
      };
      await own.ask();
      expect(said).toEqual([...asked(4000, 1), "measured"]);
      expect(await asksWithin(19_999)).toEqual([]);
      expect(await asksWithin(1)).toEqual(asked(4000, 1));
      lifetime.openMs = 100_000;
      own.lifetimeChanged();
      expect(await asksWithin(79_999)).toEqual([]);
      expect(await asksWithin(1)).toEqual(asked(4000, 1));
      Object.assign(lifetime, { openMs: 0, closedMs: 7_000 });
      own.lifetimeChanged();
      expect(await asksWithin(5_000)).toEqual([...asked(4000, 1), "measured"]);
      own.close();
      expect(await asksWithin(600_000)).toEqual([]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("without a NAT asks again only where ways close", async () => {
    vi.useFakeTimers();
    try {
      const { own, said, lifetime } = client(Array(4).fill("10.0.0.5"));
      await own.ask();
      await vi.advanceTimersByTimeAsync(600_000);
      expect(said).toEqual([...asked(4000, 1), "measured"]);
      Object.assign(lifetime, { openMs: 50_000, closedMs: 100_000 });
      own.lifetimeChanged();
      await vi.advanceTimersByTimeAsync(40_000);
      expect(said.slice(2)).toEqual(asked(4000, 1));
      own.close();
    } finally {
      vi.useRealTimers();
    }
  });
});
