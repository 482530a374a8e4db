// TalkClient as programs use it: what its promises and events say, whatever its server and its listeners do.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { TalkClient } from "../../lib/client/talk-client.ts";
import type { ConnectOptions, TalkMessage } from "../../lib/client/types.ts";
import { Identity, loadOrCreateIdentity } from "../../lib/crypto/identity.ts";
import { writeEntry } from "../../lib/directory/entry-wire.ts";
import { PeerEngine } from "../../lib/peer/engine.ts";
import { PeerTransport } from "../../lib/peer/transport.ts";
import { ReplyWriter } from "../../lib/wire/resp-writer.ts";
import { entryOf } from "../helpers/entries.ts";
import { freshStateDir, ServerProcess, until } from "../helpers/lookup-server.ts";
import { Program } from "../helpers/program.ts";
import { registeredRow } from "../helpers/registrations.ts";
import { greeting, ScriptedServer } from "../helpers/scripted-server.ts";

const home = freshStateDir();
let server: ServerProcess;
let count = 0;
const clients: TalkClient[] = [];
const stopped: number[] = [];

beforeAll(async () => {
  server = await ServerProcess.start(["--state-dir", join(home.path, "server"), "--workers", "1"]);
});
afterEach(async () => {
  for (const pid of stopped.splice(0)) process.kill(pid, "SIGCONT");
  await Promise.all(clients.splice(0).map((client) => client.close()));
});
afterAll(async () => {
  await server.stop();
  home.remove();
});

const stateOf = (user: string): string => join(home.path, user);

/** A client of a name of its own: names belong to keys for as long as the server runs. */
async function on(options: Partial<ConnectOptions> = {}): Promise<TalkClient> {
  const name = options.name ?? `user${++count}`;
  const client = await TalkClient.connect({ server: server.address, stateDir: stateOf(name), ...options, name });
  clients.push(client);
  return client;
}

/** The server and its worker, until the end of the test. */
function stopServer(): void {
  const workers = execFileSync("ps", ["-o", "pid=", "--ppid", String(server.pid)], { encoding: "utf8" });
  for (const pid of [server.pid, ...workers.trim().split(/\s+/).map(Number)]) {
    process.kill(pid, "SIGSTOP");
    stopped.push(pid);
  }
}

