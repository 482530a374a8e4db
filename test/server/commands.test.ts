import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MAX_ARGUMENT_BYTES, MAX_ARGUMENTS, MAX_INLINE_BYTES } from "../../lib/wire/resp-limits.ts";
import { ReplyError } from "../../lib/wire/resp-reply.ts";
import {
  type Client,
  claimCommand,
  freshStateDir,
  newKeys,
  registerCommand,
  ServerProcess,
  until,
} from "../helpers/lookup-server.ts";

const state = freshStateDir();
let server: ServerProcess;
let client: Client;

beforeAll(async () => {
  server = await ServerProcess.start(["--workers", "2", "--capacity", "6", "--state-dir", state.path]);
  client = await server.client();
});
afterAll(async () => {
  await server.stop();
  state.remove();
});

const error = (code: string) => expect.objectContaining({ name: "ReplyError", code });
const nonceOf = async (c: Client) => ((await c.ask("HELLO", 3)) as Map<string, string>).get("nonce") as string;

/** Everything the server sends until it closes. */
async function conversation(bytes: string | Uint8Array): Promise<string> {
  const raw = await server.client(2);
  let text = "";
  raw.socket.removeAllListeners("data");
  raw.socket.on("data", (chunk) => {
    text += chunk;
  });
  raw.socket.write(bytes);
  raw.socket.end();
  await raw.closed;
  return text;
}

describe("the connection", () => {
  it("greets in both protocols", async () => {
    const hello = (await client.ask("HELLO", 3)) as Map<string, unknown>;
    expect([...hello.keys()]).toEqual([
      "server",
      "version",
      "proto",
      "id",
      "mode",
      "role",
      "nonce",
      "serverkey",
      "address",
      "uptime",
    ]);
    expect(hello.get("server")).toBe("ptalk");
    expect(hello.get("proto")).toBe(3);
    expect(hello.get("address")).toBe("127.0.0.1");
    expect(hello.get("uptime")).toBeGreaterThan(0);
    const old = await server.client(2);
    expect(await old.ask("HELLO")).toHaveLength(20);
    expect(await old.ask("HELLO", 4)).toEqual(error("NOPROTO"));
    expect(await old.ask("HELLO", 2, "AUTH", "a", "b")).toEqual(error("ERR"));
    old.close();
  });

  it("answers small talk", async () => {
    expect(await client.ask("PING")).toBe("PONG");
    expect(await client.ask("PING", "hé")).toBe("hé");
    expect(await client.ask("echo", "x")).toBe("x");
    expect(await client.ask("SELECT", "0")).toBe("OK");
    expect(await client.ask("SELECT", "1")).toEqual(error("ERR"));
    expect(await client.ask("NONSENSE")).toEqual(error("ERR"));
    expect(await client.ask("__proto__")).toEqual(error("ERR"));
    expect(await client.ask("PING", "a", "b")).toEqual(error("ERR"));
    expect(await client.ask("COMMAND", "COUNT")).toBeGreaterThan(10);
  });

  it("takes inline requests and pipelines, answers what it was asked before a half-close", async () => {
    expect(await conversation("PING\r\nECHO hello\nCOUNT\r\n*1\r\n$4\r\nPING\r\nLOOKUP nobody\r\n")).toBe(
      "+PONG\r\n$5\r\nhello\r\n:0\r\n+PONG\r\n$-1\r\n",
    );
    expect(await conversation("ALL\r\nPING\r\nINFO\r\nPING\r\n")).toMatch(
      /^\*0\r\n\+PONG\r\n\$\d+\r\n# Server[\s\S]*\r\n\+PONG\r\n$/,
    );
    expect(await conversation("PING\r\nQUIT\r\nPING\r\n")).toBe("+PONG\r\n+OK\r\n");
  });

  it("gives back any bytes", async () => {
    const bytes = Buffer.from([0xff, 0xfe, 0x00, 0x80]);
    const asked = (name: string) =>
      Buffer.concat([Buffer.from(`*2\r\n$4\r\n${name}\r\n$4\r\n`), bytes, Buffer.from("\r\n")]);
    const raw = await server.client(2);
    const chunks: Buffer[] = [];
    raw.socket.removeAllListeners("data").on("data", (chunk) => chunks.push(chunk));
    raw.socket.end(Buffer.concat([asked("ECHO"), asked("PING"), Buffer.from('ECHO "\\xff\\xfe\\x00\\x80"\r\n')]));
    await raw.closed;
    const reply = Buffer.concat([Buffer.from("$4\r\n"), bytes, Buffer.from("\r\n")]);
    expect(Buffer.concat(chunks)).toEqual(Buffer.concat([reply, reply, reply]));
  });

  it("reads requests cut anywhere", async () => {
    const bytes = Buffer.from("*2\r\n$4\r\nECHO\r\n$3\r\nabc\r\nPING\r\n");
    const raw = await server.client(2);
    for (let cut = 1; cut < bytes.length; cut++) {
      const answer = raw.unasked.length + 2;
      raw.socket.write(bytes.subarray(0, cut));
      await new Promise((resolve) => setTimeout(resolve, 2));
      raw.socket.write(bytes.subarray(cut));
      await until("both answers", () => raw.unasked.length === answer);
    }
    expect(raw.unasked).toEqual(Array.from({ length: bytes.length - 1 }, () => ["abc", "PONG"]).flat());
    raw.close();
  });

  it.each([
    ["an argument over the bound", `*1\r\n$${MAX_ARGUMENT_BYTES + 1}\r\n`],
    ["too many arguments", `*${MAX_ARGUMENTS + 1}\r\n`],
    ["an endless line", "x".repeat(MAX_INLINE_BYTES + 1)],
    ["no RESP", "*1\r\n:1\r\n"],
    ["HTTP with a long header", `GET / HTTP/1.1\r\nX: ${"y".repeat(MAX_INLINE_BYTES)}\r\n`],
  ])("closes on %s, with an error", async (_what, bytes) => {
    expect(await conversation(`PING\r\n${bytes}`)).toMatch(
      /^\+PONG\r\n(-ERR unknown[^\r]*\r\n)?-ERR Protocol error: [^\r]+\r\n$/,
    );
    expect(await client.ask("PING")).toBe("PONG");
  });
});

