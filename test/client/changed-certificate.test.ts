// A server that shows another certificate than before, while clients are on: they have no business with it, and go on with each other.
import { writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { generate } from "selfsigned";
import { afterEach, describe, expect, it } from "vitest";
import { TalkClient } from "../../lib/client/talk-client.ts";
import { User } from "../helpers/cli.ts";
import { freshStateDir, ServerProcess, until } from "../helpers/lookup-server.ts";

/** TLS is for addresses beyond loopback. */
const own = Object.values(networkInterfaces())
  .flat()
  .find((one) => one?.family === "IPv4" && !one.internal)?.address;

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

describe.skipIf(own === undefined)("a certificate that changes", () => {
  it("is told once, ends no conversation, and is no more when the right one is back; new commands get 77 with the way out", async () => {
    const home = freshStateDir();
    undo.push(home.remove);
    const start = (listen: string, state: string) =>
      ServerProcess.start(["--listen", listen, "--tls", "--workers", "1", "--state-dir", join(home.path, state)]);
    const genuine = await start(`${own}:0`, "genuine");
    const { address } = genuine;
    const join_ = async (name: string) => {
      const client = await TalkClient.connect({ name, server: address, stateDir: join(home.path, name) });
      undo.push(() => client.close());
      const heard: string[] = [];
      client.on("message", ({ text }) => void heard.push(text));
      client.on("error", (error) => void heard.push(`error: ${error.message}`));
      client.on("refused", ({ message }) => void heard.push(message));
      client.on("server", ({ state }) => void heard.push(state));
      return { client, heard };
    };
    const [alice, bob] = [await join_("alice"), await join_("bob")];
    await alice.client.send("bob", "before");
    await genuine.stop();
    const other = await start(address, "other");
    const isRefused = (line: string): boolean => /^the certificate of .* has changed: known SHA256:/.test(line);
    for (const { heard } of [alice, bob]) await until("the refusal", () => heard.some(isRefused));
    expect(await alice.client.send("bob", "meanwhile")).toMatchObject({ state: "delivered" });
    expect(await bob.client.send("alice", "and back")).toMatchObject({ state: "delivered" });
    expect(bob.heard.filter((line) => line === "meanwhile")).toHaveLength(1);
    using newcomer = new User({ PTALK_STATE_DIR: join(home.path, "alice"), PTALK_SERVER: address });
    for (const words of [["send", "--as", "al", "bob", "hi"], ["all"], ["recv", "--as", "al"]]) {
      expect(await newcomer.run(words)).toMatchObject({
        ...{ code: 77, stdout: "", stderr: expect.stringContaining(`ptalk key forget ${address}`) },
      });
    }
    // Both have tried again meanwhile.
    for (const { heard } of [alice, bob]) expect(heard.filter(isRefused)).toHaveLength(1);
    await other.stop();
    const back = await start(address, "genuine");
    undo.push(() => back.stop());
    for (const { heard } of [alice, bob]) await until("the server to be back", () => heard.includes("back"));
    await until("both to be on", async () => (await alice.client.all()).length === 2);
    for (const { heard } of [alice, bob]) expect(heard.filter((line) => line.startsWith("error"))).toEqual([]);
  });
});

interface Issued {
  readonly cert: string;
  readonly key: string;
}

/** @param issuer null: it issues others */
async function issue(name: string, issuer: Issued | null, ip = own ?? ""): Promise<Issued> {
  const extensions =
    issuer === null
      ? [
          { name: "basicConstraints" as const, cA: true, critical: true },
          { name: "keyUsage" as const, keyCertSign: true },
        ]
      : [{ name: "subjectAltName" as const, altNames: [{ type: 7 as const, ip }] }];
  const ca = issuer === null ? {} : { ca: issuer };
  const made = await generate([{ name: "commonName", value: name }], {
    ...{ keyType: "ec", curve: "P-256", algorithm: "sha256", extensions },
    ...ca,
  });
  return { cert: made.cert, key: made.private };
}

describe.skipIf(own === undefined)("with --ca", () => {
  it("a certificate counts if an authority has issued it for that host, a renewed one too, and no other", async () => {
    const home = freshStateDir();
    undo.push(home.remove);
    const file = (name: string, text: string): string => {
      writeFileSync(join(home.path, name), text, { mode: 0o600 });
      return join(home.path, name);
    };
    const [authority, stranger] = [await issue("authority", null), await issue("stranger", null)];
    const ca = file("ca.pem", authority.cert);
    using user = new User();
    const serve = async (listen: string, { cert, key }: Issued) => {
      const files = ["--tls-cert", file("cert.pem", cert), "--tls-key", file("key.pem", key)];
      const state = ["--workers", "1", "--state-dir", join(home.path, "server")];
      const server = await ServerProcess.start(["--listen", listen, ...files, ...state]);
      expect(server.log).toBe("");
      return server;
    };
    let server = await serve(`${own}:0`, await issue("first", authority));
    const { address } = server;
    const all = (...args: string[]) => user.run(["all", "--server", address, ...args]);
    expect(await all("--ca", ca)).toMatchObject({ code: 0, stderr: "" });
    const waiting = user.start(["recv", "--as", "bob", "--server", address, "--ca", ca, "--json"]);
    undo.push(() => waiting.kill());
    await waiting.line();
    await server.stop();
    server = await serve(address, await issue("renewed", authority));
    const send = () =>
      user.run(["send", "--as", "ann", "--server", address, "--ca", ca, "--timeout", "20s", "bob", "hi"]);
    expect(await send()).toMatchObject({ code: 0 });
    await server.stop();
    for (const other of [await issue("other", stranger), await issue("elsewhere", authority, "192.0.2.77"), stranger]) {
      server = await serve(address, other);
      for (const outcome of [await all("--ca", ca), await send()]) {
        expect(outcome).toMatchObject({ code: 77, stderr: expect.stringContaining(`authorities in ${ca}: `) });
      }
      await server.stop();
    }
    const missing = await all("--ca", join(home.path, "none.pem"));
    expect(missing).toMatchObject({ code: 64, stderr: expect.stringContaining("none.pem cannot be read") });
    expect(await all("--ca", file("text.pem", "no certificate"))).toMatchObject({ code: 64 });
  });
});