/** In a process of its own: a busy loop there would be one here. */
async function startLate(): Promise<Program> {
  const script = join(import.meta.dirname, "../fixtures/client/late-listener.js");
  const env = { XDG_STATE_HOME: stateOf("late") };
  const late = new Program(process.execPath, [script, "late", server.address], { env });
  expect(await late.line()).toBe("on");
  return late;
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const textsOf = (client: TalkClient): string[] => {
  const texts: string[] = [];
  client.on("message", ({ text }) => void texts.push(text));
  return texts;
};

describe("an option of connect() that is none", () => {
  it.each<[string, Record<string, unknown>, RegExp]>([
    ["port", { port: "x" }, /port must be a whole number from 0 to 65535, not "x"/],
    ["port", { port: 65_536 }, /not 65536/],
    ["port", { port: -1 }, /not -1/],
    ["port", { port: 1.5 }, /not 1.5/],
    ["port", { port: null }, /not null/],
    ["name", { name: undefined }, /name must be a string, not undefined/],
    ["name", { name: 7 }, /not 7/],
    ["server", { server: "" }, /server must be "HOST:PORT"/],
    ["server", { server: 5518 }, /server must be "HOST:PORT", not 5518/],
    ["server", { server: "h:99999" }, /server "h:99999": the port must be 1 to 65535/],
    ["stateDir", { stateDir: "" }, /stateDir must be the path of a folder/],
    ["stateDir", { stateDir: "a\0b" }, /stateDir/],
    ["stateDir", { stateDir: ["a"] }, /not a value of type object/],
    ["signal", { signal: { aborted: false } }, /signal must be an AbortSignal/],
    ["insecure", { insecure: "no" }, /insecure must be true or false, not "no"/],
    ["startServer", { startServer: 1 }, /startServer must be true or false, not 1/],
    ["register", { register: "sometimes" }, /register must be "always" or "never"/],
    ["recipients", { recipients: "bob" }, /recipients must be a list of at most 4096 names/],
    ["recipients", { recipients: ["bob", 7] }, /recipients/],
    ["recipients", { recipients: Array(4097).fill("bob") }, /recipients/],
    ["deliver", { deliver: "print" }, /deliver must be a function, not "print"/],
    ["onMessage", { onMessage: () => {} }, /connect\(\) has no option "onMessage"; there are name, server,/],
  ])("is told with its name: %s", async (subject, options, message) => {
    const given = { name: "alice", server: server.address, ...options } as unknown as ConnectOptions;
    const failed = TalkClient.connect(given);
    await expect(failed).rejects.toMatchObject({ name: "TalkError", code: "usage", subject, message });
  });

  it("is told for options that are no object, and an undefined one is left out", async () => {
    for (const options of [undefined, null, "alice"]) {
      const failed = TalkClient.connect(options as unknown as ConnectOptions);
      await expect(failed).rejects.toMatchObject({ code: "usage", subject: "options" });
    }
    await expect(TalkClient.connect({ name: "no name" })).rejects.toMatchObject({ code: "bad-name" });
    const undefinedOnes = { port: undefined, signal: undefined, deliver: undefined, recipients: undefined };
    await on(undefinedOnes as unknown as Partial<ConnectOptions>);
  });
});

describe("a message for a program that does not listen yet", () => {
  it("is declined at once, and the program is not kept from anything; once it listens, messages are delivered", async () => {
    const alice = await on();
    const failures: unknown[] = [];
    alice.on("failed", ({ code }) => failures.push(code));
    const late = await startLate();
    try {
      // Longer than the test may take: only an answer ends it.
      const declined = alice.send("late", "are you there?", { timeoutMs: 600_000 });
      await expect(declined).rejects.toMatchObject({ code: "declined" });
      expect(failures).toEqual(["declined"]);
      for (let i = 0; i < 3; i++) expect(await late.ask("?")).toBe("alive");
      expect(await late.ask("listen")).toBe("alive");
      await alice.send("late", "and now?", { timeoutMs: 60_000 });
      expect(await late.line()).toBe("and now?");
      expect(await late.ask("close")).toBe("alive");
      expect(await late.line()).toBe("closed");
      expect(await late.ended).toMatchObject({ code: 0 });
    } finally {
      await late.kill();
    }
  });

  it("is declined at once by one that only sends", async () => {
    const sender = await on({ register: "never" });
    const bob = await on();
    expect(await bob.lookup(sender.name)).toBeNull();
    await expect(bob.send(sender.name, "hello")).rejects.toMatchObject({ code: "no-such-user" });
    const { publicKey } = loadOrCreateIdentity(join(stateOf(sender.name), "key"));
    const peer = { key: publicKey, endpoints: [{ address: "127.0.0.1", port: sender.port }] };
    await using transport = await PeerTransport.open({ identity: Identity.generate(), address: "127.0.0.1" });
    await expect(transport.send(peer, { from: "x", text: "hello", id: "1" })).rejects.toMatchObject({
      code: "declined",
    });
  });
});

describe("one who only sends", () => {
  it("is verified under the name, also many at once, beside the user's own client, which nobody loses sight of", async () => {
    const bob = await on();
    const messages: TalkMessage[] = [];
    bob.on("message", (message) => void messages.push(message));
    const seen: string[] = [];
    bob.on("peer", ({ name, state }) => seen.push(`${name} ${state}`));
    const alice = await on({ name: "alice" });
    const senders = await Promise.all(Array.from({ length: 5 }, () => on({ name: "alice", register: "never" })));
    await Promise.all(senders.map((sender, i) => sender.send(bob.name, `number ${i}`)));
    await Promise.all(senders.map((sender) => sender.close()));
    expect(messages.map(({ verified, from }) => ({ verified, from }))).toEqual(
      Array(5).fill({ verified: true, from: "alice" }),
    );
    const own = once(alice, "message");
    await bob.send("alice", "for the client");
    expect((await own)[0]).toMatchObject({ text: "for the client" });
    await alice.close();
    await until("alice to leave", () => seen.includes("alice left"));
    expect(seen).toEqual(["alice joined", "alice left"]);
    // And when the own client is gone, and when it comes again.
    messages.length = 0;
    const late = await Promise.all([1, 2, 3].map(() => on({ name: "alice", register: "never" })));
    await Promise.all(late.map((sender) => sender.send(bob.name, "after all")));
    expect(messages.map(({ verified }) => verified)).toEqual([true, true, true]);
    await on({ name: "alice" });
  });

  it("does not get a name that is another key's", async () => {
    const owner = await on();
    const other = { name: owner.name, stateDir: stateOf("thief"), register: "never" } as const;
    await expect(on(other)).rejects.toMatchObject({ code: "name-taken" });
  });
});

describe("the order of messages to one peer", () => {
  it("is that of the calls, also when the directory is asked again meanwhile", async () => {
    const [alice, bob] = [await on(), await on()];
    const texts = textsOf(bob);
    await alice.send(bob.name, "0");
    await sleep(2_300);
    await Promise.all(["1", "2", "3", "4"].map((text) => alice.send(bob.name, text)));
    expect(texts).toEqual(["0", "1", "2", "3", "4"]);
  });
});

describe("the time of the last lookup", () => {
  it("is that of the last message to a name, also where no question was needed to send it", async () => {
    const [alice, bob] = [await on(), await on()];
    textsOf(bob);
    await until("bob's joining to be told", () => alice.stats().directory.contacts === 1);
    const seenBy = async (client: TalkClient) =>
      (await client.all()).find(({ name }) => name === alice.name)?.lastLookupAt ?? null;
    expect(await seenBy(alice)).toBeNull();
    const before = Date.now();
    // On a busy machine what she was told may be too old to go by.
    await until("a message without a question", async () => {
      const { lookups } = alice.stats().directory;
      await alice.send(bob.name, "hello");
      return alice.stats().directory.lookups === lookups;
    });
    const first = await seenBy(alice);
    expect(first).toBeGreaterThanOrEqual(before);
    await sleep(5);
    await alice.send(bob.name, "hello again");
    await until("others to see it", async () => ((await seenBy(bob)) ?? 0) > (first ?? 0));
  });
});

describe("a server that hangs", () => {
  it("stops no conversation, and a stranger's message is shown as what it is", async () => {
    const alice = await on();
    await sleep(300); // watchers get her arrival within 100 ms: bob must not
    const bob = await on();
    const messages: TalkMessage[] = [];
    bob.on("message", (message) => void messages.push(message));
    const carol = await on();
    expect(await alice.lookup(bob.name)).not.toBeNull();
    await carol.send(bob.name, "from carol");
    stopServer();
    await sleep(2_100);
    // Well below the ten seconds after which the server counts as gone.
    await carol.send(bob.name, "still there", { timeoutMs: 6_000 });
    await alice.send(bob.name, "who am I?", { timeoutMs: 6_000 });
    expect(messages.map(({ text, verified }) => [text, verified])).toEqual([
      ["from carol", true],
      ["still there", true],
      ["who am I?", false],
    ]);
    const abort = new AbortController();
    const sending = alice.send("somebody", "hello", { signal: abort.signal });
    const code = sending.catch(({ name }: Error) => name);
    abort.abort();
    expect(await Promise.race([code, sleep(5_000)])).toBe("AbortError");
    const late = alice.send("somebody", "hello", { timeoutMs: 300 }).catch((error: { code: string }) => error.code);
    expect(await Promise.race([late, sleep(5_000)])).toBe("not-delivered");
  });

  it("does not keep anybody from giving up connecting", async () => {
    await using silent = await ScriptedServer.start();
    const signal = AbortSignal.timeout(300);
    await expect(on({ server: silent.address, signal })).rejects.toMatchObject({ name: "TimeoutError" });
    await using polite = await ScriptedServer.start((request) => (request[0] === "HELLO" ? greeting(request) : null));
    for (const register of ["always", "never"] as const) {
      const registering = AbortSignal.timeout(300);
      await expect(on({ server: polite.address, register, signal: registering })).rejects.toMatchObject({
        name: "TimeoutError",
      });
    }
  });
});

describe("a server that says something else", () => {
  it.each([
    ["an error to everything", () => "-ERR unknown command\r\n", /answered with "ERR unknown command"/],
    ["no RESP", () => "HTTP/1.1 400 Bad Request\r\n\r\n", /does not speak/],
    ["a greeting without a nonce", () => "%0\r\n", /no nonce/],
  ])("is no lookup server: %s", async (_what, script, message) => {
    await using other = await ScriptedServer.start(script);
    await expect(on({ server: other.address })).rejects.toMatchObject({
      code: "unreachable",
      remedy: "foreign-port",
      message: expect.stringMatching(/a program of user \S+ \(pid \d+\) has that port, and does not answer as one/),
      cause: { code: "protocol", message: expect.stringMatching(message) },
    });
  });

  it("about others: the question fails, with what it said", async () => {
    const answers: Readonly<Record<string, string>> = { LOOKUP: "%1\r\n+name\r\n+bob\r\n", ALL: "-ERR no\r\n" };
    await using other = await ScriptedServer.start((request) =>
      request[0] === "HELLO" ? greeting(request) : (answers[request[0] ?? ""] ?? "+OK\r\n"),
    );
    const client = await on({ server: other.address });
    await expect(client.lookup("bob")).rejects.toMatchObject({ code: "protocol" });
    await expect(client.all()).rejects.toMatchObject({ code: "protocol", message: /"ERR no"/ });
    await expect(client.send("bob", "hello")).rejects.toMatchObject({ code: "not-delivered" });
  });

  it("about names that nobody can have: those are left out", async () => {
    const entry = (name: string) => {
      const out = new ReplyWriter();
      writeEntry(out, entryOf("somebody"), 3);
      return Buffer.from(out.bytes()).toString().replace("$8\r\nsomebody", `+${name}`);
    };
    const page = `*2\r\n+0\r\n*3\r\n${entry("../x")}${entry("bob")}${entry("all")}`;
    const answers: Readonly<Record<string, string>> = { ALL: page, LOOKUP: entry("all") };
    await using other = await ScriptedServer.start((request) =>
      request[0] === "HELLO" ? greeting(request) : (answers[request[0] ?? ""] ?? "+OK\r\n"),
    );
    const client = await on({ server: other.address });
    expect((await client.all()).map(({ name }) => name)).toEqual(["bob"]);
    expect(await client.lookup("bob")).toBeNull();
  });
});

describe("what send() rejects with", () => {
  it("is a mistake of the caller's before anything is said of the message", async () => {
    const [alice, bob] = [await on(), await on()];
    textsOf(bob);
    const events: unknown[] = [];
    for (const event of ["sent", "failed", "delivered"] as const) alice.on(event, () => events.push(event));
    const send = alice.send as (...args: unknown[]) => Promise<unknown>;
    for (const [subject, ...args] of [
      ["to", 7, "x"],
      ["text", bob.name, Buffer.from("x")],
      ["text", bob.name, "half \ud83d of a pair"],
      ["timeoutMs", bob.name, "x", { timeoutMs: Number.POSITIVE_INFINITY }],
      ["signal", bob.name, "x", { signal: "SIGTERM" }],
      ["wait", bob.name, "x", { wait: 5 }],
    ]) {
      await expect(send.call(alice, ...args)).rejects.toMatchObject({ name: "TalkError", code: "usage", subject });
    }
    await expect((alice.lookup as (name: unknown) => Promise<unknown>)(7)).rejects.toMatchObject({
      code: "usage",
      subject: "name",
    });
    expect(events).toEqual([]);
    await alice.send(bob.name, "x", { timeoutMs: 5000.5 });
    expect(events).toHaveLength(2);
  });

  it("one signal for many messages is no leak that Node warns of", async () => {
    const [alice, bob] = [await on(), await on()];
    textsOf(bob);
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on("warning", note);
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 20 }, (_, i) => alice.send(bob.name, `${i}`, { signal })));
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", note);
    expect(warnings.filter(({ name }) => name === "MaxListenersExceededWarning")).toEqual([]);
  });

  it("is not-delivered when the time is over, or the client closes, before the name is found", async () => {
    const own = await ServerProcess.start(["--state-dir", join(home.path, "own"), "--workers", "1"]);
    const alice = await on({ server: own.address });
    const lost = once(alice, "server");
    await own.stop();
    await lost;
    await until("the loss", async () => (await alice.lookup("x").catch(() => "gone")) === "gone");
    await expect(alice.send("nobody", "x", { timeoutMs: 200 })).rejects.toMatchObject({
      name: "TalkError",
      code: "not-delivered",
    });
    const waiting = expect(alice.send("nobody", "x")).rejects.toMatchObject({ code: "not-delivered" });
    await sleep(50);
    await alice.close();
    await waiting;
  });

  it("is the reason of the caller's own signal", async () => {
    const [alice, bob] = [await on(), await on()];
    const abort = new AbortController();
    const sending = alice.send(bob.name, "x", { signal: abort.signal });
    const reason = expect(sending).rejects.toBe("enough");
    abort.abort("enough");
    await reason;
  });
});