describe("registration", () => {
  it("puts a client into the directory and takes it out when it leaves", async () => {
    const bob = await server.client();
    const keys = newKeys();
    const before = Date.now();
    expect(await bob.register("Bob", keys, { port: 4711, host: "here", addresses: ["192.0.2.7", "2001:db8::7"] })).toBe(
      "OK",
    );
    const entry = (await client.ask("LOOKUP", "bOB")) as Map<string, unknown>;
    expect(Object.fromEntries(entry)).toMatchObject({
      name: "Bob",
      address: "192.0.2.7",
      port: 4711,
      host: "here",
      key: keys.key,
      lastLookupAt: null,
      addresses: ["192.0.2.7", "2001:db8::7"],
    });
    expect(entry.get("startedAt")).toBeGreaterThanOrEqual(before);
    expect(await client.ask("COUNT")).toBe(1);
    await bob.ask("ALL");
    expect(((await client.ask("LOOKUP", "bob")) as Map<string, unknown>).get("lastLookupAt")).toBeNull();
    await bob.ask("LOOKUP", "nobody");
    expect(((await client.ask("LOOKUP", "bob")) as Map<string, unknown>).get("lastLookupAt")).toBeGreaterThanOrEqual(
      before,
    );
    bob.close();
    await until("bob to leave", async () => (await client.ask("LOOKUP", "bob")) === null);
  });

  it("says why not", async () => {
    const c = await server.client();
    const keys = newKeys();
    expect(await c.register("all", keys)).toEqual(error("BADNAME"));
    expect(await c.register("-x", keys)).toEqual(error("BADNAME"));
    expect(await c.register("x".repeat(33), keys)).toEqual(error("BADNAME"));
    expect(await c.register("a\u202eb", keys)).toEqual(error("BADNAME"));
    expect(await c.register("carol", { ...keys, key: newKeys().key })).toEqual(error("BADSIG"));
    expect(await c.register("carol", { ...keys, key: "nonsense" })).toEqual(error("BADSIG"));
    expect(await c.ask(...registerCommand("x", "carol", keys))).toEqual(error("NOAUTH"));
    for (const address of ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1%eth0", "nowhere", "1.2.3"]) {
      expect(await c.register("carol", keys, { addresses: [address] })).toEqual(error("ERR"));
    }
    expect(await c.register("carol", keys, { port: 0 })).toEqual(error("ERR"));
    expect(await c.register("carol", keys, { port: 65536 })).toEqual(error("ERR"));
    expect(await c.register("carol", keys, { host: "h".repeat(65) })).toEqual(error("ERR"));
    expect(await c.ask("REGISTER", "carol")).toEqual(error("ERR"));
    expect(await c.ask("CALL", "x")).toEqual(error("NOAUTH"));
    expect(await c.ask("UNREGISTER")).toEqual(error("NOAUTH"));
    expect(await client.ask("COUNT")).toBe(0);
    expect(await c.register("carol", keys)).toBe("OK");
    expect(await c.register("carol2", keys)).toEqual(error("ERR"));
    expect(await c.ask("UNREGISTER")).toBe("OK");
    expect(await c.register("carol2", keys)).toBe("OK");
    c.close();
    await until("carol to leave", async () => (await client.ask("COUNT")) === 0);
  });

  it("uses a nonce once, and each connection has its own", async () => {
    const [a, b] = [await server.client(), await server.client()];
    const keys = newKeys();
    const nonce = await nonceOf(a);
    const command = registerCommand(nonce, "dave", keys);
    expect(await b.ask(...command)).toEqual(error("BADSIG"));
    expect(await a.ask(...command)).toBe("OK");
    expect(await a.ask("UNREGISTER")).toBe("OK");
    expect(await a.ask(...command)).toEqual(error("NOAUTH"));
    a.close();
    b.close();
  });

  it("keeps a name for its key, and hands it over to a newer connection that asks for it", async () => {
    const keys = newKeys();
    const [first, second, thief] = [await server.client(), await server.client(), await server.client()];
    expect(await first.register("erin", keys)).toBe("OK");
    expect(await thief.register("ERIN", newKeys(), { extra: ["TAKEOVER"] })).toEqual(error("TAKEN"));
    expect(await second.register("erin", keys)).toEqual(error("TAKEN"));
    expect(await second.register("erin", keys, { port: 5000, extra: ["TAKEOVER"] })).toBe("OK");
    expect(await first.push("closing")).toEqual(["closing", "replaced"]);
    await first.closed;
    expect(((await client.ask("LOOKUP", "erin")) as Map<string, unknown>).get("port")).toBe(5000);
    second.close();
    await until("erin to leave", async () => (await client.ask("LOOKUP", "erin")) === null);
    expect(await thief.register("erin", newKeys())).toEqual(error("TAKEN"));
    thief.close();
  });

  it("binds a name to a key that claims it, and tells whose it is, on every worker", async () => {
    const keys = newKeys();
    const [owner, thief] = [await server.client(), await server.client()];
    const askers = await Promise.all(Array.from({ length: 4 }, () => server.client()));
    expect(await client.ask("KEY", "Ivy")).toBeNull();
    expect(await client.ask("KEY", "no name")).toBeNull();
    expect(await owner.ask(...claimCommand(await nonceOf(owner), "Ivy", keys))).toBe("OK");
    for (const asker of askers) expect(await asker.ask("KEY", "iVY")).toBe(keys.key);
    expect(await client.ask("LOOKUP", "ivy")).toBeNull();
    expect(await thief.register("ivy", newKeys())).toEqual(error("TAKEN"));
    expect(await thief.ask(...claimCommand(await nonceOf(thief), "IVY", newKeys()))).toEqual(error("TAKEN"));
    // Beside its owner's own client, and by the same connection that registers afterwards.
    expect(await owner.register("ivy", keys)).toBe("OK");
    const second = await server.client();
    expect(await second.ask(...claimCommand(await nonceOf(second), "ivy", keys))).toBe("OK");
    owner.close();
    await until("ivy to leave", async () => (await client.ask("LOOKUP", "ivy")) === null);
    expect(await client.ask("KEY", "ivy")).toBe(keys.key);
    for (const c of [thief, second, ...askers]) c.close();
  });

  it("lets nobody claim a name without its proof", async () => {
    const c = await server.client();
    const keys = newKeys();
    expect(await c.ask(...claimCommand(await nonceOf(c), "jim", { ...keys, key: newKeys().key }))).toEqual(
      error("BADSIG"),
    );
    const used = claimCommand(await nonceOf(c), "jim", keys);
    expect(await c.ask(...used)).toBe("OK");
    expect(await c.ask(...used)).toEqual(error("NOAUTH"));
    // A registration's signature is none for a claim.
    const registration = registerCommand(await nonceOf(c), "jim", keys);
    const signature = registration[registration.indexOf("SIG") + 1] as string;
    expect(await c.ask("CLAIM", "jim", "KEY", keys.key, "SIG", signature)).toEqual(error("BADSIG"));
    expect(await c.ask(...claimCommand(await nonceOf(c), "all", keys))).toEqual(error("BADNAME"));
    expect(await c.ask("CLAIM", "jim", "KEY", keys.key, "WHAT", "x")).toEqual(error("ERR"));
    expect(await c.ask("CLAIM", "jim")).toEqual(error("ERR"));
    expect(await c.ask("KEY")).toEqual(error("ERR"));
    c.close();
  });

  it("has room for so many and no more", async () => {
    const clients = await Promise.all(Array.from({ length: 7 }, () => server.client()));
    const replies = await Promise.all(clients.map((c, i) => c.register(`room${i}`, newKeys())));
    expect(replies.filter((reply) => reply === "OK")).toHaveLength(6);
    expect(replies.filter((reply) => reply instanceof ReplyError)).toEqual([error("FULL")]);
    for (const c of clients) c.close();
    await until("them to leave", async () => (await client.ask("COUNT")) === 0);
  });

  it("shows everyone, at once and in pages", async () => {
    const clients = await Promise.all(Array.from({ length: 5 }, () => server.client()));
    for (const [i, c] of clients.entries()) expect(await c.register(`page${i}`, newKeys())).toBe("OK");
    const names = (entries: unknown) => (entries as Map<string, string>[]).map((entry) => entry.get("name"));
    const all = names(await client.ask("ALL"));
    expect(all.toSorted()).toEqual(["page0", "page1", "page2", "page3", "page4"]);
    const paged: unknown[] = [];
    let cursor = "0";
    do {
      const [next, entries] = (await client.ask("ALL", "CURSOR", cursor, "COUNT", 2)) as [string, unknown];
      paged.push(...names(entries));
      cursor = next;
    } while (cursor !== "0");
    expect(paged.toSorted()).toEqual(all.toSorted());
    for (const bad of [["CURSOR", "x"], ["COUNT", "0"], ["CURSOR"], ["WHAT", "1"]]) {
      expect(await client.ask("ALL", ...bad)).toEqual(error("ERR"));
    }
    for (const c of clients) c.close();
    await until("them to leave", async () => (await client.ask("COUNT")) === 0);
  });
});

