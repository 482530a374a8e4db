// Another program removes the server's objects from shared memory while it serves: systemd-logind does, at a user's last logout.
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Directory } from "../../lib/index.ts";
import { type Client, freshStateDir, newKeys, remains, ServerProcess, until } from "../helpers/lookup-server.ts";

const SHM = "/dev/shm";

let state: ReturnType<typeof freshStateDir>;
let server: ServerProcess;
beforeEach(async () => {
  state = freshStateDir();
  server = await ServerProcess.start(["--state-dir", state.path, "--workers", "2"]);
});
afterEach(async () => {
  if (server.child.exitCode === null) await server.stop();
  state.remove();
});

const objects = (): string[] => readdirSync(SHM).filter((name) => name.includes(`ptalk-server-${server.port}-`));

function workers(): number[] {
  const pid = String(server.child.pid);
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ").map(Number);
}

/** Whether the table that has the name shows that client. */
function isInTable(name: string): boolean {
  try {
    using directory = Directory.open({ port: server.port });
    return directory.lookup(name) !== null;
  } catch {
    return false; // not there yet
  }
}

async function registered(name: string): Promise<Client> {
  const client = await server.client();
  expect(await client.register(name, newKeys())).toBe("OK");
  return client;
}

it("everything is there again, with what it held; clients notice nothing", async () => {
  const clients = await Promise.all(["a", "b", "c", "d"].map(registered));
  const kinds = objects().length;
  using mapped = Directory.open({ port: server.port });
  for (const name of objects()) rmSync(join(SHM, name));
  await until("the table to be back", () => isInTable("a"));
  await until("every object to be back", () => objects().length === kinds);
  expect(["b", "c", "d"].every(isInTable)).toBe(true);
  await until("readers of the old table to see that it is one", () => mapped.stale);
  // Changes from both workers go to the new table, and both see them.
  clients.push(await registered("e"), await registered("f"));
  expect(["e", "f"].every(isInTable)).toBe(true);
  for (const client of clients) {
    expect(client.isClosed).toBe(false);
    for (const name of ["a", "d", "f"]) expect(await client.ask("LOOKUP", name)).not.toBeNull();
  }
  expect(await (clients[0] as Client).ask("UNREGISTER")).toBe("OK");
  expect(isInTable("a")).toBe(false);
  await server.stop();
  expect(remains(server.port)).toEqual([]);
});

it("a worker that takes the place of a dead one finds them", async () => {
  await Promise.all(["a", "b", "c", "d"].map(registered));
  for (const name of objects()) rmSync(join(SHM, name));
  const [victim = 0] = workers();
  process.kill(victim, "SIGKILL");
  await until("another worker", () => workers().length === 2 && !workers().includes(victim));
  await until("the table to be back", () => isInTable("a") || isInTable("b"));
  const after = await Promise.all(["e", "f", "g", "h"].map(registered));
  for (const client of after) expect(await client.ask("LOOKUP", "g")).not.toBeNull();
  expect(["e", "f", "g", "h"].every(isInTable)).toBe(true);
});

it("under a load of registrations no change is lost, time and again", async () => {
  const staying = await Promise.all(["s0", "s1"].map(registered));
  let isOver = false;
  const busy = ["b0", "b1", "b2", "b3"].map(async (name) => {
    const [client, keys] = [await server.client(), newKeys()];
    let rounds = 0;
    for (; !isOver; rounds++) {
      expect(await client.register(name, keys)).toBe("OK");
      expect(await client.ask("LOOKUP", name)).not.toBeNull();
      expect(await client.ask("UNREGISTER")).toBe("OK");
      expect(await client.ask("LOOKUP", name)).toBeNull();
    }
    return rounds;
  });
  for (let round = 2; round < 5; round++) {
    for (const name of objects()) rmSync(join(SHM, name), { force: true });
    await until("the table to be back", () => isInTable("s0"));
    staying.push(await registered(`s${round}`)); // another one that must be in the next copy
  }
  isOver = true;
  for (const rounds of await Promise.all(busy)) expect(rounds).toBeGreaterThan(0);
  expect(["s0", "s1", "s2", "s3", "s4"].every(isInTable)).toBe(true);
  expect(await (staying[0] as Client).ask("COUNT")).toBe(5);
});
