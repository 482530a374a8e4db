// Which way a conversation goes: directly where that is possible, over the relay where it is not.
import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { type Endpoint, relayEndpoint } from "../../lib/base/endpoint.ts";
import { DIRECT_REST, MAX_DIRECT_REST, RELAY_AFTER } from "../../lib/peer/limits.ts";
import { COOKIE_BYTES, encodeCookieReply, senderIndex } from "../../lib/wire/datagram.ts";
import { PeerWorld, type Program } from "../helpers/peer-world.ts";

function pair(): { world: PeerWorld; alice: Program; bob: Program } {
  const world = new PeerWorld();
  const [alice, bob] = [world.program(1), world.program(2)];
  alice.place = "alice";
  bob.place = "bob";
  return { world, alice, bob };
}

const via = (program: Program): unknown[] => program.engine.stats().peers.map((peer) => peer.via);

describe("a conversation", () => {
  it("never touches the relay where a direct path answers", () => {
    const { world, alice, bob } = pair();
    world.hasRelay = false;
    let relayed = 0;
    const { transmit } = world;
    world.transmit = (datagram, from, to) => {
      if (to.port === 0) relayed++;
      transmit.call(world, datagram, from, to);
    };
    const sent = [alice.send(bob), bob.send(alice, 60_000)];
    world.run(1_000);
    expect(sent.map(({ outcome }) => outcome)).toEqual([null, null]);
    expect([relayed, via(alice), via(bob)]).toEqual([0, ["direct"], ["direct"]]);
    expect(alice.paths).toEqual([]);
  });

  it("goes over the relay when no direct path has answered within 100 ms, both ways", () => {
    const { world, alice, bob } = pair();
    world.isBlocked = () => true;
    const start = world.now;
    const sent = alice.send(bob);
    expect(world.run(5_000, () => sent.outcome !== undefined)).toBe(true);
    expect(sent.outcome).toBeNull();
    expect(world.now - start).toBeGreaterThanOrEqual(RELAY_AFTER);
    const answer = bob.send(alice, 60_000);
    world.run(1_000);
    expect(answer.outcome).toBeNull();
    expect([via(alice), via(bob)]).toEqual([["relay"], ["relay"]]);
    expect(alice.engine.stats().handshakes.begun).toBe(1);
    expect(bob.engine.stats().handshakes.begun).toBe(0);
  });

  it("goes over the relay at once to a program that has no address", () => {
    const { world, alice, bob } = pair();
    Object.defineProperty(bob, "reachedAt", { value: [{ address: "bob", port: 0 }] });
    const start = world.now;
    const sent = alice.send(bob);
    world.run(RELAY_AFTER / 2, () => sent.outcome !== undefined);
    expect([sent.outcome, world.now - start < RELAY_AFTER]).toEqual([null, true]);
  });

  it("is direct again within seconds after a direct path opens, and loses nothing", () => {
    const { world, alice, bob } = pair();
    world.isBlocked = () => true;
    alice.send(bob);
    world.run(500);
    world.isBlocked = () => false;
    const sent = [alice.send(bob, 60_000), alice.send(bob), bob.send(alice)];
    expect(world.run(3_000, () => via(alice)[0] === "direct" && via(bob)[0] === "direct")).toBe(true);
    world.run(1_000);
    sent.push(bob.send(alice, 60_000));
    world.run(1_000);
    expect(sent.map(({ outcome }) => outcome)).toEqual([null, null, null, null]);
    expect(alice.paths).toEqual(["relay", "direct"]);
    expect(alice.engine.stats().handshakes.begun).toBe(1); // the same session
  });

  it("goes back to the relay within eight seconds when the direct path closes, from either side", () => {
    const { world, alice, bob } = pair();
    for (const [speaker, listener] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      world.isBlocked = () => false;
      speaker.send(listener);
      world.run(30_000, () => via(alice)[0] === "direct" && via(bob)[0] === "direct");
      world.isBlocked = () => true;
      const sent = [speaker.send(listener), listener.send(speaker)];
      expect(world.run(8_000, () => sent.every(({ outcome }) => outcome !== undefined))).toBe(true);
      expect(sent.map(({ outcome }) => outcome)).toEqual([null, null]);
    }
  });

  it("does not stay on a path that works one way only", () => {
    for (const blocked of ["alice", "bob"]) {
      const { world, alice, bob } = pair();
      world.isBlocked = (from) => from.place === blocked;
      const sent = [alice.send(bob), bob.send(alice)];
      for (let i = 0; i < 20; i++) {
        world.run(1_000);
        sent.push(alice.send(bob), bob.send(alice));
      }
      world.run(3_000);
      expect(sent.filter(({ outcome }) => outcome !== null)).toEqual([]);
      expect([via(alice), via(bob)]).toEqual([["relay"], ["relay"]]);
    }
  });

  it("tries a direct path that stays closed ever more seldom, and not at all while nobody talks", () => {
    const { world, alice, bob } = pair();
    world.isBlocked = () => true;
    const probes: number[] = [];
    const { transmit } = world;
    world.transmit = (datagram, from, to) => {
      if (from === alice && to.port !== 0 && datagram[0] === 4) probes.push(world.now);
      transmit.call(world, datagram, from, to);
    };
    for (let s = 0; s < 3_600; s += 20) {
      alice.send(bob);
      world.run(20_000);
    }
    const pauses = probes.slice(1).map((at, i) => at - (probes[i] as number));
    expect(pauses[0]).toBeLessThan(2_000);
    expect(pauses[1]).toBeGreaterThanOrEqual(DIRECT_REST);
    expect(Math.max(...pauses)).toBeLessThan(MAX_DIRECT_REST + 21_000);
    expect(probes.length).toBeLessThan(25);
    world.run(120_000);
    const before = probes.length;
    world.run(3_600_000);
    expect(probes.length).toBe(before);
  });
});

