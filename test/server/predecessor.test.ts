// A server that takes a killed one's place: for some seconds the names go to the keys that the dead one's table shows, and then to anybody.
import { afterEach, beforeEach, expect, it } from "vitest";
import { LookupServer } from "../../lib/index.ts";
import { LocalTable } from "../../lib/presence/local-table.ts";
import { User } from "../helpers/cli.ts";
import { Client, freshStateDir, newKeys, remains, ServerProcess, until } from "../helpers/lookup-server.ts";

const HELD_MS = 10_000;

let state: ReturnType<typeof freshStateDir>;
beforeEach(() => {
  state = freshStateDir();
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.child.kill("SIGKILL");
    await server.exited;
  }
  state.remove();
});

const servers: ServerProcess[] = [];
async function started(): Promise<ServerProcess> {
  const server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
  servers.push(server);
  return server;
}

async function connected(port: number): Promise<Client> {
  const client = await Client.connect(port);
  await client.ask("HELLO", 3);
  return client;
}

/** The table of the server on that port, as a POSIX name. */
function tableOf(port: number): string {
  const table = remains(port).find((file) => /^ptalk-server-\d+-\d+\.[0-9a-f]{16}$/.test(file));
  return `/${table ?? expect.fail("no table")}`;
}

/** What programs of this user see of a client of that server: its remains are not taken away. */
function localClientOf(server: string): LocalTable {
  const nothing = { tty: "", address: "127.0.0.1", port: 1, lastMessageAt: null, sent: 0, received: 0 };
  return LocalTable.join({ ...nothing, name: "here", server, startedAt: Date.now() });
}

it("holds the names of a dead server's table for their keys, and no longer than said", {
  timeout: 60_000,
}, async () => {
  const first = await started();
  const [bob, eve] = [newKeys(), newKeys()];
  for (const [name, keys] of [
    ["bob", bob],
    ["eve", eve],
  ] as const) {
    expect(await (await first.client()).register(name, keys)).toBe("OK");
  }
  const predecessor = tableOf(first.port);
  using _here = localClientOf(first.address);
  first.child.kill("SIGKILL");
  await first.exited;
  const begin = performance.now();
  const next = await LookupServer.start({ listen: first.address, workers: 1, ephemeral: true, predecessor });
  try {
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
  } finally {
    await next.stop();
  }
});

it("is left there by other servers and commands of the user while its clients are on, and by no command after them", async () => {
  const first = await started();
  using user = new User();
  const left = () => remains(first.port).length > 0;
  {
    using _here = localClientOf(first.address);
    first.child.kill("SIGKILL");
    await first.exited;
    const other = { listen: "127.0.0.1:0", workers: 0, ephemeral: true };
    await (await LookupServer.start(other)).stop();
    await user.run(["list"]);
    expect(left()).toBe(true);
  }
  await user.run(["list"]);
  expect(left()).toBe(false);
});

it("takes no table for its predecessor's that is none", async () => {
  for (const predecessor of ["/nothing", "/ptalk-server-1-0.0123456789abcdef", "/../etc/passwd", ""]) {
    const server = await LookupServer.start({ listen: "127.0.0.1:0", workers: 0, ephemeral: true, predecessor });
    expect(await (await connected(server.port)).register("bob", newKeys())).toBe("OK");
    await server.stop();
  }
});