describe("a message of a kind that the receiver's version does not know", () => {
  it("fails as not understood, never as another key, and the receiver shows nothing of it", async () => {
    const [alice, bob] = [await on(), await on()];
    const texts = textsOf(bob);
    const events: unknown[] = [];
    alice.on("failed", ({ code }) => events.push(code));
    bob.on("refused", (error) => events.push(error));
    await alice.send(bob.name, "a text");
    const { send } = PeerEngine.prototype;
    const spy = vi.spyOn(PeerEngine.prototype, "send").mockImplementation(function (
      this: PeerEngine,
      peer,
      body,
      waiter,
    ) {
      body[1] = 200; // what this version's encoder never writes
      return send.call(this, peer, body, waiter);
    });
    try {
      const sending = alice.send(bob.name, "of the future", { timeoutMs: 600_000 });
      await expect(sending).rejects.toMatchObject({ code: "not-understood" });
    } finally {
      spy.mockRestore();
    }
    await alice.send(bob.name, "another text");
    expect([texts, events]).toEqual([["a text", "another text"], ["not-understood"]]);
  });
});

describe("a peer of another version of the protocol", () => {
  it("is refused before it is dialled, and the sender learns who must upgrade", async () => {
    const alice = await on();
    const identity = Identity.generate();
    await using socket = await PeerTransport.open({ identity, address: "127.0.0.1" });
    const { port } = socket;
    using _row = await registeredRow({ server: server.address, name: "future", identity, port, protocol: 3 });
    const sending = alice.send("future", "hello", { timeoutMs: 600_000 });
    await expect(sending).rejects.toMatchObject({
      code: "not-understood",
      message: expect.stringMatching(/version 3 of the peer protocol, not 2; you have to upgrade/),
    });
    expect(socket.stats().datagramsReceived).toBe(0);
  });
});

