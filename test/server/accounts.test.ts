// What one user or address may have at a server: clients, rooms, bytes that wait, names; and that no other notices when it has all of it.
import { afterEach, describe, expect, it } from "vitest";
import { NAMES_PER_KEY, NAMES_PER_UID, NameOwnership, today } from "../../lib/directory/name-ownership.ts";
import { AccountSums } from "../../lib/server/account-sums.ts";
import { Accounts } from "../../lib/server/accounts.ts";
import { defaultLimits } from "../../lib/server/limits.ts";
import { type Origin, tcpOrigin } from "../../lib/server/origin.ts";
import { type Client, LocalServer, newKeys, until } from "../helpers/lookup-server.ts";
import { WorkerHost } from "../helpers/worker-host.ts";

const ofUid = (uid: number): Origin => ({ address: null, isHere: true, peerUid: uid, uid });

const clients: Client[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

describe("clients of one user", () => {
  const limits = { ...defaultLimits(100), clientsPerUid: 4, clientsOverLoopback: 2 };
  const take = (accounts: Accounts, worker: number, origin: Origin, isBack = false): boolean =>
    accounts.takeClient(worker, origin, isBack);

  it("count over all workers, and no other user's with them", () => {
    const accounts = new Accounts(limits);
    expect([1, 2, 1, 2, 1].map((worker) => take(accounts, worker, ofUid(5)))).toEqual([true, true, true, true, false]);
    expect(take(accounts, 1, ofUid(6))).toBe(true);
    expect(take(accounts, 1, tcpOrigin("192.0.2.1"))).toBe(true);
    accounts.giveBackClient(2, "uid 5");
    expect([take(accounts, 1, ofUid(5)), take(accounts, 1, ofUid(5))]).toEqual([true, false]);
    expect(accounts.stats).toEqual({ accounts: 3, largest_account: 4 });
    accounts.workerDied(1);
    expect(take(accounts, 2, ofUid(5))).toBe(true);
  });

  it("that come back may be a quarter more: their connections before may not have ended", () => {
    const accounts = new Accounts(limits);
    for (let i = 0; i < 4; i++) take(accounts, 1, ofUid(5));
    expect([take(accounts, 1, ofUid(5), true), take(accounts, 1, ofUid(5), true)]).toEqual([true, false]);
  });

  it("are all users' together over TCP of this host", () => {
    const accounts = new Accounts(limits);
    expect(["127.0.0.1", "127.0.0.1", "127.0.0.1"].map((a) => take(accounts, 1, tcpOrigin(a)))).toEqual([
      true,
      true,
      false,
    ]);
  });

  it("over the bound get -TOOMANY and what to do, until one has gone", async () => {
    await using server = await LocalServer.start({ limits: { clientsOverLoopback: 2 } });
    const [a, b, c] = [await server.client(), await server.client(), await server.client()];
    clients.push(a, b, c);
    expect([await a.register("a", newKeys()), await b.register("b", newKeys())]).toEqual(["OK", "OK"]);
    const keys = newKeys();
    expect(await c.register("c", keys)).toMatchObject({
      code: "TOOMANY",
      message: "2 clients are on over TCP of this host, and no more may: connect over a Unix socket, or end one",
    });
    // A registration that is refused for another reason gives its place back.
    a.close();
    const codes: (string | undefined)[] = [];
    await until("a place", async () => {
      codes.push(((await c.register("b", keys)) as { code?: string }).code);
      return codes.at(-1) !== "TOOMANY";
    });
    expect(codes.at(-1)).toBe("TAKEN");
    expect(await c.register("c", keys)).toBe("OK");
    const info = await c.ask("INFO");
    expect(info).toContain("accounts:1\r\nlargest_account:2\r\n");
    expect(info).toMatch(/refused_toomany:[1-9]/);
  });
});

describe("rooms of one user", () => {
  it("are bounded over all its clients at a worker, and free again when a client parts or leaves", async () => {
    await using host = await WorkerHost.start({ config: { limits: { ...defaultLimits(100), roomsPerAccount: 3 } } });
    for (const name of ["a", "b"]) {
      const client = await host.client();
      clients.push(client);
      expect(await client.register(name, newKeys())).toBe("OK");
    }
    const [a, b] = clients as [Client, Client];
    for (const room of ["#1", "#2"]) expect(await a.ask("JOIN", room)).toBe("OK");
    expect(await b.ask("JOIN", "#1")).toBe("OK");
    expect(await b.ask("JOIN", "#2")).toMatchObject({
      code: "TOOMANY",
      message: expect.stringContaining("in 3 rooms"),
    });
    expect(await a.ask("PART", "#1")).toBe("OK");
    expect(await b.ask("JOIN", "#2")).toBe("OK");
    expect(await a.ask("UNREGISTER")).toBe("OK");
    expect(await b.ask("JOIN", "#3")).toBe("OK");
  });

  it("and bytes are sums that root is not bounded by", () => {
    const sums = new AccountSums(2);
    expect([sums.add(ofUid(5), 2), sums.add(ofUid(5), 1), sums.add(ofUid(6), 2)]).toEqual([true, false, true]);
    expect([sums.add(ofUid(5), -2), sums.add(ofUid(0), 9)]).toEqual([true, true]);
  });
});

describe("readers of one user that have stopped", () => {
  it("cost a bounded amount together: one more is cut, and a reader goes on", async () => {
    const limits = { ...defaultLimits(100), unsentBytesPerAccount: 300 * 1024 };
    await using host = await WorkerHost.start({ config: { limits } });
    const text = "x".repeat(90 * 1024);
    for (let i = 0; i < 8; i++) {
      const client = await host.client();
      clients.push(client);
      client.socket.pause();
      for (let n = 0; n < 200; n++) client.tell("ECHO", text).catch(() => {});
    }
    await until("one to be cut", async () => ((await host.load()).refusals["slow reader"] ?? 0) > 0);
    const reader = await host.client();
    clients.push(reader);
    expect(await reader.ask("PING")).toBe("PONG");
    expect((await host.load()).connections).toBeLessThan(9);
  });
});

describe("names of one user", () => {
  const key = (n: number): string => Buffer.alloc(32, `key ${n}`).toString("base64");
  const names = (count: number, uid: number | undefined, login?: string): NameOwnership => {
    const ownership = new NameOwnership(100_000);
    for (let i = 0; i < count; i++) {
      const holder = { ...(uid === undefined ? {} : { uid }), ...(login === undefined ? {} : { login }) };
      ownership.apply({ folded: `n${i}`, key: key(Math.floor(i / NAMES_PER_KEY)), day: today() - 1, ...holder });
    }
    return ownership;
  };

  it("are bounded over all its keys: a further one makes the oldest give way", () => {
    const ownership = names(NAMES_PER_UID, 1000);
    expect(ownership.size).toBe(NAMES_PER_UID);
    ownership.bind("one-more", key(999), { uid: 1000 });
    expect([ownership.size, ownership.get("n0"), ownership.get("one-more")?.uid]).toEqual([
      NAMES_PER_UID,
      undefined,
      1000,
    ]);
    ownership.bind("anothers", key(998), { uid: 1001 });
    expect(ownership.size).toBe(NAMES_PER_UID + 1);
  });

  it("are not bounded for root, nor are login names or those of users that nobody vouches for", () => {
    for (const [uid, login] of [[0], [undefined], [1000, "ann"]] as const) {
      const ownership = names(NAMES_PER_UID, uid, login);
      ownership.bind("one-more", key(999), uid === undefined ? {} : { uid });
      expect(ownership.size).toBe(NAMES_PER_UID + 1);
    }
  });
});
