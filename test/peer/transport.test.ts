// Real sockets: what a program that uses the transport can rely on.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { Identity } from "../../lib/crypto/identity.ts";
import { PeerTransport } from "../../lib/peer/transport.ts";
import type { IncomingMessage, PeerIdentity, PeerTransportOptions } from "../../lib/peer/types.ts";
import type { Outcome } from "../../lib/wire/datagram-frames.ts";

const open: PeerTransport[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((transport) => transport.close({ timeoutMs: 0 })));
});

interface End {
  readonly identity: Identity;
  readonly transport: PeerTransport;
  readonly received: IncomingMessage[];
  readonly peer: PeerIdentity;
}

async function start(options: Partial<PeerTransportOptions> & { mode?: Outcome | "hold" } = {}): Promise<End> {
  const { mode = "accepted", ...rest } = options;
  const identity = rest.identity ?? Identity.generate();
  const transport = await PeerTransport.open({ identity, address: "127.0.0.1", ...rest });
  open.push(transport);
  const received: IncomingMessage[] = [];
  transport.on("message", (message, settle, output) => {
    if (mode === "accepted" && !output.begin()) return;
    received.push(message);
    if (mode !== "hold") settle(mode);
  });
  const address = transport.address === "::" ? "127.0.0.1" : transport.address;
  return {
    identity,
    transport,
    received,
    peer: { key: identity.publicKey, name: "peer", endpoints: [{ address, port: transport.port }] },
  };
}

const texts = (end: End) => end.received.map(({ text }) => text);
const message = (text: string, id = "1") => ({ from: "alice", text, id });

describe("a transport that changes its port", () => {
  it("goes on with its conversations, is heard at the new port, and still hears at the old one", async () => {
    const [alice, bob] = [await start(), await start()];
    await alice.transport.send(bob.peer, message("before"));
    const stranger = await start();
    const old = bob.transport.port;
    expect(bob.transport.changePort()).toBe(true);
    expect(bob.transport.port).not.toBe(old);
    await alice.transport.send(bob.peer, message("to where he was", "2"));
    await stranger.transport.send(
      { ...bob.peer, endpoints: [{ address: "127.0.0.1", port: old }] },
      message("old", "3"),
    );
    const moved = { ...bob.peer, endpoints: [{ address: "127.0.0.1", port: bob.transport.port }] };
    await (await start()).transport.send(moved, message("new", "4"));
    await bob.transport.send(alice.peer, { from: "bob", text: "from here", id: "5" });
    expect(texts(bob)).toEqual(["before", "to where he was", "old", "new"]);
    expect(alice.received[0]?.address.port).toBe(bob.transport.port);
  });

  it("keeps a port that it was given", async () => {
    const first = await start();
    const port = first.transport.port;
    await first.transport.close({ timeoutMs: 0 });
    const second = await start({ port });
    expect([second.transport.changePort(), second.transport.port]).toEqual([false, port]);
  });
});

