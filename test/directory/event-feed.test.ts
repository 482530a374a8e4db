// Events of several workers about one name come in any order: which of them still say something, and how they travel.
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";
import type { DirectoryEvent, DirectoryRow } from "../../lib/directory/directory.ts";
import { DirectoryEntry, packEntry } from "../../lib/directory/entry.ts";
import { EventFeed } from "../../lib/directory/event-feed.ts";
import { claimIdOf, fieldsOf } from "./support/entries.ts";

const on = (name: string, version: number): DirectoryEvent => ({
  kind: "on",
  name,
  version,
  entry: packEntry(fieldsOf(name)),
});
const off = (name: string, version: number): DirectoryEvent => ({ kind: "off", name, version });
const changed = (name: string, version: number): DirectoryEvent =>
  ({ ...on(name, version), kind: "changed" }) as DirectoryEvent;
const brief = (events: readonly DirectoryEvent[]) =>
  events.map(({ kind, name, version }) => `${kind} ${name} ${version}`);

/** The row that is there now. */
const row = (name: string, version: number): DirectoryRow => ({
  entry: new DirectoryEntry(packEntry(fieldsOf(name))),
  claimId: claimIdOf(1),
  version,
  place: { worker: 1, connection: 1 },
});

function listening(interest: "everybody" | { names: string[] } = "everybody") {
  const published: DirectoryEvent[][] = [];
  const feed = new EventFeed((events) => void published.push([...events]));
  const calls: DirectoryEvent[][] = [];
  const watch = feed.watch(interest, (events) => void calls.push([...events]));
  return { feed, published, calls, watch, heard: () => brief(calls.flat()) };
}

describe("events of other workers", () => {
  it.each<[string, DirectoryRow | null, DirectoryEvent, boolean]>([
    ["a client that is there", row("ann", 5), on("ann", 5), true],
    ["its change", row("ann", 6), changed("ann", 6), true],
    ["a client that has been replaced since, of which that event comes later", row("ann", 6), on("ann", 5), true],
    ["a change that another one will follow", row("ann", 7), changed("ann", 6), true],
    ["a client that has left since", null, on("ann", 5), false],
    ["a change of one that has left since", null, changed("ann", 6), false],
    ["a departure", null, off("ann", 5), true],
    ["a departure of one that is back", row("ann", 6), off("ann", 5), false],
    ["versions that wrapped around", row("ann", 1), on("ann", 1), true],
    ["versions that will", row("ann", 1), on("ann", 2 ** 30 - 1), true],
  ])("%s", (_what, there, event, isNews) => {
    const { feed, heard } = listening();
    feed.deliver([event], () => there);
    expect(heard()).toEqual(isNews ? brief([event]) : []);
  });

  it("a departure is told once, and never after a later one", () => {
    const { feed, heard } = listening();
    feed.emit(off("Ann", 7));
    for (const version of [7, 5, 6]) feed.deliver([off("ann", version)], () => null);
    expect(heard()).toEqual(["off Ann 7"]);
    feed.deliver([off("ann", 8)], () => null);
    feed.deliver([off("ann", 8)], () => null);
    expect(heard()).toEqual(["off Ann 7", "off ann 8"]);
  });

  it("a row is not told after a later one, and told before it", () => {
    const { feed, heard } = listening();
    const there = () => row("ann", 7);
    feed.deliver([on("ann", 5)], there);
    feed.deliver([changed("ann", 7)], there);
    feed.deliver([changed("ann", 6)], there);
    expect(heard()).toEqual(["on ann 5", "changed ann 7"]);
  });

  it("a departure is not told after a later row, which may have left by now", () => {
    const { feed, heard } = listening();
    feed.deliver([on("ann", 5)], () => row("ann", 5));
    feed.deliver([on("ann", 7)], () => row("ann", 7));
    feed.deliver([off("ann", 5)], () => null);
    expect(heard()).toEqual(["on ann 5", "on ann 7"]);
    feed.deliver([off("ann", 7)], () => null);
    expect(heard().slice(2)).toEqual(["off ann 7"]);
  });

  it("remembers the last event of as many names as it says, the latest", () => {
    const { feed, calls } = listening();
    for (let i = 0; i < 5000; i++) feed.emit(off(`u${i}`, 100 + i));
    calls.length = 0;
    feed.deliver([off("u4999", 3), off("u904", 3), off("u903", 3)], () => null);
    expect(brief(calls.flat())).toEqual(["off u903 3"]); // 4096 later ones are remembered
  });
});

