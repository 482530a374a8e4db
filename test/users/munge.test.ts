// Users of other hosts of one MUNGE realm: munged runs here with a key and a socket of its own, and the other host is this one, over TLS. Root only.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { claimBytes } from "../../lib/crypto/signed-statements.ts";
import { Client, claimCommand, newKeys, ServerProcess, until } from "../helpers/lookup-server.ts";
import { HostUser, whyNoUsers } from "./host-user.ts";

/** TLS is for addresses beyond loopback. */
const address = Object.values(networkInterfaces())
  .flat()
  .find((one) => one?.family === "IPv4" && !one.internal)?.address;

const PROGRAMS = ["munged", "munge", "unmunge"];
const missing = PROGRAMS.find((program) => spawnSync(program, ["--version"]).error !== undefined);
const whyNot =
  whyNoUsers ?? (missing ? `${missing} is missing` : address === undefined ? "no address beyond loopback" : null);

describe.skipIf(whyNot !== null)(`a MUNGE realm (${whyNot ?? "root only"})`, () => {
  let folder: string;
  let socket: string;
  let munged: ChildProcess;
  let server: ServerProcess;
  let games: HostUser;
  let news: HostUser;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "ptalk-munge-"));
    chmodSync(folder, 0o755);
    socket = join(folder, "socket");
    writeFileSync(join(folder, "key"), randomBytes(128), { mode: 0o600 });
    const own = ["key", "log", "pid", "seed"].map((file) => `--${file}-file=${join(folder, file)}`);
    munged = spawn("munged", ["--foreground", "--force", `--socket=${socket}`, ...own], { stdio: "ignore" });
    await until("munged to listen", () => existsSync(socket));
    const state = ["--workers", "1", "--state-dir", join(folder, "server")];
    server = await ServerProcess.start(["--listen", "0.0.0.0:0", "--tls", ...state], { PTALK_MUNGE_SOCKET: socket });
    [games, news] = [new HostUser("games"), new HostUser("news")];
    for (const user of [games, news]) user.env.PTALK_MUNGE_SOCKET = socket;
  });
  afterAll(async () => {
    await server?.stop();
    for (const user of [games, news]) user?.[Symbol.dispose]();
    munged?.kill();
    if (munged?.exitCode === null) await once(munged, "exit");
    rmSync(folder, { recursive: true, force: true });
  });

  const there = () => ["--server", `${address}:${server.port}`];

  it("gives a login name from elsewhere to its user, attested as munge, on and off", async () => {
    const program = games.start([...there(), "--json", "recv"]);
    const by = { user: "games", uid: games.uid, attested: "munge" };
    expect(JSON.parse(await program.line())).toMatchObject({ name: "games", transport: "tls", ...by });
    expect(JSON.parse((await news.run([...there(), "--json", "lookup", "games"])).stdout)).toMatchObject(by);
    expect((await news.run([...there(), "lookup", "games"])).stdout).toContain("by munge");
    const inbox = news.start([...there(), "--json", "recv", "--count", "1"]);
    await inbox.line();
    program.child.kill("SIGTERM");
    await program.ended;
    // Not on any more: what is remembered of the name is no better than before.
    expect((await games.run([...there(), "send", "news", "hello"])).code).toBe(0);
    expect(JSON.parse(await inbox.line())).toMatchObject({ type: "message", from: "games", verified: true, ...by });
    await inbox.ended;
  });

  it("gives it to nobody else, nor to its user without a credential", async () => {
    const other = await news.run([...there(), "--as", "games", "send", "somebody", "x"]);
    expect([other.code, other.stderr]).toEqual([77, expect.stringContaining("reserved")]);
    using elsewhere = new HostUser("games");
    const without = await elsewhere.run([...there(), "--as", "games", "send", "somebody", "x"]);
    expect([without.code, without.stderr]).toEqual([77, expect.stringContaining("reserved")]);
    // The kernel alone lets its user allow another key.
    const file = join(games.home, "other.pub");
    expect((await games.run(["key", "export", file])).code).toBe(0);
    expect((await games.run([...there(), "key", "claim", "--key", file])).code).toBe(77);
  });

  it("counts a credential for one request, once, and for the server alone", async () => {
    const open = async (): Promise<Client> => {
      const raw = connectTls({ host: address, port: server.port, rejectUnauthorized: false });
      await once(raw, "secureConnect");
      return new Client(raw);
    };
    const keys = newKeys();
    const made = (signed: Buffer, login: string, reader: number): string => {
      const digest = createHash("sha256").update(signed).digest("base64");
      const payload = `ptalk-munge-v1\n${digest}\n${login}\n`;
      const args = [
        "--socket",
        socket,
        "--uid",
        String(games.uid),
        "--restrict-uid",
        String(reader),
        "--string",
        payload,
      ];
      return spawnSync("munge", args, { encoding: "utf8" }).stdout.trim();
    };
    const read = (credential: string) => spawnSync("unmunge", ["--socket", socket], { input: credential });
    const claim = async (credentialFor: (signed: Buffer) => string): Promise<unknown> => {
      const client = await open();
      try {
        const statement = await client.hello();
        const credential = credentialFor(claimBytes({ ...statement, name: "games" }));
        return await client.ask(...claimCommand(statement, "games", keys), "MUNGE", credential);
      } finally {
        client.close();
      }
    };
    const [reserved, badSignature] = ["RESERVED", "BADSIG"].map((code) => expect.objectContaining({ code }));
    const replayed = (signed: Buffer): string => {
      const credential = made(signed, "games", 0);
      expect(read(credential).status).toBe(0);
      return credential;
    };
    expect(await claim(replayed)).toEqual(reserved);
    expect(await claim((signed) => made(signed, "games", games.uid))).toEqual(reserved); // for another reader
    expect(await claim(() => made(Buffer.from("another request"), "games", 0))).toEqual(badSignature);
    expect(await claim((signed) => made(signed, "news", 0))).toEqual(badSignature);
    expect(await claim(() => "MUNGE:nonsense:")).toEqual(reserved);
    expect(await claim(() => "nonsense")).toEqual(expect.objectContaining({ code: "ERR" }));
    expect(await claim((signed) => made(signed, "games", 0))).toBe("OK munge");
  });

  it("is left out of the greeting where munged is not", async () => {
    const plain = await ServerProcess.start(["--workers", "1"], { PTALK_MUNGE_SOCKET: join(folder, "none") });
    const names = async (port: number): Promise<unknown[]> => {
      const client = await Client.connect(port);
      const hello = (await client.ask("HELLO", 3)) as Map<string, unknown>;
      client.close();
      return [...hello.keys()];
    };
    expect(await names(plain.port)).not.toContain("munge");
    expect(await names(server.port)).toContain("munge");
    await plain.stop();
  });
});
