import { spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect as connectPlain } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { Client, freshStateDir, newKeys, ServerProcess, until, within } from "../helpers/lookup-server.ts";

let state: ReturnType<typeof freshStateDir>;
let server: ServerProcess | null = null;
beforeEach(() => {
  state = freshStateDir();
});
afterEach(async () => {
  if (server?.child.exitCode === null) await server.stop();
  server = null;
  state.remove();
});

async function secureClient(port: number): Promise<{ client: Client; fingerprint: string }> {
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false });
  await within("a TLS connection", once(socket, "secureConnect"));
  return { client: new Client(socket), fingerprint: socket.getPeerCertificate().fingerprint256 };
}

it("makes a certificate once and keeps it", async () => {
  server = await ServerProcess.start(["--tls", "--workers", "2", "--state-dir", state.path]);
  const { client, fingerprint } = await secureClient(server.port);
  expect(await client.register("bob", newKeys())).toBe("OK");
  expect(await client.ask("COUNT")).toBe(1);
  expect(((await client.ask("LOOKUP", "bob")) as Map<string, unknown>).get("address")).toBe("127.0.0.1");
  expect((await client.ask("INFO")) as string).toContain("tls:1");
  const shown = /certificate SHA256:(\S+)/.exec(server.output)?.[1];
  expect(Buffer.from(shown ?? "", "base64").toString("hex")).toBe(fingerprint.replaceAll(":", "").toLowerCase());
  expect(statSync(join(state.path, "server-certificate.pem")).mode & 0o777).toBe(0o600);
  client.close();
  await server.stop();
  server = await ServerProcess.start(["--tls", "--listen", "0.0.0.0:0", "--workers", "1", "--state-dir", state.path]);
  const again = await secureClient(server.port);
  expect(again.fingerprint).toBe(fingerprint);
  again.client.close();
});

it.each([
  ["is empty", () => "", 0o600, 65, /server-certificate\.pem: no certificate with its key.*restore it/],
  ["was cut off", (pem: string) => pem.slice(0, 300), 0o600, 65, /restore it/],
  ["others can read", (pem: string) => pem, 0o644, 77, /chmod 600/],
])("refuses a kept certificate that %s: clients have pinned it", async (_what, damage, mode, status, message) => {
  const args = ["--tls", "--workers", "1", "--state-dir", state.path];
  const file = join(state.path, "server-certificate.pem");
  await (await ServerProcess.start(args)).stop();
  const damaged = damage(readFileSync(file, "utf8"));
  writeFileSync(file, damaged);
  chmodSync(file, mode);
  const refused = await ServerProcess.start(args);
  expect(await within("it to end", refused.exited)).toEqual([status, null]);
  expect(refused.log).toMatch(message);
  expect(readFileSync(file, "utf8")).toBe(damaged);
});

it("serves with a certificate that it is given", async () => {
  const [cert, key] = [join(state.path, "c.pem"), join(state.path, "k.pem")];
  const { generate } = await import("selfsigned");
  const made = await generate([{ name: "commonName", value: "given" }], { keyType: "ec" });
  writeFileSync(cert, made.cert);
  writeFileSync(key, made.private);
  server = await ServerProcess.start([
    "--tls-cert",
    cert,
    "--tls-key",
    key,
    "--workers",
    "1",
    "--state-dir",
    state.path,
  ]);
  const { client, fingerprint } = await secureClient(server.port);
  expect(fingerprint).toBe(new X509Certificate(readFileSync(cert)).fingerprint256);
  expect(server.log).toContain("everybody on this host can reach the TLS key");
  expect(await client.ask("PING")).toBe("PONG");
  client.close();
});

it("refuses half a pair, and what is no certificate", async () => {
  for (const [args, status] of [
    [["--tls-cert", "/nonexistent"], 64],
    [["--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"], 77],
    [["--tls-cert", "/etc/hostname", "--tls-key", "/etc/hostname"], 65],
  ] as const) {
    server = await ServerProcess.start([...args, "--state-dir", state.path]);
    expect((await within("it to end", server.exited))[0]).toBe(status);
  }
});

it("is not bothered by plain text, by silence and by half a handshake", async () => {
  server = await ServerProcess.start(["--tls", "--workers", "1", "--state-dir", state.path]);
  const { client } = await secureClient(server.port);
  for (let i = 0; i < 20; i++) {
    const plain = connectPlain(server.port, "127.0.0.1");
    plain.on("error", () => {}).resume();
    plain.write(i % 2 === 0 ? "PING\r\n" : Buffer.from("16030100", "hex"));
    if (i % 4 < 2) await within("it to be closed", once(plain.end(), "close"));
    else plain.destroy();
    expect(await client.ask("PING")).toBe("PONG");
  }
  client.close();
});

