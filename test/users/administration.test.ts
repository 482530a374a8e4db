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

describe.skipIf(whyNoUsers !== null)(`administration (${whyNoUsers ?? "root only"})`, () => {
  let server: ServerProcess;
  /** Is on; is on; is named in --admins; is root. Accounts of no other test: programs of one uid share what shows its keys. */
  let lp: HostUser;
  let uucp: HostUser;
  let man: HostUser;
  let root: HostUser;
  const programs: Program[] = [];

  const options = () => [
    "--workers",
    "2",
    "--admins",
    "nobody-has-this-login,man",
    "--state-dir",
    join(root.home, "server"),
  ];

  beforeAll(async () => {
    [lp, uucp, man, root] = ["lp", "uucp", "man", "root"].map((login) => new HostUser(login)) as [
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
    for (const user of [lp, uucp, man, root]) user?.[Symbol.dispose]();
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
    await on(lp);
    for (const name of ["a-name-of-thirty-two-characters.", "n1", "n2", "n3", "n4"]) await on(uucp, "--as", name);
    for (const user of [root, man]) {
      const found = await rows(user);
      expect(found.map(({ name }) => name).sort()).toEqual(
        ["a-name-of-thirty-two-characters.", "lp", "n1", "n2", "n3", "n4"].sort(),
      );
      expect(found.find(({ name }) => name === "lp")).toEqual({
        ...{ name: "lp", user: "lp", uid: lp.uid, address: null, transport: "unix" },
        ...{ fingerprint: expect.stringMatching(/^SHA256:/), since: expect.stringMatching(/^\d{4}-.*Z$/) },
        worker: expect.any(Number),
      });
    }
    const { stdout } = await admin(root, "clients");
    expect(stdout).toMatch(/^NAME +USER +UID +ADDRESS +KIND +SINCE +WORKER\n/);
    for (const line of stdout.trimEnd().split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  });

  it.each(["clients", "kick lp", "free lp", "ban 5 1h", "unban 5", "bans", "drain"])(
    "refuses `admin %s` to any other user, with a sentence that says who may",
    async (words) => {
      const { code, stderr, stdout } = await admin(uucp, ...words.split(" "));
      expect([code, stdout]).toEqual([77, ""]);
      expect(stderr).toContain(`only root and the --admins of this server may, and you are uucp (uid ${uucp.uid})`);
    },
  );

  it("refuses it over TCP, to root too: nobody vouches for the asker there", async () => {
    const client = await server.client();
    const reply = await client.ask("ADMIN", "CLIENTS");
    expect(reply).toMatchObject({ code: "NOPERM", message: expect.stringContaining("its Unix socket") });
    client.close();
  });

  it("closes a client, which says by whom and does not come back", async () => {
    const program = await on(lp);
    const { code, stdout } = await admin(man, "kick", "LP");
    expect([code, stdout]).toEqual([0, `LP is removed from ${server.address}\n`]);
    const { code: ended, stderr } = await program.ended;
    expect(ended).toBe(77);
    expect(JSON.parse(stderr)).toEqual({
      ...{ type: "error", code: "refused" },
      message: `man (uid ${man.uid}) has removed you from the lookup server ${server.address}`,
    });
    expect(await named("lp")).toBeUndefined();
    expect((await admin(man, "kick", "lp")).code).toBe(67);
  });

  it("frees a name: its client goes, and another key has it from then on", async () => {
    const program = await on(lp, "--as", "fox");
    expect((await uucp.run([...at(), "--as", "fox", "send", "x", "y"])).code).toBe(73);
    expect((await admin(root, "free", "fox")).code).toBe(0);
    expect((await program.ended).code).toBe(77);
    await on(uucp, "--as", "fox");
    expect((await lp.run([...at(), "--as", "fox", "send", "x", "y"])).code).toBe(73);
    expect((await admin(root, "free", "nobodys-name")).code).toBe(67);
  });

  it("bans a user: no connection over any socket, until when and by whom; another user notices nothing", async () => {
    const [banned, other] = [await on(uucp), await on(lp)];
    const { code, stdout } = await admin(root, "ban", String(uucp.uid), "2h");
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/^uid \d+ is banned until .*; 1 connection is closed\n$/),
    ]);
    const end = await banned.ended;
    expect([end.code, end.stderr]).toEqual([
      77,
      expect.stringMatching(/root \(uid 0\) has banned you .* until \d{4}-/),
    ]);
    const later = await uucp.run([...at(), "all"]);
    expect([later.code, later.stderr]).toEqual([
      77,
      expect.stringMatching(/your user is banned until \d{4}-\S+Z by root \(uid 0\)/),
    ]);
    // The connection itself, over TCP, where the kernel tells no uid by itself.
    const script = `require("net").connect(${server.port}, "127.0.0.1").on("data", (d) => process.stdout.write(d))`;
    expect(await track(uucp.program([process.execPath, "-e", script])).line()).toMatch(/^-BANNED your user is banned/);
    expect((await man.run([...at(), "send", "lp", "still here"])).code).toBe(0);
    expect(await other.line()).toContain("still here");
    expect((await admin(man, "bans")).stdout).toContain(`${uucp.uid} `);
    expect((await admin(man, "unban", String(uucp.uid))).code).toBe(0);
    expect((await uucp.run([...at(), "all"])).code).toBe(0);
    expect((await admin(man, "unban", String(uucp.uid))).code).toBe(67);
  });

  it("bans a key, over a restart too, and no other key of that user", async () => {
    await on(uucp, "--as", "freed");
    const print = (await named("freed"))?.fingerprint as string;
    expect((await admin(man, "ban", print, "1h")).code).toBe(0);
    await server.stop();
    server = await ServerProcess.start([...options(), "--listen", server.address]);
    const refused = await uucp.run([...at(), "--as", "freed", "recv", "--timeout", "5s"]);
    expect([refused.code, refused.stderr]).toEqual([77, expect.stringMatching(/this key is banned until .* by man/)]);
    rmSync(join(uucp.home, "state"), { recursive: true });
    await on(uucp, "--as", "another-key");
    expect((await admin(root, "unban", print)).code).toBe(0);
  });

  it.each([
    ["ban", "4294967295", "1h"],
    ["ban", "05", "1h"],
    ["ban", "uucp", "1h"],
    ["ban", "9", "forever"],
    ["ban", "9", "0"],
  ])("takes `admin %s %s %s` for a mistake", async (...words) => {
    expect((await admin(root, ...words)).code).toBe(64);
  });

  it("bans neither root nor itself", async () => {
    expect((await admin(man, "ban", "0", "1h")).code).toBe(77);
  });

  it("drains: clients are told and go on at the next server, under their names", async () => {
    const program = await on(lp);
    const { code, stdout } = await admin(man, "drain");
    expect([code, stdout]).toEqual([0, `the server at ${server.address} has ended; 1 client was told\n`]);
    expect(await server.exited).toEqual([0, null]);
    server = await ServerProcess.start([...options(), "--listen", server.address]);
    await until("the client to be back", async () => (await named("lp")) !== undefined);
    expect(program.child.exitCode).toBeNull();
  });

  it("shows what an administrator writes to everybody as such, also to who ignores the sender; nobody else's", async () => {
    const program = lp.start([...at(), "talk", "--json"]);
    programs.push(program);
    await program.line();
    program.say("/ignore man");
    expect(JSON.parse(await program.line())).toMatchObject({ type: "ignored" });
    expect((await man.run([...at(), "wall", "--json", "reboot at six"])).code).toBe(0);
    expect(JSON.parse(await program.line())).toMatchObject({
      ...{ type: "message", from: "man", text: "reboot at six", kind: "wall", uid: man.uid, attested: "kernel" },
    });
    const refused = await uucp.run([...at(), "wall", "obey"]);
    expect([refused.code, refused.stderr]).toEqual([
      77,
      "ptalk: only root and the server's administrators (serve --admins) write to everybody\n",
    ]);
    expect((await man.run([...at(), "wall", "--tty", "obey"])).code).toBe(77);
    // A program that asks nobody.
    const script = `import { TalkClient } from ${JSON.stringify(join(import.meta.dirname, "../../dist/index.js"))};
      const client = await TalkClient.connect({ name: "uucp", server: "${server.address}" });
      console.log(JSON.stringify(await client.wall("obey")));
      await client.close();`;
    const forger = track(uucp.program([process.execPath, "--input-type=module", "-e", script]));
    expect(JSON.parse(await forger.line())).toMatchObject({ reached: 1, of: 1 });
    let event: { type: string };
    do event = JSON.parse(await program.line());
    while (event.type !== "message");
    expect(event).toMatchObject({ from: "uucp", text: "obey", kind: "text" });
  });

  it("counts what administrators do", async () => {
    await on(uucp, "--as", "counted");
    await admin(root, "kick", "counted");
    await admin(root, "ban", String(uucp.uid), "1h");
    await uucp.run([...at(), "all"]);
    const client = await server.client();
    const info = (await client.ask("INFO")) as string;
    client.close();
    expect(info).toMatch(/# Admin\r\nadmin_requests:[1-9]\d*\r\nremoved:[1-9]\d*\r\nbans:1\r\ndraining:0\r\n/);
    expect(info).toMatch(/refused_banned:[1-9]/);
    expect((await admin(root, "unban", String(uucp.uid))).code).toBe(0);
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
