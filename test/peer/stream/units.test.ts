// The parts of the reliability machines, each by itself: the cases that a random search meets too rarely.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HandshakeRateLimiter, rateLimitKey, TokenBucket } from "../../../lib/peer/handshake-rate-limiter.ts";
import { DEFAULT_LIMITS, MAX_TRACKED_ADDRESSES } from "../../../lib/peer/limits.ts";
import { type FragmentOutcome, Inbox } from "../../../lib/peer/stream/inbox.ts";
import { Congestion, LossDetector, type PacketOwner, RoundTrip } from "../../../lib/peer/stream/loss-detector.ts";
import { Outbox } from "../../../lib/peer/stream/outbox.ts";
import { Ring } from "../../../lib/peer/stream/ring.ts";
import { BYTE_WINDOW, INITIAL_TIMEOUT, MESSAGE_WINDOW, MIN_TIMEOUT } from "../../../lib/peer/stream/stream-limits.ts";
import { FrameWriter, MAX_REFUSED, type Outcome, readFrames, windowCost } from "../../../lib/wire/datagram-frames.ts";
import { CountingBudget } from "../../helpers/reliability-world.ts";

function put(inbox: Inbox, number: number, text = `${number}`): string {
  return inbox.onFragment(number, text.length, 0, Buffer.from(text));
}

describe("inbox", () => {
  it("gives the next message only when the last one is settled", () => {
    const inbox = new Inbox(new CountingBudget());
    expect([put(inbox, 2), put(inbox, 1), put(inbox, 1)]).toEqual(["kept", "kept", "duplicate"]);
    expect(inbox.take()?.number).toBe(1);
    expect(inbox.take()).toBeNull();
    inbox.settle(2, "accepted"); // not its turn
    expect(inbox.settledUpTo).toBe(0);
    inbox.settle(1, "accepted");
    expect([inbox.settledUpTo, inbox.take()?.number]).toEqual([1, 2]);
    expect(put(inbox, 1)).toBe("duplicate");
  });

  it("a message given up while the application has it does not take its successor along", () => {
    const inbox = new Inbox(new CountingBudget());
    put(inbox, 1);
    expect(inbox.take()?.number).toBe(1);
    inbox.onBase(2);
    inbox.settle(1, "accepted"); // late
    expect(inbox.settledUpTo).toBe(1);
    put(inbox, 2);
    expect(inbox.take()?.number).toBe(2);
  });

  it("keeps to its windows and gives everything back", () => {
    const budget = new CountingBudget();
    const inbox = new Inbox(budget);
    expect(put(inbox, MESSAGE_WINDOW + 1)).toBe("violation");
    expect(put(inbox, MESSAGE_WINDOW)).toBe("kept");
    expect(inbox.onFragment(3, BYTE_WINDOW, 0, Buffer.alloc(1088))).toBe("violation");
    expect(inbox.onFragment(3, 5000, 0, Buffer.alloc(1088))).toBe("kept");
    expect(inbox.onFragment(3, 5001, 1, Buffer.alloc(1088))).toBe("violation");
    expect(new Inbox(new CountingBudget(10)).onFragment(1, 20, 0, Buffer.alloc(20))).toBe("no-room");
    expect(budget.used).toBe(inbox.bytes);
    inbox.onBase(MESSAGE_WINDOW + 5);
    expect([budget.used, inbox.bytes, inbox.settledUpTo]).toEqual([0, 0, MESSAGE_WINDOW + 4]);
    inbox.onBase(1); // overtaken: nothing goes back
    expect(inbox.settledUpTo).toBe(MESSAGE_WINDOW + 4);
  });

  it("waits with further messages when the sender has not heard of many refusals", () => {
    const inbox = new Inbox(new CountingBudget());
    for (let number = 1; number <= 20; number++) put(inbox, number);
    let taken = 0;
    for (let message = inbox.take(); message; message = inbox.take()) {
      inbox.settle(message.number, "declined");
      taken++;
    }
    expect([taken, inbox.refusals.length]).toEqual([16, 16]);
    inbox.onBase(17);
    expect([inbox.refusals.length, inbox.take()?.number]).toEqual([0, 17]);
  });
});

