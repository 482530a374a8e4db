// Messages on their way: their order, whom they follow, and what becomes of them. Transport and book are the test's, and the clock.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FAILED_CODES, TalkError } from "../../lib/base/errors.ts";
import type { Recipient } from "../../lib/client/contacts.ts";
import { checkSend, OutboundMessages, type OutboundParts } from "../../lib/client/outbound.ts";
import type { DirectoryEntry } from "../../lib/directory/entry.ts";
import type { PeerIdentity, StreamSendOptions } from "../../lib/peer/types.ts";
import { entryOf } from "../helpers/entries.ts";

const sleep = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const recipientOf = (entry: DirectoryEntry, isRemembered = true): Recipient => ({
  entry,
  peer: { key: Buffer.from(entry.key, "base64"), name: entry.name, endpoints: entry.endpoints },
  isRemembered,
});
const bobAt = (port: number, key = "A") => entryOf("bob", port, { key: Buffer.alloc(32, key).toString("base64") });

/** What the transport was given, and how to end it. */
interface Sent {
  readonly text: string;
  readonly port: number | undefined;
  readonly timeoutMs: number | undefined;
  confirm(): void;
  fail(error: unknown): void;
}

let sent: Sent[];
let moves: (number | undefined)[][];
let lookups: string[];
let remembered: string[];
/** What the book knows; null: it has to be asked. */
let known: Recipient | TalkError | null;
let objection: TalkError | null;
/** Answers to find(), oldest first. */
let finding: { name: string; found: (recipient: Recipient) => void }[];
let outbound: OutboundMessages;

const parts: OutboundParts = {
  from: "alice",
  book: {
    atOnce: () => {
      if (known instanceof TalkError) throw known;
      return known;
    },
    find: (name, _shown, signal) =>
      new Promise((found, fail) => {
        if (signal.aborted) fail(signal.reason);
        else finding.push({ name, found });
      }),
    lookup: async (name) => {
      lookups.push(name);
      throw TalkError.unreachable("127.0.0.1:1", "whatever");
    },
    remember: (name) => void remembered.push(name),
    objectionTo: () => objection,
    endpointsOf: ({ endpoints }) => endpoints,
  },
  transport: {
    send: ({ endpoints }: PeerIdentity, { text }, { timeoutMs, signal }: StreamSendOptions = {}) =>
      new Promise((resolve, fail) => {
        signal?.addEventListener("abort", () => fail(signal.reason));
        sent.push({
          text,
          port: endpoints[0]?.port,
          timeoutMs,
          confirm: () => resolve({ ms: 1, via: "direct" }),
          fail,
        });
      }),
    move: (_key, from, to) => void moves.push([from[0]?.port, to[0]?.port]),
  },
};

beforeEach(() => {
  vi.useFakeTimers();
  [sent, moves, lookups, remembered, finding] = [[], [], [], [], []];
  [known, objection] = [null, null];
  outbound = new OutboundMessages(parts);
});
afterEach(() => {
  vi.useRealTimers();
});

const send = (text: string, { timeoutMs = 10_000, signal }: { timeoutMs?: number; signal?: AbortSignal } = {}) =>
  outbound.send({ id: text, to: "Bob", text }, { timeoutMs, signal });
const texts = () => sent.map(({ text }) => text);

describe("the order of messages to one name", () => {
  it("is that of the calls, when the recipient of the first has to be found", async () => {
    const all = [send("1"), send("2")];
    await sleep(1);
    expect(finding.map(({ name }) => name)).toEqual(["bob"]);
    known = recipientOf(bobAt(1)); // the answer has come, and the first message has not gone on yet
    all.push(send("3"));
    finding[0]?.found(known);
    await sleep(1);
    finding[1]?.found(known);
    await sleep(1);
    finding[2]?.found(known);
    await sleep(1);
    expect(texts()).toEqual(["1", "2", "3"]);
    all.push(send("4"));
    expect(texts()).toEqual(["1", "2", "3", "4"]); // at once
    for (const { confirm } of sent) confirm();
    await Promise.all(all);
    expect(outbound.stats).toMatchObject({ underWay: 0, delivered: 4 });
  });

  it("survives one that is given up in the middle", async () => {
    const abort = new AbortController();
    const first = send("1");
    const second = send("2", { signal: abort.signal }).catch((reason: unknown) => reason);
    const third = send("3");
    abort.abort("enough");
    expect(await second).toBe("enough");
    const bob = recipientOf(bobAt(1));
    finding[0]?.found(bob);
    await sleep(1);
    finding.at(-1)?.found(bob);
    await sleep(1);
    expect(texts()).toEqual(["1", "3"]);
    expect(finding).toHaveLength(2);
    for (const { confirm } of sent) confirm();
    await Promise.all([first, third]);
  });

  it("does not hold up messages to other names", async () => {
    void send("1").catch(() => {});
    known = recipientOf(entryOf("carol", 7));
    const other = outbound.send({ id: "x", to: "carol", text: "to carol" }, { timeoutMs: 1000, signal: undefined });
    expect(texts()).toEqual(["to carol"]);
    sent[0]?.confirm();
    await other;
  });
});

