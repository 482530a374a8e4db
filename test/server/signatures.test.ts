// A signature is good at one server, on one connection, for one request: whoever stands between gains nothing by passing it on.
import { once } from "node:events";
import { connect as connectPlain, createServer, type Server, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import {
  type ConnectionOptions,
  connect as connectTls,
  createServer as createTlsServer,
  type TLSSocket,
} from "node:tls";
import { generate } from "selfsigned";
import { afterEach, describe, expect, it } from "vitest";
import {
  channelBytes,
  isSigned,
  TLS_EXPORTER_BYTES,
  TLS_EXPORTER_LABEL,
  tlsBinding,
} from "../../lib/crypto/signed-statements.ts";
import { LookupServer } from "../../lib/index.ts";
import {
  Client,
  claimCommand,
  hostEndpoint,
  LocalServer,
  newKeys,
  registerCommand,
  within,
} from "../helpers/lookup-server.ts";
import { WorkerHost } from "../helpers/worker-host.ts";

const badSignature = expect.objectContaining({ code: "BADSIG" });
const noAuth = expect.objectContaining({ code: "NOAUTH" });
const opened: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.stop();
});

async function serve(options: Parameters<typeof LocalServer.start>[0] = {}): Promise<LocalServer> {
  const server = await LocalServer.start(options);
  opened.push(server);
  return server;
}

async function connected(socket: Socket, event: "connect" | "secureConnect"): Promise<Client> {
  opened.push({ stop: () => socket.destroy() });
  await within("a connection", once(socket, event));
  return new Client(socket);
}

const exported = (socket: TLSSocket): string =>
  tlsBinding(socket.exportKeyingMaterial(TLS_EXPORTER_BYTES, TLS_EXPORTER_LABEL, Buffer.alloc(0)));
const plain = (port: number) => connected(connectPlain(port, "127.0.0.1"), "connect");
const secure = (port: number, options: ConnectionOptions = {}) =>
  connected(connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options }), "secureConnect");

/** Somebody between: passes on what either side says, byte by byte. @returns its port */
async function relay(front: "plain" | "tls", onward: () => Socket): Promise<number> {
  const pass = (socket: Socket) => {
    const next = onward();
    opened.push({ stop: () => [socket, next].map((end) => end.destroy()) });
    for (const end of [socket, next]) end.on("error", () => {});
    socket.pipe(next).pipe(socket);
  };
  let server: Server;
  if (front === "plain") server = createServer(pass);
  else {
    const { cert, private: key } = await generate([{ name: "commonName", value: "between" }], { keyType: "ec" });
    server = createTlsServer({ cert, key }, pass);
  }
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  opened.push({ stop: () => server.close() });
  return (server.address() as { port: number }).port;
}

describe("with somebody between who ends the TLS connection", () => {
  it.each([
    ["and begins another one to the server", "tls"],
    ["and speaks plain to the server, on its host", "plain"],
  ])("%s nothing that the client signs is good", async (_how, back) => {
    const { port } = await serve({ tls: true });
    const onward = () =>
      back === "tls"
        ? connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false })
        : connectPlain(port, "127.0.0.1");
    const client = await secure(await relay("tls", onward));
    expect(await client.register("bob", newKeys())).toEqual(badSignature);
    expect(await client.claim("bob", newKeys())).toEqual(badSignature);
    // Everything else passes: they are on the line.
    expect(await client.ask("LOOKUP", "bob")).toBeNull();
    expect(await client.ask("KEY", "bob")).toBeNull();
  });

  it("the server's word on the channel fits at its own end alone", async () => {
    const { port } = await serve({ tls: true });
    const onward = () => connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    const isOnChannel = async (client: Client): Promise<boolean> => {
      const clientNonce = newKeys().key;
      const hello = (await client.ask("HELLO", 3, "NONCE", clientNonce)) as Map<string, string>;
      const binding = exported(client.socket as TLSSocket);
      const bytes = channelBytes({ serverNonce: hello.get("nonce") ?? "", clientNonce, binding });
      return isSigned(bytes, hello.get("serverkey") ?? "", hello.get("channel") ?? "");
    };
    expect(await isOnChannel(await secure(port))).toBe(true);
    expect(await isOnChannel(await secure(await relay("tls", onward)))).toBe(false);
    const passedOn = await secure(await relay("tls", () => connectPlain(port, "127.0.0.1")));
    expect(await isOnChannel(passedOn)).toBe(false);
  });

  it("or who begins one where the client speaks plain, neither", async () => {
    const { port } = await serve({ tls: true });
    const onward = () => connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    const client = await plain(await relay("plain", onward));
    expect(await client.register("bob", newKeys())).toEqual(badSignature);
    expect(await client.claim("bob", newKeys())).toEqual(badSignature);
  });
});

it("a plain connection on the server's host may be passed on, as by ssh -L: it registers at the server that signed the greeting", async () => {
  const { port } = await serve();
  const client = await plain(await relay("plain", () => connectPlain(port, "127.0.0.1")));
  expect(await client.register("bob", newKeys())).toBe("OK");
});

