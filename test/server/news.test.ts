// A worker is killed before the news of its last changes have left it: they are told all the same.
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  type Client,
  freshStateDir,
  newKeys,
  remains,
  ServerProcess,
  until,
  within,
} from "../helpers/lookup-server.ts";

let state: ReturnType<typeof freshStateDir>;
let server: ServerProcess;
beforeEach(() => {
  state = freshStateDir();
});
afterEach(async () => {
  server.child.kill("SIGCONT");
  if (server.child.exitCode === null && server.child.signalCode === null) await server.stop();
  state.remove();
});

/** Pid of the worker that has that many clients. */
async function workerWith(clients: number, asker: Client): Promise<number> {
  const info = (await asker.ask("INFO")) as string;
  return Number(new RegExp(`pid=(\\d+),connections=\\d+,clients=${clients},`).exec(info)?.[1]);
}

/** So many events that the channel to the primary, which does not read, takes no more. @param client is on */
async function fillChannel(client: Client): Promise<void> {
  for (let i = 0; i < 1200; i++) {
    expect(await client.ask("STATUS", i % 2 === 0 ? "away" : "here", "t".repeat(100))).toBe("OK");
  }
}

it("a watcher's last event about a name agrees with the directory", async () => {
  server = await ServerProcess.start(["--workers", "2", "--state-dir", state.path]);
  // Connections go to the workers in turn.
  const [ghost, watcher, filler] = [await server.client(), await server.client(), await server.client()];
  await watcher.ask("WATCH");
  await ghost.register("ghost", newKeys());
  await filler.register("filler", newKeys());
  await until("both to join", () => watcher.pushes.filter(([kind]) => kind === "joined").length === 2);
  const pid = await workerWith(2, watcher);
  server.child.kill("SIGSTOP");
  await fillChannel(filler);
  expect(await ghost.ask("UNREGISTER")).toBe("OK");
  process.kill(pid, "SIGKILL");
  await ghost.closed;
  server.child.kill("SIGCONT");
  const last = (name: string) =>
    watcher.pushes.findLast(([kind, subject]) => subject === name && (kind === "joined" || kind === "left"))?.[0];
  await until("ghost to leave", () => last("ghost") === "left");
  await until("filler to leave, as it does not come back", () => last("filler") === "left");
  expect(await watcher.ask("COUNT")).toBe(0);
});

it("--exit-when-empty ends the server though nobody said that the last client left", async () => {
  server = await ServerProcess.start(["--workers", "1", "--exit-when-empty", "--state-dir", state.path]);
  const last = await server.client();
  await last.register("last", newKeys());
  const pid = await workerWith(1, last);
  // Their ends fill the channel, and are no events.
  const guests = await Promise.all(Array.from({ length: 600 }, () => server.client(2)));
  await Promise.all(guests.map((guest) => guest.ask("PING")));
  server.child.kill("SIGSTOP");
  for (const guest of guests) guest.close();
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(await last.ask("UNREGISTER")).toBe("OK");
  process.kill(pid, "SIGKILL");
  await last.closed;
  server.child.kill("SIGCONT");
  expect(await within("the server to end", server.exited)).toEqual([0, null]);
  expect(remains(server.port)).toEqual([]);
});

it("--exit-when-empty waits for the first client, whatever dies", async () => {
  server = await ServerProcess.start(["--workers", "1", "--exit-when-empty", "--state-dir", state.path]);
  const client = await server.client();
  process.kill(await workerWith(0, client), "SIGKILL");
  await client.closed;
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const next = await server.client();
  expect(await next.register("first", newKeys())).toBe("OK");
  next.close();
});
