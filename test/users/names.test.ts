// Owners of names among users of one host that do not trust each other. Real uids: root only.
import { readFileSync, rmSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ServerProcess } from "../helpers/lookup-server.ts";
import type { Program } from "../helpers/program.ts";
import { HostUser, whyNoUsers } from "./host-user.ts";

/** Ends a program in good order. */
async function ended(program: Program): Promise<void> {
  program.child.kill("SIGTERM");
  await program.ended;
}

describe.skipIf(whyNoUsers !== null)(`users of one host (${whyNoUsers ?? "root only"})`, () => {
  let server: ServerProcess;
  let games: HostUser;
  let news: HostUser;
  let service: HostUser;

  beforeAll(async () => {
    [games, news, service] = [new HostUser("games"), new HostUser("news"), new HostUser("mail")];
    server = await ServerProcess.start(["--workers", "1", "--state-dir", join(service.home, "server")]);
  });
  afterAll(async () => {
    await server?.stop();
    for (const user of [games, news, service]) user?.[Symbol.dispose]();
  });

  const at = () => ["--server", server.address];

  /** Is on as `name` until the returned function is called; null for the own name. */
  async function on(
    user: HostUser,
    name: string | null,
  ): Promise<{ registered: Record<string, unknown>; off: () => Promise<void> }> {
    const program = user.start([...at(), ...(name === null ? [] : ["--as", name]), "--json", "recv"]);
    const registered = JSON.parse(await program.line());
    return { registered, off: () => ended(program) };
  }

  const entry = async (name: string) => JSON.parse((await games.run([...at(), "--json", "lookup", name])).stdout);

  it("has its login name, and the kernel vouches for it", async () => {
    const { registered, off } = await on(games, null);
    const { uid, login: user } = games;
    expect(registered).toMatchObject({
      ...{ type: "registered", name: "games", requested: "games", transport: "unix" },
      ...{ serverUid: 0, serverUser: "root", user, uid, attested: "kernel" },
    });
    expect(Object.keys(registered).slice(-7)).toEqual([
      "requested",
      "transport",
      "serverUid",
      "serverUser",
      "user",
      "uid",
      "attested",
    ]);
    expect(await entry("games")).toMatchObject({ user, uid, attested: "kernel" });
    expect((await games.run([...at(), "lookup", "games"])).stdout).toContain(
      `user         games (uid ${uid}), by kernel`,
    );
    await off();
  });

  it.each(["games", "Games", "GAMES", "games-2", "Games-17"])("gives no other user the login name %s", async (name) => {
    const { code, stderr } = await news.run([...at(), "--as", name, "recv", "--timeout", "5s"]);
    expect([code, stderr]).toEqual([77, expect.stringMatching(/reserved: .*login name/)]);
    const sent = await news.run([...at(), "--as", name, "send", "somebody", "text"]);
    expect([sent.code, sent.stderr]).toEqual([77, expect.stringContaining("reserved")]);
  });

  it("gives root's name to no other user", async () => {
    const { code } = await news.run([...at(), "--as", "root", "send", "somebody", "text"]);
    expect(code).toBe(77);
  });

  it("gives any other name to the first user, attested as such", async () => {
    const { registered, off } = await on(games, "fox");
    expect(registered).toMatchObject({ name: "fox", user: "games", uid: games.uid, attested: "kernel" });
    const { code, stderr } = await news.run([...at(), "--as", "fox", "recv", "--timeout", "5s"]);
    expect([code, stderr]).toEqual([73, expect.stringMatching(/key SHA256:\S+ on host \S+ since \d{4}-/)]);
    await off();
  });

  it("gives its own login name to a user who has lost the key", async () => {
    await (await on(games, null)).off();
    rmSync(join(games.home, "state"), { recursive: true });
    const { registered, off } = await on(games, null);
    expect(registered).toMatchObject({ name: "games", attested: "kernel" });
    await off();
  });

  it("writes to a user with a new key, which replaces the remembered one with a line that says so", async () => {
    const receive = async () => {
      const program = games.start([...at(), "recv", "--count", "1"]);
      while (JSON.parse((await news.run([...at(), "--json", "lookup", "games"])).stdout || "null") === null);
      const sent = await news.run([...at(), "send", "games", "hello"]);
      program.child.kill("SIGTERM");
      await program.ended;
      return sent;
    };
    expect((await receive()).code).toBe(0);
    rmSync(join(games.home, "state"), { recursive: true });
    const { code, stderr } = await receive();
    expect([code, stderr]).toEqual([0, expect.stringMatching(/the key of "games" has changed to SHA256:.*vouches/)]);
    expect((await receive()).stderr).not.toContain("changed");
  });

  it("says of a message whose it is, of one that is only sent too", async () => {
    const program = news.start([...at(), "--json", "recv", "--count", "1"]);
    await program.line();
    expect((await games.run([...at(), "send", "news", "hello"])).code).toBe(0);
    expect(JSON.parse(await program.line())).toMatchObject({
      ...{ type: "message", from: "games", verified: true },
      ...{ user: "games", uid: games.uid, attested: "kernel" },
    });
    await program.ended;
  });

  it("lets only talk have a second session, as NAME-2, and says so", async () => {
    const { off } = await on(games, null);
    const second = await games.run([...at(), "recv", "--timeout", "5s"]);
    expect([second.code, second.stderr]).toEqual([73, expect.stringContaining("in use")]);
    const talk = await games.run([...at(), "--json", "talk"], "");
    expect(JSON.parse(talk.stdout.split("\n")[0] as string)).toMatchObject({ name: "games-2", requested: "games" });
    expect(talk.stderr).toContain("you are games-2");
    await off();
  });

  it("talks to PEER, and never as PEER", async () => {
    const talk = await games.run([...at(), "--json", "talk", "news"], "");
    expect(JSON.parse(talk.stdout.split("\n")[0] as string)).toMatchObject({ name: "games" });
    const { off, registered } = await on(news, null);
    expect(registered).toMatchObject({ name: "news", uid: news.uid });
    await off();
  });
});

