// Administrators, and users who are none, with real uids: root only. The server has two workers, so that a request and its connection may be
// at different ones.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Client, LocalServer, newKeys, ServerProcess, until } from "../helpers/lookup-server.ts";
import type { Program } from "../helpers/program.ts";
import { HostUser, whyNoUsers } from "./host-user.ts";

interface Row {
  readonly name: string | null;
  readonly uid: number | null;
  readonly user: string | null;
  readonly transport: string;
  readonly fingerprint: string | null;
  readonly since: string;
  readonly worker: number;
}

describe.skipIf(whyNoUsers !== null)(`administration (${whyNoUsers ?? "root only"})`, { timeout: 120_000 }, () => {
  let server: ServerProcess;
  /** Is on; is on; is named in --admins; is root. */
  let games: HostUser;
  let news: HostUser;
  let mail: HostUser;
  let root: HostUser;
  const programs: Program[] = [];

  const options = () => [
    "--workers",
    "2",
    "--admins",
    "nobody-has-this-login,mail",
    "--state-dir",
    join(root.home, "server"),
  ];

  beforeAll(async () => {
    [games, news, mail, root] = ["games", "news", "mail", "root"].map((login) => new HostUser(login)) as [
      HostUser,
      HostUser,
      HostUser,
      HostUser,
    ];
    server = await ServerProcess.start(options());
  });
  afterEach(async () => {
    for (const program of programs.splice(0)) await program.kill();
  });
  afterAll(async () => {
    await server?.stop();
    for (const user of [games, news, mail, root]) user?.[Symbol.dispose]();
  });

  const at = () => ["--server", server.address];
  const admin = (user: HostUser, ...words: string[]) => user.run([...at(), "admin", ...words]);
  const rows = async (user: HostUser): Promise<Row[]> => JSON.parse((await admin(user, "--json", "clients")).stdout);
  const named = async (name: string) => (await rows(root)).find((row) => row.name === name);

  async function on(user: HostUser, ...words: string[]): Promise<Program> {
    const program = user.start([...at(), ...words, "--json", "recv"]);
    programs.push(program);
    await program.line();
    return program;
  }

  it("shows root and the logins of --admins every client of every worker, within 80 columns", async () => {
    await on(games);
    for (const name of ["a-name-of-thirty-two-characters.", "n1", "n2", "n3", "n4"]) await on(news, "--as", name);
    for (const user of [root, mail]) {
      const found = await rows(user);
      expect(found.map(({ name }) => name).sort()).toEqual(
        ["a-name-of-thirty-two-characters.", "games", "n1", "n2", "n3", "n4"].sort(),
      );
      expect(found.find(({ name }) => name === "games")).toEqual({
        ...{ name: "games", user: "games", uid: games.uid, address: null, transport: "unix" },
        ...{ fingerprint: expect.stringMatching(/^SHA256:/), since: expect.stringMatching(/^\d{4}-.*Z$/) },
        worker: expect.any(Number),
      });
    }
    const { stdout } = await admin(root, "clients");
    expect(stdout).toMatch(/^NAME +USER +UID +ADDRESS +KIND +SINCE +WORKER\n/);
    for (const line of stdout.trimEnd().split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  });

  it.each(["clients", "kick games", "free games", "ban 5 1h", "unban 5", "bans", "drain"])(
    "refuses `admin %s` to any other user, with a sentence that says who may",
    async (words) => {
      const { code, stderr, stdout } = await admin(news, ...words.split(" "));
      expect([code, stdout]).toEqual([77, ""]);
      expect(stderr).toContain(`only root and the --admins of this server may, and you are news (uid ${news.uid})`);
    },
  );

  it("refuses it over TCP, to root too: nobody vouches for the asker there", async () => {
    const client = await server.client();
    const reply = await client.ask("ADMIN", "CLIENTS");
    expect(reply).toMatchObject({ code: "NOPERM", message: expect.stringContaining("its Unix socket") });
    client.close();
  });

  it("closes a client, which says by whom and does not come back", async () => {
    const program = await on(games);
    const { code, stdout } = await admin(mail, "kick", "GAMES");
    expect([code, stdout]).toEqual([0, `GAMES is removed from ${server.address}\n`]);
    const { code: ended, stderr } = await program.ended;
    expect(ended).toBe(77);
    expect(JSON.parse(stderr)).toEqual({
      ...{ type: "error", code: "refused" },
      message: `mail (uid ${mail.uid}) has removed you from the lookup server ${server.address}`,
    });
    expect(await named("games")).toBeUndefined();
    expect((await admin(mail, "kick", "games")).code).toBe(67);
  });

  it("frees a name: its client goes, and another key has it from then on", async () => {
    const program = await on(games, "--as", "fox");
    expect((await news.run([...at(), "--as", "fox", "send", "x", "y"])).code).toBe(73);
    expect((await admin(root, "free", "fox")).code).toBe(0);
    expect((await program.ended).code).toBe(77);
    await on(news, "--as", "fox");
    expect((await games.run([...at(), "--as", "fox", "send", "x", "y"])).code).toBe(73);
    expect((await admin(root, "free", "nobodys-name")).code).toBe(67);
  });

  it("bans a user: no connection over any socket, until when and by whom; another user notices nothing", async () => {
    const [banned, other] = [await on(news), await on(games)];
    const { code, stdout } = await admin(root, "ban", String(news.uid), "2h");
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/^uid \d+ is banned until .*; 1 connection is closed\n$/),
    ]);
    const end = await banned.ended;
    expect([end.code, end.stderr]).toEqual([
      77,
      expect.stringMatching(/root \(uid 0\) has banned you .* until \d{4}-/),
    ]);
    const later = await news.run([...at(), "all"]);
    expect([later.code, later.stderr]).toEqual([
      77,
      expect.stringMatching(/your user is banned until \d{4}-\S+Z by root \(uid 0\)/),
    ]);
    // The connection itself, over TCP, where the kernel tells no uid by itself.
    const script = `require("net").connect(${server.port}, "127.0.0.1").on("data", (d) => process.stdout.write(d))`;
    expect(await track(news.program([process.execPath, "-e", script])).line()).toMatch(/^-BANNED your user is banned/);
    expect((await mail.run([...at(), "send", "games", "still here"])).code).toBe(0);
    expect(await other.line()).toContain("still here");
    expect((await admin(mail, "bans")).stdout).toContain(`${news.uid} `);
    expect((await admin(mail, "unban", String(news.uid))).code).toBe(0);
    expect((await news.run([...at(), "all"])).code).toBe(0);
    expect((await admin(mail, "unban", String(news.uid))).code).toBe(67);
  });

  it("bans a key, over a restart too, and no other key of that user", async () => {
    await on(news, "--as", "n1");
    const print = (await named("n1"))?.fingerprint as string;
    expect((await admin(mail, "ban", print, "1h")).code).toBe(0);
    await server.stop();
    server = await ServerProcess.start([...options(), "--listen", server.address]);
    const refused = await news.run([...at(), "--as", "n1", "recv", "--timeout", "5s"]);
    expect([refused.code, refused.stderr]).toEqual([77, expect.stringMatching(/this key is banned until .* by mail/)]);
    rmSync(join(news.home, "state"), { recursive: true });
    await on(news, "--as", "another-key");
    expect((await admin(root, "unban", print)).code).toBe(0);
  });

  it.each([
    ["ban", "4294967295", "1h"],
    ["ban", "05", "1h"],
    ["ban", "news", "1h"],
    ["ban", "9", "forever"],
    ["ban", "9", "0"],
  ])("takes `admin %s %s %s` for a mistake", async (...words) => {
    expect((await admin(root, ...words)).code).toBe(64);
  });

  it("bans neither root nor itself", async () => {
    expect((await admin(mail, "ban", "0", "1h")).code).toBe(77);
  });

  it("drains: clients are told and go on at the next server, under their names", async () => {
    const program = await on(games);
    const { code, stdout } = await admin(mail, "drain");
    expect([code, stdout]).toEqual([0, `the server at ${server.address} has ended; 1 client was told\n`]);
    expect(await server.exited).toEqual([0, null]);
    server = await ServerProcess.start([...options(), "--listen", server.address]);
    await until("the client to be back", async () => (await named("games")) !== undefined);
    expect(program.child.exitCode).toBeNull();
  });

  it("counts what administrators do", async () => {
    await on(news, "--as", "counted");
    await admin(root, "kick", "counted");
    await admin(root, "ban", String(news.uid), "1h");
    await news.run([...at(), "all"]);
    const client = await server.client();
    const info = (await client.ask("INFO")) as string;
    client.close();
    expect(info).toMatch(/# Admin\r\nadmin_requests:[1-9]\d*\r\nremoved:[1-9]\d*\r\nbans:1\r\ndraining:0\r\n/);
    expect(info).toMatch(/refused_banned:[1-9]/);
    expect((await admin(root, "unban", String(news.uid))).code).toBe(0);
  });

  function track(program: Program): Program {
    programs.push(program);
    return program;
  }
});

describe.skipIf(whyNoUsers !== null)("the reserve of connections", () => {
  it("lets root in while every connection is a client's, and nobody else", async () => {
    const path = `/tmp/ptalk-reserve-${process.pid}`;
    await using server = await LocalServer.start({ socket: path, limits: { connections: 4 } });
    const clients: Client[] = [];
    for (const name of ["a", "b", "c", "d"]) {
      const client = await server.client();
      expect(await client.register(name, newKeys())).toBe("OK");
      clients.push(client);
    }
    const fifth = await server.client(2);
    expect(await fifth.ask("COUNT")).toMatchObject({ code: "FULL", message: "too many connections" });
    const root = await Client.connectTo(path);
    clients.push(fifth, root);
    expect(await root.ask("ADMIN", "KICK", "a")).toBe(1);
    const next = await server.client();
    clients.push(next);
    expect(await next.register("e", newKeys())).toBe("OK");
    for (const client of clients) client.close();
  });
});