describe("the memory of an inbox", () => {
  const bodies = (inbox: Inbox, outcome: Outcome = "accepted") => {
    const own: boolean[] = [];
    for (let message = inbox.take(); message; message = inbox.take()) {
      own.push(message.body.buffer.byteLength === message.body.length);
      inbox.settle(message.number, outcome);
    }
    return own;
  };

  it("is Buffer's pool for messages that pass, and their own for those that wait: these would hold the pool", () => {
    const inbox = new Inbox(new CountingBudget());
    for (const number of [1, 2, 3]) put(inbox, number);
    expect(bodies(inbox)).toEqual([false, false, false]);

    for (const number of [5, 6, 4, 7]) put(inbox, number);
    expect(bodies(inbox)).toEqual([true, true, true, false]);

    put(inbox, 8);
    const held = inbox.take()?.number ?? 0; // the application takes its time
    for (const number of [9, 10]) put(inbox, number);
    inbox.settle(held, "accepted");
    expect(bodies(inbox)).toEqual([true, true]);

    const long = Buffer.alloc(1088);
    inbox.onFragment(11, 2000, 0, long);
    for (const number of [12, 13]) put(inbox, number); // behind one that is not complete
    inbox.onFragment(11, 2000, 1, long.subarray(0, 2000 - 1088));
    expect(bodies(inbox)).toEqual([true, true, true]);
    inbox.onFragment(14, 2000, 0, long);
    inbox.onBase(15); // given up
    put(inbox, 15);
    expect(bodies(inbox)).toEqual([false]);

    for (let number = 16; number < 16 + MAX_REFUSED; number++) put(inbox, number);
    bodies(inbox, "declined");
    put(inbox, 16 + MAX_REFUSED); // waits until the sender has heard of the refusals
    inbox.onBase(16 + MAX_REFUSED);
    expect(bodies(inbox)).toEqual([true]);
  });
});

