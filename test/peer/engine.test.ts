// The whole peer protocol, handshakes and seals included, on a network that fast-check controls.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Identity } from "../../lib/crypto/identity.ts";
import { staticKeys } from "../../lib/crypto/noise.ts";
import { HandshakeInitiation } from "../../lib/peer/handshake-initiation.ts";
import { DatagramType, datagramType, senderIndex } from "../../lib/wire/datagram.ts";
import { CANCELLED, type Fate, PeerWorld, type Program } from "../helpers/peer-world.ts";
import { times } from "../helpers/volume.ts";

const fate: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 3, arbitrary: fc.constant([]) },
  { weight: 5, arbitrary: fc.constant([0.5]) },
  { weight: 2, arbitrary: fc.double({ min: 0, max: 80, noNaN: true }).map((ms) => [ms]) },
  { weight: 1, arbitrary: fc.array(fc.double({ min: 0, max: 2000, noNaN: true }), { minLength: 2, maxLength: 3 }) },
);
const end = fc.constantFrom<0 | 1>(0, 1);
const action = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({ kind: fc.constant("send" as const), end, bytes: fc.constantFrom(10, 10, 1200, 9000) }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 400 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("cancel" as const), end, back: fc.nat({ max: 4 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("restart" as const), end }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("roam" as const), end }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("pause" as const), ms: fc.integer({ min: 60_000, max: 2_000_000 }) }),
  },
);

function runOf(text: string): string {
  return text.split(".")[1] as string;
}

function texts(program: Program): string[] {
  return program.received.flat();
}