describe("a message between two transports", () => {
  it("arrives with everything that came with it, and is confirmed", async () => {
    const [alice, bob] = [await start(), await start()];
    const { ms } = await alice.transport.send(bob.peer, { from: "alice", text: "grüß dich 👋", id: "x-1" });
    expect(ms).toBeGreaterThan(0);
    expect(bob.received).toHaveLength(1);
    expect(bob.received[0]).toMatchObject({
      from: "alice",
      text: "grüß dich 👋",
      id: "x-1",
      key: alice.identity.publicKey,
      address: { address: "127.0.0.1", port: alice.transport.port },
    });
    expect(Math.abs((bob.received[0]?.at ?? 0) - Date.now())).toBeLessThan(60_000);
    expect(alice.transport.stats()).toMatchObject({
      messagesDelivered: 1,
      sessions: 1,
      handshakes: { begun: 1, completed: 1 },
    });
  });

  it("may have 64 KiB, not one byte more, and may be empty", async () => {
    const [alice, bob] = [await start(), await start()];
    const long = "é".repeat(32_768);
    await alice.transport.send(bob.peer, message(long));
    await alice.transport.send(bob.peer, message(""));
    expect(texts(bob)).toEqual([long, ""]);
    const tooLong = alice.transport.send(bob.peer, message(`${long}x`));
    await expect(tooLong).rejects.toMatchObject({ code: "too-long" });
  });

  it("comes in order, also thousands in one turn and both ways at once", async () => {
    const [alice, bob] = [await start(), await start()];
    const sends: Promise<unknown>[] = [];
    for (let i = 0; i < 3000; i++) {
      sends.push(alice.transport.send(bob.peer, message(`a${i}`)), bob.transport.send(alice.peer, message(`b${i}`)));
    }
    await Promise.all(sends);
    expect(texts(bob)).toEqual(Array.from({ length: 3000 }, (_, i) => `a${i}`));
    expect(texts(alice)).toEqual(Array.from({ length: 3000 }, (_, i) => `b${i}`));
  });

  it("works over IPv6, and between a dual-stack and an IPv4 socket", async () => {
    const [v6, dual, v4] = [await start({ address: "::1" }), await start({ address: "::" }), await start()];
    await v6.transport.send(
      { ...dual.peer, endpoints: [{ address: "0:0::1", port: dual.transport.port }] },
      message("six"),
    );
    await v4.transport.send(dual.peer, message("four"));
    await dual.transport.send(v4.peer, message("back"));
    await dual.transport.send(v6.peer, message("back"));
    expect(dual.received.map(({ text, address }) => [text, address.address])).toEqual([
      ["six", "::1"],
      ["four", "127.0.0.1"],
    ]);
    expect([...texts(v4), ...texts(v6)]).toEqual(["back", "back"]);
  });

  it("finds the peer at any of its addresses", async () => {
    const [alice, bob, nobody] = [await start(), await start(), await start()];
    const endpoints = [{ address: "127.0.0.1", port: nobody.transport.port }, ...bob.peer.endpoints];
    await alice.transport.send({ ...bob.peer, endpoints }, message("hi"));
    expect(texts(bob)).toEqual(["hi"]);
    // Once for each INIT, and a slow machine repeats it.
    expect(nobody.transport.stats().dropped).toEqual({ "wrong-key": expect.any(Number) });
  });

  it("can be sent to oneself", async () => {
    const alice = await start();
    await alice.transport.send(alice.peer, message("note"));
    expect(texts(alice)).toEqual(["note"]);
  });
});

