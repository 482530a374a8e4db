// What strangers and broken peers can do: have their datagrams dropped and counted. PTALK_HOSTILE_DATAGRAMS sets how many.
import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { macKey, writeMac } from "../../lib/crypto/handshake-mac.ts";
import { Identity } from "../../lib/crypto/identity.ts";
import { Initiator, staticKeys } from "../../lib/crypto/noise.ts";
import { seal } from "../../lib/crypto/seal.ts";
import { BURST_SECONDS, CHEAP_REPLIES, DEFAULT_LIMITS } from "../../lib/peer/limits.ts";
import { Path } from "../../lib/peer/path.ts";
import {
  DatagramType,
  datagramType,
  encodeCookieReply,
  encodeInit,
  initMac,
  initMacInput,
  MAX_EXTENSION_BYTES,
  PROTOCOL_VERSION,
  senderIndex,
  writeDataHead,
} from "../../lib/wire/datagram.ts";
import { FrameWriter, MAX_REFUSED } from "../../lib/wire/datagram-frames.ts";
import { PeerWorld } from "../helpers/peer-world.ts";
import { fragment, initTo, PING, rawSession } from "../helpers/stranger.ts";

const COUNT = Number(process.env["PTALK_HOSTILE_DATAGRAMS"] ?? 100_000);

function sum(dropped: Readonly<Record<string, number>>): number {
  return Object.values(dropped).reduce((total, count) => total + count, 0);
}

// Mulberry32: the same hostile datagrams each time.
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

