// Clients that know one server of a directory and are told of the others: real servers with etcd; and what is believed, by whom.
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parseServerAddress } from "../../lib/base/server-address.ts";
import { acceptedServers, rememberedServers, toldServersIn } from "../../lib/client/server-list.ts";
import { TalkClient } from "../../lib/client/talk-client.ts";
import type { ServerEvent } from "../../lib/client/types.ts";
import { KnownDirectories } from "../../lib/store/known-directories.ts";
import { KnownServers } from "../../lib/store/known-peers.ts";
import { User } from "../helpers/cli.ts";
import { EtcdCluster, etcdMissing } from "../helpers/etcd.ts";
import { freshStateDir, newKeys, ServerProcess, until } from "../helpers/lookup-server.ts";

/** TLS is for addresses beyond loopback. */
const beyond = Object.values(networkInterfaces())
  .flat()
  .find((one) => one?.family === "IPv4" && !one.internal)?.address;

const undo: (() => unknown)[] = [];
let home: ReturnType<typeof freshStateDir>;
beforeEach(() => {
  home = freshStateDir();
});
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
  home.remove();
});

const ID = "0123456789abcdef0123456789abcdef";
const key = (byte: number) => Buffer.alloc(32, byte).toString("base64");
const PRINT = `SHA256:${"A".repeat(43)}`;
const A = parseServerAddress("192.0.2.1:5518", "a");
const B = parseServerAddress("192.0.2.2:5518", "b");

describe("what a server says of others", () => {
  /** The user has met it. */
  const met = () => {
    new KnownDirectories(home.path).meet({ address: A, directory: ID, serverKey: key(1), isDirect: true });
    return { address: A, directory: ID };
  };
  const b = { address: B, certificate: PRINT, key: key(2) };
  const itself = { address: B, directory: ID, serverKey: key(2), isDirect: true };

  it("is remembered, and that server is the one that it was told to be, or is refused", () => {
    const [server] = acceptedServers(home.path, [b], met());
    const scope = server?.identify(itself);
    expect(scope?.current).toBe(ID);
    for (const other of [{ serverKey: key(3) }, { directory: ID.replace("0", "f") }, { isDirect: false }]) {
      expect(() => server?.identify({ ...itself, ...other })).toThrow("not the server of the directory");
    }
    expect(() => server?.checkCertificate(Buffer.from("another one"))).toThrow("not the server of the directory");
    // Alone, another day.
    expect(new KnownDirectories(home.path).meet(itself)).toMatchObject({ isNewKey: false, scope: { current: ID } });
    expect(new KnownServers(home.path).list()).toEqual([{ server: "192.0.2.2:5518", certificate: PRINT }]);
  });

  it("replaces nothing that was remembered before", () => {
    const teller = met();
    new KnownServers(home.path).remember("192.0.2.2:5518", PRINT.replace("AAA", "BBB"));
    expect(acceptedServers(home.path, [b], teller)).toEqual([]);
    const known = new KnownDirectories(home.path);
    const c = { address: parseServerAddress("192.0.2.3:5518", "c"), certificate: null, key: key(4) };
    known.meet({ ...itself, address: c.address, serverKey: key(5) }, [A, c.address]);
    expect(acceptedServers(home.path, [c], teller)).toEqual([]);
  });

  it("serves programs that start later, if it is of another server of the same directory, and nothing else is used there", () => {
    acceptedServers(home.path, [b], met());
    new KnownDirectories(home.path).meet({
      ...{ address: parseServerAddress("192.0.2.9:5518", "d"), directory: ID.replace("0", "f"), serverKey: key(9) },
      isDirect: true,
    });
    const servers = rememberedServers(home.path, [A]);
    expect(servers.map(({ address }) => address)).toEqual([B]);
    expect(servers[0]?.identify(itself).current).toBe(ID);
    expect(() => servers[0]?.identify({ ...itself, serverKey: key(3) })).toThrow("not the server of the directory");
    expect(() => servers[0]?.checkCertificate(Buffer.from("another one"))).toThrow("not the server of the directory");
    expect(rememberedServers(home.path, [A, B])).toEqual([]);
    expect(rememberedServers(home.path, [parseServerAddress("127.0.0.1:5518", "x"), A])).toEqual([]);
  });

  it("counts where it can be understood, eight servers at most", () => {
    const row = ["192.0.2.2:5518", PRINT, key(2)];
    expect(toldServersIn([row])).toEqual([b]);
    expect(toldServersIn([["192.0.2.2:5518", null, key(2)]])).toEqual([{ ...b, certificate: null }]);
    const wrong = [
      ["nowhere:0", null, key(2)],
      ["192.0.2.2:5518", "SHA1:x", key(2)],
      ["192.0.2.2:5518", null, "AA=="],
    ];
    expect(toldServersIn([...wrong, "word", [], row])).toEqual([b]);
    expect(toldServersIn(Array(20).fill(row))).toHaveLength(8);
    for (const reply of [null, "x", 1, new Map()]) expect(toldServersIn(reply)).toEqual([]);
  });
});

