// The links between servers of one directory: who may connect, what passes, what is lost; and two real servers with etcd.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readdirSync } from "node:fs";
import { createServer, type Server, connect as tcpConnect } from "node:net";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { TalkClient } from "../../lib/client/talk-client.ts";
import { silentLog } from "../../lib/server/log.ts";
import { readOptions } from "../../lib/server/options.ts";
import type { ForPeer, PeerMessage } from "../../lib/server/peers/peer-frames.ts";
import { PeerLinks, PeerListener } from "../../lib/server/peers/peer-links.ts";
import type { PeerFacts } from "../../lib/server/peers/peer-servers.ts";
import { loadTls, type TlsFiles } from "../../lib/server/tls.ts";
import { encodeCommand } from "../../lib/wire/resp-command.ts";
import { EtcdCluster, etcdMissing } from "../helpers/etcd.ts";
import { type Client, freshStateDir, newKeys, ServerProcess, until } from "../helpers/lookup-server.ts";

const undo: (() => unknown)[] = [];
let home: ReturnType<typeof freshStateDir>;
beforeEach(() => {
  home = freshStateDir();
});
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
  home.remove();
});

const CLAIM = "AAAAbbbbCCCCdddd";
const KEY = Buffer.alloc(32, 7).toString("base64");

async function certificate(name: string): Promise<TlsFiles> {
  const folder = join(home.path, name);
  mkdirSync(folder);
  const tls = await loadTls({ ...readOptions({ tls: true }), tls: true }, folder);
  if (tls === null) throw new Error("no certificate");
  return tls;
}

interface Side {
  readonly links: PeerLinks;
  readonly facts: PeerFacts;
  readonly tls: TlsFiles;
  readonly got: PeerMessage[];
}

const stated = new Map<string, PeerFacts>();
afterEach(() => stated.clear());

/** @param knows the directory as that server sees it */
async function side(name: string, knows: ReadonlyMap<string, PeerFacts> = stated): Promise<Side> {
  const tls = await certificate(name);
  const listener = await PeerListener.listen({ host: "127.0.0.1", port: 0 }, tls);
  const facts = { peer: listener.addressAs("127.0.0.1"), certificate: tls.fingerprint };
  stated.set(name, facts);
  const got: PeerMessage[] = [];
  const links = new PeerLinks(
    listener,
    () => new Map([...knows].map(([server, said]) => [server, { ...said }])),
    (message) => void got.push(message),
    silentLog,
  );
  undo.push(() => links.close());
  return { links, facts, tls, got };
}

const to = (name: string) => ({ worker: 1, connection: 2, claimId: CLAIM, elsewhere: { server: "b", name } });
const knock = (name = "bob"): ForPeer => ({
  type: "knock",
  to: to(name),
  key: KEY,
  from: [{ address: "192.0.2.1", port: 4000 }],
});

