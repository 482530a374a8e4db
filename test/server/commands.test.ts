// The rules of the protocol, on a server in this process. What only several processes show is in workers.test.ts.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { greetingBytes, isSigned } from "../../lib/crypto/signed-statements.ts";
import { encodeCommand } from "../../lib/wire/resp-command.ts";
import { MAX_ARGUMENT_BYTES, MAX_ARGUMENTS, MAX_INLINE_BYTES } from "../../lib/wire/resp-limits.ts";
import { ReplyError } from "../../lib/wire/resp-reply.ts";
import {
  type Client,
  claimCommand,
  hostEndpoint,
  LocalServer,
  newKeys,
  registerCommand,
  until,
} from "../helpers/lookup-server.ts";

const nell = newKeys();
let server: LocalServer;
let client: Client;

beforeAll(async () => {
  server = await LocalServer.start({ capacity: 6 });
  client = await server.client();
});
afterAll(() => server.stop());

const error = (code: string) => expect.objectContaining({ name: "ReplyError", code });
const lookUp = async (name: string) => (await client.ask("LOOKUP", name)) as Map<string, unknown>;

/** The least and the most arguments, as docs/PROTOCOL.md has them; of those with any number the most is left out. */
const ARGUMENTS: readonly (readonly [command: string, least: number, most?: number])[] = [
  ["LOOKUP", 1, 1],
  ["ALL", 0, 4],
  ["COUNT", 0, 0],
  ["REGISTER", 7],
  ["UNREGISTER", 0, 0],
  ["CLAIM", 5, 9],
  ["FOLLOWS", 2, 2],
  ["KEY", 1, 1],
  ["OWNER", 1, 2],
  ["CALL", 1, 33],
  ["LEAVE", 3, 4],
  ["TAKE", 0, 2],
  ["RELAY", 2, 2],
  ["DONE", 1],
  ["TOUCH", 0, 0],
  ["NAMES", 1, 3],
  ["WATCH", 0],
  ["UNWATCH", 0],
  ["JOIN", 1, 1],
  ["PART", 1, 1],
  ["STATUS", 1, 2],
  ["MEMBERS", 1, 1],
  ["PING", 0, 1],
  ["ECHO", 1, 1],
  ["QUIT", 0, 0],
  ["SERVERS", 0, 1],
  ["ADMIN", 1, 3],
  ["CLIENT", 1],
  ["CONFIG", 1],
  ["SELECT", 1, 1],
];

const named = ARGUMENTS.map(([command, least, most]) => ({ command, least, most }));
it.each(named)("$command takes from $least to $most arguments", async ({ command, least, most }) => {
  const another = await server.client();
  const wrong = { message: `wrong number of arguments for '${command.toLowerCase()}' command` };
  const given = async (count: number) => another.ask(command, ...Array.from({ length: count }, () => "x"));
  if (least > 0) expect(await given(least - 1)).toMatchObject(wrong);
  if (most !== undefined) expect(await given(most + 1)).toMatchObject(wrong);
  for (const count of most === undefined ? [least] : [least, most]) {
    if (command !== "QUIT") expect(await given(count)).not.toMatchObject(wrong);
  }
  another.close();
});

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