describe("a program that the directory has elsewhere than it calls from", () => {
  it("is answered on its session at once, wherever that leads", () => {
    const { world, alice, bob } = pair();
    alice.place = bob.place = "";
    // Behind a NAT: bob's datagrams come from 10.0.0.2:1002, the directory has his own address and port.
    bob.homes = [{ address: "192.168.1.5", port: 4000 }];
    const called = bob.send(alice);
    world.run(100);
    const sent = alice.send(bob);
    world.run(100);
    expect([called.outcome, sent.outcome]).toEqual([null, null]);
    expect(alice.engine.stats().handshakes.begun).toBe(0);
  });

  it("is not mistaken for another program of the same user", () => {
    const { world, alice, bob } = pair();
    const other = world.program(3, bob.identity);
    alice.place = bob.place = other.place = "";
    bob.homes = [{ address: "192.168.1.5", port: 4000 }];
    other.homes = [other.address];
    bob.send(alice);
    world.run(100);
    const sent = alice.send(other);
    world.run(100);
    expect(sent.outcome).toBeNull();
    expect([bob.received.flat().length, other.received.flat()]).toEqual([0, [sent.text]]);
  });
});

describe("two who call each other at once", () => {
  it("keep one session, the same one, and what is under way in the other moves over", () => {
    const { world, alice, bob } = pair();
    const sent = [alice.send(bob, 20_000), bob.send(alice, 20_000), alice.send(bob), bob.send(alice)];
    world.run(1_000);
    expect(sent.map(({ outcome }) => outcome)).toEqual([null, null, null, null]);
    // Everything that is said from now on goes through one pair of keys: one index each way.
    world.capture = true;
    for (let i = 0; i < 3; i++) {
      sent.push(alice.send(bob), bob.send(alice));
      world.run(100);
    }
    const indexes = new Set(world.captured.map(({ datagram, to }) => `${to.port} ${datagram.readUInt32BE(4)}`));
    expect(indexes.size).toBe(2);
    expect(sent.every(({ outcome }) => outcome === null)).toBe(true);
  });
});

