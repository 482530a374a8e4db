// Receivers and servers that are killed and come back: what is promised of a message then, for every way to send one. Real
// servers, and receivers in processes of their own.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { TalkClient } from "../../lib/client/talk-client.ts";
import type { ConnectOptions, TalkMessage } from "../../lib/client/types.ts";
import { Identity } from "../../lib/crypto/identity.ts";
import { freshStateDir, ServerProcess, until } from "../helpers/lookup-server.ts";
import { registeredRow } from "../helpers/registrations.ts";
import { Talker, type Where } from "../helpers/talk-process.ts";
import { TcpProxy } from "../helpers/tcp-proxy.ts";

const home = freshStateDir();
const stateDir = join(home.path, "server");
let server: ServerProcess;
let count = 0;
const closing: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  server = await ServerProcess.start(["--state-dir", stateDir, "--workers", "1"]);
});
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});
afterAll(async () => {
  await server.stop();
  home.remove();
});

const freshName = (role: string): string => `${role}${++count}`;
const user = (name: string): Where => ({ server: server.address, state: join(home.path, name) });

/** A receiver in a process of its own. */
async function receiver(name: string): Promise<Talker> {
  const talker = await Talker.on(user(name), name, ["recv", "--as", name]);
  closing.push(() => talker.program.kill());
  return talker;
}

/** A client in this process. */
async function client(name: string, options: Partial<ConnectOptions> = {}): Promise<TalkClient> {
  const own = await TalkClient.connect({ name, server: server.address, stateDir: join(home.path, name), ...options });
  closing.push(() => own.close());
  return own;
}

function killServer(): Promise<unknown> {
  server.child.kill("SIGKILL");
  return server.exited;
}

async function startServer(): Promise<void> {
  server = await ServerProcess.start(["--listen", server.address, "--state-dir", stateDir, "--workers", "1"]);
}

/** Sends, with a minute's time. Resolves when the message has begun its way; then to what became of it: a code, or "delivered". */
type Send = (to: string, text: string) => Promise<{ readonly outcome: Promise<string> }>;

/** A way to send: one sender, and what it sends with. */
const WAYS: Readonly<Record<string, () => Promise<Send>>> = {
  "ptalk send": async () => {
    const name = freshName("alice");
    return async (to, text) => {
      const sender = Talker.start(user(name), name, ["send", "--as", name, "--timeout", "60", to, text]);
      closing.push(() => sender.program.kill());
      await sender.event("sent");
      const ended = Promise.race([sender.event("delivered"), sender.event("failed")]);
      return { outcome: ended.then(({ type, code }) => (type === "delivered" ? type : String(code))) };
    };
  },
  "ptalk talk": async () => {
    const name = freshName("alice");
    const sender = await Talker.on(user(name), name, ["talk", "--as", name, "--timeout", "60"]);
    closing.push(() => sender.program.kill());
    return async (to, text) => {
      sender.say(`${to} ${text}`);
      const { id } = await sender.event("sent");
      const ended = sender.event("delivered", (event) => event.id === id);
      return { outcome: ended.then(({ type }) => type) };
    };
  },
  TalkClient: async () => sendWith(await client(freshName("alice"))),
  "TalkClient that only sends": async () => sendWith(await client(freshName("alice"), { register: "never" })),
};

function sendWith(sender: TalkClient): Send {
  return async (to, text) => {
    const sending = sender.send(to, text, { timeoutMs: 60_000 });
    return { outcome: sending.then(() => "delivered").catch(({ code }) => code) };
  };
}

