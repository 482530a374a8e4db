// When a client asks how its socket looks from the server, and when it takes another port: with answers that the test gives.
import { describe, expect, it } from "vitest";
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
  const own = new OwnEndpoint(session, transport, () => said.push("shown"));
  return { own, said };
}
const asked = (port: number, times: number): string[] => Array(times).fill(`asked from ${port}`);

describe("a client whose questions stay without an answer", () => {
  it("takes another port after three of them, registers it, and asks from there", async () => {
    const { own, said } = client(["203.0.113.9", null, null, null, "203.0.113.9"]);
    await own.ask();
    await own.ask();
    own.close();
    expect(said).toEqual([...asked(4000, 4), "count", "registered 4001", "shown", ...asked(4001, 1)]);
    expect(own.seen).toEqual({ address: "203.0.113.9", port: 4001 });
  });

  it("keeps its port when an answer comes after two", async () => {
    const { own, said } = client([null, null, "203.0.113.9", null, null, "203.0.113.9"]);
    await own.ask();
    await own.ask();
    own.close();
    expect(said).toEqual(asked(4000, 6));
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
