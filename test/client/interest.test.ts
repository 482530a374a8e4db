// In a large directory the server tells a client about its partners only. The server sets the bound.
import { afterEach, beforeEach, expect, it } from "vitest";
import { TalkClient } from "../../lib/client/talk-client.ts";
import { LookupServer } from "../../lib/server/lookup-server.ts";
import { freshStateDir, until } from "../helpers/lookup-server.ts";

let server: LookupServer;
let home: ReturnType<typeof freshStateDir>;
let states: ReturnType<typeof freshStateDir>[];
let open: TalkClient[];

beforeEach(async () => {
  states = [];
  open = [];
  home = freshStateDir();
  server = await LookupServer.start({ listen: "127.0.0.1:0", workers: 0, watchLimit: 2, stateDir: home.path });
});
afterEach(async () => {
  await Promise.all(open.map((client) => client.close()));
  await server.stop();
  for (const state of [home, ...states]) state.remove();
});

async function on(name: string): Promise<{ client: TalkClient; heard: string[]; received: string[] }> {
  const state = freshStateDir();
  states.push(state);
  const client = await TalkClient.connect({ name, server: server.address, stateDir: state.path });
  open.push(client);
  const heard: string[] = [];
  const received: string[] = [];
  client.on("peer", (event) => heard.push(`${event.name} ${event.state}`));
  client.on("message", ({ text }) => received.push(text));
  return { client, heard, received };
}

it("gets events about everybody while few are on, and past the bound about those that it writes to or hears from", async () => {
  const ann = await on("ann");
  const bob = await on("bob");
  await until("ann to hear of bob", () => ann.heard.includes("bob joined"));
  await ann.client.send("bob", "hello");
  const carol = await on("carol"); // the third: past the bound
  await until("ann to hear of carol, and that she hears of everybody no more", () =>
    ann.heard.includes("carol joined"),
  );
  const dave = await on("dave");
  await bob.client.close();
  await until("both to hear that bob left", () => ann.heard.includes("bob left"));
  expect(ann.heard.filter((news) => news.startsWith("dave"))).toEqual([]);
  expect(carol.heard).toEqual([]); // she never dealt with anybody
  await carol.client.send("dave", "a word");
  await until("carol to watch dave, and dave carol", () => dave.received.length === 1);
  await carol.client.close();
  await until("dave to hear of her", () => dave.heard.includes("carol left"));
  expect(ann.heard.filter((news) => news.startsWith("carol"))).toEqual(["carol joined"]);
});

it("watches its partners again after the server has come back", async () => {
  const [ann, bob, carol] = [await on("ann"), await on("bob"), await on("carol")];
  await ann.client.send("bob", "before");
  await carol.client.send("bob", "before");
  const { address } = server;
  await server.stop();
  server = await LookupServer.start({ listen: address, workers: 0, watchLimit: 2, stateDir: home.path });
  await until("all to be back", () => server.clients === 3);
  // The first two heard of everybody again until the third was back. An answer comes behind what was asked before it.
  for (const { client } of [ann, carol]) {
    do await client.count();
    while (client.hearsAll);
    await client.count();
  }
  await bob.client.close();
  await until("both to hear of it", () => [ann, carol].every(({ heard }) => heard.includes("bob left")));
});

it("knows whether it hears of everybody, how many are on, and names by their beginning", async () => {
  const [ann] = [await on("ann"), await on("Anton")];
  expect([ann.client.hearsAll, await ann.client.count()]).toEqual([true, 2]);
  await on("bob");
  await until("ann to hear of her partners only", () => !ann.client.hearsAll);
  expect(await ann.client.count()).toBe(3);
  expect(await ann.client.names("AN")).toEqual(["ann", "Anton"]);
  expect(await ann.client.names("")).toEqual(["ann", "Anton", "bob"]);
  expect(await ann.client.names("x")).toEqual([]);
});
