// The sender's outcome, under every loss, duplication, reordering, suspension, crash and goodbye of either side that fast-check
// can think of, over the engines as they are: "delivered" was shown, "not delivered" never appears, nothing is shown twice but what
// says so, and everything has an outcome a second after its time. The model, test/model/outcomes.pml, has all orders of a small world.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Fate } from "../helpers/peer-world.ts";
import { PeerWorld } from "../helpers/peer-world.ts";
import { times } from "../helpers/volume.ts";

const TIMEOUT_MS = 400;
const REVOKE_MS = 1_000;

const fate: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 4, arbitrary: fc.constant([]) },
  { weight: 5, arbitrary: fc.constant([0.5]) },
  { weight: 2, arbitrary: fc.double({ min: 0, max: 300, noNaN: true }).map((ms) => [ms]) },
  { weight: 1, arbitrary: fc.array(fc.double({ min: 0, max: 900, noNaN: true }), { minLength: 2, maxLength: 4 }) },
);
const who = fc.constantFrom(0, 1);
const action = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("send" as const), size: fc.constantFrom(20, 1200, 3000) }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 700 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom("suspend" as const, "resume" as const), who }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const), who }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("goodbye" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cancel" as const) }) },
);
type Action = typeof action extends fc.Arbitrary<infer A> ? A : never;
const delays = (most: number) =>
  fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: most })), { maxLength: 20 });

interface Story {
  readonly network: readonly Fate[];
  readonly actions: readonly Action[];
  /** From hand-over to output, and from output to its end. */
  readonly thinking: readonly number[];
  readonly writing: readonly number[];
}

const story: fc.Arbitrary<Story> = fc.record({
  network: fc.array(fate, { maxLength: 100 }),
  actions: fc.array(action, { minLength: 2, maxLength: 24 }),
  thinking: delays(900),
  writing: delays(1500),
});

function play(
  { network, actions, thinking, writing }: Story,
  plant?: "ignores begin" | "accepts first" | "shows twice",
) {
  const world = new PeerWorld(network, writing);
  world.thinking = [...thinking];
  if (plant) world.planted.add(plant);
  const [alice, bob] = [world.program(1), world.program(2)];
  const programs = [alice, bob];
  const failed = new Set<string>();
  const shown = () => new Set(world.outputs.map(({ text }) => text));
  world.onOutcome = (text, error) => {
    if (error === null && !shown().has(text)) throw new Error(`${text}: delivered, and not shown`);
    if (error?.code === "not-delivered") failed.add(text);
  };
  for (const step of actions) {
    switch (step.kind) {
      case "send":
        if (!alice.isSuspended) alice.send(bob, step.size, TIMEOUT_MS);
        break;
      case "wait":
        world.run(step.ms);
        break;
      case "suspend":
        programs[step.who]?.suspend();
        break;
      case "resume":
        if (programs[step.who]?.isSuspended) programs[step.who]?.resume();
        break;
      case "restart":
        programs[step.who]?.restart();
        break;
      case "goodbye":
        if (bob.isSuspended) break;
        bob.engine.stopSending(world.now);
        bob.engine.sayGoodbye(world.now);
        bob.engine.flush(world.now);
        world.run(30);
        bob.restart();
        break;
      case "cancel":
        if (!alice.isSuspended) alice.sent.at(-1)?.cancel();
        break;
    }
  }
  for (const program of programs) if (program.isSuspended) program.resume();
  world.run(TIMEOUT_MS + REVOKE_MS + 1);
  for (const { text, outcome } of alice.sent) if (outcome === undefined) throw new Error(`${text}: no outcome`);
  world.run(10_000); // a message that was given up would appear now
  for (const text of failed) if (shown().has(text)) throw new Error(`${text}: not delivered, and shown`);
  const unmarked = world.outputs.filter(({ again }) => !again).map(({ text }) => text);
  const twice = unmarked.find((text, i) => unmarked.indexOf(text) < i);
  if (twice !== undefined) throw new Error(`${twice}: shown twice`);
  return { alice, world };
}

