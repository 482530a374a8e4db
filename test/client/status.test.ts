// Whether somebody looks at a client, as the others see it: STATUS, "status" events, and clients that no list shows.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Idle } from "../../lib/cli/talk/idle.ts";
import { TalkClient } from "../../lib/index.ts";
import { User } from "../helpers/cli.ts";
import { until } from "../helpers/lookup-server.ts";
import { Serving } from "../helpers/serving.ts";
import { Talker } from "../helpers/talk-process.ts";

let server: Serving;
let alice: User;
let bob: User;
beforeAll(async () => {
  server = await Serving.start();
  alice = new User({ PTALK_SERVER: server.address });
  bob = new User({ PTALK_SERVER: server.address });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

const connect = (name: string, user: User, options: { listed?: boolean } = {}) =>
  TalkClient.connect({ name, server: server.address, stateDir: `${user.home}/state/ptalk`, ...options });

describe("a status", () => {
  it("is in the entry and in all lists, and watchers get each change once", async () => {
    await using watcher = await connect("alice", alice);
    const heard: unknown[] = [];
    const peers: unknown[] = [];
    watcher.on("status", (event) => heard.push(event));
    watcher.on("peer", (event) => peers.push(event));
    await using client = await connect("bob", bob);
    await until("bob to join", () => peers.length === 1); // what follows within 100 ms would be in this very push
    await client.setStatus("away", "at lunch");
    await client.setStatus("away", "at lunch");
    await until("the first change", () => heard.length >= 1); // of two within 100 ms watchers get only the last
    await client.setStatus("here");
    await until("both changes", () => heard.length >= 2);
    expect(heard).toEqual([
      { name: "bob", state: "away", text: "at lunch" },
      { name: "bob", state: "here", text: "" },
    ]);
    expect(peers.length).toBeLessThanOrEqual(1); // its coming: a change is none
    await client.setStatus("away", "gone");
    const entry = await watcher.lookup("bob");
    expect(entry?.toJSON().status).toEqual({ state: "away", text: "gone", since: expect.stringMatching(/Z$/) });
    const all = await alice.run(["all"]);
    expect(all.stdout).toMatch(/^NAME .* STATUS\n/);
    expect(all.stdout).toMatch(/^bob .* away: gone$/m);
    expect((await alice.run(["lookup", "bob"])).stdout).toMatch(/^status {7}away: gone$/m);
  });

  it("that a client takes right behind its coming is told, though watchers get both in one push", async () => {
    await using watcher = await connect("alice", alice);
    const heard: unknown[] = [];
    watcher.on("peer", (event) => heard.push({ type: "peer", ...event }));
    watcher.on("status", (event) => heard.push({ type: "status", ...event }));
    await using first = await connect("carol", bob); // the first event after a pause leaves at once, the next ones together
    await using client = await connect("bob", bob);
    await client.setStatus("away", "already");
    await until("the status", () => heard.length >= 3);
    expect(heard).toEqual([
      { type: "peer", name: first.name, state: "joined" },
      { type: "peer", name: "bob", state: "joined" },
      { type: "status", name: "bob", state: "away", text: "already" },
    ]);
  });

  it("that cannot be one is refused with the argument", async () => {
    await using client = await connect("bob", bob);
    await expect(client.setStatus("busy" as "away")).rejects.toMatchObject({ code: "usage", subject: "state" });
    await expect(client.setStatus("away", "x".repeat(129))).rejects.toMatchObject({ code: "bad-data" });
    await expect(client.setStatus("away", "a\nb")).rejects.toMatchObject({ code: "bad-data" });
  });

  it("is said again to a server that was started anew", async () => {
    const first = await Serving.start();
    await using client = await TalkClient.connect({
      name: "bob",
      server: first.address,
      stateDir: `${bob.home}/state/ptalk`,
    });
    await client.setStatus("away", "asleep");
    await first[Symbol.asyncDispose]();
    await using second = await Serving.start(first.address);
    await until("bob to be away again", async () => {
      const { stdout } = await alice.run(["lookup", "bob", "--json", "--server", second.address]);
      return stdout.includes('"state":"away","text":"asleep"');
    });
  });
});

describe("in a conversation", () => {
  it("/away and /back tell the others", async () => {
    const watcher = await Talker.on({ server: server.address, state: `${alice.home}/state` }, "alice");
    const talker = await Talker.on({ server: server.address, state: `${bob.home}/state` }, "bob");
    talker.say("/away at lunch");
    expect(await watcher.event("status")).toEqual({ type: "status", name: "bob", state: "away", text: "at lunch" });
    talker.say("/back");
    expect(await watcher.event("status")).toEqual({ type: "status", name: "bob", state: "here", text: "" });
    await talker.exit();
    await watcher.exit();
  });
});

describe("a client that is not listed", () => {
  it("is in no list, and a lookup of its name finds it", async () => {
    await using watcher = await connect("alice", alice);
    const peers: unknown[] = [];
    watcher.on("peer", (event) => peers.push(event));
    const client = await connect("bob", bob, { listed: false });
    expect((await watcher.all()).map(({ name }) => name)).toEqual(["alice"]);
    client.on("message", () => {});
    expect(await watcher.send("bob", "found you")).toMatchObject({ to: "bob" });
    await client.close();
    await using carol = await connect("carol", bob);
    await until("carol", () => peers.length > 0);
    expect(peers).toEqual([{ name: carol.name, state: "joined" }]);
  });
});

describe("idle", () => {
  it("is reported once, and not more often than allowed", async () => {
    const told: string[] = [];
    using idle = new Idle({ tell: (state) => told.push(state), afterMs: 500, everyMs: 200 });
    await until("idle", () => told.length === 1);
    const at = performance.now();
    idle.typed();
    await until("here", () => told.length === 2);
    expect(performance.now() - at).toBeGreaterThan(100);
    expect(told).toEqual(["idle", "here"]);
    await until("idle again", () => told.length === 3);
  });

  it("is not told over what the person has said", async () => {
    const told: string[] = [];
    using idle = new Idle({ tell: (state) => told.push(state), afterMs: 20, everyMs: 20 });
    idle.away();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(told).toEqual([]);
    idle.back();
    await until("idle", () => told.length === 1);
  });
});