describe.each(Object.entries(WAYS))("a message of %s", (_way, way) => {
  it("follows a receiver that is killed and comes back elsewhere", async () => {
    const name = freshName("bob");
    const bob = await receiver(name);
    const send = await way();
    bob.program.child.kill("SIGSTOP"); // it does not get to show anything
    const { outcome } = await send(name, "where are you?");
    await sleep(500);
    await bob.program.kill();
    await sleep(500);
    const again = await receiver(name);
    expect(await again.event("message")).toMatchObject({ text: "where are you?", verified: true });
    expect(await outcome).toBe("delivered");
  });

  it("waits for a receiver that is not back yet after a restart of the server", async () => {
    const name = freshName("bob");
    const bob = await receiver(name);
    const send = await way();
    bob.program.child.kill("SIGSTOP");
    await killServer();
    await startServer();
    const { outcome } = await send(name, "are you there?");
    await sleep(500);
    bob.program.child.kill("SIGCONT");
    expect(await bob.event("message")).toMatchObject({ text: "are you there?", verified: true });
    expect(await outcome).toBe("delivered");
  });

  it("finds a receiver that was restarted together with the server", async () => {
    const name = freshName("bob");
    const bob = await receiver(name);
    const send = await way();
    bob.program.child.kill("SIGSTOP");
    const { outcome } = await send(name, "both of you?");
    await sleep(500);
    await Promise.all([killServer(), bob.program.kill()]);
    await startServer();
    const again = await receiver(name);
    expect(await again.event("message")).toMatchObject({ text: "both of you?" });
    expect(await outcome).toBe("delivered");
  });
});

describe("after a restart of the server", () => {
  it("a name that nobody ever had is no user, at once", async () => {
    const alice = await client(freshName("alice"));
    await killServer();
    await startServer();
    await until("alice to be back", () => alice.stats().server.reconnects === 1);
    expect(alice.stats().server.isConnected).toBe(true);
    // Longer than the server takes to settle: only an answer ends it before.
    const sent = alice.send("nobody-at-all", "hello", { timeoutMs: 600_000 });
    await expect(sent).rejects.toMatchObject({ code: "no-such-user" });
    expect(alice.stats().directory.lookups).toBe(1);
  });

  it("a receiver that the new server has seen leave is no user, at once", async () => {
    const alice = await client(freshName("alice"));
    const bob = await client(freshName("bob"));
    bob.on("message", () => {});
    await killServer();
    await startServer();
    await until("both to be back", () => [alice, bob].every((one) => one.stats().server.reconnects === 1));
    await alice.send(bob.name, "welcome back");
    const left = new Promise((resolve) => alice.on("peer", ({ state }) => state === "left" && resolve(state)));
    await bob.close();
    await left;
    const sent = alice.send(bob.name, "one more", { timeoutMs: 600_000 });
    await expect(sent).rejects.toMatchObject({ code: "no-such-user" });
  });
});

describe("a conversation whose receiver has lost the server", () => {
  it("goes on, verified both ways, until the server gives the name to another key", async () => {
    await using link = await TcpProxy.to(server.port);
    const [alice, bob] = [await client(freshName("alice")), await client(freshName("bob"), { server: link.address })];
    const messages: TalkMessage[] = [];
    for (const one of [alice, bob]) one.on("message", (message) => void messages.push(message));
    await alice.send(bob.name, "hello");
    await bob.send(alice.name, "hello yourself");
    const left = new Promise((resolve) => alice.on("peer", ({ state }) => state === "left" && resolve(state)));
    link.cut();
    await left;
    // The server knows no bob now, and then not even whose the name is.
    expect(await alice.lookup(bob.name)).toBeNull();
    await alice.send(bob.name, "still there?");
    await bob.send(alice.name, "still here");
    await killServer();
    rmSync(stateDir, { recursive: true });
    await startServer();
    await until("alice to be back", () => alice.stats().server.reconnects === 1);
    await alice.send(bob.name, "a new server");
    await bob.send(alice.name, "not for me");
    expect(messages.map(({ text, verified }) => [text, verified])).toEqual([
      ["hello", true],
      ["hello yourself", true],
      ["still there?", true],
      ["still here", true],
      ["a new server", true],
      ["not for me", true],
    ]);
    // Somebody takes the name there. What alice says to bob goes to the key that she remembers, and to no other.
    messages.length = 0;
    const seen = new Promise((resolve) => alice.on("peer", ({ name }) => name === bob.name && resolve(name)));
    using _row = await registeredRow({
      server: server.address,
      name: bob.name,
      identity: Identity.generate(),
      port: 9,
    });
    await seen;
    await alice.send(bob.name, "is it you?");
    await bob.send(alice.name, "it is me");
    expect(messages.map(({ text, verified }) => [text, verified])).toEqual([
      ["is it you?", true],
      ["it is me", false],
    ]);
    // And when he has gone, the changed key is what keeps a message from him.
    await bob.close();
    await expect(alice.send(bob.name, "goodbye")).rejects.toMatchObject({ code: "key-mismatch" });
  });
});