describe("outbox", () => {
  const outbox = () => {
    const settled: [string, Outcome | "unknown"][] = [];
    const box = new Outbox<string>((tag, outcome) => settled.push([tag, outcome]));
    box.attach(1, "receiver");
    return { box, settled };
  };
  const writer = () => new FrameWriter(Buffer.alloc(1200));

  it("does not use a number again that a receiver of an earlier session may know", () => {
    const { box } = outbox();
    expect(box.enqueue(Buffer.from("a"), "a")).toBe(1);
    expect(box.fill(writer(), 0, 0)).toBe(true);
    box.attach(1, "receiver"); // not sent in this session yet
    box.cancel(1);
    expect(box.enqueue(Buffer.from("b"), "b")).toBe(2);
    box.cancel(2); // nobody has ever heard of it
    expect(box.enqueue(Buffer.from("c"), "c")).toBe(2);
  });

  it("refuses to believe that something was settled which was never sent", () => {
    const { box, settled } = outbox();
    box.enqueue(Buffer.alloc(200), "a");
    box.enqueue(Buffer.alloc(1080), "b"); // does not fit beside it
    expect(box.onSettled(1, [], 0)).toBe(false);
    box.fill(writer(), 0, 0);
    expect(box.onSettled(2, [], 0)).toBe(false);
    expect(box.onSettled(1, [{ number: 1, reason: "declined" }], 0)).toBe(true);
    expect(box.onSettled(0, [], 0)).toBe(true); // overtaken
    expect(settled).toEqual([["a", "declined"]]);
  });

  it("sends what waits behind a cancelled message on by itself", () => {
    const { box } = outbox();
    for (const text of ["a", "b", "c"]) box.enqueue(Buffer.from(text), text);
    expect(box.fill(writer(), 0, 0)).toBe(true);
    expect(box.wantsToSend()).toBe(false);
    box.cancel(1);
    expect(box.wantsToSend()).toBe(true); // BASE
    const bytes = writer();
    expect(box.fill(bytes, 1, 1)).toBe(true);
    expect([...bytes.buffer.subarray(0, bytes.length)]).toEqual([3, 0, 0, 0, 2, 5]);
  });

  it("a lost datagram takes back nothing that a later one has brought, or is bringing", () => {
    const { box } = outbox();
    const later = MIN_TIMEOUT + 1;
    box.enqueue(Buffer.from("a"), "a");
    box.fill(writer(), 0, 0);
    box.onTimer(MIN_TIMEOUT);
    box.fill(writer(), 1, MIN_TIMEOUT); // the probe repeats it
    box.enqueue(Buffer.from("b"), "b");
    box.fill(writer(), 2, MIN_TIMEOUT);
    box.onAck(2, Uint32Array.of(0b100), 1, later); // 0 is long overtaken and lost, 1 is on its way
    expect([box.wantsToSend(), box.retransmissions]).toEqual([false, 1]);
    box.onAck(2, Uint32Array.of(0b110), 1, later);
    expect([box.wantsToSend(), box.retransmissions]).toEqual([false, 1]);

    box.enqueue(Buffer.from("c"), "c");
    box.fill(writer(), 3, 100);
    box.onTimer(200);
    box.fill(writer(), 4, 200);
    box.onAck(4, Uint32Array.of(0b10000), 1, 201); // 3 is lost, what it carried has arrived
    expect([box.wantsToSend(), box.retransmissions]).toEqual([false, 2]);
  });

  it("what a receiver may still keep of cancelled messages counts in the next session too", () => {
    const { box } = outbox();
    const inbox = new Inbox(new CountingBudget()); // outlives the session, and its application takes nothing
    const outcomes = new Map<number, Set<FragmentOutcome>>();
    let counter = 0;
    const pump = () => {
      for (let bytes = writer(); box.fill(bytes, counter, 0); bytes = writer()) {
        readFrames(bytes.buffer.subarray(0, bytes.length), {
          onBase: (number) => {
            inbox.onBase(number);
            return true;
          },
          onFragment: (number, total, index, fragment) => {
            const outcome = inbox.onFragment(number, total, index, fragment);
            outcomes.set(number, (outcomes.get(number) ?? new Set()).add(outcome));
            return true;
          },
          onParts: () => true,
          onPing: () => true,
          onClose: () => true,
          onRevoke: () => true,
          onRevoked: () => true,
          onEnded: () => true,
          onChallenge: () => true,
          onProof: () => true,
          onAck: () => true,
          onSettled: () => true,
        });
        box.onAck(counter, Uint32Array.of(1 << (counter & 31)), 1, 0);
        counter++;
      }
    };
    const quarter = Buffer.alloc(BYTE_WINDOW / 4 - windowCost(0));
    for (const tag of ["1", "2", "3", "4"]) box.enqueue(quarter, tag);
    pump();
    expect(inbox.bytes).toBe(BYTE_WINDOW);
    for (const number of [2, 3, 4]) box.cancel(number); // behind 1, which nobody takes: the receiver keeps them
    box.attach(1, "receiver");
    counter = 0;
    box.enqueue(quarter, "5");
    pump();
    expect([...outcomes.keys()]).toEqual([1, 2, 3, 4]); // 5 does not fit
    expect(outcomes.get(1)).toEqual(new Set(["kept", "duplicate"]));
    inbox.settle(inbox.take()?.number ?? 0, "accepted");
    box.onSettled(1, [], 0);
    pump();
    expect(outcomes.get(5)).toEqual(new Set(["kept"]));
    expect(inbox.bytes).toBe(BYTE_WINDOW / 4);
  });

  it("has no deadline when nothing is pending", () => {
    const { box } = outbox();
    expect(box.deadline()).toBe(Number.POSITIVE_INFINITY);
    const number = box.enqueue(Buffer.from("a"), "a");
    box.fill(writer(), 0, 0);
    expect(box.deadline()).toBe(MIN_TIMEOUT);
    box.cancel(number);
    expect([box.deadline(), box.wantsToSend(), box.pending]).toEqual([Number.POSITIVE_INFINITY, false, 0]);
  });
});

describe("round trip and congestion", () => {
  it("backs off without falling below the floor or growing without bound", () => {
    const trip = new RoundTrip();
    expect(trip.timeout(0)).toBe(INITIAL_TIMEOUT);
    trip.update(0.1);
    expect(trip.timeout(0)).toBe(4);
    expect([1, 5, 9, 12].map((probes) => trip.timeout(probes))).toEqual([8, 128, 128, 128]);
    expect(trip.timeout(1000)).toBe(2000);
    for (let i = 0; i < 50; i++) trip.update(300);
    expect(trip.timeout(0)).toBeGreaterThan(300);
    expect(trip.timeout(50)).toBe(2000);
  });

  it("measures as RFC 6298 section 2 says, with the floor of a millisecond for the variation", () => {
    const trip = new RoundTrip();
    expect([trip.smoothed, trip.least]).toEqual([0, 0]);
    trip.update(100);
    expect([trip.smoothed, trip.least, trip.timeout(0)]).toEqual([100, 100, 100 + 4 * 50]);
    trip.update(60);
    expect([trip.smoothed, trip.least, trip.timeout(0)]).toEqual([95, 60, 95 + 4 * (0.75 * 50 + 0.25 * 40)]);
    const steady = new RoundTrip();
    for (let i = 0; i < 100; i++) steady.update(100);
    expect(steady.timeout(0)).toBe(101);
  });

  it("takes a datagram for lost after 9/8 of the longer of the smoothed and the latest round trip (RFC 9002 section 6.1.2)", () => {
    const trip = new RoundTrip();
    trip.update(0.1);
    expect(trip.lossDelay()).toBe(1);
    trip.update(80);
    expect(trip.lossDelay()).toBe(90);
    trip.update(8);
    expect(trip.lossDelay()).toBeCloseTo((9 / 8) * trip.smoothed, 9);
  });

  it("halves once a round trip, and grows only while it is in use", () => {
    const congestion = new Congestion();
    const before = congestion.window;
    congestion.onSent(1200);
    congestion.onAcknowledged(1200, 0);
    expect(congestion.window).toBe(before);
    for (let i = 0; i < 10; i++) congestion.onSent(1200);
    expect(congestion.isOpen).toBe(false);
    congestion.onLost(1200, 1, 5);
    congestion.onLost(1200, 2, 5);
    expect(congestion.window).toBe(before / 2);
    congestion.onLost(1200, 6, 9);
    congestion.onLost(1200, 10, 12);
    expect([congestion.window, congestion.bytesInFlight]).toEqual([4800, 7200]);
  });
});

