// What strangers can make a program remember, and forget.
import { describe, expect, it } from "vitest";
import { Inboxes } from "../../lib/peer/inboxes.ts";
import { DEFAULT_LIMITS, HALF_OPEN_LIFE, IDLE_SESSION, MAX_INBOXES, SWEEP } from "../../lib/peer/limits.ts";
import { BYTE_WINDOW } from "../../lib/peer/stream/stream-limits.ts";
import { MAX_BODY_BYTES } from "../../lib/wire/datagram-frames.ts";
import { PeerWorld } from "../helpers/peer-world.ts";
import { fragment, initTo, PING, rawSession } from "../helpers/stranger.ts";

const MINUTE = 60_000;
const UNLIMITED = { handshakesWithoutCookie: 1e9, handshakesPerAddress: 1e9 };

describe("the memory of what was handed over", () => {
  it("is not flushed by calls that nobody completes", { timeout: 60_000 }, () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2, undefined, UNLIMITED)];
    alice.send(bob);
    world.run(100);
    // Bob shows the next one; that he did gets lost, and then the path is cut.
    const message = alice.send(bob, 25, 60 * MINUTE);
    const { transmit } = world;
    world.transmit = () => {};
    world.run(IDLE_SESSION + 2 * SWEEP);
    expect([bob.received.flat().length, bob.engine.sessions]).toEqual([2, 0]);
    for (let i = 0; i <= MAX_INBOXES; i++)
      bob.engine.receive(initTo(bob).datagram, `203.0.113.${i % 250}`, 1, world.now);
    world.run(HALF_OPEN_LIFE + 2 * SWEEP);
    world.transmit = transmit;
    world.run(MINUTE); // the world throws when a text is handed over twice
    expect([message.outcome, bob.received.flat().length]).toEqual([null, 2]);
  });

  it("forgets who has gone longest, and at once who has said nothing", () => {
    const inboxes = new Inboxes(1_000_000, () => {});
    const show = (sender: string) => {
      const entry = inboxes.acquire(sender);
      entry.inbox.onFragment(1, 1, 0, Buffer.from("x"));
      entry.inbox.settle(entry.inbox.take()?.number ?? 0, "accepted");
      return entry;
    };
    const knows = (sender: string) => {
      const entry = inboxes.acquire(sender);
      inboxes.release(entry);
      return entry.inbox.settledUpTo === 1;
    };
    const long = show("long");
    for (let i = 1; i < MAX_INBOXES; i++) inboxes.release(show(`short ${i}`));
    inboxes.release(long); // began first, and ends last
    inboxes.release(inboxes.acquire("silent"));
    expect([knows("long"), knows("silent")]).toEqual([true, false]);
    inboxes.release(show("one more"));
    expect([knows("short 1"), knows("short 2"), knows("long")]).toEqual([false, true, true]);
  });
});

describe("the room for messages that are not complete", () => {
  const LIMIT = DEFAULT_LIMITS.reassemblyBytes;

  it("is shared fairly: a stranger who fills it silences nobody", () => {
    const world = new PeerWorld();
    const [bob, friend] = [world.program(2), world.program(3)];
    friend.send(bob);
    world.run(100);
    const strangers = Array.from({ length: 17 }, () => {
      const stranger = rawSession(world, bob);
      for (let number = 1; number <= 3; number++) stranger.send(fragment(number, Buffer.alloc(MAX_BODY_BYTES)));
      for (let number = 4; number < 60; number++) stranger.send(fragment(number, Buffer.alloc(1100)));
      world.run(100);
      return stranger;
    });
    for (let minute = 0; minute < 8; minute++) {
      for (const stranger of strangers) stranger.send(PING); // so that they are not forgotten
      world.run(60_000);
      const sent = [friend.send(bob, 20, 10_000), friend.send(bob, 60_000, 10_000)];
      world.run(10_000);
      expect(sent.map(({ outcome }) => outcome)).toEqual([null, null]);
    }
  });

  it("is taken from who has most, never from who has as little; all of it comes back", () => {
    const ended: string[] = [];
    const inboxes = new Inboxes(LIMIT, (entry) => {
      ended.push(entry.sender);
      while (entry.sessions > 0) inboxes.release(entry);
    });
    const keep = (sender: string, number: number) =>
      inboxes.acquire(sender).inbox.onFragment(number, MAX_BODY_BYTES, 0, Buffer.alloc(1088));
    const greedy = Math.floor(LIMIT / BYTE_WINDOW);
    for (let i = 0; i < greedy; i++) for (let number = 1; number <= 3; number++) keep(`greedy ${i}`, number);
    const modest: string[] = [];
    for (let i = 0; inboxes.bytes + MAX_BODY_BYTES < LIMIT; i++) {
      modest.push(`modest ${i}`);
      keep(`modest ${i}`, 1);
    }
    expect(ended).toEqual([]);
    expect(keep("newcomer", 1)).toBe("kept");
    expect(ended).toEqual(["greedy 0"]);
    while (ended.length < greedy) expect(keep(`another ${modest.push("")}`, 1)).toBe("kept");
    for (let i = 0; inboxes.bytes + MAX_BODY_BYTES < LIMIT; i++) keep(`last ${i}`, 1);
    expect(keep("too late", 1)).toBe("no-room"); // everybody has one
    expect([ended.length, inboxes.bytes <= LIMIT]).toEqual([greedy, true]);
  });
});
