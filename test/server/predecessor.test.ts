// A server that takes a killed one's place: for some seconds the names go to the keys that the dead one's table shows, and then to anybody.
// In a /dev/shm of their own: tests beside these remove what shows that a dead server's clients are on.
import { readdirSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { LookupServer } from "../../lib/index.ts";
import { User } from "../helpers/cli.ts";
import { Client, newKeys, until } from "../helpers/lookup-server.ts";
import { OwnShm } from "../helpers/own-shm.ts";
import { whyNoPrivateShm } from "../helpers/privileges.ts";
import type { Program } from "../helpers/program.ts";

const HELD_MS = 10_000;

async function connected(port: number): Promise<Client> {
  const client = await Client.connect(port);
  await client.ask("HELLO", 3);
  return client;
}

describe.skipIf(whyNoPrivateShm !== null)(
  `a killed server's table${whyNoPrivateShm ? ` (${whyNoPrivateShm})` : ""}`,
  () => {
    let shm: OwnShm;
    let user: User;
    const running: Program[] = [];
    beforeAll(async () => {
      shm = await OwnShm.make();
      user = new User({}, shm.prefix);
    });
    afterEach(async () => {
      for (const program of running.splice(0)) await program.kill();
    });
    afterAll(() => {
      user?.[Symbol.dispose]();
      shm?.[Symbol.dispose]();
    });

    async function start(args: readonly string[]): Promise<Program> {
      const program = user.start(args);
      running.push(program);
      return program;
    }

    async function serve(...args: string[]): Promise<{ program: Program; address: string; port: number }> {
      const program = await start(["serve", "--workers", "1", ...args]);
      const [address = "", port] = /127\.0\.0\.1:(\d+)$/.exec(await program.line()) ?? [];
      return { program, address, port: Number(port) };
    }

    const remains = (port: number) =>
      readdirSync(shm.folder).filter((name) => name.startsWith(`ptalk-server-${port}-`));

    it("holds the names for their keys, and no longer than said", async () => {
      const first = await serve("--listen", "127.0.0.1:0");
      const [bob, eve] = [newKeys(), newKeys()];
      for (const [name, keys] of [
        ["bob", bob],
        ["eve", eve],
      ] as const) {
        expect(await (await connected(first.port)).register(name, keys)).toBe("OK");
      }
      // A command at its side would take it away otherwise.
      const waiting = await start(["recv", "--as", "here", "--json", "--server", first.address]);
      await waiting.line();
      const table = remains(first.port).find((file) => /\.[0-9a-f]{16}$/.test(file)) ?? expect.fail("no table");
      await first.program.kill();
      const begin = performance.now();
      await serve("--listen", first.address, "--background", "--after", `/${table}`);
      const register = async (name: string, keys = newKeys()) => (await connected(first.port)).register(name, keys);
      expect(await register("bob")).toMatchObject({ code: "TAKEN" });
      expect(await register("eve")).toMatchObject({ code: "TAKEN" });
      expect(await register("bob", bob)).toBe("OK");
      expect(await register("carol")).toBe("OK");
      await until(
        "the name of a client that does not come back to be free",
        () => performance.now() - begin > HELD_MS + 500,
      );
      expect(await register("eve")).toBe("OK");
      expect(await register("bob")).toMatchObject({ code: "TAKEN" });
    });

    it("is left there by other servers and commands of the user while its clients are on, and by no command after them", async () => {
      const first = await serve("--listen", "127.0.0.1:0");
      const client = await start(["recv", "--as", "ann", "--json", "--server", first.address]);
      await client.line();
      await first.program.kill();
      const other = await serve("--listen", "127.0.0.1:0", "--background");
      other.program.child.kill("SIGTERM");
      expect(await other.program.ended).toMatchObject({ code: 0 });
      await user.run(["list"]);
      expect(remains(first.port)).not.toEqual([]);
      await client.kill();
      await user.run(["list"]);
      expect(remains(first.port)).toEqual([]);
    });
  },
);

it("takes no table for its predecessor's that is none", async () => {
  for (const predecessor of ["/nothing", "/ptalk-server-1-0.0123456789abcdef", "/../etc/passwd", ""]) {
    const server = await LookupServer.start({ listen: "127.0.0.1:0", workers: 0, ephemeral: true, predecessor });
    expect(await (await connected(server.port)).register("bob", newKeys())).toBe("OK");
    await server.stop();
  }
});