describe("a client whose name another program of its user has taken over", () => {
  it("ends for good, says so once, and does not come back", async () => {
    const [alice, bob] = [await on(), await on()];
    const events: unknown[] = [];
    alice.on("error", ({ message }) => events.push(message));
    alice.on("server", ({ state }) => events.push(state));
    const identity = loadOrCreateIdentity(join(stateOf(alice.name), "key"));
    const gone = once(alice, "error");
    const row = { server: server.address, name: alice.name, identity, port: 5000, replace: true };
    using _row = await registeredRow(row);
    expect((await gone)[0]).toMatchObject({ code: "name-taken" });
    await expect(alice.send(bob.name, "still me?")).rejects.toMatchObject({ code: "name-taken" });
    expect(await bob.lookup(alice.name)).toMatchObject({ port: 5000 });
    expect(events).toEqual([expect.stringMatching(/another program of yours has taken the name/)]);
  });
});

describe("stats()", () => {
  it("counts messages by their outcome, on both sides, and knows session, names and peers", async () => {
    const [alice, bob] = [await on(), await on()];
    const none = {
      "no-such-user": 0,
      "not-delivered": 0,
      "key-mismatch": 0,
      declined: 0,
      "not-understood": 0,
      "too-long": 0,
      "mailbox-full": 0,
      "no-key": 0,
    };
    await until("bob's joining to be told", () => alice.stats().directory.contacts === 1);
    expect(alice.stats()).toMatchObject({
      server: { isConnected: true, reconnects: 0, roundTripMs: expect.any(Number) },
      directory: { contacts: 1, lookups: 0, fromMemory: 0 },
      messages: { underWay: 0, delivered: 0, failed: none, received: 0, refused: 0, declined: 0 },
      peers: { sessions: 0, messagesDelivered: 0 },
    });
    await expect(alice.send(bob.name, "nobody listens")).rejects.toMatchObject({ code: "declined" });
    textsOf(bob);
    for (const text of ["one", "two"]) await alice.send(bob.name, text);
    await expect(alice.send("nobody", "x")).rejects.toMatchObject({ code: "no-such-user" });
    await expect(alice.send(bob.name, "x".repeat(65_537))).rejects.toMatchObject({ code: "too-long" });
    const { messages, directory, peers } = alice.stats();
    expect(messages).toMatchObject({ underWay: 0, delivered: 2 });
    expect(messages.failed).toEqual({ ...none, declined: 1, "no-such-user": 1, "too-long": 1 });
    expect(directory.contacts).toBe(1);
    expect(directory.lookups + directory.fromMemory).toBeGreaterThanOrEqual(4);
    expect(peers).toMatchObject({ sessions: 1, messagesDelivered: 2, handshakes: { completed: 1 } });
    expect(bob.stats().messages).toMatchObject({ received: 2, declined: 1, refused: 0, delivered: 0 });
    const hung = alice.send(bob.name, "three");
    expect(alice.stats().messages.underWay).toBe(1);
    await hung;
  });
});