describe("on one port", () => {
  const others = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outward = others.find(({ internal, family }) => !internal && family === "IPv4")?.address;

  beforeEach(async () => {
    server = await ServerProcess.start(["--tls", "--listen", "0.0.0.0:0", "--workers", "2", "--state-dir", state.path]);
  });

  it("this machine's own clients speak plain, in pieces too, beside others that speak TLS", async () => {
    const { port } = server as ServerProcess;
    const [plain, { client: secure }] = [await Client.connect(port), await secureClient(port)];
    expect(await plain.register("alice", newKeys())).toBe("OK");
    expect(await secure.register("bob", newKeys())).toBe("OK");
    expect(((await plain.ask("LOOKUP", "bob")) as Map<string, unknown>).get("name")).toBe("bob");
    const slow = await Client.connect(port);
    const answer = slow.tell("ECHO", "x".repeat(8_000));
    for (let i = 0; i < 3; i++) {
      slow.socket.write(Buffer.from("PING\r\n".slice(2 * i, 2 * i + 2)));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(await within("the echo", answer)).toBe("x".repeat(8_000));
    await until("the pong", () => slow.unasked.includes("PONG"));
    using user = new User();
    const seen = await user.run(["all", "--json", "--server", `127.0.0.1:${port}`]);
    expect(
      JSON.parse(seen.stdout)
        .map(({ name }: { name: string }) => name)
        .sort(),
    ).toEqual(["alice", "bob"]);
    for (const client of [plain, secure, slow]) client.close();
  });

  it.skipIf(outward === undefined)(
    "whoever comes by another address needs TLS (skipped on loopback alone)",
    async () => {
      const { port } = server as ServerProcess;
      const plain = await Client.connect(port, outward);
      void plain.tell("PING");
      await within("it to be closed", plain.closed);
      const socket = connect({ port, host: outward ?? "", rejectUnauthorized: false });
      await within("a TLS connection", once(socket, "secureConnect"));
      const secure = new Client(socket);
      expect(await secure.ask("PING")).toBe("PONG");
      secure.close();
    },
  );

  it.skipIf(outward === undefined)("ptalk doctor tells which it is (skipped on loopback alone)", async () => {
    const { port } = server as ServerProcess;
    using user = new User();
    for (const [host, detail] of [
      ["127.0.0.1", /: ptalk \S+, plain TCP$/],
      [outward, /: ptalk \S+, TLS, certificate SHA256:[A-Za-z0-9+/]{43}$/],
    ] as const) {
      const findings = JSON.parse((await user.run(["doctor", "--json", "--server", `${host}:${port}`])).stdout);
      const found = findings.find(({ name }: { name: string }) => name === "server");
      expect(found).toMatchObject({ state: "ok", detail: expect.stringMatching(detail) });
    }
    // What people compare: what the server prints, and what the client pins.
    const printed = /certificate (SHA256:\S+)/.exec((server as ServerProcess).output)?.[1];
    const args = ["lookup", "nobody", "--server", `${outward}:${port}`];
    expect((await user.run(args)).code).toBe(67);
    const { servers } = JSON.parse((await user.run(["key", "--json"])).stdout);
    expect(servers).toEqual([{ server: `${outward}:${port}`, certificate: printed }]);
  });

  it("who says nothing, or goes before it has, is forgotten", async () => {
    const { port } = server as ServerProcess;
    const silent = await Client.connect(port);
    for (let i = 0; i < 10; i++) (await Client.connect(port)).close();
    const asking = await Client.connect(port);
    await until("the others to be forgotten", async () =>
      /connected_clients:2\b/.test((await asking.ask("INFO")) as string),
    );
    await within("the silent one to be closed", silent.closed);
    // The worker tells the primary, which counts, when the client has heard of the end already.
    await until("it to be forgotten", async () => /connected_clients:1\b/.test((await asking.ask("INFO")) as string));
    asking.close();
  });

  it("who has not said yet what it speaks does not keep the server from stopping", async () => {
    const silent = await Client.connect((server as ServerProcess).port);
    expect(await server?.stop()).toBe(0);
    await within("the connection to end", silent.closed);
  });
});

it("--no-tls is stronger than what is configured", async () => {
  const env = { PTALK_TLS: "1" };
  server = await ServerProcess.start(["--no-tls", "--workers", "1", "--state-dir", state.path], env);
  expect(server.output).not.toContain("certificate");
});

it.skipIf(spawnSync("redis-cli", ["--version"]).status !== 0)("redis-cli --tls works", async () => {
  server = await ServerProcess.start(["--tls", "--workers", "1", "--state-dir", state.path]);
  const args = ["--tls", "--insecure", "-p", String(server.port), "PING"];
  const { stdout, stderr } = spawnSync("redis-cli", args, { encoding: "utf8" });
  if (!stderr.includes("Unrecognized option")) expect(stdout.trim()).toBe("PONG"); // a redis-cli without TLS
});