describe("hostile datagrams", () => {
  it(`${COUNT} of them, random, mutated, truncated, padded and forged, are dropped and counted, and change nothing`, () => {
    const world = new PeerWorld();
    world.capture = true;
    const [a, b] = [world.program(1), world.program(2)];
    for (let i = 0; i < 10; i++) {
      a.send(b, i * 500);
      b.send(a, i * 200);
      world.run(20);
    }
    world.run(1000);
    const honest = [...world.captured];
    world.capture = false;
    const random = seeded(7);
    const before = b.engine.stats().datagramsReceived - sum(b.engine.stats().dropped);
    const received = b.received.flat().length;
    const sessions = [b.engine.stats().sessions, b.engine.stats().halfOpen];
    for (let i = 0; i < COUNT; i++) {
      const template = honest[random(honest.length)]?.datagram as Buffer;
      let datagram: Buffer;
      switch (random(5)) {
        case 0:
          datagram = randomBytes(random(1400));
          datagram[0] = random(6);
          break;
        case 1: // the head of a true one over noise
          datagram = Buffer.concat([template.subarray(0, 16), randomBytes(random(1300))]);
          break;
        case 2:
          datagram = Buffer.from(template.subarray(0, random(template.length)));
          break;
        case 3:
          datagram = Buffer.concat([template, Buffer.alloc(1 + random(100))]);
          break;
        default:
          datagram = Buffer.from(template);
          for (let flips = 1 + random(4); flips > 0; flips--) {
            const at = random(datagram.length);
            datagram[at] = (datagram[at] as number) ^ (1 << random(8));
          }
      }
      world.now += 0.01;
      b.engine.receive(datagram, `192.0.2.${random(200)}`, 1 + random(60_000), world.now);
    }
    b.engine.flush(world.now);
    // Two flips may undo each other: then it is a replay, or a repeated INIT that gets its old answer.
    const taken = b.engine.stats().datagramsReceived - sum(b.engine.stats().dropped) - before;
    expect(taken).toBeLessThan(COUNT / 1000);
    expect(b.received.flat()).toHaveLength(received);
    expect([b.engine.stats().sessions, b.engine.stats().halfOpen]).toEqual(sessions);
    world.run(1000);
    a.send(b);
    b.send(a);
    world.run(1000);
    expect([...a.sent, ...b.sent].every(({ outcome }) => outcome === null)).toBe(true);
  });

  it("an authentic peer that breaks the protocol loses its session, and nobody else notices", () => {
    const world = new PeerWorld();
    const [bob, friend] = [world.program(2), world.program(3)];
    friend.send(bob);
    world.run(100);
    const random = seeded(11);
    const count = (reason: string) => bob.engine.stats().dropped[reason] ?? 0;
    let refused = 0;
    for (let i = 0; i < 300; i++) {
      const { send } = rawSession(world, bob);
      const before = count("broken-peer");
      for (let n = 0; n < 5; n++) {
        const frames = randomBytes(1 + random(80));
        frames[0] = 1 + random(7);
        if (random(2) && frames.length > 4) frames.fill(0, 1, 4); // small numbers: more of them make sense
        send(frames, n);
      }
      refused += count("broken-peer") - before;
      world.run(200);
    }
    expect(refused).toBeGreaterThan(150);
    expect(bob.engine.stats().sessions).toBeLessThan(300);
    friend.send(bob);
    bob.send(friend);
    world.run(1000);
    expect([...friend.sent, ...bob.sent].map(({ outcome }) => outcome)).toEqual([null, null, null]);
    expect(bob.received.flat()).toHaveLength(2);
  });

  it("a counter beyond every session's end is not believed: the session lives on", () => {
    const world = new PeerWorld();
    const bob = world.program(2);
    const { send } = rawSession(world, bob);
    send(PING, 0);
    expect(bob.engine.stats().sessions).toBe(1);
    send(PING, 2 ** 32);
    send(PING, 2 ** 52);
    expect(bob.engine.stats().sessions).toBe(1);
    expect(bob.engine.stats().dropped).toEqual({ forged: 2 });
    send(PING, 2 ** 32 - 1);
    send(PING, 2 ** 32 - 2);
    expect(bob.engine.stats().dropped).toEqual({ forged: 2 });
  });

  it("a message that is no message is refused with the reason, not handed over", () => {
    const world = new PeerWorld();
    const bob = world.program(2);
    const { send } = rawSession(world, bob);
    const writer = new FrameWriter(Buffer.alloc(1200));
    const malformed = ["", "01", "0100", "010000", "0100000161ff", "010000016101ffff", "01000001610161ff"];
    malformed.push("010000016101c3a9", "010000006100", "01000001ff00", "0101");
    const notUnderstood = ["00016100", "02000001610161", "ff", "0107", "01ff0001610161"];
    const bodies = [...malformed, ...notUnderstood];
    bodies.forEach((body, i) => void writer.fragment(i + 1, Buffer.from(body, "hex"), 0));
    send(writer.buffer.subarray(0, writer.length), 0);
    expect(bob.engine.stats().refused).toEqual({
      malformed: malformed.length,
      "not-understood": notUnderstood.length,
    });
    expect(bob.engine.stats().dropped).toEqual({});
    expect(bob.received.flat()).toEqual([]);
  });
});

const INDEX_OFFSET = 4; // in an INIT

const victim = { address: "203.0.113.5", port: 53 };