describe("loss detector", () => {
  const packet = (counter: number, sentAt: number) => ({ counter, sentAt, bytes: 1000 });
  type Sent = ReturnType<typeof packet>;
  function detector(handshakeMs = 0) {
    const [arrived, lost]: [number[], number[]] = [[], []];
    const owner: PacketOwner<Sent> = {
      onArrived: ({ counter }) => void arrived.push(counter),
      onLost: ({ counter }) => void lost.push(counter),
      onForgotten() {},
    };
    const machine = new LossDetector(owner, handshakeMs);
    const ack = (largest: number, counters: readonly number[], now: number): void => {
      const words = new Uint32Array(2);
      for (const counter of counters) {
        const word = (largest >>> 5) - (counter >>> 5);
        words[word] = (words[word] ?? 0) | (1 << (counter & 31));
      }
      machine.onAck(largest, words, 2, now);
    };
    return { machine, arrived, lost, ack };
  }

  it("asks again a timeout after the last datagram, then in pairs and later each time; an answer ends that", () => {
    const { machine, ack } = detector();
    machine.onSent(packet(1, 100));
    machine.onSent(packet(2, 110));
    expect(machine.deadline(false)).toBe(110 + INITIAL_TIMEOUT);
    machine.onTimer(110 + INITIAL_TIMEOUT - 1, false);
    expect(machine.probesDue).toBe(0);
    machine.onTimer(110 + INITIAL_TIMEOUT, false);
    expect([machine.probesDue, machine.unanswered]).toEqual([1, 1]);
    machine.onSent(packet(3, 130));
    expect([machine.probesDue, machine.deadline(false)]).toEqual([0, 130 + 2 * INITIAL_TIMEOUT]);
    machine.onTimer(170, false);
    expect([machine.probesDue, machine.unanswered]).toEqual([2, 2]);
    ack(3, [1, 2, 3], 180);
    expect([machine.probesDue, machine.unanswered, machine.roundTripMs]).toEqual([0, 0, 50]);
    expect([machine.bytesInFlight, machine.deadline(false)]).toEqual([0, Number.POSITIVE_INFINITY]);
  });

  it("counts one as lost when three later ones have arrived, and one of fewer when its time is over", () => {
    const { machine, arrived, lost, ack } = detector(50);
    for (let counter = 30; counter <= 34; counter++) machine.onSent(packet(counter, counter));
    ack(33, [31, 32], 83);
    expect({ arrived, lost }).toEqual({ arrived: [31, 32], lost: [] });
    ack(33, [33], 83); // 50 ms after it was sent
    expect({ arrived, lost }).toEqual({ arrived: [31, 32, 33], lost: [30] });
    ack(34, [34], 85);
    expect(machine.bytesInFlight).toBe(0);
    machine.onSent(packet(35, 100));
    machine.onSent(packet(36, 101));
    ack(36, [36], 110);
    const at = 100 + (9 / 8) * machine.roundTripMs;
    expect(machine.deadline(false)).toBeCloseTo(at, 9);
    machine.onTimer(machine.deadline(false) - 0.01, false);
    expect(lost).toEqual([30]);
    machine.onTimer(machine.deadline(false), false);
    expect(lost).toEqual([30, 35]);
  });

  it("asks for what the application has not taken, later each time, until it says that it is at work", () => {
    const { machine, ack } = detector();
    machine.onSent(packet(1, 0));
    ack(1, [1], 10);
    const first = machine.deadline(true) - 10;
    expect(first).toBeGreaterThanOrEqual(MIN_TIMEOUT);
    machine.onTimer(10 + first, true);
    expect([machine.probesDue, machine.deadline(true)]).toEqual([1, 10 + 2 * first]);
    machine.onProgress(50);
    expect(machine.deadline(true)).toBe(50 + first);
    machine.forget();
    expect([machine.probesDue, machine.deadline(false)]).toEqual([0, Number.POSITIVE_INFINITY]);
  });
});

