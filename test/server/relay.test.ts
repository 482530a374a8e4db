// RELAY: which clients may send, to which, how much; and how the rest is lost.
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RelayMeter } from "../../lib/server/relay-meter.ts";
import { RelayUsers } from "../../lib/server/relay-users.ts";
import { MAX_DATAGRAM_BYTES } from "../../lib/wire/datagram.ts";
import { type Client, LocalServer, newKeys, ServerProcess, until } from "../helpers/lookup-server.ts";

/** DATA of the peer protocol as it looks from outside, with every byte that there is in it. */
function sealed(bytes = 300): Buffer {
  const datagram = Buffer.from(Array.from({ length: bytes }, (_, i) => i & 0xff));
  datagram.set([4, 2, 0, 0]);
  return datagram;
}

const error = (code: string) => expect.objectContaining({ name: "ReplyError", code });

describe("a datagram", () => {
  let server: LocalServer;
  beforeAll(async () => {
    server = await LocalServer.start();
  });
  afterAll(() => server.stop());

  const on = async (name: string): Promise<Client> => {
    const client = await server.client();
    expect(await client.register(name, newKeys())).toBe("OK");
    return client;
  };
  const claimed = async (name: string): Promise<Client> => {
    const client = await server.client();
    expect(await client.claim(name, newKeys())).toBe("OK");
    return client;
  };

  it("goes from one registered client to another, byte for byte, with the sender's name", async () => {
    const [alice, bob] = [await on("alice"), await on("Bob")];
    for (const datagram of [sealed(), sealed(32), sealed(MAX_DATAGRAM_BYTES)]) {
      expect(await alice.ask("RELAY", "BOB", datagram)).toBe("OK");
      expect(await bob.push("relay")).toEqual(["relay", "alice", datagram]);
    }
    expect(await bob.ask("RELAY", "alice", sealed())).toBe("OK");
    expect((await alice.push("relay")).slice(0, 2)).toEqual(["relay", "Bob"]);
    alice.close();
    bob.close();
  });

  it("comes from a client that has only claimed its name, and the answer finds the way back to that one", async () => {
    const [carol, other, dan] = [await claimed("carol"), await claimed("erin"), await on("dan")];
    expect(await carol.ask("RELAY", "dan", sealed())).toBe("OK");
    const [, place] = await dan.push("relay");
    expect(place).toMatch(/^carol@/);
    expect(await dan.ask("RELAY", place as string, sealed(64))).toBe("OK");
    expect(await carol.push("relay")).toEqual(["relay", "dan", sealed(64)]);
    expect(await dan.ask("RELAY", "carol", sealed())).toBeNull(); // nobody is on under the name
    expect(other.pushes).toEqual([]);
    carol.close();
    await until("the place to be gone", async () => (await dan.ask("RELAY", place as string, sealed())) === null);
    for (const client of [other, dan]) client.close();
  });

  it("for a client that is not here is answered with null at once", async () => {
    const alice = await on("alice2");
    for (const name of ["nobody", "x@0.1.AAAAAAAAAAAAAAAA", "x@9.1.AAAAAAAAAAAAAAAA", "", "@".repeat(5_000)]) {
      expect(await alice.ask("RELAY", name, sealed())).toBeNull();
    }
    alice.close();
  });

  it("is refused from a client that has proved nothing, and when it is none of the peer protocol", async () => {
    const [stranger, bob] = [await server.client(), await on("bob2")];
    expect(await stranger.ask("RELAY", "bob2", sealed())).toEqual(error("NOAUTH"));
    for (const bytes of [Buffer.from("hello"), sealed(MAX_DATAGRAM_BYTES + 1), sealed(31), randomBytes(0)]) {
      expect(await bob.ask("RELAY", "bob2", bytes)).toEqual(error("ERR"));
    }
    expect(await bob.ask("RELAY", "bob2", "text")).toEqual(error("ERR"));
    expect(bob.pushes).toEqual([]);
    stranger.close();
    bob.close();
  });

  it("that its receiver is too slow for is lost; the receiver keeps its connection", async () => {
    const [alice, bob] = [await on("alice3"), await on("bob3")];
    bob.socket.pause();
    const lost = async () => {
      const info = (await alice.ask("INFO")) as string;
      return Number(/relay_lost:(\d+)/.exec(info)?.[1]);
    };
    await until("a datagram to be lost", async () => {
      const sent = Array.from({ length: 64 }, () => alice.ask("RELAY", "bob3", sealed(MAX_DATAGRAM_BYTES)));
      await Promise.all(sent);
      return (await lost()) > 0;
    });
    bob.socket.resume();
    expect(await bob.ask("PING")).toBe("PONG");
    expect(bob.isClosed).toBe(false);
    alice.close();
    bob.close();
  });
});