describe("a message on its way", () => {
  it("follows the directory to another address, also when the news comes with the next message", async () => {
    known = recipientOf(bobAt(1));
    const all = [send("1"), send("2")];
    expect(moves).toEqual([]);
    known = recipientOf(bobAt(2)); // looked up: the server had not announced it
    all.push(send("3"));
    expect(moves).toEqual([[1, 2]]);
    expect(sent.map(({ port }) => port)).toEqual([1, 1, 2]);
    outbound.follow("bob", bobAt(3));
    expect(moves).toEqual([
      [1, 2],
      [2, 3],
    ]);
    for (const { confirm } of sent) confirm();
    await Promise.all(all);
    outbound.follow("bob", bobAt(4));
    expect(moves).toHaveLength(2);
  });

  it("is not for another key", async () => {
    known = recipientOf(bobAt(1));
    const first = send("1");
    outbound.follow("bob", bobAt(2, "B"));
    known = recipientOf(bobAt(2, "B"));
    const second = send("2");
    expect(moves).toEqual([]);
    for (const { confirm } of sent) confirm();
    await Promise.all([first, second]);
  });

  it("makes the sender ask where the recipient is, less and less often, until it is confirmed", async () => {
    known = recipientOf(bobAt(1));
    const sending = send("1");
    const at: number[] = [];
    for (let ms = 1; ms <= 8_000; ms++) {
      const before = lookups.length;
      await sleep(1);
      if (lookups.length > before) at.push(ms);
    }
    expect(at).toEqual([250, 750, 1_750, 3_750, 5_750, 7_750]);
    sent[0]?.confirm();
    await sending;
    await sleep(60_000);
    expect(lookups).toHaveLength(6);
  });

  it("makes no questions while others to the same name are confirmed", async () => {
    known = recipientOf(bobAt(1));
    const stuck = send("stuck").catch(() => {});
    for (let i = 0; i < 50; i++) {
      const passing = send("passing");
      await sleep(100);
      sent.at(-1)?.confirm();
      await passing;
    }
    expect(lookups).toEqual([]);
    await sleep(250);
    expect(lookups).toEqual(["bob"]);
    sent[0]?.confirm();
    await stuck;
  });

  it("makes the sender ask at once when the server is back", async () => {
    outbound.lookAgain();
    known = recipientOf(bobAt(1));
    const sending = send("1");
    outbound.lookAgain();
    expect(lookups).toEqual(["bob"]);
    sent[0]?.confirm();
    await sending;
  });

  it("pins the key when it is confirmed, if it is new", async () => {
    known = recipientOf(bobAt(1), false);
    const sending = send("1");
    expect(remembered).toEqual([]);
    sent[0]?.confirm();
    await sending;
    expect(remembered).toEqual(["bob"]);
    known = recipientOf(bobAt(1), true);
    const second = send("2");
    sent[1]?.confirm();
    await second;
    expect(remembered).toEqual(["bob"]);
  });
});