describe("the peer protocol", () => {
  it("delivers exactly once and in order through loss, reordering, restarts, roaming and long pauses", () => {
    fc.assert(
      fc.property(
        fc.array(fate, { maxLength: 80 }),
        fc.array(action, { minLength: 1, maxLength: 25 }),
        fc.array(fc.oneof(fc.constant(0), fc.nat({ max: 300 })), { maxLength: 20 }),
        (network, actions, delays) => {
          const world = new PeerWorld(network, delays);
          const programs = [world.program(1), world.program(2)] as const;
          let roamed = 0;
          for (const step of actions) {
            if (step.kind === "wait" || step.kind === "pause") {
              world.run(step.ms);
              continue;
            }
            const [from, to] = [programs[step.end], programs[step.end === 0 ? 1 : 0]];
            if (step.kind === "send") from.send(to, step.bytes);
            else if (step.kind === "restart") from.restart();
            else if (step.kind === "cancel") from.sent.at(-1 - step.back)?.cancel();
            else {
              // The address changes under a running program, as when a laptop moves; the directory hears of it.
              const { address } = from;
              from.address = { address: address.address, port: 2000 + roamed++ };
              to.engine.move(from.identity.publicKey, [address], [from.address], world.now);
              to.send(from, 10);
              from.send(to, 10);
            }
          }
          const done = () => programs.every(({ sent }) => sent.every(({ outcome }) => outcome !== undefined));
          expect(world.run(600_000, done)).toBe(true);
          for (const [from, to] of [programs, [programs[1], programs[0]] as const]) {
            const got = texts(to);
            for (const { text, outcome } of from.sent) {
              if (outcome === null) expect(got).toContain(text);
              if (outcome !== null && outcome !== CANCELLED) expect(outcome?.message).toBe("killed");
            }
            // Each run of the receiver has those of each run of the sender in the order of sending; none twice (Program).
            const order = new Map(from.sent.map(({ text }, i) => [text, i]));
            for (const run of to.received) {
              for (const sender of new Set(run.map(runOf))) {
                const numbers = run.filter((text) => runOf(text) === sender).map((text) => order.get(text) ?? -1);
                expect(numbers).toEqual([...numbers].sort((x, y) => x - y));
              }
            }
          }
        },
      ),
      { numRuns: times(60) },
    );
  });

  it("is silent when there is nothing to say, and forgets who is gone", () => {
    const world = new PeerWorld();
    const [a, b] = [world.program(1), world.program(2)];
    a.send(b);
    world.run(1000);
    const sent = world.datagrams;
    world.run(200_000);
    expect(world.datagrams).toBe(sent);
    expect([a.engine.stats().sessions, b.engine.stats().sessions]).toEqual([1, 1]);
    world.run(400_000);
    expect(world.datagrams).toBe(sent);
    expect([a.engine.stats().sessions, b.engine.stats().sessions]).toEqual([0, 0]);
    a.send(b);
    world.run(1000);
    expect(texts(b)).toHaveLength(2);
  });

  it("has nothing to flush once it is flushed", () => {
    const world = new PeerWorld();
    const [a, b] = [world.program(1), world.program(2)];
    for (let i = 0; i < 3; i++) {
      a.send(b);
      b.send(a);
      world.run(100);
      expect([a.engine.wantsToFlush(), b.engine.wantsToFlush()]).toEqual([false, false]);
    }
  });

  it("takes two datagrams for a message once the session stands", () => {
    const world = new PeerWorld();
    const [a, b] = [world.program(1), world.program(2)];
    a.send(b);
    world.run(100);
    expect(world.datagrams).toBe(4); // INIT, RESPONSE, message, confirmation
    a.send(b);
    world.run(100);
    expect(world.datagrams).toBe(6);
  });

  it("takes a path for what it is, however long: called once, little repeated, the window not closed", () => {
    for (const roundTrip of [61, 151, 286, 290, 488, 700]) {
      const world = new PeerWorld(new Array<Fate>(1000).fill([roundTrip / 2]));
      world.capture = true;
      const [a, b] = [world.program(1), world.program(2)];
      for (let i = 0; i < 4; i++) a.send(b, 60_000, 10_000);
      expect(world.run(10_000, () => a.sent.every(({ outcome }) => outcome === null))).toBe(true);
      expect((world.now - 1000) / roundTrip).toBeLessThan(6.1); // handshake, then 10, 20, 40, 80 and the rest
      const inits = world.captured.filter(({ datagram }) => datagramType(datagram) === DatagramType.init);
      expect(new Set(inits.map(({ datagram }) => senderIndex(datagram))).size).toBe(1);
      expect(a.engine.stats().retransmissions).toBeLessThan(10); // of 224: probes before the first answer
    }
  });

  it("a path that grows long in the middle of a message is waited for; the session that answers stays", () => {
    const world = new PeerWorld();
    const [a, b] = [world.program(1), world.program(2)];
    a.send(b);
    world.run(100);
    let dials = 0;
    world.transmit = (datagram, from, to) => {
      if (datagramType(datagram) === DatagramType.init) dials++;
      world.later(300, () => world.arrive(datagram, from.address, to));
    };
    const long = a.send(b, 60_000);
    expect(world.run(10_000, () => long.outcome === null)).toBe(true);
    world.run(1000);
    expect(dials).toBeGreaterThan(0); // it looked dead
    expect(a.engine.stats().handshakes.completed).toBe(1);
  });

  it("a peer that came late is missed as soon as any other when it is killed", () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2)];
    const { arrive } = world;
    world.arrive = () => {};
    const first = alice.send(bob);
    world.run(20_000);
    world.arrive = arrive;
    expect(world.run(2000, () => first.outcome === null)).toBe(true);
    for (let life = 0; life < 2; life++) {
      bob.restart();
      const next = alice.send(bob);
      expect(world.run(3000, () => next.outcome === null)).toBe(true);
    }
  });

  it("a peer that came late and is killed before its first answer is called again within seconds", () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2)];
    const { arrive } = world;
    world.arrive = (datagram, from, to) => {
      const late = world.now > 20_000 && datagramType(datagram) !== DatagramType.data; // the handshake, and no more
      if (late) arrive.call(world, datagram, from, to);
    };
    const sent = alice.send(bob);
    world.run(25_000, () => alice.engine.stats().sessions > 0);
    world.arrive = arrive;
    bob.restart();
    expect(world.run(5000, () => sent.outcome === null)).toBe(true);
  });

  it("calls again soon, then more seldom, and at least every second", () => {
    const world = new PeerWorld();
    const times: number[] = [];
    world.transmit = () => void times.push(world.now - 1000);
    world.program(1).send(world.program(2), 20, 10_000);
    world.run(20_000);
    const gaps = times.slice(1).map((time, i) => time - (times[i] as number));
    expect(gaps.slice(0, 3)).toEqual([20, 25, 31.25]);
    expect(gaps.slice(-5)).toEqual([1000, 1000, 1000, 1000, 1000]);
    expect(times.length).toBeLessThan(30);
  });

  it("gets the first message through 30 % loss each way within 600 ms, 99 times in 100", () => {
    const identities = [Identity.generate(), Identity.generate()] as const;
    let state = 1;
    const random = () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      return state / 0x8000_0000;
    };
    const times = Array.from({ length: 400 }, () => {
      const world = new PeerWorld(Array.from({ length: 200 }, () => (random() < 0.3 ? [] : [0.5])));
      const sent = world.program(1, identities[0]).send(world.program(2, identities[1]));
      world.run(60_000, () => sent.outcome === null);
      return world.now - 1000;
    }).sort((x, y) => x - y);
    expect(times[396]).toBeLessThan(600); // of the world's clock
  });

  it("the answer to a repeated INIT measures nothing: nobody knows which one was answered", () => {
    const identity = Identity.generate();
    const keys = staticKeys(identity);
    const { publicKey } = identity;
    const dial = new HandshakeInitiation({
      index: 1,
      keys,
      remote: keys.publicKey,
      streamId: Buffer.alloc(8),
      publicKey,
      now: 100,
    });
    dial.onSent(100);
    expect([dial.roundTripMs(130), dial.durationMs(130)]).toEqual([30, 30]);
    dial.onSent(150);
    expect([dial.roundTripMs(160), dial.durationMs(160)]).toEqual([0, 60]);
  });

  it("a message for a killed program comes before later ones, also when its successor calls before it is announced", () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2)];
    alice.send(bob);
    world.run(100);
    const old = bob.address;
    const { transmit } = world;
    world.transmit = () => {};
    const first = alice.send(bob, 21);
    world.transmit = transmit;
    bob.restart();
    bob.address = { address: old.address, port: 7777 };
    bob.send(alice);
    world.run(30);
    alice.engine.move(bob.identity.publicKey, [old], [bob.address], world.now);
    const second = alice.send(bob, 22);
    world.run(1000);
    expect([first.outcome, second.outcome]).toEqual([null, null]);
    expect(bob.received[1]).toEqual([first.text, second.text]);
  });

  it("a stream whose numbers are used up is followed by another one, in order", () => {
    const world = new PeerWorld(new Array<Fate>(50).fill([0.5]));
    const alice = world.program(1, undefined, { streamMessages: 5 });
    const bob = world.program(2);
    for (let i = 0; i < 12; i++) {
      alice.send(bob);
      bob.send(alice);
      world.run(20);
    }
    expect(alice.engine.stats().handshakes.completed).toBeGreaterThanOrEqual(3);
    for (let i = 0; i < 8; i++) alice.send(bob); // 2 are numbered already
    expect(() => alice.send(bob)).toThrow(/number/);
    alice.sent.pop();
    world.run(100);
    alice.send(bob);
    world.run(100);
    expect(texts(bob)).toEqual(alice.sent.map(({ text }) => text));
    expect(texts(alice)).toEqual(bob.sent.map(({ text }) => text));
    expect([...alice.sent, ...bob.sent].every(({ outcome }) => outcome === null)).toBe(true);
  });

  it("gets fresh keys when a session is old, without losing a message", () => {
    const world = new PeerWorld();
    const [a, b] = [world.program(1), world.program(2)];
    for (let minute = 0; minute < 60; minute++) {
      a.send(b);
      b.send(a);
      world.run(60_000);
    }
    expect([texts(a).length, texts(b).length]).toEqual([60, 60]);
    expect(a.engine.stats().handshakes.completed).toBeGreaterThanOrEqual(4);
    expect(a.engine.stats().handshakes.completed).toBeLessThan(20);
  });

  it("a replay of every datagram, to both, from elsewhere, changes nothing", () => {
    const world = new PeerWorld();
    world.capture = true;
    const [a, b] = [world.program(1), world.program(2)];
    for (let i = 0; i < 20; i++) {
      a.send(b, i * 300);
      b.send(a);
      world.run(10);
    }
    world.run(1000);
    const before = [texts(a).length, texts(b).length];
    const all = [...world.captured];
    const sessions = [a.engine.stats().sessions, b.engine.stats().sessions];
    for (const { datagram } of all) {
      for (const program of [a, b]) world.arrive(datagram, { address: "10.9.9.9", port: 9 }, program.address);
    }
    world.run(5000);
    expect([texts(a).length, texts(b).length]).toEqual(before);
    expect([a.engine.stats().sessions, b.engine.stats().sessions]).toEqual(sessions);
    // And nobody answers the replayer instead of the peer.
    a.send(b);
    world.run(1000);
    expect(texts(b)).toHaveLength((before[1] ?? 0) + 1);
    expect(a.engine.stats().dropped).toMatchObject({ replayed: expect.any(Number) });
  });
});