describe("pushes", () => {
  it("tell watchers on every worker who comes and goes", async () => {
    const watchers = await Promise.all(Array.from({ length: 4 }, () => server.client()));
    for (const watcher of watchers) expect(await watcher.ask("WATCH")).toBe("OK");
    const [a, b] = [await server.client(), await server.client()];
    await a.register("fay", newKeys());
    await b.register("guy", newKeys());
    await a.ask("UNREGISTER");
    b.close();
    for (const watcher of watchers) {
      await until("four pushes", () => watcher.pushes.length === 4);
      const seen = watcher.pushes.map(([kind, name]) => `${kind} ${name}`);
      expect(seen.toSorted()).toEqual(["joined fay", "joined guy", "left fay", "left guy"]);
      const joined = watcher.pushes.find(([kind]) => kind === "joined") as unknown[];
      expect(joined[2]).toBeInstanceOf(Map);
      watcher.close();
    }
    a.close();
  });

  it("need RESP3, and end with UNWATCH", async () => {
    const old = await server.client(2);
    expect(await old.ask("WATCH")).toEqual(error("ERR"));
    old.close();
    const c = await server.client();
    await c.ask("WATCH");
    await c.ask("UNWATCH");
    expect(await c.register("hal", newKeys())).toBe("OK");
    await c.ask("UNREGISTER");
    expect(c.pushes).toEqual([]);
    c.close();
  });

  it("tell the callee, on whichever worker it is", async () => {
    const callees = await Promise.all(Array.from({ length: 3 }, () => server.client()));
    for (const [i, callee] of callees.entries()) await callee.register(`callee${i}`, newKeys());
    const caller = await server.client();
    await caller.register("caller", newKeys(), { port: 777 });
    expect(await caller.ask("CALL", "nobody")).toBeNull();
    for (const [i, callee] of callees.entries()) {
      expect(await caller.ask("CALL", `CALLEE${i}`)).toBe("OK");
      const [, name, entry] = await callee.push("call");
      expect(name).toBe("caller");
      expect((entry as Map<string, unknown>).get("port")).toBe(777);
      callee.close();
    }
    caller.close();
  });
});

it("INFO tells what is going on", async () => {
  const info = (await client.ask("INFO")) as string;
  for (const field of [
    "ptalk_version:",
    "uptime_in_seconds:",
    "clients:",
    "capacity:6",
    "workers:2",
    "worker_1:",
    "lock_writes:",
    "refused_taken:",
  ]) {
    expect(info).toContain(field);
  }
});