describe("a message that is not delivered", () => {
  it("has had its time for both the search and the way", async () => {
    const sending = send("1", { timeoutMs: 10_000 });
    await sleep(4_000);
    finding[0]?.found(recipientOf(bobAt(1)));
    await sleep(1);
    expect(sent[0]?.timeoutMs).toBe(6_000);
    sent[0]?.confirm();
    await sending;
  });

  it("is given up at its deadline, when the recipient is not found", async () => {
    const failed = expect(send("1", { timeoutMs: 1_500 })).rejects.toMatchObject({
      code: "not-delivered",
      message: 'not delivered to "Bob": nothing is known of its address after 1.5 s',
    });
    await sleep(1_500);
    await failed;
    finding[0]?.found(recipientOf(bobAt(1))); // too late
    await sleep(1);
    expect(sent).toEqual([]);
    expect(outbound.stats).toMatchObject({ underWay: 0, failed: { "not-delivered": 1 } });
  });

  it.each([
    [TalkError.notDelivered("Bob", "no answer within 1 s"), "not-delivered"],
    [TalkError.unreachable("h:1", "gone"), "not-delivered"],
    [TalkError.closed("the peer transport"), "not-delivered"],
    [TalkError.protocol("nonsense"), "not-delivered"],
    [TalkError.badData("x is no IP address"), "not-delivered"],
    [TalkError.knownUnderAnotherKey("Bob"), "key-mismatch"],
    [TalkError.declined("Bob", "it takes no messages"), "declined"],
    [TalkError.notUnderstood("Bob", "it is older"), "not-understood"],
  ])("says why: %s", async (error, code) => {
    known = recipientOf(bobAt(1));
    const sending = send("1");
    sent[0]?.fail(error);
    await expect(sending).rejects.toMatchObject({ code });
    expect(outbound.stats.failed).toEqual({
      ...Object.fromEntries(FAILED_CODES.map((one) => [one, 0])),
      [code]: 1,
    });
  });

  it("says that the directory names another key or version by now, if no answer came", async () => {
    known = recipientOf(bobAt(1));
    objection = TalkError.keyMismatch("bob", "SHA256:a", "SHA256:b");
    const silent = send("1");
    sent[0]?.fail(TalkError.notDelivered("Bob", "no answer"));
    await expect(silent).rejects.toBe(objection);
    const declined = send("2");
    sent[1]?.fail(TalkError.declined("Bob", "it takes no messages"));
    await expect(declined).rejects.toMatchObject({ code: "declined" });
  });

  it("is none for a name that nobody can have, nor for a text that is too long, nor one too many", async () => {
    known = recipientOf(bobAt(1));
    const limits = { timeoutMs: 1_000, signal: undefined };
    const to = (name: string, text = "x") => outbound.send({ id: "1", to: name, text }, limits);
    await expect(to("no body")).rejects.toMatchObject({ code: "no-such-user" });
    await expect(to("bob", "é".repeat(32_769))).rejects.toMatchObject({ code: "too-long" });
    known = TalkError.keyMismatch("bob", "SHA256:a", "SHA256:b");
    await expect(to("bob")).rejects.toBe(known);
    expect(sent).toEqual([]);
    known = recipientOf(bobAt(1));
    const all = Array.from({ length: 4096 }, () => to("bob"));
    await expect(to("bob")).rejects.toMatchObject({ code: "not-delivered", message: /4096 messages/ });
    for (const { confirm } of sent) confirm();
    await Promise.all(all);
  });
});

describe("the arguments of send()", () => {
  it.each<[string, unknown[]]>([
    ["to", [7, "x", {}]],
    ["to", [undefined, "x", {}]],
    ["text", ["bob", Buffer.from("x"), {}]],
    ["text", ["bob", null, {}]],
    ["options", ["bob", "x", null]],
    ["options", ["bob", "x", 5_000]],
    ["timeout", ["bob", "x", { timeout: 5 }]],
    ["timeoutMs", ["bob", "x", { timeoutMs: 0 }]],
    ["timeoutMs", ["bob", "x", { timeoutMs: -1 }]],
    ["timeoutMs", ["bob", "x", { timeoutMs: Number.NaN }]],
    ["timeoutMs", ["bob", "x", { timeoutMs: 604_800_001 }]],
    ["timeoutMs", ["bob", "x", { timeoutMs: "5" }]],
    ["timeoutMs", ["bob", "x", { timeoutMs: null }]],
    ["auto", ["bob", "x", { auto: "yes" }]],
    ["signal", ["bob", "x", { signal: {} }]],
  ])("name a wrong %s", (subject, [to, text, options]) => {
    expect(() => checkSend(to, text, options)).toThrow(
      expect.objectContaining({ code: "usage", subject, message: expect.stringContaining(subject) }),
    );
  });

  it("may be left out, and a part of a millisecond is a whole one", () => {
    expect(checkSend("bob", "", {})).toEqual({
      ...{ timeoutMs: 10_000, signal: undefined, auto: false },
      ...{ id: undefined, repeated: false, waitMs: undefined, leaves: false },
    });
    expect(checkSend("bob", "x", { timeoutMs: 0.5, signal: undefined })).toMatchObject({ timeoutMs: 1 });
    expect(checkSend("bob", "x", { timeoutMs: 604_800_000 })).toMatchObject({ timeoutMs: 604_800_000 });
  });
});