describe("an address that no handshake has proved", () => {
  it("gets answers of three times what came from there, at most", () => {
    const world = new PeerWorld();
    const bob = world.program(2);
    const { send } = rawSession(world, bob);
    for (let number = 1; number <= MAX_REFUSED; number++) send(fragment(number, Buffer.from([255])));
    let [sent, answered] = [0, 0];
    world.transmit = (datagram, _from, to) => {
      if (to.address === victim.address) answered += datagram.length;
    };
    for (let counter = 64; counter < 6400; counter += 64) {
      send(PING, counter, victim); // every ACK and SETTLED as long as they get
      sent += 16 + PING.length + 16;
    }
    expect(answered / sent).toBeGreaterThan(1); // it is answered
    expect(answered / sent).toBeLessThanOrEqual(3);
    answered = 0;
    send(PING, 6400, { ...victim, port: 54 }); // a new one begins from nothing
    expect(answered).toBeLessThanOrEqual(3 * (16 + PING.length + 16));
  });

  it("gets three times the INIT at most, the RESPONSE included, when its sender repeats it from elsewhere", () => {
    const world = new PeerWorld();
    const bob = world.program(2);
    const other = { address: "192.0.2.77", port: 7 };
    const dial = initTo(bob);
    let response: Buffer | undefined;
    let got = 0;
    world.transmit = (datagram, _from, to) => {
      if (datagramType(datagram) === DatagramType.response) response = datagram;
      if (to.address === victim.address) got += datagram.length;
    };
    for (const from of [victim, other]) bob.engine.receive(dial.datagram, from.address, from.port, world.now);
    const finished = dial.finish(response as Buffer);
    if (!finished) throw new Error("no answer to the handshake");
    for (let counter = 0; counter < 100; counter++) {
      const datagram = Buffer.alloc(16 + PING.length + 16);
      writeDataHead(datagram, senderIndex(response as Buffer), counter);
      seal(finished.keys.send, counter, PING, datagram.subarray(16));
      bob.engine.receive(datagram, other.address, other.port, world.now);
      bob.engine.flush(world.now);
    }
    expect(got).toBeGreaterThan(dial.datagram.length); // it is answered
    expect(got).toBeLessThanOrEqual(3 * dial.datagram.length);
  });

  it("does not keep a peer who moves from being heard, nor from hearing", () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2)];
    alice.send(bob);
    world.run(100);
    alice.address = { address: "10.0.9.9", port: 4242 }; // nobody tells bob
    const sent = [alice.send(bob, 60_000), alice.send(bob)];
    world.run(100);
    expect(sent.map(({ outcome }) => outcome)).toEqual([null, null]);
    expect(alice.engine.stats().handshakes.completed).toBe(1);
    expect(bob.engine.stats().pathChanges).toBe(1);
  });
});

describe("a challenge", () => {
  it("is bound to the address that it went to, good once, and for three seconds", () => {
    const path = new Path({ address: "192.0.2.1", port: 1 }, false, 0);
    path.onHeard(100, 0);
    path.challenge(0);
    const token = Buffer.from(path.takeChallenge(0) as Buffer);
    const other = new Path({ address: "192.0.2.2", port: 1 }, false, 0);
    other.onHeard(100, 0);
    other.challenge(0);
    expect(other.onAnswer(token, 1)).toBe(false);
    expect([path.onAnswer(Buffer.alloc(8), 1), path.onAnswer(token, 3_001), path.isProven]).toEqual([
      false,
      false,
      false,
    ]);
    expect([path.onAnswer(token, 3_000), path.isProven]).toEqual([true, true]);
    expect(path.onAnswer(token, 3_000)).toBe(false);
  });

  it("is asked again no sooner than after 100 ms, and is another one after three seconds", () => {
    const path = new Path({ address: "192.0.2.1", port: 1 }, false, 0);
    path.challenge(0);
    const first = path.takeChallenge(0) as Buffer;
    path.challenge(99);
    expect(path.takeChallenge(99)).toBeNull();
    path.challenge(100);
    expect(path.takeChallenge(100)).toEqual(first);
    path.challenge(3_001);
    expect(path.takeChallenge(3_001)).not.toEqual(first);
  });

  it("that is not answered leaves the conversation where it was: no message goes to an address that was only written down", () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2)];
    alice.send(bob);
    bob.send(alice);
    world.run(100);
    // Alice says that she is at the victim's address. What bob writes goes to where she has shown to be.
    const honest = world.transmit.bind(world);
    let toVictim = 0;
    let fromVictim = 0;
    world.transmit = (datagram, from, to) => {
      if (to.address === victim.address) toVictim += datagram.length;
      else if (from === bob) honest(datagram, from, to);
      else {
        fromVictim += datagram.length;
        world.later(1, () => world.arrive(datagram, victim, to));
      }
    };
    alice.send(bob);
    world.run(50);
    const sent = bob.send(alice, 60_000);
    world.run(300);
    expect(toVictim).toBeLessThanOrEqual(3 * fromVictim);
    world.transmit = honest;
    world.run(2_000);
    expect(sent.outcome).toBeNull();
  });
});

