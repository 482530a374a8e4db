// Workers hear only of what their clients watch, and WATCH is answered when that is arranged.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { DirectoryEvent } from "../../lib/directory/directory.ts";
import { packEntry } from "../../lib/directory/entry.ts";
import { InterestIndex } from "../../lib/server/interest-index.ts";
import { type InterestChange, InterestReport } from "../../lib/server/interest-report.ts";
import { type Client, freshStateDir, newKeys, ServerProcess, until } from "../helpers/lookup-server.ts";

const WORKERS = 3;

let state: ReturnType<typeof freshStateDir>;
let server: ServerProcess;
beforeAll(async () => {
  state = freshStateDir();
  server = await ServerProcess.start(["--workers", String(WORKERS), "--state-dir", state.path]);
});
afterAll(async () => {
  await server.stop();
  state.remove();
});

/** A connection at each worker: they are served in turn. */
const oneAtEach = (): Promise<Client[]> => Promise.all(Array.from({ length: WORKERS }, () => server.client()));

async function relayed(asker: Client): Promise<number> {
  return Number(/events_relayed:(\d+)/.exec((await asker.ask("INFO")) as string)?.[1]);
}

it("an answered WATCH misses no client that comes at another worker", async () => {
  const [watcher, ...others] = (await oneAtEach()) as [Client, Client, Client];
  for (let i = 0; i < 100; i++) {
    const name = `guest${i}`;
    expect(await watcher.ask("WATCH", name)).toBe("OK");
    const other = others[i % others.length] as Client;
    const hears = (kind: string) =>
      until(`${name} has ${kind}`, () => watcher.pushes.some((push) => push[0] === kind && push[1] === name));
    await other.register(name, newKeys());
    await hears("joined");
    expect(await other.ask("UNREGISTER")).toBe("OK");
    await hears("left");
    if (i % 2 === 0) await watcher.ask("UNWATCH", name); // and names come and go in the report
  }
});

it("a worker gets no events about clients that none of its own watches", async () => {
  const [watcher, ...others] = (await oneAtEach()) as [Client, Client, Client];
  await watcher.ask("WATCH", "anna", "#choir");
  const before = await relayed(watcher);
  for (const [i, other] of others.entries()) {
    await other.register(`stranger${i}`, newKeys());
    await other.ask("STATUS", "away");
    await other.ask("UNREGISTER");
  }
  const singer = others[0] as Client;
  await singer.register("anna", newKeys());
  await until("anna", () => watcher.pushes.some(([kind, name]) => kind === "joined" && name === "anna"));
  expect(await relayed(watcher)).toBe(before + 1); // events of one worker come in order
  await singer.ask("JOIN", "#choir");
  await until("the choir", () => watcher.pushes.some(([kind, room]) => kind === "room" && room === "#choir"));
  expect(await relayed(watcher)).toBe(before + 2);
});

it("what is noted while a message is on its way goes into the next one, each once", async () => {
  const watched = new Set<string>();
  const sent: InterestChange[] = [];
  const report = new InterestReport(
    (interest) => watched.has(interest),
    (change) => void sent.push(change),
  );
  const change = (name: string, on: boolean) => {
    if (on) watched.add(name);
    else watched.delete(name);
    report.note([name]);
  };
  const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  expect(report.known()).toBeUndefined();
  change("a", true);
  const first = report.known();
  await turn();
  change("b", true);
  change("b", false);
  change("a", false);
  change("c", true);
  const second = report.known();
  await turn();
  expect(sent).toEqual([{ added: ["a"], removed: [] }]);
  report.answered();
  await first;
  await turn();
  expect(sent.slice(1)).toEqual([{ added: ["c"], removed: ["a"] }]);
  report.answered();
  await second;
  expect(report.known()).toBeUndefined();
  change("d", true);
  change("d", false);
  const nothing = report.known();
  await turn();
  await nothing;
  expect(sent).toHaveLength(2);
});

it("an event goes to the workers that watch its name, its rooms or everybody, and to no dead one", () => {
  const index = new InterestIndex();
  const event = (name: string, rooms: readonly string[]): DirectoryEvent => {
    const endpoint = { address: "192.0.2.1", port: 1, kind: "host" } as const;
    const entry = packEntry({ name, key: newKeys().key, endpoints: [endpoint], host: "", startedAt: 0, rooms });
    return { kind: "on", name, version: 1, entry };
  };
  const [bob, carol] = [event("Bob", []), event("carol", ["#Ops"])];
  const left: DirectoryEvent = { kind: "off", name: "dave", version: 1, leftRooms: ["#ops"] };
  index.change(1, { added: ["bob"], removed: [] });
  index.change(2, { added: ["#ops"], removed: [] });
  index.change(3, { added: ["*"], removed: [] });
  const shares = () => Object.fromEntries(index.shares([bob, carol, left], 4));
  expect(shares()).toEqual({ 1: [bob], 2: [carol, left], 3: [bob, carol, left] });
  expect(Object.fromEntries(index.shares([bob], 1))).toEqual({ 3: [bob] });
  index.forget(3);
  index.change(1, { added: [], removed: ["bob"] });
  expect(shares()).toEqual({ 2: [carol, left] });
  index.forget(2);
  expect(index.isWatched).toBe(false);
});