describe("a link", () => {
  it("carries what is for clients at the other server, in order, both ways", async () => {
    const [a, b] = [await side("a"), await side("b")];
    const relay: ForPeer = { type: "relay", to: { ...to(""), claimId: CLAIM }, from: "ann", bytes: "AAECAw==" };
    for (let i = 0; i < 100; i++) a.links.send("b", knock(`bob${i}`));
    a.links.send("b", relay);
    b.links.send("a", knock("ann"));
    await until("all frames", () => b.got.length === 101 && a.got.length === 1);
    expect(b.got[99]).toEqual({ ...knock("bob99"), to: { ...to("bob99"), elsewhere: { server: "", name: "bob99" } } });
    const { elsewhere: _, ...place } = to("");
    expect(b.got[100]).toEqual({ ...relay, to: place });
    expect(a.links.stats).toMatchObject({ peer_links: 1, peer_connections: 1, peer_sent: 101, peer_lost: 0 });
  });

  it("is made to no server that the directory does not state, or that shows another certificate", async () => {
    const [a, b, other] = [await side("a"), await side("b"), await certificate("other")];
    a.links.send("nobody", knock());
    expect(a.links.stats).toMatchObject({ peer_links: 0, peer_lost: 1 });
    stated.set("b", { ...b.facts, certificate: other.fingerprint });
    a.links.send("b", knock());
    await until("the end of the link", () => a.links.stats.peer_links === 0);
    expect([b.got, a.links.stats.peer_lost]).toEqual([[], 2]);
    a.links.send("b", knock()); // it rests
    expect(a.links.stats).toMatchObject({ peer_links: 0, peer_lost: 3 });
    expect(await a.links.check("b")).toMatch(/^it shows the certificate SHA256:.*, and the directory states SHA256:/);
    stated.set("b", b.facts);
    expect(await a.links.check("b")).toBeNull();
    b.links.close();
    await until("the end of the link", () => a.links.stats.peer_links === 0);
    expect(await a.links.check("b")).toContain("ECONNREFUSED");
  });

  it("is taken from no server that the directory does not state, and ends when it states it no more", async () => {
    const unknown = new Map<string, PeerFacts>();
    const [a, b] = [await side("a"), await side("b", unknown)];
    a.links.send("b", knock());
    await until("the end of the link", () => a.links.stats.peer_links === 0);
    expect([b.got, b.links.stats.peer_refused]).toEqual([[], 1]);
    unknown.set("a", a.facts);
    await until("the first frame", () => {
      a.links.send("b", knock());
      return b.got.length > 0;
    });
    unknown.clear();
    await until("the connection to end", () => {
      a.links.send("b", knock());
      return b.links.stats.peer_connections === 0;
    });
  });

  it("is closed when anything else comes by it", async () => {
    const [a, b] = [await side("a"), await side("b")];
    const words = ["KNOCK", "bob", "1", "2", CLAIM, KEY];
    for (const wrong of [
      encodeCommand(["PING"]),
      encodeCommand(["KNOCK", "bob", "1", "2", "short", KEY]),
      encodeCommand([...words, "0.0.0.0", "4000"]),
      encodeCommand([...words, "192.0.2.1"]),
      encodeCommand(["CALL", "bob", "1", "2", CLAIM, "ann", KEY, "1", "{"]),
      encodeCommand(["RELAY", "x".repeat(99), "1", "2", CLAIM, "ann", "AA=="]),
      encodeCommand(["TOOK", "a", "1.2.3", "perhaps"]),
      encodeCommand(["HAND", "a", "../x", "1", "0", "0", "0", "bob", "1", KEY, "ann", "uid 1", "AA=="]),
      encodeCommand(["HAND", "a", "1.2.3", "1", "0", "0", "0", "Bob", "1", KEY, "ann", "uid 1", "AA=="]),
      encodeCommand(["HAND", "a", "1.2.3", "1", "0", "0", "0", "bob", "1", "AA==", "ann", "uid 1", "AA=="]),
      encodeCommand(["HAND", "a", "1.2.3", "1", "0", "0", "0", "bob", "1", KEY, "ann", "uid 1", "A".repeat(98_308)]),
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    ]) {
      const socket = await dial(b.facts.peer, a.tls);
      const closed = once(socket, "close");
      socket.write(wrong);
      await closed;
    }
    expect(b.got).toEqual([]);
    const socket = await dial(b.facts.peer, a.tls);
    socket.write(encodeCommand([...words, "192.0.2.1", "4000"]));
    await until("the right one", () => b.got.length === 1);
    socket.destroy();
  });

  it("drops what is more than 20,000 frames a second, and outlives one that is reset", async () => {
    const [a, b] = [await side("a"), await side("b")];
    const frame = encodeCommand(["KNOCK", "bob", "1", "2", CLAIM, KEY, "192.0.2.1", "4000"]);
    const [frames, bound] = [60_000, 20_000];
    const begin = performance.now();
    const socket = await dial(b.facts.peer, a.tls);
    socket.write(Buffer.concat(Array.from({ length: frames }, () => frame)));
    await until("all of them", () => (b.links.stats.peer_lost ?? 0) + (b.links.stats.peer_received ?? 0) === frames);
    const seconds = Math.ceil((performance.now() - begin) / 1000) + 1; // of the clock, each begun counts
    expect(b.got.length).toBe(b.links.stats.peer_received);
    expect(b.got.length).toBeGreaterThanOrEqual(bound);
    expect(b.got.length).toBeLessThanOrEqual(Math.min(seconds * bound, frames));
    if (seconds * bound < frames) expect(b.links.stats.peer_lost).toBeGreaterThan(0);
    socket.destroy();
    await until("its end", () => b.links.stats.peer_connections === 0);
    const raw = tcpConnect(Number(b.facts.peer.split(":")[1]), "127.0.0.1");
    const { cert, key } = a.tls;
    const secure = connect({ socket: raw, cert, key, rejectUnauthorized: false });
    secure.on("error", () => {});
    await until("the next one", () => b.links.stats.peer_connections === 1);
    raw.resetAndDestroy();
    await until("its end", () => b.links.stats.peer_connections === 0);
    const before = b.got.length;
    await until("another one", () => {
      a.links.send("b", knock());
      return b.got.length > before;
    });
  });

  it("keeps a bound of what waits for a server that takes connections and says nothing", async () => {
    const a = await side("a");
    const silent: Server = createServer(() => {}).listen(0, "127.0.0.1");
    await once(silent, "listening");
    undo.push(() => silent.close());
    const address = silent.address();
    stated.set("b", { ...a.facts, peer: `127.0.0.1:${typeof address === "object" ? address?.port : 0}` });
    const bytes = Buffer.alloc(9_000).toString("base64");
    for (let i = 0; i < 1_000; i++) a.links.send("b", { type: "relay", to: to("bob"), from: "ann", bytes });
    const { peer_sent: sent = 0, peer_lost: lost = 0 } = a.links.stats;
    expect(sent + lost).toBe(1_000);
    expect(sent * bytes.length).toBeLessThanOrEqual(4 * 2 ** 20);
    expect(lost).toBeGreaterThan(500);
    await until("the link to be given up", () => a.links.stats.peer_links === 0);
    expect(a.links.stats.peer_lost).toBe(1_000);
  });

  it("is listened for at an address that others know", async () => {
    const tls = await certificate("a");
    for (const host of ["0.0.0.0", "::"]) {
      await expect(PeerListener.listen({ host, port: 0 }, tls)).rejects.toMatchObject({ code: "usage" });
    }
  });
});