describe.skipIf(etcdMissing !== null)("a client that knows one of two servers", () => {
  let etcd: EtcdCluster;
  let prefixes = 0;
  beforeAll(async () => {
    etcd = await EtcdCluster.start();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  async function start(
    name: string,
    flags: readonly string[] = [],
    links: readonly string[] = ["--peer-listen", "127.0.0.1:0"],
  ): Promise<ServerProcess> {
    const directory = ["--directory", `etcd://${etcd.members[0]}/told${prefixes}`, ...links];
    const args = ["--workers", "1", ...directory, "--state-dir", join(home.path, name), ...flags];
    const server = await ServerProcess.start(args);
    undo.push(() => (server.child.exitCode === null && server.child.signalCode === null ? server.stop() : null));
    return server;
  }
  async function pair(flags: readonly string[] = []): Promise<[ServerProcess, ServerProcess]> {
    prefixes++;
    return Promise.all([start("server-a", flags), start("server-b", flags)]);
  }
  const remembers = (name: string, server: string) =>
    until(`${server} to be remembered`, () =>
      [...new KnownDirectories(join(home.path, name)).addresses().values()].flat().includes(server),
    );

  it("goes on at the other when its own dies, and uses either alone another day", async () => {
    const flags = beyond === undefined ? [] : ["--listen", `${beyond}:0`, "--tls"];
    const [a, b] = await pair(flags);
    const ann = await TalkClient.connect({ name: "ann", server: a.address, stateDir: join(home.path, "ann") });
    undo.push(() => ann.close());
    const events: ServerEvent[] = [];
    const heard: string[] = [];
    ann.on("server", (event) => void events.push(event));
    ann.on("message", ({ text }) => void heard.push(text));
    for (const event of ["error", "refused"] as const) ann.on(event, ({ message }) => void heard.push(message));
    await remembers("ann", b.address);
    a.child.kill("SIGKILL");
    await until("the other server", () => events.at(-1)?.state === "back");
    expect(ann.server).toBe(b.address);
    const bob = new User({ PTALK_STATE_DIR: join(home.path, "bob") });
    undo.push(() => bob[Symbol.dispose]());
    expect(await bob.run(["send", "--as", "bob", "--server", b.address, "ann", "here"])).toMatchObject({ code: 0 });
    expect(heard).toEqual(["here"]);
    await ann.close();
    const user = new User({ PTALK_STATE_DIR: join(home.path, "ann") });
    undo.push(() => user[Symbol.dispose]());
    // Programs that start while the only server that they are given is dead: who has been told of the other one uses that.
    const dead = ["--server", a.address];
    expect(await user.run(["send", "--as", "ann", ...dead, "--leave", "bob", "kept"])).toMatchObject({ code: 0 });
    expect(await user.run(["all", ...dead])).toMatchObject({ code: 0 });
    expect(await user.run(["top", "--once", ...dead])).toMatchObject({ code: 69 });
    using stranger = new User();
    expect(await stranger.run(["all", ...dead])).toMatchObject({ code: 69 });
    // The dead one again, and each of them alone, with what both users have in their state directories.
    const again = await start("server-a", flags);
    await using carl = await TalkClient.connect({
      ...{ name: "carl", server: again.address, stateDir: join(home.path, "carl") },
    });
    carl.on("message", ({ text }) => void heard.push(text));
    for (const { address } of [b, again]) {
      const sent = await user.run(["send", "--as", "ann", "--server", address, "carl", address]);
      expect(sent).toMatchObject({ code: 0 });
      expect(await user.run(["all", "--server", address])).toMatchObject({ code: 0 });
    }
    expect(heard.slice(1)).toEqual([b.address, again.address]);
  });

  it("believes the receipt of a server at which its message was lost", async () => {
    const [a, b] = await pair();
    const ann = await TalkClient.connect({ name: "ann", server: a.address, stateDir: join(home.path, "ann") });
    undo.push(() => ann.close());
    const receipts: unknown[] = [];
    ann.on("receipt", ({ to, state }) => void receipts.push([to, state]));
    const keys = newKeys();
    await (await b.client()).claim("bob", keys);
    expect(await ann.send("bob", "hello", { ifOff: "leave" })).toMatchObject({ state: "kept" });
    const bob = await b.client();
    await bob.register("bob", keys);
    await bob.push("mail");
    const [[name] = []] = (await bob.ask("TAKE")) as unknown[][];
    expect(await bob.ask("DONE", String(name), "LOST")).toBe("OK");
    await until("the receipt", () => receipts.length > 0);
    expect(receipts).toEqual([["bob", "lost-key"]]);
  });

  it("is told who the others are, with their keys; and whether its server reaches them", async () => {
    const [a, b] = await pair();
    const client = await a.client();
    const { serverKey } = await (await b.client()).hello();
    await until("the other server", async () => ((await client.ask("SERVERS")) as unknown[]).length > 0);
    await client.hello();
    expect(await client.ask("SERVERS")).toEqual([[b.address, null, serverKey]]);
    await until("a link", async () => {
      const [row] = (await client.ask("SERVERS", "LINKS")) as unknown[][];
      return row?.[1] === null;
    });
    expect(await client.ask("SERVERS", "NONSENSE")).toMatchObject({ code: "ERR" });
    const user = new User({ PTALK_SERVER: a.address });
    undo.push(() => user[Symbol.dispose]());
    const links = async () => {
      const findings = JSON.parse((await user.run(["doctor", "--json"])).stdout) as Record<string, unknown>[];
      return findings.filter(({ name }) => name === "links");
    };
    expect(await links()).toEqual([
      { name: "links", state: "ok", detail: expect.stringContaining(`:${b.port}`), advice: null },
    ]);
    const mute = await start("server-c", [], []);
    await until("the third", async () => ((await client.ask("SERVERS", "LINKS")) as unknown[]).length === 2);
    expect((await links()).find(({ detail }) => String(detail).includes(`:${mute.port} `))).toMatchObject({
      ...{ state: "warn", detail: expect.stringContaining("it has no --peer-listen") },
    });
    const alone = await ServerProcess.start(["--workers", "1"]);
    undo.push(() => alone.stop());
    expect(await (await alone.client()).ask("SERVERS")).toEqual([]);
  });
});
