// What strangers can make a program remember, and forget.
import { describe, expect, it } from "vitest";
import { type InboundStream, InboundStreams, type StreamSession } from "../../lib/peer/inbound-streams.ts";
import { DEFAULT_LIMITS, HALF_OPEN_LIFE, IDLE_SESSION, MAX_REMEMBERED_STREAMS, SWEEP } from "../../lib/peer/limits.ts";
import { BYTE_WINDOW } from "../../lib/peer/stream/stream-limits.ts";
import { MAX_BODY_BYTES } from "../../lib/wire/datagram-frames.ts";
import { PeerWorld } from "../helpers/peer-world.ts";
import { fragment, initTo, PING, rawSession } from "../helpers/stranger.ts";

const MINUTE = 60_000;
/** A sending process, and the one session that it has. */
interface Sender {
  readonly name: string;
  readonly stream: InboundStream<StreamSession>;
  readonly session: StreamSession;
}

function streamsOf(limitBytes: number, endSession: (session: StreamSession) => void = () => {}) {
  const nothing = () => {};
  return new InboundStreams<StreamSession>({
    limitBytes,
    deliver: nothing,
    deliverBody: nothing,
    readAll: nothing,
    onSettledLater: nothing,
    endSession,
  });
}

function begin(streams: InboundStreams<StreamSession>, name: string): Sender {
  const session = { endpoint: { address: "192.0.2.1", port: 1 }, isConfirmed: true, settleLater: () => {} };
  const stream = streams.acquire(Buffer.from(name), "stream");
  stream.join(session);
  return { name, stream, session };
}

const UNLIMITED = { handshakesWithoutCookie: 1e9, handshakesPerAddress: 1e9 };

describe("the memory of what was handed over", () => {
  it("is not flushed by calls that nobody completes", () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2, undefined, UNLIMITED)];
    alice.send(bob);
    world.run(100);
    // Bob shows the next one; that he did gets lost, and then the path is cut.
    const message = alice.send(bob, 25, 60 * MINUTE);
    const { transmit } = world;
    world.transmit = () => {};
    world.run(IDLE_SESSION + 2 * SWEEP);
    expect([bob.received.flat().length, bob.engine.stats().sessions]).toEqual([2, 0]);
    for (let i = 0; i <= MAX_REMEMBERED_STREAMS; i++)
      bob.engine.receive(initTo(bob).datagram, `203.0.113.${i % 250}`, 1, world.now);
    world.run(HALF_OPEN_LIFE + 2 * SWEEP);
    world.transmit = transmit;
    world.run(MINUTE); // the world throws when a text is handed over twice
    expect([message.outcome, bob.received.flat().length]).toEqual([null, 2]);
  });

  it("forgets who has gone longest, and at once who has said nothing", () => {
    const streams = streamsOf(1_000_000);
    const end = (sender: Sender) => sender.stream.leave(sender.session);
    const show = (name: string) => {
      const sender = begin(streams, name);
      sender.stream.inbox.onFragment(1, 1, 0, Buffer.from("x"));
      sender.stream.inbox.settle(sender.stream.inbox.take()?.number ?? 0, "accepted");
      return sender;
    };
    const knows = (name: string) => {
      const sender = begin(streams, name);
      end(sender);
      return sender.stream.inbox.settledUpTo === 1;
    };
    const long = show("long");
    for (let i = 1; i < MAX_REMEMBERED_STREAMS; i++) end(show(`short ${i}`));
    end(long); // began first, and ends last
    end(begin(streams, "silent"));
    expect([knows("long"), knows("silent")]).toEqual([true, false]);
    end(show("one more"));
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
    const senders = new Map<StreamSession, Sender>();
    const streams = streamsOf(LIMIT, (session) => {
      const { name, stream } = senders.get(session) as Sender;
      ended.push(name);
      stream.leave(session);
    });
    const known = new Map<string, Sender>();
    const keep = (name: string, number: number) => {
      const sender = known.get(name) ?? begin(streams, name);
      known.set(name, sender);
      senders.set(sender.session, sender);
      return sender.stream.inbox.onFragment(number, MAX_BODY_BYTES, 0, Buffer.alloc(1088));
    };
    const greedy = Math.floor(LIMIT / BYTE_WINDOW);
    for (let i = 0; i < greedy; i++) for (let number = 1; number <= 3; number++) keep(`greedy ${i}`, number);
    const modest: string[] = [];
    for (let i = 0; streams.bytes + MAX_BODY_BYTES < LIMIT; i++) {
      modest.push(`modest ${i}`);
      keep(`modest ${i}`, 1);
    }
    expect(ended).toEqual([]);
    expect(keep("newcomer", 1)).toBe("kept");
    expect(ended).toEqual(["greedy 0"]);
    while (ended.length < greedy) expect(keep(`another ${modest.push("")}`, 1)).toBe("kept");
    for (let i = 0; streams.bytes + MAX_BODY_BYTES < LIMIT; i++) keep(`last ${i}`, 1);
    expect(keep("too late", 1)).toBe("no-room"); // all have one
    expect([ended.length, streams.bytes <= LIMIT]).toEqual([greedy, true]);
  });
});