describe("only the delivery decides", () => {
  it("also when the key cannot be remembered, on either side", async () => {
    for (const name of ["forgetful", "forgetful2"]) {
      mkdirSync(stateOf(name), { recursive: true });
      symlinkSync(join(home.path, "gone", "file"), join(stateOf(name), "known_peers"));
    }
    const [alice, bob] = [await on({ name: "forgetful" }), await on({ name: "forgetful2" })];
    const messages: TalkMessage[] = [];
    bob.on("message", (message) => void messages.push(message));
    const events: string[] = [];
    for (const event of ["sent", "failed", "delivered"] as const) alice.on(event, () => events.push(event));
    await alice.send(bob.name, "hello");
    expect(messages).toMatchObject([{ text: "hello", verified: false }]);
    expect(events).toEqual(["sent", "delivered"]);
  });

  it("and no listener that throws: the program hears of it as an error", async () => {
    const [alice, bob] = [await on(), await on()];
    textsOf(bob);
    const events: string[] = [];
    alice.on("failed", () => events.push("failed"));
    alice.on("delivered", () => {
      throw new Error("my mistake");
    });
    const error = once(alice, "error");
    await alice.send(bob.name, "hello");
    expect((await error)[0]).toMatchObject({ message: "my mistake" });
    expect(events).toEqual([]);
  });

  it("a message whose listener throws stays unconfirmed, and the program hears of it", async () => {
    const [alice, bob] = [await on(), await on()];
    const errors: string[] = [];
    bob.on("error", ({ message }) => errors.push(message));
    bob.once("message", async () => {
      throw new Error("no paper");
    });
    await expect(alice.send(bob.name, "print this", { timeoutMs: 500 })).rejects.toMatchObject({ code: "unconfirmed" });
    expect(errors).toEqual(["no paper"]);
    const next = once(bob, "message");
    await alice.send(bob.name, "and this");
    expect((await next)[0]).toMatchObject({ text: "and this" });
  });
});

it("does not tell of every message that it refuses", async () => {
  const [bob, alice] = [await on(), await on()];
  let refused = 0;
  bob.on("refused", () => refused++);
  textsOf(bob);
  await alice.send(bob.name, "it is me");
  const { publicKey } = loadOrCreateIdentity(join(stateOf(bob.name), "key"));
  const peer = { key: publicKey, endpoints: [{ address: "127.0.0.1", port: bob.port }] };
  await using mallory = await PeerTransport.open({ identity: Identity.generate(), address: "127.0.0.1" });
  for (let i = 0; i < 50; i++) {
    const sending = mallory.send(peer, { from: alice.name, text: "it is I", id: String(i) });
    await expect(sending).rejects.toMatchObject({ code: "key-mismatch" });
  }
  expect(refused).toBeGreaterThan(0);
  expect(refused).toBeLessThan(50);
});
