// Paths that swallow large datagrams: what the sender concludes, and that all messages cross them, once and in order.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PathMtu, SIZES } from "../../../lib/peer/path-mtu.ts";
import { Outbox } from "../../../lib/peer/stream/outbox.ts";
import { MAX_DATAGRAM_BYTES } from "../../../lib/wire/datagram.ts";
import { FrameWriter } from "../../../lib/wire/datagram-frames.ts";
import { type Fate, World } from "../../helpers/reliability-world.ts";

/** Of a datagram beside its payload. */
const OVERHEAD = 32;
const SMALL = 100;

/** Sends one datagram after the other, as large as may be, through a path of so many bytes; the sizes of those that arrived. */
function walk(mtu: PathMtu, pathBytes: number, count: number, from = 0, everyMs = 10): number[] {
  const arrived: number[] = [];
  for (let i = 0; i < count; i++) {
    const now = from + i * everyMs;
    const bytes = mtu.limit(now);
    mtu.onSent(bytes);
    if (bytes + OVERHEAD <= pathBytes) {
      mtu.onArrived(bytes, now);
      arrived.push(bytes + OVERHEAD);
    } else {
      mtu.onArrived(SMALL, now + 1); // sent behind it
      mtu.onLost(bytes, now, now + 2);
    }
  }
  return arrived;
}

describe("the size of a path", () => {
  it.each(SIZES.map((size) => [size]))("of %i bytes is found, and then hardly tried beyond", (size) => {
    const mtu = new PathMtu();
    walk(mtu, size, 40);
    expect(mtu.datagramBytes).toBe(size);
    const arrived = walk(mtu, size, 1000, 400);
    expect(arrived.length).toBeGreaterThanOrEqual(993); // the pauses between tries double from one second on
    expect(mtu.datagramBytes).toBe(size);
  });

  it("is tried again when nobody hears any more what became of a try", () => {
    const mtu = new PathMtu();
    walk(mtu, 616, 40);
    const now = 5_000;
    const trial = mtu.limit(now);
    mtu.onSent(trial);
    expect(mtu.limit(now)).toBeLessThan(trial);
    mtu.onForgotten(SMALL);
    expect(mtu.limit(now)).toBeLessThan(trial);
    mtu.onForgotten(trial);
    expect(mtu.limit(now)).toBe(trial);
  });

  it.each([
    ["its message is given up", (outbox: Outbox<string>) => outbox.cancel(1)],
    ["another session begins", (outbox: Outbox<string>) => outbox.attach(0, "another stream")],
  ])("hears of a datagram that nothing is known of, since %s", (_, happens) => {
    const forgotten: number[] = [];
    const size = {
      ...{ limit: () => 1_168, shrunk: () => 1_168, onSent() {}, onArrived() {}, onLost() {} },
      onForgotten: (bytes: number) => void forgotten.push(bytes),
    };
    const outbox = new Outbox<string>(
      () => {},
      (body) => body,
    );
    outbox.attach(0, "a stream");
    outbox.enqueue(Buffer.from("a text"), "tag");
    const writer = new FrameWriter(Buffer.alloc(MAX_DATAGRAM_BYTES));
    writer.reset();
    expect(outbox.fill(writer, 0, 0, size)).toBe(true);
    happens(outbox);
    expect(forgotten).toEqual([writer.length]);
  });

  it("is not blamed when small datagrams are lost as well", () => {
    const mtu = new PathMtu();
    for (let now = 0; now < 100; now++) {
      mtu.onLost(mtu.limit(now), now, now);
      mtu.onLost(SMALL, now, now);
    }
    expect(mtu.datagramBytes).toBe(MAX_DATAGRAM_BYTES);
  });

  it("is not blamed for single losses, nor for those that a large one has followed", () => {
    const mtu = new PathMtu();
    for (let now = 0; now < 100; now += 3) {
      mtu.onLost(mtu.limit(now), now, now);
      mtu.onArrived(SMALL, now + 1);
      mtu.onArrived(mtu.limit(now), now + 1);
    }
    expect(mtu.datagramBytes).toBe(MAX_DATAGRAM_BYTES);
  });

  it("is not blamed by a small one that was sent before the loss", () => {
    const mtu = new PathMtu();
    mtu.onLost(mtu.limit(10), 10, 12);
    mtu.onLost(mtu.limit(10), 11, 12);
    mtu.onArrived(SMALL, 9);
    expect(mtu.datagramBytes).toBe(MAX_DATAGRAM_BYTES);
    mtu.onArrived(SMALL, 11);
    expect(mtu.datagramBytes).toBeLessThan(MAX_DATAGRAM_BYTES);
  });

  it("falls at once when the kernel refuses a datagram", () => {
    const mtu = new PathMtu();
    mtu.onTooLarge(1137, 0);
    expect(mtu.datagramBytes).toBeLessThan(1137);
    mtu.onTooLarge(1, 0);
    expect(mtu.datagramBytes).toBe(SIZES[0]);
  });

  it("is found again when the path changes, both ways", () => {
    const mtu = new PathMtu();
    walk(mtu, 700, 40);
    expect(mtu.datagramBytes).toBe(616);
    walk(mtu, 5000, 400, 100_000, 1000);
    expect(mtu.datagramBytes).toBe(MAX_DATAGRAM_BYTES);
    walk(mtu, 500, 40, 1_000_000);
    expect(mtu.datagramBytes).toBe(480);
  });

  it("is what another session of the same way has found", () => {
    const [one, other] = [new PathMtu(), new PathMtu()];
    walk(one, 700, 40);
    other.learnFrom(one);
    expect(other.datagramBytes).toBe(one.datagramBytes);
  });
});