describe("delivered means delivered", () => {
  it("is not confirmed before the application has taken it, and the next one waits", async () => {
    const [alice, bob] = [await start(), await start({ mode: "hold" })];
    const accepts: (() => void)[] = [];
    bob.transport.on("message", (_message, settle) => accepts.push(() => settle("accepted")));
    let confirmed = 0;
    const sends = ["one", "two"].map((text) => alice.transport.send(bob.peer, message(text)).then(() => confirmed++));
    await once(bob.transport, "message");
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect([texts(bob), confirmed]).toEqual([["one"], 0]);
    accepts[0]?.();
    await sends[0];
    if (bob.received.length < 2) await once(bob.transport, "message");
    expect([texts(bob), confirmed]).toEqual([["one", "two"], 1]);
    accepts[0]?.(); // again: nothing
    accepts[1]?.();
    await sends[1];
    expect(alice.transport.stats().messagesDelivered).toBe(2);
  });

  it("a message that nobody takes is not delivered; those after it go on when the sender has given it up", async () => {
    const [alice, bob] = [await start(), await start({ mode: "hold" })];
    const first = alice.transport.send(bob.peer, message("one"), { timeoutMs: 100 });
    await expect(first).rejects.toMatchObject({ code: "not-delivered", message: expect.stringContaining("0.1 s") });
    bob.transport.on("message", (_message, settle) => settle("accepted"));
    await alice.transport.send(bob.peer, message("two"));
    expect(texts(bob)).toEqual(["one", "two"]);
  });

  it("a listener that throws does not end the conversation", async () => {
    const bob = await start({ mode: "hold" });
    const alice = await start();
    const thrown = new Promise((resolve) => process.once("uncaughtException", resolve));
    const listeners = process.listeners("uncaughtException").slice(0, -1);
    for (const listener of listeners) process.off("uncaughtException", listener);
    bob.transport.once("message", () => {
      throw new Error("the listener's own");
    });
    const first = alice.transport.send(bob.peer, message("one"), { timeoutMs: 300 });
    const failed = expect(first).rejects.toMatchObject({ code: "not-delivered" });
    await expect(thrown).resolves.toMatchObject({ message: "the listener's own" });
    for (const listener of listeners) process.on("uncaughtException", listener);
    await failed;
    bob.transport.on("message", (_message, settle) => settle("accepted"));
    await alice.transport.send(bob.peer, message("two"));
    expect(texts(bob)).toEqual(["one", "two"]);
  });

  it.each([
    ["key-mismatch", "key-mismatch"],
    ["declined", "declined"],
    ["not-understood", "not-understood"],
    ["malformed", "not-understood"],
    ["refused", "declined"], // what a later version's reason is read as
  ] as const)("a message refused as %s fails as %s, and is counted", async (mode, code) => {
    const [alice, bob] = [await start(), await start({ mode })];
    await expect(alice.transport.send(bob.peer, message("spam"))).rejects.toMatchObject({ code });
    expect(bob.transport.stats().refused).toEqual({ [mode]: 1 });
  });

  it("a transport that nobody listens to declines at once", async () => {
    const [alice, bob] = [await start(), await start()];
    bob.transport.removeAllListeners("message");
    await expect(alice.transport.send(bob.peer, message("hello?"))).rejects.toMatchObject({ code: "declined" });
  });

  it("nobody there: not delivered in time", async () => {
    const [alice, bob] = [await start(), await start()];
    await bob.transport.close();
    const send = alice.transport.send(bob.peer, message("x"), { timeoutMs: 150 });
    await expect(send).rejects.toMatchObject({ code: "not-delivered" });
  });

  it("somebody else there: not delivered, and the other one learns nothing", async () => {
    const [alice, bob, eve] = [await start(), await start(), await start()];
    const send = alice.transport.send({ ...bob.peer, endpoints: eve.peer.endpoints }, message("x"), { timeoutMs: 150 });
    await expect(send).rejects.toMatchObject({ code: "not-delivered" });
    expect(eve.received).toEqual([]);
    expect(eve.transport.stats()).toMatchObject({ halfOpen: 0, sessions: 0 });
  });

  it("an aborted send rejects with the reason, before and while it waits", async () => {
    const [alice, bob] = [await start(), await start({ mode: "hold" })];
    const aborted = alice.transport.send(bob.peer, message("x"), { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ name: "AbortError" });
    const controller = new AbortController();
    const waiting = alice.transport.send(bob.peer, message("y"), { signal: controller.signal });
    await once(bob.transport, "message");
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("sessions", () => {
  it("both calling each other at the same instant get through, again and again", async () => {
    for (let i = 0; i < 20; i++) {
      const [alice, bob] = [await start(), await start()];
      await Promise.all([alice.transport.send(bob.peer, message("a")), bob.transport.send(alice.peer, message("b"))]);
      await Promise.all([alice.transport.send(bob.peer, message("a2")), bob.transport.send(alice.peer, message("b2"))]);
      expect([texts(alice), texts(bob)]).toEqual([
        ["b", "b2"],
        ["a", "a2"],
      ]);
    }
  });

  it("a peer that was restarted on its port is found again, and gets each message once", async () => {
    const [alice, bob] = [await start(), await start()];
    await alice.transport.send(bob.peer, message("before"));
    await bob.transport.close();
    const again = await start({ identity: bob.identity, port: bob.transport.port });
    await alice.transport.send(bob.peer, message("after"));
    await again.transport.send(alice.peer, message("hello"));
    expect([texts(bob), texts(again), texts(alice)]).toEqual([["before"], ["after"], ["hello"]]);
  });

  it("a second program with the same key is not mistaken for the first", async () => {
    const [alice, bob] = [await start(), await start()];
    const second = await start({ identity: alice.identity });
    await alice.transport.send(bob.peer, message("from the client"));
    await second.transport.send(bob.peer, message("from ptalk send"));
    await bob.transport.send(alice.peer, message("answer"));
    expect(texts(bob)).toEqual(["from the client", "from ptalk send"]);
    expect([texts(alice), texts(second)]).toEqual([["answer"], []]);
  });
});

describe("close", () => {
  it("waits for what is under way, and a closed transport sends nothing", async () => {
    const [alice, bob] = [await start(), await start()];
    const sends = Array.from({ length: 100 }, (_, i) => alice.transport.send(bob.peer, message(`${i}`)));
    await alice.transport.close();
    await Promise.all(sends);
    expect(bob.received).toHaveLength(100);
    await expect(alice.transport.send(bob.peer, message("x"))).rejects.toMatchObject({ code: "closed" });
    expect(bob.transport.stats().sessions).toBe(0);
    await alice.transport.close();
  });

  it("is bounded when nobody answers", async () => {
    const [alice, bob] = [await start(), await start({ mode: "hold" })];
    const send = alice.transport.send(bob.peer, message("x"));
    const failed = expect(send).rejects.toMatchObject({
      code: "not-delivered",
      message: expect.stringContaining("closed"),
    });
    await alice.transport.close({ timeoutMs: 50 });
    await failed;
  });

  it("waits for the text that is being shown, and confirms it", async () => {
    const [alice, bob] = [await start(), await start({ mode: "hold" })];
    const given = new Promise<() => void>((resolve) =>
      bob.transport.on("message", (_message, settle, output) => {
        if (output.begin()) resolve(() => settle("accepted"));
      }),
    );
    const sends = ["shown", "too late"].map((text) =>
      alice.transport.send(bob.peer, message(text), { timeoutMs: 1000 }),
    );
    const failed = expect(sends[1]).rejects.toMatchObject({ code: "not-delivered" });
    const accept = await given;
    const closed = bob.transport.close();
    setTimeout(accept, 50);
    await closed;
    await sends[0];
    await failed;
    expect(texts(bob)).toEqual(["shown"]);
  });

  it("a message accepted after it is no error", async () => {
    const [alice, bob] = [await start(), await start({ mode: "hold" })];
    const accepted = new Promise<() => void>((resolve) =>
      bob.transport.on("message", (_message, settle) => resolve(() => settle("accepted"))),
    );
    const sent = alice.transport.send(bob.peer, message("x"), { timeoutMs: 500 });
    const failed = expect(sent).rejects.toMatchObject({ code: "not-delivered" });
    const accept = await accepted;
    await bob.transport.close();
    accept();
    await failed;
    await expect(bob.transport.send(alice.peer, message("x"))).rejects.toMatchObject({ code: "closed" });
  });

  it("reports a port that is taken", async () => {
    const alice = await start();
    await expect(start({ port: alice.transport.port })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });
});

describe("stats", () => {
  it("show sessions, handshakes, paths and each conversation", async () => {
    const [alice, bob] = [await start(), await start()];
    expect(alice.transport.stats()).toEqual({
      sessions: 0,
      halfOpen: 0,
      handshakes: { begun: 0, answered: 0, completed: 0, failed: 0 },
      datagramsSent: 0,
      datagramsReceived: 0,
      bytesSent: 0,
      bytesReceived: 0,
      messagesDelivered: 0,
      messagesReceived: 0,
      retransmissions: 0,
      pathChanges: 0,
      dropped: {},
      refused: {},
      peers: [],
    });
    for (let i = 0; i < 3; i++) await alice.transport.send(bob.peer, message("x"));
    const [mine, theirs] = [alice.transport.stats(), bob.transport.stats()];
    expect(mine).toMatchObject({ sessions: 1, handshakes: { begun: 1, answered: 0, completed: 1, failed: 0 } });
    expect(theirs).toMatchObject({ sessions: 1, handshakes: { begun: 0, answered: 1, completed: 1, failed: 0 } });
    expect([mine.messagesDelivered, theirs.messagesReceived]).toEqual([3, 3]);
    expect(mine.bytesSent).toBeGreaterThan(180 + 3 * 32);
    expect(mine.peers).toEqual([
      {
        key: bob.identity.publicKey.toString("base64"),
        name: "peer",
        endpoint: { address: "127.0.0.1", port: bob.transport.port },
        via: "direct",
        roundTripMs: expect.any(Number),
        windowBytes: expect.any(Number),
        bytesInFlight: 0,
        waiting: 0,
        delivered: 3,
        retransmissions: mine.retransmissions,
      },
    ]);
    expect(theirs.peers).toMatchObject([
      { name: null, endpoint: { address: "127.0.0.1", port: alice.transport.port }, delivered: 0, waiting: 0 },
    ]);
    expect(theirs.peers[0]?.roundTripMs).toBeGreaterThan(0);
  });

  it("count a handshake that nobody answers as failed", async () => {
    const [alice, bob] = [await start(), await start()];
    await bob.transport.close();
    const send = alice.transport.send(bob.peer, message("x"), { timeoutMs: 50 });
    await expect(send).rejects.toMatchObject({ code: "not-delivered" });
    await new Promise((resolve) => setImmediate(resolve));
    expect(alice.transport.stats()).toMatchObject({ handshakes: { begun: 1, completed: 0, failed: 1 }, peers: [] });
  });
});

describe("the log of NODE_DEBUG=ptalk-peer", () => {
  it("has each step of a handshake, changes of path and drops, and neither keys nor texts", async () => {
    const script = join(import.meta.dirname, "../fixtures/peer/logged.js");
    const env = { ...process.env, NODE_DEBUG: "ptalk-peer" };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [script], { env });
    const [first, second, ...keys] = stdout.trim().split("\n");
    expect([first, second, keys.length]).toEqual(["delivered", "delivered", 4]);
    const steps = stderr
      .trim()
      .split("\n")
      .map((line) => line.replace(/^PTALK-PEER \d+: /, "").replace(/[0-9a-f]{8}/, "INDEX"));
    expect(steps).toEqual([
      "handshake INDEX: INIT to 10.0.0.2:1002",
      "handshake INDEX: RESPONSE to 10.0.0.1:1001",
      "handshake INDEX: RESPONSE from 10.0.0.2:1002",
      "handshake INDEX: confirmed from 10.0.0.1:1001",
      "session INDEX: path changes from 10.0.0.1:1001 to 10.0.9.9:4242",
      "dropped malformed: 180 bytes from 10.0.7.7:7",
    ]);
    for (const key of keys) {
      const bytes = Buffer.from(key, "hex");
      for (const text of [key, bytes.toString("base64"), bytes.toString("base64url")])
        expect(stderr).not.toContain(text);
    }
    expect(stderr).not.toContain("eyes");
  });
});

describe("what the caller gets wrong", () => {
  it.each([
    ["key", { key: Buffer.alloc(32) }, {}, {}],
    ["key", { key: Buffer.alloc(31) }, {}, {}],
    ["endpoint", { endpoints: [] }, {}, {}],
    ["address", { endpoints: [{ address: "localhost", port: 1 }] }, {}, {}],
    ["port", { endpoints: [{ address: "127.0.0.1", port: 0 }] }, {}, {}],
    ["id", {}, { id: "" }, {}],
    ["id", {}, { id: "x".repeat(65) }, {}],
    ["name", {}, { from: "x".repeat(65) }, {}],
    ["timeout", {}, {}, { timeoutMs: 0 }],
    ["timeout", {}, {}, { timeoutMs: Number.NaN }],
  ])("a bad %s is called one (%#)", async (word, peer, text, options) => {
    const [alice, bob] = [await start(), await start()];
    const send = alice.transport.send({ ...bob.peer, ...peer }, { ...message("x"), ...text }, options);
    await expect(send).rejects.toMatchObject({ code: "bad-data", message: expect.stringContaining(word) });
  });
});