describe("a server in the middle that passes HELLO on", () => {
  it("cannot use what its own clients sign at another server", async () => {
    const [middle, target] = [await serve(), await serve()];
    const [victim, attacker] = [await middle.client(), await target.client()];
    const [own, wanted] = [await victim.hello(), await attacker.hello()];
    expect(own.serverKey).not.toBe(wanted.serverKey);
    const keys = newKeys();
    // It tells the client the other server's nonce as its own; its key it cannot help telling, as it has to sign the greeting.
    const statement = { ...wanted, serverKey: own.serverKey };
    expect(await attacker.ask(...registerCommand(statement, "bob", keys))).toEqual(badSignature);
    const again = { ...(await attacker.hello()), serverKey: own.serverKey };
    expect(await attacker.ask(...claimCommand(again, "bob", keys))).toEqual(badSignature);
    expect(await attacker.ask("KEY", "bob")).toBeNull();
  });

  it("cannot have another greeting signed than its client's", async () => {
    const { port } = await serve();
    const client = await plain(port);
    const statement = await client.hello();
    const keys = newKeys();
    for (const clientNonce of ["", newKeys().key]) {
      expect(await client.ask(...registerCommand({ ...statement, clientNonce }, "bob", keys))).toEqual(badSignature);
      await client.hello();
    }
  });
});

describe("on a TLS connection", () => {
  it("registers and claims with what the connection exports, and with nothing else", async () => {
    const { port } = await serve({ tls: true });
    const [client, other] = [await secure(port), await secure(port)];
    const keys = newKeys();
    const bindings = ["local", "", tlsBinding(Buffer.alloc(32)), (await other.hello()).binding];
    for (const binding of bindings) {
      expect(await client.ask(...registerCommand({ ...(await client.hello()), binding }, "bob", keys))).toEqual(
        badSignature,
      );
      expect(await client.ask(...claimCommand({ ...(await client.hello()), binding }, "bob", keys))).toEqual(
        badSignature,
      );
    }
    expect(await client.claim("bob", keys)).toBe("OK");
    expect(await client.register("bob", keys)).toBe("OK");
    expect(await other.claim("bob", keys)).toBe("OK");
  });

  it("that resumes another one's session exports something else", async () => {
    const { port } = await serve({ tls: true });
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    const ticket = once(socket, "session");
    const first = await connected(socket, "secureConnect");
    await first.ask("PING");
    const [session] = (await within("a session ticket", ticket)) as [Buffer];
    const resumed = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, session });
    const second = await connected(resumed, "secureConnect");
    expect(resumed.isSessionReused()).toBe(true);
    const [own, others] = [await second.hello(), await first.hello()];
    expect(own.binding).not.toBe(others.binding);
    expect(await second.ask(...claimCommand({ ...own, binding: others.binding }, "bob", newKeys()))).toEqual(
      badSignature,
    );
    expect(await second.claim("bob", newKeys())).toBe("OK");
  });

  it("of TLS 1.2 nobody registers or claims: what it exports may be another connection's, too", async () => {
    const { port } = await serve({ tls: true });
    const client = await secure(port, { maxVersion: "TLSv1.2" });
    const keys = newKeys();
    expect(await client.register("bob", keys)).toEqual(noAuth);
    expect(await client.claim("bob", keys)).toMatchObject({ message: expect.stringContaining("TLS 1.3") });
    const local = { ...(await client.hello()), binding: "local" };
    expect(await client.ask(...registerCommand(local, "bob", keys))).toEqual(noAuth);
    expect(await client.ask("LOOKUP", "bob")).toBeNull();
    expect(await client.ask("KEY", "bob")).toBeNull();
  });
});

describe("on a plain connection", () => {
  const keys = newKeys();

  it("from another host nobody registers or claims, whatever is signed", async () => {
    await using host = await WorkerHost.start();
    host.address = "192.0.2.9";
    const client = await host.client();
    expect(await client.register("bob", keys)).toEqual(noAuth);
    expect(await client.claim("bob", keys)).toMatchObject({ message: expect.stringContaining("TLS") });
    // The nonce is used up all the same.
    const statement = await client.hello();
    expect(await client.ask(...registerCommand(statement, "bob", keys))).toEqual(noAuth);
    expect(await client.ask(...registerCommand(statement, "bob", keys))).toMatchObject({
      message: expect.stringContaining("HELLO"),
    });
    expect(await client.ask("LOOKUP", "bob")).toBeNull();
    expect(await client.ask("KEY", "bob")).toBeNull();
  });

  it.each(["127.0.0.1", "127.8.8.8", "::1"])("from %s it is as good as TLS", async (address) => {
    await using host = await WorkerHost.start();
    host.address = address;
    const client = await host.client();
    expect(await client.register("bob", keys)).toBe("OK");
    expect(((await client.ask("LOOKUP", "bob")) as Map<string, unknown>).get("address")).toBe(address);
  });

  it("from anywhere it is, where the server was told that the network is trusted", async () => {
    await using host = await WorkerHost.start({ config: { insecure: true } });
    host.address = "192.0.2.9";
    const client = await host.client();
    expect(await client.claim("bob", keys)).toBe("OK");
    expect(await client.register("bob", keys)).toBe("OK");
    expect(((await client.ask("LOOKUP", "bob")) as Map<string, unknown>).get("address")).toBe("192.0.2.9");
  });

  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outward = addresses.find(({ internal, family }) => !internal && family === "IPv4")?.address;
  it.skipIf(outward === undefined)(
    "of a real server with `insecure`, by an address of this host (skipped on loopback alone)",
    async () => {
      const server = await LookupServer.start({ listen: "0.0.0.0:0", workers: 0, directory: "memory", insecure: true });
      opened.push(server);
      const client = await Client.connect(server.port, outward);
      expect(await client.register("bob", keys)).toBe("OK");
      expect(((await client.ask("LOOKUP", "bob")) as Map<string, unknown>).get("address")).toBe(outward);
      client.close();
    },
  );
});

