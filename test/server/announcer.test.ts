import { expect, it } from "vitest";
import type { DirectoryEvent } from "../../lib/directory/directory.ts";
import { packEntry } from "../../lib/directory/entry.ts";
import { Announcer } from "../../lib/server/announcer.ts";
import type { Connection } from "../../lib/server/connection.ts";
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

/** A directory that the test makes events of, and watchers that note what they are pushed. */
function stage() {
  let subscriptions = 0;
  let listener: (events: readonly DirectoryEvent[]) => void = () => {};
  const watched: boolean[] = [];
  const announcer: Announcer = new Announcer(
    {
      watch(_interest, added) {
        subscriptions++;
        listener = added;
        return { [Symbol.dispose]: () => subscriptions-- };
      },
    },
    () => watched.push(announcer.isWatched),
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
    watched,
    watcher,
    emit: (...events: DirectoryEvent[]) => listener(events),
    count: () => subscriptions,
  };
}

it("subscribes with its first watcher, and no longer than its last", () => {
  const { announcer, watched, watcher, count } = stage();
  const [a, b] = [watcher(), watcher()];
  for (const { connection } of [a, b, a]) announcer.watch(connection);
  expect([count(), announcer.watchers]).toEqual([1, 2]);
  for (const { connection } of [a, a, b]) announcer.unwatch(connection);
  expect([count(), announcer.watchers]).toEqual([0, 0]);
  expect(watched).toEqual([true, false]);
});

it("pushes what has happened to every watcher, and counts it", () => {
  const { announcer, watcher, emit } = stage();
  const watchers = [watcher(), watcher()];
  for (const { connection } of watchers) announcer.watch(connection);
  emit(joined, changed, left);
  for (const { seen } of watchers) expect(seen).toEqual(["joined new", "changed new", "left slow"]);
  expect(announcer.pushes).toBe(6);
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
  expect(other.seen).toEqual(["joined new", "left slow", "changed new"]);
});
