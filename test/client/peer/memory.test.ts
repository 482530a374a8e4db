// What strangers can make a program remember, and forget.
import { describe, expect, it } from "vitest";
import { Inboxes } from "../../../lib/client/peer/inboxes.ts";
import { HALF_OPEN_LIFE, IDLE_SESSION, MAX_INBOXES, SWEEP } from "../../../lib/client/peer/limits.ts";
import { PeerWorld } from "../../helpers/peer-world.ts";
import { initTo } from "../../helpers/stranger.ts";

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
    const inboxes = new Inboxes(1_000_000);
    const show = (sender: string) => {
      const entry = inboxes.acquire(sender);
      entry.inbox.onFragment(1, 1, 0, Buffer.from("x"));
      entry.inbox.settle(entry.inbox.take()?.number ?? 0, false);
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
