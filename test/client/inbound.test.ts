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

const ALICE: Sender = { fingerprint: "SHA256:alice", verified: true };

/** @param sender what the address book makes of the sender */
function receiver(sender: Sender | TalkError = ALICE) {
  const client = new EventEmitter<TalkClientEvents>();
  const refused: unknown[] = [];
  const inbound = new InboundMessages({
    book: {
      verifySender: async () => {
        if (sender instanceof TalkError) throw sender;
        return sender;
      },
    },
    client,
    deliver: undefined,
    onReceived: () => {},
    onRefused: (error) => void refused.push(error),
    onListenerError: (reason) => expect.unreachable(String(reason)),
  });
  const outcomes: Outcome[] = [];
  const arrive = async (text: string, from = "alice") => {
    const address = { address: "192.0.2.1", port: 1 };
    const incoming = { key: Buffer.alloc(32), from, text, id: "1", at: 0, address };
    await inbound.receive(incoming, (outcome) => outcomes.push(outcome));
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

it.each([
  ["a key that contradicts the name", TalkError.keyMismatch("alice", "SHA256:a", "SHA256:b")],
  ["a name that is another key's", TalkError.refused("a stranger")],
])("the sender of a message with %s learns that it is the key", async (_what, error) => {
  const { client, outcomes, refused, arrive } = receiver(error);
  client.on("message", () => expect.unreachable());
  await arrive("x");
  expect([outcomes, refused]).toEqual([["key-mismatch"], [error]]);
});

it("a name that no user can have makes a message malformed, not a matter of keys", async () => {
  const { client, outcomes, refused, arrive } = receiver();
  client.on("message", () => expect.unreachable());
  await arrive("x", "a b");
  expect([outcomes, refused]).toEqual([["malformed"], [expect.objectContaining({ code: "bad-name" })]]);
});