describe("listeners", () => {
  it("hear of what happens here at once, of names under any spelling, and of several together", () => {
    const everybody = listening();
    everybody.feed.emit(on("ann", 1));
    expect(everybody.heard()).toEqual(["on ann 1"]);
    const names = listening({ names: ["ANN", "Zoë"] });
    names.feed.emit(on("bob", 1));
    names.feed.deliver([on("Ann", 2), on("bob", 3), on("ZOË", 4)], (name) => row(name, name === "Ann" ? 2 : 4));
    expect(names.calls.map(brief)).toEqual([["on Ann 2", "on ZOË 4"]]);
  });

  it("that fail disturb neither the others nor the change", () => {
    const { feed, heard, published } = listening();
    const thrown: unknown[] = [];
    const microtask = vi.spyOn(globalThis, "queueMicrotask").mockImplementation((task) => {
      try {
        task();
      } catch (error) {
        thrown.push(error);
      }
    });
    const fault = new Error("a listener's own");
    feed.watch("everybody", () => {
      throw fault;
    });
    const later: string[] = [];
    feed.watch({ names: ["ann"] }, (events) => void later.push(...brief(events)));
    feed.emit(on("ann", 1));
    feed.deliver([off("ann", 1)], () => null);
    microtask.mockRestore();
    feed.close();
    expect([heard(), later, brief(published.flat())]).toEqual([
      ["on ann 1", "off ann 1"],
      ["on ann 1", "off ann 1"],
      ["on ann 1"],
    ]);
    expect(thrown).toEqual([fault, fault]);
  });

  it("may end themselves and each other while they are told", () => {
    const { feed, heard, watch } = listening();
    const other: { watch?: Disposable } = {};
    let calls = 0;
    const self = feed.watch("everybody", () => {
      calls++;
      self[Symbol.dispose]();
      other.watch?.[Symbol.dispose]();
      watch[Symbol.dispose]();
    });
    other.watch = feed.watch("everybody", () => expect.fail("it has ended"));
    feed.emit(on("ann", 1));
    feed.emit(on("bob", 2));
    expect(calls).toBe(1);
    expect(heard()).toEqual(["on ann 1"]);
  });
});

describe("publishing", () => {
  it("gathers the events of one turn; a full batch leaves at once; nothing is published again", async () => {
    const { feed, published } = listening();
    for (let i = 0; i < 3; i++) feed.emit(on(`u${i}`, i));
    expect(published).toEqual([]);
    await nextTurn();
    await nextTurn();
    expect(published.map(brief)).toEqual([["on u0 0", "on u1 1", "on u2 2"]]);
    for (let i = 0; i < 300; i++) feed.emit(on(`u${i}`, i));
    expect(published.map(({ length }) => length)).toEqual([3, 256]);
    feed.deliver([on("other", 1)], () => row("other", 1));
    await nextTurn();
    await nextTurn();
    expect(published.map(({ length }) => length)).toEqual([3, 256, 44]);
    expect(published.flat().some(({ name }) => name === "other")).toBe(false);
  });

  it("ends with everything published", async () => {
    const { feed, published, heard } = listening();
    feed.emit(on("ann", 1));
    feed.close();
    expect(published.map(brief)).toEqual([["on ann 1"]]);
    feed.deliver([off("ann", 1)], () => expect.fail("nobody listens"));
    await nextTurn();
    expect(published).toHaveLength(1);
    expect(heard()).toEqual(["on ann 1"]);
  });
});