/** TLS is for addresses beyond loopback. */
const address = Object.values(networkInterfaces())
  .flat()
  .find((one) => one?.family === "IPv4" && !one.internal)?.address;

describe.skipIf(whyNoUsers !== null || address === undefined)(
  `a login name from elsewhere, over TLS (${whyNoUsers ?? "an address beyond loopback"})`,
  () => {
    let server: ServerProcess;
    let games: HostUser;
    let news: HostUser;
    let elsewhere: HostUser;
    let folder: HostUser;

    beforeAll(async () => {
      [games, news, elsewhere, folder] = [
        ...[new HostUser("games"), new HostUser("news"), new HostUser("games"), new HostUser("mail")],
      ] as [HostUser, HostUser, HostUser, HostUser];
      const state = ["--workers", "1", "--state-dir", join(folder.home, "server")];
      server = await ServerProcess.start(["--listen", "0.0.0.0:0", "--tls", ...state]);
    });
    afterAll(async () => {
      await server?.stop();
      for (const user of [games, news, elsewhere, folder]) user?.[Symbol.dispose]();
    });

    const here = () => ["--server", `127.0.0.1:${server.port}`];
    const there = () => ["--server", `${address}:${server.port}`];
    /** From the other machine, under the login name. */
    const send = () => elsewhere.run([...there(), "--as", "games", "send", "nobody-there", "x"]);

    it("takes a key that its owner has bound on the server's host, beside the owner's own one", async () => {
      const file = join(elsewhere.home, "laptop.pub");
      expect(await elsewhere.run(["key", "export", file])).toMatchObject({ code: 0 });
      expect(readFileSync(file, "utf8")).toMatch(/^ptalk-public-key-1 [A-Za-z0-9+/]{43}=\n$/);
      expect((await send()).code).toBe(77);
      const claimed = await games.run([...here(), "--json", "key", "claim", "--key", file]);
      const { fingerprint } = JSON.parse((await elsewhere.run(["--json", "key"])).stdout);
      expect(claimed).toMatchObject({ code: 0 });
      expect(JSON.parse(claimed.stdout)).toEqual({
        ...{ name: "games", server: `127.0.0.1:${server.port}`, fingerprint, attested: "kernel" },
      });
      for (let turn = 0; turn < 2; turn++) {
        expect((await send()).code).toBe(67);
        const program = games.start([...here(), "--json", "recv"]);
        expect(JSON.parse(await program.line())).toMatchObject({ name: "games", attested: "kernel" });
        await ended(program);
      }
      const program = elsewhere.start([...there(), "--as", "games", "--json", "recv"]);
      expect(JSON.parse(await program.line())).toMatchObject({ name: "games", transport: "tls", attested: null });
      expect(JSON.parse((await news.run([...here(), "--json", "lookup", "games"])).stdout)).toMatchObject({
        fingerprint,
      });
      await ended(program);
      // A key that replaces it follows.
      expect((await elsewhere.run(["key", "rotate"])).code).toBe(0);
      expect((await send()).code).toBe(67);
    });

    it("takes none that somebody else would bind, or that is bound from elsewhere", async () => {
      const file = join(news.home, "mine.pub");
      expect((await news.run(["key", "export", file])).code).toBe(0);
      const stolen = await news.run([...here(), "--as", "games", "key", "claim", "--key", file]);
      expect([stolen.code, stolen.stderr]).toEqual([77, expect.stringContaining("reserved")]);
      const pseudonym = await news.run([...here(), "--as", "no-login", "key", "claim", "--key", file]);
      expect([pseudonym.code, pseudonym.stderr]).toEqual([
        77,
        expect.stringContaining("only the user whose login name"),
      ]);
      const own = await news.run([...there(), "key", "claim", "--key", file]);
      expect([own.code, own.stderr]).toEqual([77, expect.stringContaining("only the user whose login name")]);
      expect((await news.run([...here(), "key", "claim"])).code).toBe(0);
      const missing = await news.run([...here(), "key", "claim", "--key", join(news.home, "none.pub")]);
      expect([missing.code, missing.stderr]).toEqual([65, expect.stringContaining("none.pub")]);
    });
  },
);