const fates = fc.array(
  fc.oneof(
    { arbitrary: fc.constant<Fate>([0.5]), weight: 6 },
    { arbitrary: fc.constant<Fate>([]), weight: 3 },
    { arbitrary: fc.double({ min: 0, max: 40, noNaN: true }).map((delay): Fate => [delay]), weight: 1 },
    { arbitrary: fc.constant<Fate>([0.5, 3]), weight: 1 },
  ),
  { maxLength: 200 },
);

describe("a path that swallows large datagrams", () => {
  it("takes messages of any length, once and in order, whatever else the network does", () => {
    fc.assert(
      fc.property(
        fates,
        fc.integer({ min: 208, max: 1300 }),
        fc.array(fc.oneof(fc.nat(300), fc.integer({ min: 900, max: 2500 }), fc.integer({ min: 0, max: 20_000 })), {
          minLength: 1,
          maxLength: 8,
        }),
        fc.option(fc.integer({ min: 208, max: 1300 }), { nil: undefined }),
        (network, pathBytes, lengths, later) => {
          const world = new World(network);
          world.pathBytes = pathBytes;
          world.connect();
          lengths.forEach((length, i) => {
            const [from, to] = i % 3 === 2 ? [world.b, world.a] : [world.a, world.b];
            void to;
            from.send(`${i}`.padEnd(length, "x"));
          });
          if (later !== undefined) world.later(30, () => (world.pathBytes = later));
          expect(world.run()).toBe(true);
          for (const end of [world.a, world.b]) {
            for (const number of end.enqueued.keys()) expect(end.settled.get(number)).toBe("accepted");
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it.each([208, 344, 400, 616, 1000, 1160, 1168, 1199])(
    "of %i bytes takes a message within a second, though the first one is lost, and the next ones at once",
    (pathBytes) => {
      const world = new World([]);
      world.pathBytes = pathBytes;
      world.connect();
      world.a.send("x".repeat(5000));
      world.run(1000);
      expect(world.a.settled.get(1)).toBe("accepted");
      const before = world.now;
      world.a.send("y".repeat(5000));
      world.run();
      expect(world.a.settled.get(2)).toBe("accepted");
      expect(world.now - before).toBeLessThan(1000); // of the test's clock
    },
  );

  it("takes two fragments apart that had filled one datagram", () => {
    for (let bytes = 1040; bytes <= 1200; bytes++) {
      const world = new World([]);
      world.pathBytes = 1168;
      world.connect();
      world.a.send("x".repeat(bytes));
      world.run(300);
      expect(world.a.settled.get(1)).toBe("accepted");
    }
  });
});