const numRuns = times(300);

describe("the three outcomes", () => {
  it("tell the truth through loss, duplication, reordering, suspension, crash and goodbye of either side", () => {
    const counts: Record<string, number> = {};
    fc.assert(
      fc.property(story, (played) => {
        for (const { outcome } of play(played).alice.sent) {
          const code = outcome === null ? "delivered" : (outcome?.code ?? outcome?.message ?? "none");
          counts[code] = (counts[code] ?? 0) + 1;
        }
      }),
      { numRuns },
    );
    for (const code of ["delivered", "not-delivered", "unconfirmed"])
      expect(counts[code]).toBeGreaterThan(numRuns / 50);
  });

  it.each([
    ["a text that was given up is shown all the same", "ignores begin", "not delivered, and shown"],
    ["a text is accepted before it is shown", "accepts first", "delivered"],
    ["a text is shown twice", "shows twice", "shown twice"],
  ] as const)("a planted fault is found: %s", (_what, plant, found) => {
    const check = fc.check(
      fc.property(story, (played) => void play(played, plant)),
      { numRuns: 20_000, endOnFailure: true },
    );
    expect(check.failed).toBe(true);
    expect(String(check.errorInstance)).toContain(found);
  });
});

describe("a receiver that was suspended", () => {
  it("never shows a message that was given up meanwhile, also when its output was already under way", () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2)];
    alice.send(bob);
    world.run(100);
    world.thinking = [50]; // the stop comes between the hand-over and the output
    const late = alice.send(bob, 20, TIMEOUT_MS);
    world.run(10);
    bob.suspend();
    world.run(TIMEOUT_MS + 2 * REVOKE_MS);
    expect(late.outcome).toMatchObject({ code: "unconfirmed" });
    bob.resume();
    world.run(5_000);
    expect(world.outputs).toHaveLength(1);
  });

  it("that wakes before the sender has given up waiting answers: not shown", () => {
    const world = new PeerWorld();
    const [alice, bob] = [world.program(1), world.program(2)];
    alice.send(bob);
    world.run(100);
    bob.suspend();
    const late = alice.send(bob, 20, TIMEOUT_MS);
    world.run(TIMEOUT_MS + REVOKE_MS / 2);
    expect(late.outcome).toBeUndefined();
    bob.resume();
    world.run(20);
    expect(late.outcome).toMatchObject({ code: "not-delivered" });
    world.run(5_000);
    expect(world.outputs).toHaveLength(1);
    const next = alice.send(bob);
    world.run(100);
    expect(next.outcome).toBeNull();
  });
});

it("an output that has begun is answered when the write returns", () => {
  const world = new PeerWorld([], [TIMEOUT_MS + REVOKE_MS / 2]);
  const [alice, bob] = [world.program(1), world.program(2)];
  const stuck = alice.send(bob, 20, TIMEOUT_MS);
  world.run(TIMEOUT_MS + REVOKE_MS / 4);
  expect(stuck.outcome).toBeUndefined();
  world.run(REVOKE_MS / 2);
  expect(stuck.outcome).toBeNull();
});

it("many that are given up at once are all answered, behind one that is stuck", () => {
  const world = new PeerWorld([], [60_000]);
  const [alice, bob] = [world.program(1), world.program(2)];
  const all = Array.from({ length: 300 }, () => alice.send(bob, 20, TIMEOUT_MS));
  world.run(TIMEOUT_MS + REVOKE_MS + 1);
  const codes = all.map(({ outcome }) => outcome?.code);
  expect(codes).toEqual(["unconfirmed", ...new Array<string>(299).fill("not-delivered")]);
  const next = alice.send(bob);
  world.run(70_000);
  expect([next.outcome, world.outputs.length]).toEqual([null, 2]);
});