async function dial(address: string, { cert, key }: TlsFiles): Promise<TLSSocket> {
  const [host = "", port] = address.split(":");
  const socket = connect({ host, port: Number(port), cert, key, rejectUnauthorized: false });
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  return socket;
}

/** DATA of the peer protocol as it looks from outside. */
function sealed(bytes: number): Buffer {
  const datagram = Buffer.alloc(bytes, 1);
  datagram.set([4, 2, 0, 0]);
  return datagram;
}

describe.skipIf(etcdMissing !== null)("two servers of one directory", () => {
  let etcd: EtcdCluster;
  let prefixes = 0;
  beforeAll(async () => {
    etcd = await EtcdCluster.start();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  async function start(...flags: string[]): Promise<ServerProcess> {
    const directory = ["--directory", `etcd://${etcd.members[0]}/peers${prefixes}`];
    const server = await ServerProcess.start(["--workers", "2", ...directory, ...flags]);
    expect(server.log).not.toContain("cannot");
    undo.push(() => (server.child.exitCode === null && server.child.signalCode === null ? server.stop() : null));
    return server;
  }
  async function pair(...flags: string[]): Promise<[ServerProcess, ServerProcess]> {
    prefixes++;
    return Promise.all([start(...flags), start(...flags)]);
  }
  const PEERS = ["--peer-listen", "127.0.0.1:0"];

  async function on(server: ServerProcess, name: string): Promise<Client> {
    const client = await server.client();
    expect(await client.register(name, newKeys())).toBe("OK");
    return client;
  }
  /** A moment passes until a server's table has the clients of the other. */
  const sees = (client: Client, name: string) =>
    until(`${name} to be seen`, async () => (await client.ask("LOOKUP", name)) !== null);

  it("pass calls on, of registered clients and of others", async () => {
    const [a, b] = await pair(...PEERS);
    const [ann, bob] = [await on(a, "ann"), await on(b, "bob")];
    await sees(ann, "bob");
    await until("the call", async () => {
      expect(await ann.ask("CALL", "bob")).toBe("OK");
      return bob.pushes.some(([kind]) => kind === "call");
    });
    const [, name, entry] = await bob.push("call");
    expect([name, (entry as Map<string, unknown>).get("name")]).toEqual(["ann", "ann"]);
    const sender = await a.client();
    expect(await sender.claim("carl", newKeys())).toBe("OK");
    expect(await sender.ask("CALL", "bob", "ENDPOINT", "host", "192.0.2.9", "4001")).toBe("OK");
    expect((await bob.push("knock")).slice(2)).toEqual(["192.0.2.9", 4001]);
    expect(await ann.ask("CALL", "nobody")).toBeNull();
  });

  it.each([
    ["1", "whose workers have the same number"],
    ["2", "at any worker"],
  ])("pass sealed datagrams on, with %s workers, to names and to places of clients %s", async (workers) => {
    const [a, b] = await pair(...PEERS, "--workers", workers);
    const [ann, bob, sender] = [await on(a, "ann"), await on(b, "bob"), await a.client()];
    await Promise.all([sees(ann, "bob"), sees(bob, "ann")]);
    expect(await sender.claim("carl", newKeys())).toBe("OK");
    const passed = async (from: Client, name: string, receiver: Client, bytes: number) => {
      await until("the datagram", async () => {
        expect(await from.ask("RELAY", name, sealed(bytes))).toBe("OK");
        return receiver.pushes.some(([kind, , datagram]) => kind === "relay" && (datagram as Buffer).length === bytes);
      });
      return receiver.pushes.find(([, , datagram]) => (datagram as Buffer).length === bytes) as unknown[];
    };
    expect(await passed(ann, "bob", bob, 300)).toEqual(["relay", "ann", sealed(300)]);
    expect(await passed(bob, "ann", ann, 64)).toEqual(["relay", "bob", sealed(64)]);
    const [, place] = await passed(sender, "bob", bob, 65);
    expect(place).toMatch(/^carl@\d+\.\d+\..{16}@.+$/);
    expect(await passed(bob, String(place), sender, 66)).toEqual(["relay", "bob", sealed(66)]);
  });

  it("take a client of each other at once when its server dies, and are one directory for it", async () => {
    const [a, b] = await pair(...PEERS);
    const join_ = async (name: string, server: string) => {
      const client = await TalkClient.connect({ name, server, stateDir: join(home.path, name) });
      undo.push(() => client.close());
      const heard: string[] = [];
      client.on("message", ({ text }) => void heard.push(text));
      client.on("met", () => void heard.push("met"));
      for (const event of ["error", "refused"] as const) client.on(event, ({ message }) => void heard.push(message));
      return { client, heard };
    };
    const [ann, bob] = [await join_("ann", `${a.address},${b.address}`), await join_("bob", b.address)];
    await until("bob to be seen", async () => (await ann.client.lookup("bob")) !== null);
    await ann.client.send("bob", "before");
    const back = new Promise<string>((resolve) => {
      ann.client.on("server", ({ state, address }) => void (state === "back" && resolve(address)));
    });
    a.child.kill("SIGKILL");
    expect(await back).toBe(b.address);
    expect((await bob.client.lookup("ann"))?.server).toMatch(`:${b.port}`);
    await bob.client.send("ann", "after");
    // Both servers show the directory's id: what was known of bob holds at the other one, and nobody is met twice.
    expect([ann.heard, bob.heard]).toEqual([
      ["met", "after"],
      ["met", "before"],
    ]);
    expect((await bob.client.all()).map(({ name }) => name).sort()).toEqual(["ann", "bob"]);
  });

  const keeping = (name: string) => [...PEERS, "--state-dir", join(home.path, name)];
  const left = Buffer.from("sealed").toString("base64");
  async function takenBy(client: Client): Promise<unknown[]> {
    const [message] = (await client.ask("TAKE")) as unknown[][];
    if (message !== undefined) expect(await client.ask("DONE", String(message[0]))).toBe("OK");
    return message ?? [];
  }

  it("hand kept messages over to the server that their recipient comes on at, or is on at, and its answer back", async () => {
    prefixes++;
    const [a, b] = await Promise.all([start(...keeping("a"), "--metrics", "127.0.0.1:0"), start(...keeping("b"))]);
    const [ann, keys] = [await on(a, "ann"), newKeys()];
    const binding = await b.client();
    await binding.claim("bob", keys);
    const [leftAt] = (await ann.ask("LEAVE", "bob", "1", left)) as string[];
    const bob = await b.client();
    await bob.register("bob", keys);
    await bob.push("mail");
    expect((await takenBy(bob)).slice(1)).toEqual([leftAt, 0, left]);
    await until("nothing to be left", () => readdirSync(join(home.path, "a", "mailbox", "new")).length === 0);
    const long = randomBytes(66_000).toString("base64");
    await ann.ask("LEAVE", "bob", "2", long);
    await bob.push("mail");
    expect((await takenBy(bob)).slice(2)).toEqual([0, long]);
    await sees(bob, "ann");
    await bob.ask("LEAVE", "ann", "2", left, "RECEIPT");
    await ann.push("mail");
    expect((await takenBy(ann)).slice(2)).toEqual([0, left]);
    const info = String(await ann.ask("INFO"));
    expect(info).toMatch(/peer_mail_handed:2\r\n/);
    expect(info).toMatch(/peer_mail_taken:1\r\n/);
    expect(info).toMatch(/peer_mail_waiting:0\r\n/);
    const url = /metrics at (\S+)\n/.exec(a.output)?.[1] ?? "";
    const metrics = await (await fetch(url)).text();
    expect(metrics).toMatch(/^ptalk_peer_links 1$/m);
    expect(metrics).toMatch(/^ptalk_peer_mail_handed_total 2$/m);
    expect(metrics).toMatch(/^ptalk_peer_mail_waiting 0$/m);
  });

  it("keep a message while the other one is dead, and hand it over when that is there again; leased ones wait", async () => {
    prefixes++;
    const [a, b] = await Promise.all([start(...keeping("a")), start(...keeping("b"))]);
    const [ann, keys] = [await on(a, "ann"), newKeys()];
    const bob = await a.client();
    await bob.register("bob", keys);
    await ann.ask("LEAVE", "bob", "1", left);
    const [[name] = []] = (await bob.ask("TAKE")) as unknown[][];
    expect(name).toBeDefined();
    // He moves without DONE: somebody may have had it.
    const moved = await b.client();
    await moved.register("bob", keys, { takeover: bob.claimId });
    await moved.push("mail");
    expect((await takenBy(moved)).slice(2)).toEqual([1, left]);
    b.child.kill("SIGKILL");
    await b.exited;
    await ann.ask("LEAVE", "bob", "2", left);
    const again = await (await start(...keeping("b"))).client();
    await until("the name", async () => (await again.register("bob", keys, { takeover: moved.claimId })) === "OK");
    await again.push("mail");
    expect((await takenBy(again)).at(-1)).toBe(left);
    await until("nothing to be left", () => readdirSync(join(home.path, "a", "mailbox", "new")).length === 0);
  });

  it("leave a message where it is while the other one keeps none", async () => {
    prefixes++;
    const [a, b] = await Promise.all([start(...keeping("a")), start(...keeping("b"), "--no-mailbox")]);
    const [ann, keys] = [await on(a, "ann"), newKeys()];
    const bob = await b.client();
    await bob.register("bob", keys);
    await ann.ask("LEAVE", "bob", "1", left);
    await until("the answer", async () => /peer_mail_refused:1/.test(String(await ann.ask("INFO"))));
    const here = await a.client();
    await here.register("bob", keys, { takeover: bob.claimId });
    expect((await takenBy(here)).at(-1)).toBe(left);
  });

  it("show statuses of each other's clients, and pass people's messages on to where they are", async () => {
    prefixes++;
    const [a, b] = await Promise.all([start(...keeping("a")), start(...keeping("b"))]);
    const join_ = async (name: string, server: string) => {
      const client = await TalkClient.connect({ name, server, stateDir: join(home.path, name) });
      undo.push(() => client.close());
      const heard: string[] = [];
      client.on("message", ({ text, via, leftAt }) => void heard.push(`${text} ${via} ${leftAt !== null}`));
      client.on("receipt", ({ state, to }) => void heard.push(`${state} ${to}`));
      client.on("status", ({ name: who, state, text }) => void heard.push(`${who} ${state} ${text}`));
      return { client, heard };
    };
    const ann = await join_("ann", a.address);
    const bob = await join_("bob", b.address);
    await until("each other", async () => (await bob.client.lookup("ann")) !== null);
    await bob.client.send("ann", "hello");
    await ann.client.setStatus("away", "at lunch");
    await until("the status", () => bob.heard.includes("ann away at lunch"));
    expect((await bob.client.lookup("ann"))?.status).toMatchObject({ state: "away", text: "at lunch" });
    await bob.client.close();
    await until("bob to be gone", async () => (await ann.client.lookup("bob")) === null);
    const { state } = await ann.client.send("bob", "for later", { ifOff: "leave" });
    expect(state).toBe("kept");
    const back = await join_("bob", b.address);
    await until("the message and the receipt", () => ann.heard.includes("delivered bob"));
    expect(back.heard).toContain("for later mailbox true");
  });

  it("have no link without --peer-listen: a client at the other one is not here", async () => {
    const [a, b] = await pair();
    const [ann] = [await on(a, "ann"), await on(b, "bob")];
    await sees(ann, "bob");
    expect(await ann.ask("CALL", "bob")).toBeNull();
    expect(await ann.ask("RELAY", "bob", sealed(64))).toBeNull();
  });

  it("go on when one of them is killed and comes back", async () => {
    const [a, b] = await pair(...PEERS);
    const ann = await on(a, "ann");
    const isCalled = async (name: string, callee: Client) => {
      await sees(ann, name);
      await until("the call", async () => {
        await ann.ask("CALL", name);
        return callee.pushes.some(([kind]) => kind === "call");
      });
    };
    await isCalled("bob", await on(b, "bob"));
    b.child.kill("SIGKILL");
    await b.exited;
    await isCalled("rob", await on(await start(...PEERS), "rob"));
  });
});

describe("--peer-listen", () => {
  it("is for a directory that servers share", async () => {
    const server = await ServerProcess.start(["--peer-listen", "127.0.0.1:0"]);
    expect((await server.exited)[0]).toBe(64);
    expect(server.log).toContain("peer-listen is for a directory that servers share");
  });
});
