// Incoming messages: to whom they are handed over, and what their senders are told. The clock is the test's.
import { EventEmitter, once } from "node:events";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { TalkError } from "../../lib/base/errors.ts";
import type { Sender } from "../../lib/client/address-book.ts";
import { InboundMessages } from "../../lib/client/inbound.ts";
import type { TalkClientEvents, TalkMessage } from "../../lib/client/types.ts";
import type { Outcome } from "../../lib/wire/datagram-frames.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const ALICE: Sender = {
  verified: true,
  fingerprint: "SHA256:alice",
  user: "alice",
  uid: 1000,
  attested: "kernel",
  isUnattestedLogin: false,
};

function receiver(sender: Sender | TalkError = ALICE) {
  const client = new EventEmitter<TalkClientEvents>();
  const refused: TalkError[] = [];
  const inbound = new InboundMessages({
    book: {
      verifySender: () => {
        if (sender instanceof TalkError) throw sender;
        return sender;
      },
    },
    admission: { admits: () => true },
    untilLeftShown: () => undefined,
    seen: { has: async () => false, addSynced: async () => {}, begin: () => () => {} },
    journal: undefined,
    onFolded: undefined,
    client,
    isWall: () => false,
    isInRoom: () => false,
    isUnattended: false,
    deliver: undefined,
    receiveAfter: undefined,
    onReceived: () => {},
    onRefused: (error) => refused.push(error),
    onListenerError: (reason) => client.emit("error", reason as Error),
  });
  const outcomes: Outcome[] = [];
  const arrive = async (text: string, from = "alice") => {
    const address = { address: "192.0.2.1", port: 1 };
    const incoming = {
      key: Buffer.alloc(32),
      from,
      text,
      id: "1",
      room: null,
      auto: false,
      repeated: false,
      again: false,
      at: 0,
      address,
      via: "direct" as const,
    };
    await inbound.receive(incoming, (outcome) => outcomes.push(outcome), { begin: () => true, release: () => {} });
  };
  return { client, inbound, outcomes, refused, arrive };
}

const settled = () => vi.advanceTimersByTimeAsync(0);

it("a message that comes before connect() resolves waits for the listener", async () => {
  const { client, inbound, outcomes, arrive } = receiver();
  const arriving = arrive("early");
  await vi.advanceTimersByTimeAsync(60_000); // a slow server
  inbound.onConnected();
  await settled();
  expect(outcomes).toEqual([]);
  const texts: string[] = [];
  client.on("message", ({ text }) => void texts.push(text));
  await arriving;
  expect([texts, outcomes]).toEqual([["early"], ["accepted"]]);
});

it("without a listener a message is declined when the grace is over, and a later one at once", async () => {
  const { client, inbound, outcomes, arrive } = receiver();
  const early = arrive("early");
  inbound.onConnected();
  await vi.advanceTimersByTimeAsync(99);
  expect(outcomes).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  await early;
  expect(outcomes).toEqual(["declined"]);
  await arrive("later"); // no timer has to run
  expect(outcomes).toEqual(["declined", "declined"]);
  client.on("message", () => {});
  await arrive("now");
  expect(outcomes).toEqual(["declined", "declined", "accepted"]);
});

it("a program that attaches a listener for each message anew misses none", async () => {
  const { client, inbound, outcomes, arrive } = receiver();
  inbound.onConnected();
  await vi.advanceTimersByTimeAsync(60_000);
  const texts: string[] = [];
  const program = (async () => {
    for (let i = 0; i < 3; i++) {
      const [message] = (await once(client, "message")) as [TalkMessage];
      texts.push(message.text);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  for (const text of ["one", "two", "three"]) {
    const arriving = arrive(text);
    await vi.advanceTimersByTimeAsync(100);
    await arriving;
  }
  await program;
  expect([texts, outcomes]).toEqual([
    ["one", "two", "three"],
    ["accepted", "accepted", "accepted"],
  ]);
});

it("while the client closes nothing is settled: the message may be its successor's", async () => {
  const { inbound, outcomes, arrive } = receiver();
  const arriving = arrive("late");
  inbound.close();
  await arriving;
  expect(outcomes).toEqual([]);
});

it("a message is what its sender said, and the book's word on the sender", async () => {
  const { client, outcomes, arrive } = receiver();
  const messages: TalkMessage[] = [];
  client.on("message", (message) => void messages.push(message));
  await arrive("hello", "Alice");
  const said = { id: "1", from: "Alice", text: "hello", at: 0, again: false, auto: false };
  const way = { kind: "text", room: null, via: "direct", leftAt: null };
  const message = { ...said, ...way, ...ALICE };
  expect([messages, outcomes]).toEqual([[message], ["accepted"]]);
});

it("a message whose listener fails is not settled, and the program hears of it", async () => {
  const { client, inbound, outcomes, arrive } = receiver();
  const errors: unknown[] = [];
  client.on("error", ({ message }) => errors.push(message));
  client.once("message", () => {
    throw new Error("no paper");
  });
  await arrive("print this");
  client.once("message", () => Promise.reject(new Error("no ink")) as never);
  await arrive("and this");
  expect([errors, outcomes]).toEqual([["no paper", "no ink"], []]);
  expect(inbound.stats).toEqual({ received: 0, refused: 0, declined: 0 });
});

it.each([
  ["a key that contradicts the name", TalkError.keyMismatch("alice", "SHA256:a", "SHA256:b")],
  ["a name that is somebody else's", TalkError.refused("a stranger")],
])("the sender of a message with %s learns so, and the program too", async (_what, error) => {
  const { client, outcomes, refused, arrive } = receiver(error);
  client.on("message", () => expect.unreachable());
  await arrive("x");
  expect([outcomes, refused]).toEqual([["key-mismatch"], [error]]);
});

it("a sender whose name nobody can have learns that its message is malformed", async () => {
  const { client, outcomes, refused, arrive } = receiver();
  client.on("message", () => expect.unreachable());
  await arrive("x", "a b");
  expect(outcomes).toEqual(["malformed"]);
  expect(refused).toMatchObject([{ code: "bad-name" }]);
});

it("counts what became of messages, and does not tell of each that is refused", async () => {
  const { inbound, outcomes, refused, arrive } = receiver(TalkError.refused("a stranger"));
  for (let i = 0; i < 50; i++) await arrive("x");
  expect(outcomes).toEqual(Array(50).fill("key-mismatch"));
  expect(refused).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(1_000);
  await arrive("x");
  expect(refused).toHaveLength(3);
  expect(inbound.stats).toEqual({ received: 0, refused: 51, declined: 0 });
  const other = receiver();
  other.inbound.onConnected();
  await vi.advanceTimersByTimeAsync(100);
  await other.arrive("nobody listens");
  other.client.on("message", () => {});
  await other.arrive("somebody does");
  expect(other.inbound.stats).toEqual({ received: 1, refused: 0, declined: 1 });
});