describe("a flood of handshakes", () => {
  const mallory = Identity.generate();
  const limits = { handshakesPerAddress: 5, handshakesWithoutCookie: 50, handshakesWithCookie: 100, halfOpen: 16 };

  it("from one address costs it its own share only", () => {
    const world = new PeerWorld();
    const bob = world.program(2, undefined, limits);
    let answers = 0;
    world.transmit = () => void answers++;
    for (let i = 0; i < 60; i++) bob.engine.receive(initTo(bob).datagram, "192.0.2.1", 1000 + i, world.now);
    // Two seconds' worth at once; the others are asked to prove the address, which somebody else may have written there.
    expect(bob.engine.stats().dropped).toEqual({ "cookie-asked": 50 });
    expect([answers, bob.engine.stats().halfOpen]).toEqual([60, 10]);
    bob.engine.receive(initTo(bob).datagram, "192.0.2.2", 1000, world.now);
    expect(bob.engine.stats().halfOpen).toBe(11);
  });

  it("from the endpoints of one IPv6 /64 counts as one", () => {
    const world = new PeerWorld();
    const bob = world.program(2, undefined, limits);
    world.transmit = () => {};
    for (let i = 0; i < 60; i++)
      bob.engine.receive(initTo(bob).datagram, `2001:db8:0:1::${i.toString(16)}`, 1, world.now);
    expect(bob.engine.stats().halfOpen).toBe(10);
  });

  it("from forged endpoints: bounded work and memory, cookies for the rest, and an honest caller gets through", () => {
    const world = new PeerWorld();
    const [alice, carol] = [world.program(1), world.program(3)];
    const bob = world.program(2, undefined, limits);
    alice.send(bob);
    world.run(100);
    const flood = Array.from({ length: 400 }, () => initTo(bob).datagram);
    const handshakes = () => bob.engine.stats().datagramsSent;
    const sentBefore = handshakes();
    const honest = carol.send(bob);
    for (let round = 0; round < 200; round++) {
      for (let i = 0; i < 20; i++) {
        const datagram = Buffer.from(flood[(round * 20 + i) % flood.length] as Buffer);
        bob.engine.receive(datagram, `198.51.${round}.${i}`, 1, world.now);
      }
      bob.engine.flush(world.now);
      if (round === 50) alice.send(bob); // an old session is not concerned
      world.run(5);
    }
    expect(bob.engine.stats().halfOpen).toBeLessThanOrEqual(limits.halfOpen);
    expect(bob.engine.stats().dropped["cookie-asked"]).toBeGreaterThan(1000);
    expect(handshakes() - sentBefore).toBeLessThanOrEqual(4100); // never more answers than questions
    expect(alice.sent.map(({ outcome }) => outcome)).toEqual([null, null]);
    expect(honest.outcome).toBe(null);
  });

  it.each([100, 190])("of %i a second with the callers' own address forged starves none of them", (rate) => {
    const world = new PeerWorld();
    const bob = world.program(2);
    const forged = Array.from({ length: 600 }, () => initTo(bob).datagram);
    let count = 0;
    const flood = () => {
      bob.engine.receive(Buffer.from(forged[count++ % forged.length] as Buffer), "10.0.0.1", 5555, world.now);
      world.later(1000 / rate, flood);
    };
    flood();
    world.run(5000);
    const sent = Array.from({ length: 5 }, (_, i) => {
      const caller = world.program(1);
      caller.address = { address: "10.0.0.1", port: 3000 + i };
      return caller.send(bob, 20, 10_000);
    });
    world.run(5000);
    expect(sent.map(({ outcome }) => outcome)).toEqual([null, null, null, null, null]);
  });

  it("at the greatest rate does not push a caller with a long round trip out", () => {
    const world = new PeerWorld();
    const { handshakesWithoutCookie, handshakesWithCookie, halfOpen } = DEFAULT_LIMITS;
    const scale = 8; // a flood costs time
    const rate = (handshakesWithoutCookie + handshakesWithCookie) / scale;
    const unlimited = { handshakesWithoutCookie: 1e9, handshakesPerAddress: 1e9, halfOpen: halfOpen / scale };
    const [alice, bob] = [world.program(1), world.program(2, undefined, unlimited)];
    const arrive = world.arrive.bind(world);
    world.arrive = (datagram, from, to) => world.later(350, () => arrive(datagram, from, to));
    let floods = true;
    const flood = () => {
      bob.engine.receive(initTo(bob, mallory).datagram, "203.0.113.1", 1, world.now);
      if (floods) world.later(1000 / rate, flood);
    };
    flood();
    world.run(1000); // all places are taken
    const sent = alice.send(bob);
    world.run(2000, () => sent.outcome === null);
    floods = false;
    expect([sent.outcome, alice.engine.stats().handshakes.completed]).toEqual([null, 1]);
  });

  it("an INIT that was heard before is answered again, within the rate of cheap answers", () => {
    const world = new PeerWorld();
    const bob = world.program(2);
    let answers = 0;
    world.transmit = () => void answers++;
    const { datagram } = initTo(bob);
    for (let i = 0; i < 20_000; i++) bob.engine.receive(datagram, `198.51.${i >> 8}.${i & 255}`, 9, world.now);
    expect([answers, bob.engine.stats().halfOpen]).toEqual([1 + CHEAP_REPLIES * BURST_SECONDS, 1]);
    world.run(1000);
    bob.engine.receive(datagram, "198.51.100.1", 9, world.now);
    expect(answers).toBe(2 + CHEAP_REPLIES * BURST_SECONDS);
  });

  it("an INIT that somebody copies under another index does not take the caller's answer away", () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2)];
    const transmit = world.transmit.bind(world);
    world.transmit = (datagram, from, to) => {
      if (datagramType(datagram) === DatagramType.init) {
        const copy = Buffer.from(datagram);
        copy.writeUInt32BE((senderIndex(datagram) ^ 1) >>> 0, INDEX_OFFSET);
        writeMac(macKey(staticKeys(bob.identity).publicKey), initMacInput(copy), initMac(copy));
        world.arrive(copy, { address: "192.0.2.66", port: 66 }, bob.address); // it is there first
      }
      transmit(datagram, from, to);
    };
    const sent = alice.send(bob, 20, 10_000);
    world.run(10_000);
    expect(sent.outcome).toBe(null);
  });

  it("an INIT of another version is dropped and counted as such", () => {
    const world = new PeerWorld();
    const bob = world.program(2);
    const { datagram } = initTo(bob);
    for (const version of [0, 1, PROTOCOL_VERSION + 1, 255]) {
      for (const length of [datagram.length - 7, datagram.length, datagram.length + 9]) {
        const other = Buffer.alloc(length, 3);
        datagram.copy(other);
        other[1] = version;
        bob.engine.receive(other, "192.0.2.1", 9, world.now);
      }
    }
    expect(bob.engine.stats()).toMatchObject({ dropped: { "other-version": 12 }, datagramsSent: 0 });
    expect(bob.engine.stats().halfOpen).toBe(0);
  });

  it("an INIT with features and an extension that this version does not know is answered as any other", () => {
    const world = new PeerWorld();
    const bob = world.program(2);
    const identity = Identity.generate();
    const remote = staticKeys(bob.identity).publicKey;
    const payload = Buffer.concat([
      Buffer.from([PROTOCOL_VERSION, 0xff, 0xff, 0xff]),
      randomBytes(8),
      identity.publicKey,
      randomBytes(MAX_EXTENSION_BYTES),
    ]);
    const call = (bytes: Buffer) => {
      const init = encodeInit(77, new Initiator(staticKeys(identity), remote, bytes).message);
      writeMac(macKey(remote), initMacInput(init), initMac(init));
      bob.engine.receive(init, "192.0.2.1", 9, world.now);
      return init;
    };
    const answers: Buffer[] = [];
    world.transmit = (datagram) => void answers.push(datagram);
    const init = call(payload);
    expect([bob.engine.stats().halfOpen, answers.length]).toEqual([1, 1]);
    expect(answers[0]?.length).toBeLessThanOrEqual(init.length);
    call(payload.fill(PROTOCOL_VERSION + 1, 0, 1));
    expect(bob.engine.stats().dropped).toEqual({ "bad-handshake": 1 });
    expect(bob.engine.stats().halfOpen).toBe(1);
  });

  it("from port 0 is no handshake: nobody can be answered there", () => {
    const world = new PeerWorld();
    const bob = world.program(2);
    bob.engine.receive(initTo(bob).datagram, "192.0.2.1", 0, world.now);
    expect(bob.engine.stats()).toMatchObject({ dropped: { malformed: 1 }, datagramsSent: 0 });
  });

  it("a forged COOKIE or RESPONSE does not stop a caller", () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2)];
    const sent = alice.send(bob);
    const forged = randomBytes(24);
    forged.writeUInt32BE((DatagramType.cookie << 24) | (PROTOCOL_VERSION << 16), 0);
    for (let i = 0; i < 1000; i++) world.arrive(forged, bob.address, alice.address);
    world.run(1000);
    expect(sent.outcome).toBe(null);
    expect(alice.engine.stats().dropped).toEqual({ "unknown-session": 1000 });
  });

  it("forged COOKIEs do not make a caller flood the endpoints that it calls", () => {
    const world = new PeerWorld();
    world.capture = true;
    const [alice, bob] = [world.program(1), world.program(2)];
    world.arrive = () => {}; // nobody answers
    alice.send(bob);
    const index = senderIndex(world.captured[0]?.datagram as Buffer);
    for (let i = 0; i < 1000; i++) {
      alice.engine.receive(encodeCookieReply(index, randomBytes(16)), "192.0.2.1", 1, world.now);
      world.run(1);
    }
    const quiet = new PeerWorld();
    quiet.arrive = () => {};
    quiet.program(1).send(quiet.program(2));
    quiet.run(1000);
    expect(world.datagrams).toBeLessThanOrEqual(2 * quiet.datagrams);
  });

  it("sessions are bounded: the longest idle one makes room, one in use does not", () => {
    const world = new PeerWorld();
    const bob = world.program(2, undefined, { sessions: 8 });
    const friend = world.program(1);
    friend.send(bob);
    world.run(50);
    for (let i = 0; i < 30; i++) {
      const other = world.program(10 + i);
      other.send(bob);
      friend.send(bob);
      world.run(50);
    }
    expect(bob.engine.stats().sessions).toBeLessThanOrEqual(8);
    expect(friend.sent.every(({ outcome }) => outcome === null)).toBe(true);
    expect(bob.received.flat()).toHaveLength(61);
  });

  it("bytes kept for incomplete messages are bounded over all peers", () => {
    const world = new PeerWorld([], new Array<number>(100).fill(1e9));
    const bob = world.program(2, undefined, { reassemblyBytes: 200_000 });
    const senders = Array.from({ length: 10 }, (_, i) => world.program(10 + i));
    // Their first message is never accepted: what follows is kept.
    for (const sender of senders) for (let i = 0; i < 4; i++) sender.send(bob, 60_000, 5000);
    world.run(10_000);
    expect(bob.engine.stats().dropped["reassembly-full"]).toBeGreaterThan(0);
    const outcomes = senders.flatMap(({ sent }) => sent.map(({ outcome }) => outcome?.code ?? outcome));
    // The output of a sender's first message has begun and goes on; nothing of the others was shown.
    for (const [i, outcome] of outcomes.entries()) {
      expect(i % 4 === 0 ? ["not-delivered", "unconfirmed"] : ["not-delivered"]).toContain(outcome);
    }
  });
});