describe("a request that was changed on its way", () => {
  const keys = newKeys();
  const endpoints = [hostEndpoint("192.0.2.7", 4001)];
  const takeover = "0123456789abcdef";
  const whole = { port: 4000, endpoints, host: "here", probe: true, takeover };
  type Words = (string | number)[];
  const swap = (option: string, value: string | number) => (words: Words) => {
    words[words.indexOf(option) + 1] = value;
    return words;
  };
  const drop = (option: string, count: number) => (words: Words) => {
    words.splice(words.indexOf(option), count);
    return words;
  };
  const changes: [string, (words: Words) => Words][] = [
    ["another name", swap("REGISTER", "eve")],
    ["another key", swap("KEY", newKeys().key)],
    ["another port", swap("PORT", 4002)],
    ["another version", swap("PROTOCOL", 3)],
    ["another host", swap("HOST", "there")],
    ["no host", drop("HOST", 2)],
    ["another claim id", swap("TAKEOVER", "fedcba9876543210")],
    ["no TAKEOVER", drop("TAKEOVER", 2)],
    ["no PROBE", drop("PROBE", 1)],
    ["REPLACE", (words) => [...words, "REPLACE"]],
    ["another endpoint", (words) => words.map((word) => (word === "192.0.2.7" ? "192.0.2.8" : word))],
    ["another kind of endpoint", (words) => words.map((word) => (word === "host" ? "relay" : word))],
    ["an endpoint more", (words) => [...words, "ENDPOINT", "host", "192.0.2.8", 4001]],
    ["no endpoint", drop("ENDPOINT", 4)],
  ];

  it.each(changes)("to have %s is not signed", async (_what, change) => {
    const client = await (await serve()).client();
    const words = change(registerCommand(await client.hello(), "bob", keys, whole));
    expect(await client.ask(...words)).toEqual(badSignature);
    expect(await client.register("bob", keys, whole)).toBe("OK");
  });

  it("only in the order and the case of its options is", async () => {
    const client = await (await serve()).client();
    const [register, name, ...options] = registerCommand(await client.hello(), "bob", keys, whole);
    const pairs = ["ENDPOINT", "HOST", "SIG", "PROBE", "TAKEOVER", "KEY", "PROTOCOL", "PORT"].map((option) => {
      const at = options.indexOf(option);
      const length = { ENDPOINT: 4, PROBE: 1 }[option] ?? 2;
      return [option.toLowerCase(), ...options.slice(at + 1, at + length)];
    });
    expect(await client.ask(register as string, name as string, ...pairs.flat())).toBe("OK");
  });
});

describe("a client of another version", () => {
  const keys = newKeys();
  const upgrade = expect.objectContaining({ code: "ERR", message: expect.stringMatching(/version 1.*upgrade/) });

  it.each([
    ["", []],
    [" with addresses", ["ADDR", "192.0.2.1", "ADDR", "::1"]],
    [" that takes over", ["TAKEOVER"]],
    [" with everything", ["ADDR", "192.0.2.1", "HOST", "here", "TAKEOVER", "PROBE"]],
  ])("1%s hears that it is too old", async (_what, options) => {
    const client = await (await serve()).client();
    const signature = Buffer.alloc(64).toString("base64");
    expect(await client.ask("REGISTER", "bob", "KEY", keys.key, "PORT", 4000, "SIG", signature, ...options)).toEqual(
      upgrade,
    );
  });

  it("1 that says so hears the same", async () => {
    const client = await (await serve()).client();
    expect(await client.register("bob", keys, { protocol: 1 })).toEqual(upgrade);
  });

  it("1 that claims a name hears it with the refusal of its signature", async () => {
    const client = await (await serve()).client();
    await client.ask("HELLO", 3);
    const signature = Buffer.alloc(64).toString("base64");
    const reply = await client.ask("CLAIM", "bob", "KEY", keys.key, "SIG", signature);
    expect(reply).toMatchObject({ code: "BADSIG", message: expect.stringContaining("upgrade") });
  });

  it("3 is on beside those of version 2, which see its version before they call it", async () => {
    const client = await (await serve()).client();
    expect(await client.register("bob", keys, { protocol: 3 })).toBe("OK");
    expect(((await client.ask("LOOKUP", "bob")) as Map<string, unknown>).get("protocol")).toBe(3);
  });
});