describe("a relay", () => {
  it("passes datagrams on between workers, the reply to a claimed one too", async () => {
    const server = await ServerProcess.start(["--workers", "3"]);
    try {
      const clients = await Promise.all(
        Array.from({ length: 6 }, async (_, i) => {
          const client = await server.client();
          const keys = newKeys();
          expect(await (i < 3 ? client.register(`n${i}`, keys) : client.claim(`n${i}`, keys))).toBe("OK");
          return client;
        }),
      );
      for (const [i, from] of clients.entries()) {
        for (const [j, to] of clients.slice(0, 3).entries()) {
          const datagram = sealed(100 + 10 * i + j);
          expect(await from.ask("RELAY", `n${j}`, datagram)).toBe("OK");
          const [, place, bytes] = await to.push("relay");
          expect(bytes).toEqual(datagram);
          expect(await to.ask("RELAY", place as string, sealed(50))).toBe("OK");
          expect((await from.push("relay")).slice(1)).toEqual([`n${j}`, sealed(50)]);
        }
      }
    } finally {
      await server.stop();
    }
  });

  it("that is switched off says so in HELLO, and refuses", async () => {
    const server = await ServerProcess.start(["--no-relay", "--workers", "1"]);
    try {
      const client = await server.client(2);
      expect(((await client.ask("HELLO", 3)) as Map<string, unknown>).get("relay")).toBe(0);
      await client.register("alice", newKeys());
      expect(await client.ask("RELAY", "alice", sealed())).toEqual(error("NORELAY"));
    } finally {
      await server.stop();
    }
  });

  it("is switched off by the settings too, and not on again by the command line's silence", async () => {
    const server = await ServerProcess.start(["--workers", "1"], { PTALK_RELAY: "false" });
    try {
      const client = await server.client(2);
      expect(((await client.ask("HELLO", 3)) as Map<string, unknown>).get("relay")).toBe(0);
    } finally {
      await server.stop();
    }
  });
});

const alone = (bytesPerSecond: number): RelayMeter => new RelayMeter({ bytesPerSecond, workers: 1, onUse: () => {} });

describe("a client's share of the relay", () => {
  it("is one, at however many workers it has connections, and is whole again when it uses only one", async () => {
    const told: string[] = [];
    const meters: RelayMeter[] = [];
    const users = new RelayUsers((worker, client, workers) => {
      told.push(`${worker}: ${workers}`);
      meters[worker]?.setUsers(client, workers);
    });
    for (const id of [0, 1]) {
      const onUse = (client: string, isUsing: boolean) => users.change(id, client, isUsing);
      meters.push(new RelayMeter({ bytesPerSecond: 20_000, workers: 2, onUse }));
    }
    const passed = [0, 0];
    const offer = (id: number): void =>
      void meters[id]?.offer("greedy", 1_000, () => {
        passed[id] = (passed[id] ?? 0) + 1;
      });
    for (let i = 0; i < 70; i++) for (const id of [0, 1]) offer(id); // the bursts, and some that wait
    expect(told).toEqual(["0: 2", "1: 2"]);
    const before = [...passed];
    const start = performance.now();
    await until("more of both", () => passed.every((count, id) => count >= (before[id] ?? 0) + 4));
    // 4,000 bytes at half of 20 kB/s, less a datagram that was nearly due.
    expect(performance.now() - start).toBeGreaterThan(250);
    await until("the second worker to be left alone", () => {
      offer(0);
      return told.length === 3;
    });
    expect(told[2]).toBe("0: 1");
  });

  it("is not divided with a worker that has died", () => {
    const told: string[] = [];
    const users = new RelayUsers((...words) => told.push(words.join(" ")));
    for (const worker of [1, 2, 3]) users.change(worker, "carol", true);
    users.change(3, "carol", true);
    users.workerDied(2);
    users.workerDied(2);
    users.change(1, "carol", false);
    expect(told).toEqual([
      ...["1 carol 2", "2 carol 2"],
      ...["1 carol 3", "2 carol 3", "3 carol 3"],
      ...["1 carol 2", "3 carol 2"],
      "3 carol 1",
    ]);
  });

  it("is a burst, then its rate, a queue of bounded length, and loss beyond; others are not held up", async () => {
    const meter = alone(100_000);
    const passed = { greedy: 0, modest: 0 };
    let [taken, lost] = [0, 0];
    for (let i = 0; i < 400; i++) {
      if (meter.offer("greedy", 1_000, () => passed.greedy++)) taken++;
      else lost++;
    }
    expect(lost).toBeGreaterThan(200);
    expect(passed.greedy).toBeLessThanOrEqual(80); // 64 KiB, and what the loop took
    expect(meter.offer("modest", 1_000, () => passed.modest++)).toBe(true);
    expect(passed.modest).toBe(1);
    const start = performance.now();
    await until("the queue to be passed on", () => passed.greedy === taken);
    expect(performance.now() - start).toBeGreaterThan(300); // 64 KiB at 100 kB/s
  });

  it("is remembered while its datagrams wait, however many other clients come", async () => {
    const meter = alone(1_000);
    const passed: string[] = [];
    const offer = (bytes: number, which: string) => meter.offer("first", bytes, () => passed.push(which));
    expect(offer(64 * 1024, "burst")).toBe(true);
    expect(offer(100, "waits")).toBe(true);
    for (let i = 0; i < 5_000; i++) expect(meter.offer(`client ${i}`, 1, () => {})).toBe(true);
    expect(offer(1, "behind it")).toBe(true);
    expect(passed).toEqual(["burst"]);
    await until("the queue to be passed on", () => passed.length === 3);
    expect(passed).toEqual(["burst", "waits", "behind it"]);
  });
});
