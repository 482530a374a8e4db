// Workers and servers are killed again and again under load. PTALK_CHAOS_ROUNDS for a longer run.
import { afterAll, beforeAll, expect, it } from "vitest";
import { Client, freshStateDir, type Keys, newKeys, remains, ServerProcess, until } from "../helpers/lookup-server.ts";

const ROUNDS = Number(process.env.PTALK_CHAOS_ROUNDS ?? 6);
const CLIENTS = 8;
const state = freshStateDir();
let server: ServerProcess;
beforeAll(async () => {
  server = await ServerProcess.start(["--workers", "2", "--state-dir", state.path]);
});
afterAll(async () => {
  if (server.child.exitCode === null && server.child.signalCode === null) await server.stop();
  state.remove();
});

/** A client that comes back under its name whenever it loses its connection. */
class Loyal {
  readonly name: string;
  readonly #keys: Keys = newKeys();
  #client: Client | null = null;
  #claimId: string | undefined;
  #over = false;
  registrations = 0;

  constructor(name: string) {
    this.name = name;
  }

  async live(): Promise<void> {
    while (!this.#over) {
      try {
        this.#client = await Client.connect(server.port);
        const reply = await Promise.race([
          this.#client.register(this.name, this.#keys, this.#claimId === undefined ? {} : { takeover: this.#claimId }),
          this.#client.closed,
        ]);
        if (reply !== "OK") throw new Error(String(reply));
        this.#claimId = this.#client.claimId;
        this.registrations++;
        await this.#client.closed;
      } catch {
        this.#client?.close();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  leave(): void {
    this.#over = true;
    this.#client?.close();
  }
}

async function everybodyIsOn(names: readonly string[]): Promise<void> {
  await until("everybody to be back", async () => {
    try {
      const client = await Client.connect(server.port);
      const reply = await Promise.race([client.tell("ALL"), client.closed]);
      client.close();
      return (
        Array.isArray(reply) && names.every((name) => reply.flat().includes(name)) && reply.length === names.length
      );
    } catch {
      return false;
    }
  });
}

it("everybody is back under their names, each time", { timeout: 600_000 }, async () => {
  const loyal = Array.from({ length: CLIENTS }, (_, i) => new Loyal(`loyal${i}`));
  const lives = loyal.map((client) => client.live());
  const names = loyal.map(({ name }) => name);
  await everybodyIsOn(names);
  for (let round = 0; round < ROUNDS; round++) {
    if (round % 3 === 2) {
      server.child.kill("SIGKILL");
      await server.exited;
      server = await ServerProcess.start(["--workers", "2", "--listen", server.address, "--state-dir", state.path]);
    } else {
      // In the middle of what they do: clients that come, leave and are refused.
      const busy = await Promise.all(Array.from({ length: 6 }, () => Client.connect(server.port)));
      const asked = busy.map((client, i) =>
        Promise.race([client.register(`busy${i}`, newKeys()), client.closed]).catch(() => {}),
      );
      const info =
        (await Client.connect(server.port).then((client) => Promise.race([client.ask("INFO"), client.closed]))) ?? "";
      const pids = [...String(info).matchAll(/,pid=(\d+),/g)].map((match) => Number(match[1]));
      for (const pid of round % 3 === 0 ? pids.slice(0, 1) : pids) process.kill(pid, "SIGKILL");
      await Promise.all(asked);
      for (const client of busy) client.close();
    }
    await everybodyIsOn(names);
  }
  for (const client of loyal) client.leave();
  await Promise.all(lives);
  expect(loyal.every(({ registrations }) => registrations > 1)).toBe(true);
  expect(await server.stop()).toBe(0);
  expect(remains(server.port)).toEqual([]);
});