describe("a program behind a NAT or a stateful firewall", () => {
  /** Lets in what comes from where it has sent to. */
  function filtered(world: PeerWorld, ...programs: Program[]): void {
    const opened = new Set<string>();
    world.isBlocked = (from, to) => {
      opened.add(`${from.address.port} ${to.port}`);
      const receiver = programs.find(({ address }) => address.port === to.port);
      return receiver !== undefined && !opened.has(`${to.port} ${from.address.port}`);
    };
  }

  it.each(["bob", "both"])("is called directly when it is told of the call: %s", (which) => {
    const { world, alice, bob } = pair();
    filtered(world, ...(which === "both" ? [alice, bob] : [bob]));
    bob.homes = [bob.address];
    alice.onUnanswered = () => {
      const caller = { key: alice.identity.publicKey, endpoints: [alice.address] };
      world.later(2, () => bob.engine.invite(caller, [alice.address], world.now));
    };
    const sent = alice.send(bob);
    expect(world.run(RELAY_AFTER, () => sent.outcome !== undefined)).toBe(true);
    expect([sent.outcome, via(alice)]).toEqual([null, ["direct"]]);
    const answer = bob.send(alice);
    world.run(200);
    expect([answer.outcome, bob.received.flat(), via(bob)]).toEqual([null, [sent.text], ["direct"]]);
  });

  it("sends three INITs to where it is told, and no more; the one who told it so gains nothing", () => {
    const { world, alice, bob } = pair();
    const victim = { address: "203.0.113.9", port: 53 };
    world.capture = true;
    bob.engine.invite({ key: alice.identity.publicKey, endpoints: [victim] }, [victim], world.now);
    world.run(60_000);
    expect(world.captured.map(({ to }) => to)).toEqual([victim, victim, victim]);
    expect(bob.engine.stats().peers).toEqual([]);
  });

  it("sends three INITs and no more, whatever COOKIEs come", () => {
    const { world, alice, bob } = pair();
    const victim = { address: "203.0.113.9", port: 53 };
    world.capture = true;
    bob.engine.invite({ key: alice.identity.publicKey, endpoints: [victim] }, [victim], world.now);
    const index = senderIndex(world.captured[0]?.datagram as Buffer);
    for (let i = 0; i < 200; i++) {
      bob.engine.receive(encodeCookieReply(index, randomBytes(COOKIE_BYTES)), "192.0.2.1", 1, world.now);
      world.run(1);
    }
    world.run(60_000);
    expect(world.captured.map(({ to }) => to)).toEqual([victim, victim, victim]);
  });

  it("sends three INITs to each place that it is told one after the other, and its own message at once", () => {
    const { world, alice, bob } = pair();
    const [first, second] = [9, 10].map((n) => ({ address: `203.0.113.${n}`, port: 53 })) as [Endpoint, Endpoint];
    const caller = { key: alice.identity.publicKey, endpoints: [first] };
    world.capture = true;
    bob.engine.invite(caller, [first], world.now);
    world.run(200);
    bob.engine.invite(caller, [second], world.now);
    world.run(200);
    expect(world.captured.map(({ to }) => to)).toEqual([first, first, first, second, second, second]);
    bob.engine.invite(caller, [{ address: "203.0.113.11", port: 53 }], world.now);
    const sent = bob.send(alice);
    expect(world.run(50, () => sent.outcome === null)).toBe(true);
  });

  it("has its own message sent at once, though it was told of a call", () => {
    const { world, alice, bob } = pair();
    bob.engine.invite(
      { key: alice.identity.publicKey, endpoints: [alice.address] },
      [{ address: "203.0.113.9", port: 53 }],
      world.now,
    );
    world.run(100);
    const sent = bob.send(alice);
    expect(world.run(50, () => sent.outcome === null)).toBe(true);
  });
});

describe("a message that nobody answers", () => {
  it.each([
    ["has not answered", () => {}, "over the relay: no answer"],
    [
      "has nobody of that name",
      (from: Program) => {
        const { address, port } = relayEndpoint("bob");
        from.engine.onUnreachable({ address, port }, "not-here");
      },
      "over the relay: the server says that it is not there",
    ],
  ] as const)("says that the relay %s", (_, happens, words) => {
    const { world, alice, bob } = pair();
    bob.isSuspended = true;
    const sent = alice.send(bob, 20, 1_000);
    world.run(RELAY_AFTER + 10);
    happens(alice);
    world.run(2_000);
    expect(sent.outcome?.message).toContain(`:${bob.address.port}: no answer; ${words})`);
  });
});