describe("ring", () => {
  it("is a map of numbers that are near each other", () => {
    const operation = fc.tuple(fc.constantFrom("set", "delete"), fc.nat({ max: 200 }));
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 100 }), fc.nat({ max: 2 ** 31 }), (operations, start) => {
        const ring = new Ring<{ number: number }>();
        const model = new Map<number, { number: number }>();
        for (const [kind, offset] of operations) {
          const number = start + offset;
          if (kind === "delete") {
            expect(ring.delete(number)).toBe(model.get(number));
            model.delete(number);
          } else {
            const item = { number };
            ring.set(item);
            model.set(number, item);
          }
        }
        expect(ring.size).toBe(model.size);
        for (let number = start - 5; number < start + 210; number++) expect(ring.get(number)).toBe(model.get(number));
        const all: number[] = [];
        ring.forEach(({ number }) => {
          all.push(number);
        });
        expect(all.sort((a, b) => a - b)).toEqual([...model.keys()].sort((a, b) => a - b));
      }),
    );
  });
});

describe("handshake rate limiter", () => {
  it("gives each address its rate and a burst of two seconds", () => {
    const bucket = new TokenBucket(10, 0);
    const taken = (now: number) => Array.from({ length: 50 }, () => bucket.take(now)).filter(Boolean).length;
    expect([taken(0), taken(100), taken(1000), taken(100_000)]).toEqual([20, 1, 9, 20]);
  });

  it("remembers a bounded number of addresses", () => {
    const limits = { ...DEFAULT_LIMITS, handshakesPerAddress: 0.5, handshakesWithoutCookie: 1e9 };
    const limiter = new HandshakeRateLimiter(limits, 0);
    expect([limiter.admit("a", 1, false, 0), limiter.admit("a", 1, false, 0)]).toEqual(["pass", "cookie"]);
    for (let i = 0; i < MAX_TRACKED_ADDRESSES; i++) limiter.admit(`b${i}`, 1, false, 0);
    expect(limiter.admit("a", 1, false, 0)).toBe("pass"); // forgotten
  });

  it("gives who has proved its address a share that nobody else can use up", () => {
    const limits = { ...DEFAULT_LIMITS, handshakesPerAddress: 1, handshakesWithoutCookie: 3, handshakesWithCookie: 4 };
    const limiter = new HandshakeRateLimiter(limits, 0);
    const ask = (address: string, port: number, proven: boolean) =>
      [1, 2, 3].map(() => limiter.admit(address, port, proven, 0));
    expect(ask("192.0.2.1", 1, false)).toEqual(["pass", "pass", "cookie"]);
    expect(ask("192.0.2.1", 2, true)).toEqual(["pass", "pass", "address"]);
    expect(ask("192.0.2.1", 3, true)).toEqual(["address", "address", "address"]);
    // Loopback is everybody's here: each port by itself.
    expect(ask("127.0.0.1", 1, false)).toEqual(["pass", "pass", "cookie"]);
    expect(ask("127.0.0.1", 2, false)).toEqual(["cookie", "cookie", "cookie"]);
    expect(ask("127.0.0.1", 1, true)).toEqual(["pass", "pass", "address"]);
    expect(ask("127.0.0.1", 2, true)).toEqual(["pass", "pass", "address"]);
    expect(ask("::1", 1, true)).toEqual(["pass", "pass", "address"]);
    expect(ask("::1", 2, true)).toEqual(["global", "global", "address"]); // all together
  });

  it("knows what one party owns", () => {
    const cases = {
      "192.0.2.1": "192.0.2.1",
      "2001:db8:1:2:3:4:5:6": "2001:db8:1:2",
      "2001:db8::1": "2001:db8:0:0",
      "::1": "0:0:0:0",
      "fe80::1%eth0": "fe80:0:0:0",
      "1::": "1:0:0:0",
    };
    for (const [address, owner] of Object.entries(cases)) expect(rateLimitKey(address)).toBe(owner);
  });
});