describe("a web page in a browser on the server's host", () => {
  const registering = "PING\r\nCLIENT SETNAME page\r\n";
  it.each([
    ["a form", `POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n${registering}`, 0],
    ["a picture", `GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n${registering}`, 1],
    ["a question before another method", `OPTIONS /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n${registering}`, 1],
  ])("carries out no request by %s", async (_what, request, errors) => {
    const replies = (await conversation(request)).split("\r\n").filter(Boolean);
    expect(replies.slice(0, -1).every((reply) => reply.startsWith("-ERR unknown command"))).toBe(true);
    expect(replies).toHaveLength(errors + 1);
    expect(replies.at(-1)).toMatch(/^-ERR Protocol error: /);
  });

  it("carries out no request by a TLS handshake that holds lines", async () => {
    const reply = await conversation(`\u0016\u0003\u0001\u0002\u0000\n${registering}`);
    expect(reply).toBe("-ERR this server does not speak TLS\r\n");
  });
});

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
      "scope",
      "relay",
      "uid",
      "user",
      "unix",
      "port",
      "directory",
    ]);
    expect(hello.get("server")).toBe("ptalk");
    expect(hello.get("proto")).toBe(3);
    expect(hello.get("address")).toBe("127.0.0.1");
    expect(hello.get("uptime")).toBeGreaterThan(0);
    expect(hello.get("scope")).toBe("host"); // it listens on loopback
    const old = await server.client(2);
    expect(await old.ask("HELLO")).toHaveLength(34);
    expect(await old.ask("HELLO", 4)).toEqual(error("NOPROTO"));
    expect(await old.ask("HELLO", 2, "AUTH", "a", "b")).toEqual(error("ERR"));
    old.close();
  });

  it("takes a name for the connection, for client libraries", async () => {
    const c = await server.client(2);
    expect(await c.ask("CLIENT", "GETNAME")).toBeNull();
    await c.ask("HELLO", 3, "SETNAME", "first");
    expect(await c.ask("CLIENT", "GETNAME")).toBe("first");
    await c.ask("HELLO", 3);
    expect(await c.ask("CLIENT", "GETNAME")).toBe("first");
    await c.ask("CLIENT", "SETNAME", "second");
    expect(await c.ask("CLIENT", "GETNAME")).toBe("second");
    c.close();
  });

  it("signs the client's nonce with the server's key", async () => {
    const clientNonce = newKeys().key;
    const hello = (await client.ask("HELLO", 3, "NONCE", clientNonce)) as Map<string, string>;
    const [serverNonce, serverKey, signature, directory] = ["nonce", "serverkey", "signature", "directory"].map(
      (field) => hello.get(field) as string,
    );
    const said = { serverNonce: serverNonce as string, clientNonce, serverKey: serverKey as string };
    const statement = { ...said, directory: directory as string, channel: "plain" } as const;
    expect(isSigned(greetingBytes(statement), serverKey as string, signature as string)).toBe(true);
    for (const other of [{ clientNonce: newKeys().key }, { directory: "0".repeat(32) }, { channel: "tls" as const }]) {
      const bytes = greetingBytes({ ...statement, ...other });
      expect(isSigned(bytes, serverKey as string, signature as string)).toBe(false);
    }
    expect([...hello.keys()].at(-1)).toBe("signature");
    expect(await client.ask("HELLO", 2, "NONCE", clientNonce)).toHaveLength(36);
    await client.ask("HELLO", 3);
  });

  it.each([
    ["too short", "bm9uY2U="],
    ["too long", Buffer.alloc(33).toString("base64")],
    ["not base64", "x".repeat(44)],
    ["the second spelling of its last bits", `${"A".repeat(42)}B=`],
    ["without padding", "A".repeat(43)],
    ["empty", ""],
  ])("refuses a NONCE that is %s, and stays as it was", async (_what, nonce) => {
    const c = await server.client(2);
    const statement = await c.hello();
    expect(await c.ask("HELLO", 2, "SETNAME", "unseen", "NONCE", nonce)).toEqual(error("ERR"));
    expect(await c.ask("HELLO", 2, "NONCE")).toEqual(error("ERR"));
    expect(await c.ask("CLIENT", "GETNAME")).toBeNull();
    // Neither the protocol nor the nonces of the HELLO before have changed.
    expect(await c.ask(...registerCommand(statement, "nell", nell))).toBe("OK");
    expect(await c.ask("WATCH")).toBe("OK");
    await c.ask("UNREGISTER");
    c.close();
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
    ["HTTP, as a web page could have it sent", "GET / HTTP/1.1\r\nHost: 127.0.0.1:5518\r\n\r\nPING\r\n"],
    ["a POST", "post / HTTP/1.1\r\n\r\nPING\r\n"],
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
    const endpoints = [
      hostEndpoint("192.0.2.7", 4711),
      { ...hostEndpoint("2001:db8::7", 4712), kind: "relay" as const },
    ];
    expect(await bob.register("Bob", keys, { port: 4710, host: "here", endpoints })).toBe("OK");
    const entry = await lookUp("bOB");
    expect(Object.fromEntries(entry)).toEqual({
      name: "Bob",
      address: "192.0.2.7",
      port: 4711,
      host: "here",
      key: keys.key,
      startedAt: expect.any(Number),
      lastLookupAt: null,
      endpoints: ["192.0.2.7 4711 host", "2001:db8::7 4712 relay"],
      protocol: 2,
      server: "",
      user: null,
      uid: null,
      attested: null,
    });
    expect(entry.get("startedAt")).toBeGreaterThanOrEqual(before);
    expect(await client.ask("COUNT")).toBe(1);
    bob.close();
    await until("bob to leave", async () => (await client.ask("LOOKUP", "bob")) === null);
  });

  it("without ENDPOINT has the address that the server sees, and PORT", async () => {
    const c = await server.client();
    expect(await c.register("nat", newKeys(), { port: 777 })).toBe("OK");
    expect((await lookUp("nat")).get("endpoints")).toEqual(["127.0.0.1 777 host"]);
    c.close();
    await until("it to leave", async () => (await client.ask("LOOKUP", "nat")) === null);
  });

  it("is good without the client's nonce: what is signed has an empty line there", async () => {
    const c = await server.client();
    const hello = (await c.ask("HELLO", 3)) as Map<string, string>;
    const statement = {
      serverNonce: hello.get("nonce") as string,
      clientNonce: "",
      serverKey: hello.get("serverkey") as string,
    };
    expect(await c.ask(...registerCommand({ ...statement, binding: "local" }, "plain", newKeys()))).toBe("OK");
    c.close();
    await until("it to leave", async () => (await client.ask("LOOKUP", "plain")) === null);
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
    for (const address of [
      "0.0.0.0",
      "::",
      "224.0.0.1",
      "ff02::1",
      "fe80::1%eth0",
      "nowhere",
      "1.2.3",
      "::ffff:127.0.0.1",
    ]) {
      expect(await c.register("carol", keys, { endpoints: [hostEndpoint(address)] })).toEqual(error("ERR"));
    }
    expect(await c.register("carol", keys, { endpoints: [hostEndpoint("192.0.2.7", 0)] })).toEqual(error("ERR"));
    const nine = Array.from({ length: 9 }, (_, i) => hostEndpoint("192.0.2.7", 4000 + i));
    expect(await c.register("carol", keys, { endpoints: nine })).toEqual(error("ERR"));
    const seen = { ...hostEndpoint("192.0.2.7"), kind: "observed" as const };
    expect(await c.register("carol", keys, { endpoints: [seen] })).toMatchObject({
      message: expect.stringMatching(/server observes/),
    });
    expect(await c.register("carol", keys, { port: 0 })).toEqual(error("ERR"));
    expect(await c.register("carol", keys, { port: 65536 })).toEqual(error("ERR"));
    expect(await c.register("carol", keys, { host: "h".repeat(65) })).toEqual(error("ERR"));
    expect(await c.register("carol", keys, { host: "two\nlines" })).toEqual(error("ERR"));
    expect(await c.register("carol", keys, { takeover: "no-claim-id" })).toEqual(error("ERR"));
    expect(await c.ask("REGISTER", "carol")).toEqual(error("ERR"));
    expect(await c.ask("CALL", "x")).toEqual(error("NOAUTH"));
    expect(await c.ask("TOUCH")).toEqual(error("NOAUTH"));
    expect(await c.ask("UNREGISTER")).toEqual(error("NOAUTH"));
    expect(await client.ask("COUNT")).toBe(0);
    expect(await c.register("carol", keys, { endpoints: nine.slice(1) })).toBe("OK");
    expect(await c.register("carol2", keys)).toEqual(error("ERR"));
    expect(await c.ask("UNREGISTER")).toBe("OK");
    expect(await c.register("carol2", keys)).toBe("OK");
    c.close();
    await until("carol to leave", async () => (await client.ask("COUNT")) === 0);
  });

  it("uses a nonce once, and each connection has its own", async () => {
    const [a, b] = [await server.client(), await server.client()];
    const keys = newKeys();
    const command = registerCommand(await a.hello(), "dave", keys);
    expect(await b.ask(...command)).toEqual(error("BADSIG"));
    expect(await a.ask(...command)).toBe("OK");
    expect(await a.ask("UNREGISTER")).toBe("OK");
    expect(await a.ask(...command)).toEqual(error("NOAUTH"));
    // A second HELLO makes the first one's nonce void.
    const stale = registerCommand(await a.hello(), "dave", keys);
    await a.hello();
    expect(await a.ask(...stale)).toEqual(error("BADSIG"));
    a.close();
    b.close();
  });

  it("keeps a name for its key, and hands it over to the connection that continues its registration", async () => {
    const keys = newKeys();
    const [first, second, thief] = [await server.client(), await server.client(), await server.client()];
    expect(await first.register("erin", keys)).toBe("OK");
    const { claimId } = first;
    expect(await thief.register("ERIN", newKeys(), { takeover: claimId })).toEqual(error("TAKEN"));
    expect(await thief.register("ERIN", newKeys(), { replace: true })).toEqual(error("TAKEN"));
    expect(await second.register("erin", keys)).toEqual(error("TAKEN"));
    expect(await second.register("erin", keys, { takeover: second.claimId })).toEqual(error("TAKEN"));
    expect(await second.register("erin", keys, { port: 5000, takeover: claimId })).toBe("OK");
    expect(await first.push("replaced")).toEqual(["replaced", "erin"]);
    await first.closed;
    expect((await lookUp("erin")).get("port")).toBe(5000);
    // The one that was pushed out takes nothing with it, and its claim id is good for nothing any more.
    expect(await thief.register("erin", keys, { takeover: claimId })).toEqual(error("TAKEN"));
    second.close();
    await until("erin to leave", async () => (await client.ask("LOOKUP", "erin")) === null);
    expect(await thief.register("erin", newKeys())).toEqual(error("TAKEN"));
    expect(await thief.register("erin", keys, { takeover: claimId })).toBe("OK");
    thief.close();
    await until("erin to leave", async () => (await client.ask("LOOKUP", "erin")) === null);
  });

  it("lets a connection change its own entry, and no other", async () => {
    const keys = newKeys();
    const [a, watcher] = [await server.client(), await server.client()];
    await watcher.ask("WATCH");
    const endpoints = [hostEndpoint("192.0.2.1")];
    expect(await a.register("iris", keys, { endpoints })).toBe("OK");
    const before = a.claimId;
    const moved = [hostEndpoint("192.0.2.2"), hostEndpoint("2001:db8::2")];
    expect(await a.register("jane", keys, { takeover: before })).toEqual(error("ERR"));
    expect(await a.register("IRIS", keys, { endpoints: moved, takeover: before })).toBe("OK");
    expect((await lookUp("iris")).get("address")).toBe("192.0.2.2");
    // The claim id is a new one, and the connection lives.
    const now = a.claimId;
    expect(await a.register("iris", keys, { takeover: before })).toEqual(error("ERR"));
    expect(await a.register("iris", newKeys(), { takeover: now })).toEqual(error("TAKEN"));
    expect(await a.register("iris", keys, { endpoints, takeover: now })).toBe("OK");
    expect(a.pushes).toEqual([]);
    expect(await client.ask("COUNT")).toBe(1);
    expect(await client.ask("LOOKUP", "jane")).toBeNull();
    a.close();
    expect(await watcher.push("left")).toEqual(["left", "iris"]);
    expect(await client.ask("COUNT")).toBe(0);
    expect(watcher.pushes.filter(([kind]) => kind === "left")).toEqual([]);
    watcher.close();
  });

  it("replaces any other registration of its key when a person has asked for it", async () => {
    const keys = newKeys();
    const [first, second, third] = [await server.client(), await server.client(2), await server.client()];
    expect(await first.register("gwen", keys)).toBe("OK");
    expect(await second.register("gwen", keys, { port: 5001, replace: true })).toBe("OK");
    expect(await first.push("replaced")).toEqual(["replaced", "gwen"]);
    await second.ask("HELLO", 2); // without pushes the end of the connection is all that it hears
    expect(await third.register("gwen", keys, { port: 5002, replace: true })).toBe("OK");
    await second.closed;
    expect(second.pushes).toEqual([]);
    expect((await lookUp("gwen")).get("port")).toBe(5002);
    third.close();
    await until("gwen to leave", async () => (await client.ask("LOOKUP", "gwen")) === null);
  });

  it("that is refused tells who has the name, where and since when", async () => {
    const [holder, other] = [await server.client(), await server.client()];
    const keys = newKeys();
    const print = /key SHA256:[A-Za-z0-9+/]{43}/.source;
    await holder.register("held", keys, { host: "login1" });
    for (const [reply, why] of [
      [await other.register("HELD", newKeys()), "the name belongs to another key on this server"],
      [await other.register("held", keys), "the name is in use"],
    ] as const) {
      const since = new Date((await lookUp("held")).get("startedAt") as number).toISOString();
      expect(reply).toMatchObject({
        code: "TAKEN",
        message: expect.stringMatching(`^${why}: ${print} on host login1 since ${since}$`),
      });
    }
    holder.close();
    await until("the holder to leave", async () => (await client.ask("LOOKUP", "held")) === null);
    const reply = await other.register("held", newKeys());
    expect(reply).toMatchObject({ code: "TAKEN", message: expect.stringMatching(`: ${print}$`) });
    other.close();
  });

  it("binds a name to a key that claims it, and tells whose it is", async () => {
    const keys = newKeys();
    const [owner, thief] = [await server.client(), await server.client()];
    expect(await client.ask("KEY", "Ivy")).toBeNull();
    expect(await client.ask("KEY", "no name")).toBeNull();
    expect(await owner.claim("Ivy", keys)).toBe("OK");
    expect(await client.ask("KEY", "iVY")).toBe(keys.key);
    expect(await client.ask("LOOKUP", "ivy")).toBeNull();
    expect(await thief.register("ivy", newKeys())).toEqual(error("TAKEN"));
    expect(await thief.claim("IVY", newKeys())).toEqual(error("TAKEN"));
    // Beside its owner's own client, and by the same connection that registers afterwards.
    expect(await owner.register("ivy", keys)).toBe("OK");
    const second = await server.client();
    expect(await second.claim("ivy", keys)).toBe("OK");
    owner.close();
    await until("ivy to leave", async () => (await client.ask("LOOKUP", "ivy")) === null);
    expect(await client.ask("KEY", "ivy")).toBe(keys.key);
    for (const c of [thief, second]) c.close();
  });

  it("lets nobody claim a name without its proof", async () => {
    const c = await server.client();
    const keys = newKeys();
    expect(await c.claim("jim", { ...keys, key: newKeys().key })).toEqual(error("BADSIG"));
    const used = claimCommand(await c.hello(), "jim", keys);
    expect(await c.ask(...used)).toBe("OK");
    expect(await c.ask(...used)).toEqual(error("NOAUTH"));
    // A registration's signature is none for a claim.
    const registration = registerCommand(await c.hello(), "jim", keys);
    const signature = registration[registration.indexOf("SIG") + 1] as string;
    expect(await c.ask("CLAIM", "jim", "KEY", keys.key, "SIG", signature)).toEqual(error("BADSIG"));
    expect(await c.claim("all", keys)).toEqual(error("BADNAME"));
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

it.each([
  ["LOOKUP", ["LOOKUP", "nobody"]],
  ["CALL", ["CALL", "nobody"]],
  ["TOUCH", ["TOUCH"]],
])("%s of a registered client sets its lastLookupAt, and nothing else does", async (what, request) => {
  const c = await server.client();
  const name = `seeker-${what}`;
  await c.register(name, newKeys());
  for (const other of ["ALL", "COUNT", "PING", "WATCH"]) await c.ask(other);
  expect((await lookUp(name)).get("lastLookupAt")).toBeNull();
  const before = Date.now();
  expect(await c.ask(...request)).toBe(request[0] === "TOUCH" ? "OK" : null);
  const first = (await lookUp(name)).get("lastLookupAt") as number;
  expect(first).toBeGreaterThanOrEqual(before);
  await until("a later time", () => Date.now() > first);
  await c.ask(...request);
  expect((await lookUp(name)).get("lastLookupAt")).toBeGreaterThan(first);
  c.close();
  await until("it to leave", async () => (await client.ask("COUNT")) === 0);
});

describe("pushes", () => {
  it("tell a watcher who comes and goes", async () => {
    const watcher = await server.client();
    expect(await watcher.ask("WATCH")).toBe("OK");
    const c = await server.client();
    await c.register("fay", newKeys(), { port: 777 });
    await c.ask("UNREGISTER");
    expect(await watcher.push("left")).toEqual(["left", "fay"]);
    const [, name, entry] = await watcher.push("joined");
    expect([name, (entry as Map<string, unknown>).get("port")]).toEqual(["fay", 777]);
    watcher.close();
    c.close();
  });

  it("stand behind the replies to what was asked before", async () => {
    const c = await server.client();
    const statement = await c.hello();
    await c.ask("WATCH");
    let text = "";
    c.socket.removeAllListeners("data").on("data", (chunk) => {
      text += chunk;
    });
    c.socket.write(
      Buffer.concat([encodeCommand(["LOOKUP", "hugo"]), encodeCommand(registerCommand(statement, "hugo", newKeys()))]),
    );
    await until("the push", () => text.includes("joined"));
    expect(text).toMatch(/^_\r\n\+OK\r\n>3\r\n\$6\r\njoined\r\n/);
    c.close();
    await until("it to leave", async () => (await client.ask("COUNT")) === 0);
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

  it("tell the callee of a caller that has only claimed its name, with its key and where it calls from", async () => {
    const [callee, caller] = [await server.client(), await server.client()];
    await callee.register("called", newKeys());
    const keys = newKeys();
    expect(await caller.ask("CALL", "called")).toEqual(error("NOAUTH"));
    await caller.claim("claimer", keys);
    const at = ["ENDPOINT", "host", "192.0.2.8", 4711, "ENDPOINT", "host", "2001:db8::8", 4712];
    expect(await caller.ask("CALL", "called", ...at)).toBe("OK");
    expect(await callee.push("knock")).toEqual(["knock", keys.key, "192.0.2.8", 4711, "2001:db8::8", 4712]);
    for (const bad of ["0.0.0.0", "::ffff:127.0.0.1", "ff02::1", "fe80::1%eth0", "host.example"]) {
      expect(await caller.ask("CALL", "called", "ENDPOINT", "host", bad, 4711)).toEqual(error("ERR"));
    }
    expect(await caller.ask("CALL", "called", "ENDPOINT", "observed", "192.0.2.8", 4711)).toEqual(error("ERR"));
    expect(await caller.ask("CALL", "called", "AT", "192.0.2.8", 4711)).toEqual(error("ERR"));
    const answers = await Promise.all(Array.from({ length: 25 }, () => caller.ask("CALL", "called")));
    expect(answers).toContainEqual(error("TOOMANY"));
    callee.close();
    caller.close();
    await until("both to leave", async () => (await client.ask("LOOKUP", "called")) === null);
  });

  it("tell the callee who is about to talk to it", async () => {
    const [callee, deaf, caller] = [await server.client(), await server.client(), await server.client()];
    await callee.register("callee", newKeys());
    await deaf.register("deaf", newKeys());
    await deaf.ask("HELLO", 2);
    await caller.register("caller", newKeys(), { port: 777 });
    expect(await caller.ask("CALL", "nobody")).toBeNull();
    expect(await caller.ask("CALL", "CALLEE")).toBe("OK");
    const [, name, entry] = await callee.push("call");
    expect([name, (entry as Map<string, unknown>).get("port")]).toEqual(["caller", 777]);
    expect(await caller.ask("CALL", "deaf")).toBe("OK");
    expect(await deaf.ask("PING")).toBe("PONG");
    expect(deaf.pushes).toEqual([]);
    for (const c of [callee, deaf, caller]) c.close();
    await until("them to leave", async () => (await client.ask("COUNT")) === 0);
  });
});

it("INFO tells what is going on", async () => {
  const value = async (field: string) =>
    Number(new RegExp(`^${field}:(\\d+)\r$`, "m").exec((await client.ask("INFO")) as string)?.[1]);
  const before = {
    registrations: await value("registrations"),
    takeovers: await value("takeovers"),
    pushes: await value("pushes_sent"),
  };
  const keys = newKeys();
  const [watcher, first, second] = [await server.client(), await server.client(), await server.client()];
  await watcher.ask("WATCH");
  await first.register("counted", keys);
  await watcher.push("joined"); // else it would get the last change alone
  await second.register("counted", keys, { takeover: first.claimId });
  await first.closed;
  expect(await value("watchers")).toBe(1);
  expect((await value("registrations")) - before.registrations).toBe(2);
  expect((await value("takeovers")) - before.takeovers).toBe(1);
  // joined, changed, replaced; pushes about everybody leave ten times a second.
  await until("all pushes", async () => (await value("pushes_sent")) - before.pushes === 3);
  expect(await value("unknown_outcomes")).toBe(0);
  const info = (await client.ask("INFO")) as string;
  for (const field of [
    "ptalk_version:",
    "uptime_in_seconds:",
    "clients:1",
    "capacity:6",
    "workers:1",
    "worker_0:",
    "refused_taken:",
  ]) {
    expect(info).toContain(field);
  }
  for (const c of [watcher, second]) c.close();
});
