import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { DirectoryEvent } from "../../lib/directory/directory.ts";
import { packEntry } from "../../lib/directory/entry.ts";
import { Announcer } from "../../lib/server/announcer.ts";
import type { Connection } from "../../lib/server/connection.ts";
import type { InterestChange } from "../../lib/server/interest-report.ts";
import { ReplyDecoder } from "../../lib/wire/resp-reply.ts";
import { newKeys } from "../helpers/lookup-server.ts";

const entry = packEntry({
  name: "new",
  key: newKeys().key,
  endpoints: [{ address: "192.0.2.1", port: 1, kind: "host" }],
  host: "",
  startedAt: 0,
});
const joined: DirectoryEvent = { kind: "on", name: "new", version: 2, entry };
const changed: DirectoryEvent = { kind: "changed", name: "new", version: 3, entry };
const left: DirectoryEvent = { kind: "off", name: "slow", version: 1 };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A directory that the test makes events of, and watchers that note what they are pushed. */
function stage() {
  let subscriptions = 0;
  const on = { count: 0 };
  let listener: (events: readonly DirectoryEvent[]) => void = () => {};
  const reports: InterestChange[] = [];
  const announcer: Announcer = new Announcer(
    {
      get count() {
        return on.count;
      },
      watch(_interest, added) {
        subscriptions++;
        listener = added;
        return { [Symbol.dispose]: () => subscriptions-- };
      },
    },
    { watchLimit: 3, report: (change) => void reports.push(change) },
  );
  const watcher = (onPush = () => {}) => {
    const seen: string[] = [];
    const decoder = new ReplyDecoder();
    const connection = {
      watching: false,
      interests: null,
      push(bytes: Uint8Array) {
        onPush();
        decoder.push(Buffer.from(bytes));
        for (let next = decoder.next(); next !== undefined; next = decoder.next()) {
          seen.push((next.value as unknown[]).slice(0, 2).join(" "));
        }
      },
    };
    return { connection: connection as unknown as Connection, seen };
  };
  return {
    announcer,
    on,
    reports,
    watcher,
    emit: (...events: DirectoryEvent[]) => listener(events),
    count: () => subscriptions,
  };
}

it("subscribes with its first watcher, and no longer than its last", () => {
  const { announcer, reports, watcher, count } = stage();
  const [a, b] = [watcher(), watcher()];
  for (const { connection } of [a, b, a]) announcer.watch(connection);
  expect([count(), announcer.stats.watchers]).toEqual([1, 2]);
  vi.runAllTimers();
  announcer.reported();
  for (const { connection } of [a, a, b]) announcer.unwatch(connection);
  expect([count(), announcer.stats.watchers]).toEqual([0, 0]);
  vi.runAllTimers();
  expect(reports).toEqual([
    { added: ["*"], removed: [] },
    { added: [], removed: ["*"] },
  ]);
});

it("pushes what has happened to every watcher, and counts it", () => {
  const { announcer, watcher, emit } = stage();
  const watchers = [watcher(), watcher()];
  for (const { connection } of watchers) announcer.watch(connection);
  emit(joined, changed, left);
  // It came and changed at once: it has come, as it is now.
  for (const { seen } of watchers) expect(seen).toEqual(["joined new", "left slow"]);
  expect(announcer.stats).toMatchObject({ watchers: 2, pushes: 2, coalesced: 1 });
});

it("pushes an event that a push causes behind those that caused it, to every watcher", () => {
  const { announcer, watcher, emit } = stage();
  // It reads too slowly: the first push has its connection cut, and so its client leaves.
  let isCut = false;
  const slow = watcher(() => {
    if (isCut) return;
    isCut = true;
    announcer.unwatch(slow.connection);
    emit(left);
  });
  const other = watcher();
  for (const { connection } of [slow, other]) announcer.watch(connection);
  emit(joined);
  emit(changed);
  vi.advanceTimersByTime(100);
  expect(other.seen).toEqual(["joined new", "left slow", "changed new"]);
});

it("writes to a watcher of everybody at most ten times a second, with each name's latest state", () => {
  const { announcer, watcher, emit } = stage();
  let writes = 0;
  const everybody = watcher(() => writes++);
  const named = watcher();
  announcer.watch(everybody.connection);
  announcer.watch(named.connection, ["new"]);
  emit(joined);
  expect([writes, everybody.seen]).toEqual([1, ["joined new"]]);
  for (let i = 0; i < 1000; i++) {
    emit({ ...changed, version: 3 + i });
    vi.advanceTimersByTime(1);
  }
  expect(writes).toBeLessThanOrEqual(11);
  expect(writes).toBeGreaterThan(5);
  expect(named.seen).toHaveLength(1001); // those that ask for a name hear at once
  vi.advanceTimersByTime(100);
  expect(announcer.stats.coalesced).toBe(1001 - everybody.seen.length);
});

it("announces a visit between two writes whole, and a client that went and is back once", () => {
  const { announcer, watcher, emit } = stage();
  const [a] = [watcher()];
  announcer.watch(a.connection);
  emit(left); // leaves at once; what follows waits
  const gone: DirectoryEvent = { kind: "off", name: "new", version: 4 };
  emit(joined, changed, gone);
  vi.advanceTimersByTime(100);
  expect(a.seen).toEqual(["left slow", "joined new", "left new"]);
  emit(joined, gone, joined, changed);
  vi.advanceTimersByTime(100);
  expect(a.seen.slice(3)).toEqual(["joined new"]);
  emit(left);
  emit(gone, joined);
  vi.advanceTimersByTime(100);
  expect(a.seen.slice(4)).toEqual(["left slow", "joined new"]);
  emit(left);
  emit(gone, joined, gone);
  vi.advanceTimersByTime(100);
  expect(a.seen.slice(6)).toEqual(["left slow", "left new"]);
});

it("does not let everybody be watched past the bound, and ends it with a push when the bound is passed", () => {
  const { announcer, on, watcher, emit } = stage();
  const [early, late] = [watcher(), watcher()];
  on.count = 3;
  announcer.watch(early.connection);
  announcer.watch(early.connection, ["new"]);
  on.count = 4;
  expect(() => announcer.watch(late.connection)).toThrow("more than 3");
  expect(late.connection.watching).toBe(false);
  announcer.watch(late.connection, ["new"]);
  emit(left);
  expect(early.seen).toEqual(["left slow", "unwatched"]);
  expect(early.connection.watching).toBe(false);
  emit(joined);
  vi.advanceTimersByTime(1000);
  expect(early.seen).toEqual(["left slow", "unwatched", "joined new"]); // of the name still
  expect(late.seen).toEqual(["joined new"]);
  expect(announcer.stats).toMatchObject({ watchers: 0, interests: 1, unwatched: 1 });
});

it("hides an unlisted client from watchers of everybody, and shows it to watchers of its name", () => {
  const { announcer, watcher, emit } = stage();
  const [everybody, named] = [watcher(), watcher()];
  announcer.watch(everybody.connection);
  announcer.watch(named.connection, ["hid"]);
  const hidden = packEntry({
    name: "hid",
    key: entry.key,
    endpoints: [{ address: "192.0.2.1", port: 1, kind: "host" }],
    host: "",
    startedAt: 0,
    listed: false,
  });
  emit({ kind: "on", name: "hid", version: 1, entry: hidden });
  emit({ kind: "off", name: "hid", version: 1 });
  vi.advanceTimersByTime(1000);
  expect(everybody.seen).toEqual([]);
  expect(named.seen).toEqual(["joined hid", "left hid"]);
});
