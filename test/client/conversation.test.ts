// The main job, with a real server and real clients in processes of their own.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TalkClient } from "../../lib/client/talk-client.ts";
import { Identity } from "../../lib/crypto/identity.ts";
import { PeerTransport } from "../../lib/peer/transport.ts";
import { freshStateDir, ServerProcess } from "../helpers/lookup-server.ts";
import { ptalk, Talker, type Where } from "../helpers/talk-process.ts";

let home: ReturnType<typeof freshStateDir>;
let server: ServerProcess;
const talkers: Talker[] = [];

beforeEach(async () => {
  home = freshStateDir();
  server = await ServerProcess.start(["--state-dir", join(home.path, "server"), "--workers", "1"]);
});
afterEach(async () => {
  await Promise.all(talkers.splice(0).map(({ program }) => program.kill()));
  await server.stop();
  home.remove();
});

/** The state of a user of that name: users of different names have different keys. */
function user(name: string): Where {
  const state = join(home.path, name);
  mkdirSync(state, { recursive: true });
  return { server: server.address, state };
}

async function on(name: string, owner = name, args?: string[]): Promise<Talker> {
  const talker = await Talker.on(user(owner), name, args);
  talkers.push(talker);
  return talker;
}

describe("a conversation", () => {
  it("goes both ways, every message once, in order, confirmed and verified", async () => {
    const [alice, bob] = [await on("alice"), await on("bob")];
    for (let i = 0; i < 20; i++) alice.say(`bob number ${i}`);
    for (let i = 0; i < 20; i++)
      expect(await bob.event("message")).toMatchObject({ from: "alice", text: `number ${i}`, verified: true });
    for (let i = 0; i < 20; i++) await alice.event("delivered");
    expect(await bob.tell("ALICE", "早上好 👋")).toMatchObject({ type: "delivered", to: "ALICE" });
    expect(await alice.event("message")).toMatchObject({ from: "bob", text: "早上好 👋" });
    expect((await alice.exit()).code).toBe(0);
    expect(await bob.event("peer", ({ state }) => state === "left")).toMatchObject({ name: "alice" });
    expect(bob.seen("message")).toEqual([]);
  });

  it("keeps two programs of one user apart, also in one message to both", async () => {
    const alice = await on("alice");
    const [bob, work] = [await on("bob"), await on("bob-work", "bob")];
    alice.say("bob,bob-work to both of you");
    for (const one of [bob, work]) expect(await one.event("message")).toMatchObject({ text: "to both of you" });
    for (let i = 0; i < 5; i++) {
      expect(await alice.tell("bob", `home ${i}`)).toMatchObject({ type: "delivered" });
      expect(await alice.tell("bob-work", `work ${i}`)).toMatchObject({ type: "delivered" });
    }
    for (let i = 0; i < 5; i++) {
      expect(await bob.event("message")).toMatchObject({ text: `home ${i}` });
      expect(await work.event("message")).toMatchObject({ text: `work ${i}` });
    }
    expect(await work.tell("bob", "from one of mine to another")).toMatchObject({ type: "delivered" });
    expect(await bob.event("message")).toMatchObject({ from: "bob-work", verified: true });
    expect(await bob.tell("bob", "note to self")).toMatchObject({ type: "delivered" });
    expect(await bob.event("message")).toMatchObject({ from: "bob", text: "note to self" });
  });

  it("goes on without the server, and with the next one", async () => {
    const [alice, bob] = [await on("alice"), await on("bob")];
    expect(await alice.tell("bob", "one")).toMatchObject({ type: "delivered" });
    server.child.kill("SIGKILL");
    await alice.event("server", ({ state }) => state === "lost");
    await bob.event("server", ({ state }) => state === "lost");
    expect(await alice.tell("bob", "two")).toMatchObject({ type: "delivered" });
    expect(await bob.tell("alice", "three")).toMatchObject({ type: "delivered" });
    server = await ServerProcess.start(["--listen", server.address, "--state-dir", join(home.path, "server")]);
    await alice.event("server", ({ state }) => state === "back");
    await bob.event("server", ({ state }) => state === "back");
    expect(await alice.tell("bob", "four")).toMatchObject({ type: "delivered" });
    for (const text of ["one", "two", "four"]) expect(await bob.event("message")).toMatchObject({ text });
  });

  it("hands what is on its way to a receiver that is killed to its successor, which is at another place", async () => {
    const [alice, bob] = [await on("alice"), await on("bob")];
    expect(await alice.tell("bob", "first")).toMatchObject({ type: "delivered" });
    bob.program.child.kill("SIGSTOP");
    alice.say("bob second");
    await alice.event("sent");
    bob.program.child.kill("SIGKILL");
    const again = await on("bob");
    expect(await again.event("message")).toMatchObject({ text: "second" });
    await alice.event("delivered");
  });

  it("knows that a receiver killed before it printed the text has not got it", async () => {
    const bob = await on("bob");
    bob.program.child.kill("SIGSTOP");
    // Killed before it is looked up, it would be nobody: "sent" is said once the server has answered.
    const sender = Talker.start(user("alice"), "alice", ["send", "--as", "alice", "bob", "hello", "--timeout", "4"]);
    talkers.push(sender);
    await sender.event("sent");
    bob.program.child.kill("SIGKILL");
    expect(await sender.event("failed")).toMatchObject({ to: "bob", code: "not-delivered" });
    expect((await sender.program.ended).code).toBe(75);
  });

  it("carries 64 KiB, and refuses one byte more", async () => {
    const [alice, bob] = [await on("alice"), await on("bob")];
    const text = "0123456789abcdef".repeat(4096);
    expect(await alice.tell("bob", text)).toMatchObject({ type: "delivered" });
    expect((await bob.event("message")).text).toBe(text);
    expect(await alice.tell("bob", `${text}x`)).toMatchObject({ type: "failed", code: "too-long" });
  });
});

describe("ptalk send", () => {
  it("says with its exit status what became of the message", async () => {
    const alice = user("alice");
    await on("bob");
    expect((await ptalk(alice, ["send", "bob", "hello"])).code).toBe(0);
    expect((await ptalk(alice, ["send", "nobody", "hello"])).code).toBe(67);
    expect((await ptalk(alice, ["send", "no body", "hello"])).code).toBe(65);
    expect((await ptalk(alice, ["send", "bob", "x".repeat(65_537)])).code).toBe(65);
    expect((await ptalk({ ...alice, server: "127.0.0.1:1" }, ["send", "bob", "hello"])).code).toBe(69);
    expect((await ptalk(alice, ["send", "--as", "bob", "bob", "hello"])).code).toBe(73);
    expect((await ptalk(alice, ["send", "bob", "--timeout", "x", "hello"])).code).toBe(64);
    const both = await ptalk(alice, ["send", "bob,nobody", "--json"], "from stdin");
    expect(both.code).toBe(67);
    expect(both.stdout.map((line) => JSON.parse(line).type).sort()).toEqual(["delivered", "failed", "sent", "sent"]);
  });

  it("speaks under the name of the client that this user is running already", async () => {
    const [alice, bob] = [await on("alice"), await on("bob")];
    expect((await ptalk(user("alice"), ["send", "--as", "alice", "bob", "from the shell"])).code).toBe(0);
    expect(await bob.event("message")).toMatchObject({ from: "alice", text: "from the shell", verified: true });
    expect(await bob.tell("alice", "to the program")).toMatchObject({ type: "delivered" });
    expect(await alice.event("message")).toMatchObject({ text: "to the program" });
  });

  it("reaches `ptalk recv`, which ends after as many as it was told to", async () => {
    const receiver = await on("bob", "bob", ["recv", "--as", "bob", "--count", "2"]);
    for (const text of ["one", "two"]) {
      expect((await ptalk(user("alice"), ["send", "--as", "alice", "bob", text])).code).toBe(0);
    }
    expect((await receiver.program.ended).code).toBe(0);
    expect(await receiver.event("message")).toMatchObject({ text: "one" });
  });
});

describe("trust", () => {
  it("refuses a changed key with both fingerprints, until the old one is forgotten", async () => {
    const bob = await on("bob");
    expect((await ptalk(user("alice"), ["send", "bob", "hello"])).code).toBe(0);
    await bob.exit();
    // The server forgets whose name it was, and bob gets a new key: what alice remembers contradicts it.
    await server.stop();
    rmSync(join(home.path, "server"), { recursive: true });
    rmSync(join(home.path, "bob"), { recursive: true });
    server = await ServerProcess.start(["--listen", server.address, "--state-dir", join(home.path, "server")]);
    const other = await on("bob");
    const refused = await ptalk(user("alice"), ["send", "bob", "hello"]);
    expect(refused.code).toBe(77);
    expect(refused.stderr).toMatch(/known SHA256:\S+, offered SHA256:\S+.*ptalk key forget bob/);
    expect(other.seen("message")).toEqual([]);
    expect((await ptalk(user("alice"), ["key", "forget", "bob"])).code).toBe(0);
    expect((await ptalk(user("alice"), ["send", "bob", "hello again"])).code).toBe(0);
    expect(await other.event("message")).toMatchObject({ text: "hello again" });
  });

  it("does not show a message under the name of somebody else", async () => {
    const bob = await on("bob");
    const alice = await on("alice");
    expect(await alice.tell("bob", "it is me")).toMatchObject({ type: "delivered" });
    await alice.exit();
    await bob.event("peer", ({ state }) => state === "left");
    // Nobody is on as alice now. The server gives the name to no other key...
    const { server: address, state } = user("mallory");
    await expect(TalkClient.connect({ name: "alice", server: address, stateDir: state })).rejects.toMatchObject({
      code: "name-taken",
    });
    // ...and who does without the server is found out by the key.
    const directory = await server.client();
    const record = (await directory.ask("LOOKUP", "bob")) as Map<string, string>;
    directory.close();
    const peer = {
      key: Buffer.from(record.get("key") as string, "base64"),
      endpoints: [{ address: "127.0.0.1", port: Number(record.get("port")) }],
    };
    await using transport = await PeerTransport.open({ identity: Identity.generate(), address: "127.0.0.1" });
    const forged = transport.send(peer, { from: "alice", text: "send me money", id: "1" });
    await expect(forged).rejects.toMatchObject({ code: "key-mismatch" });
    bob.say("All");
    await bob.event("all");
    await bob.event("message", ({ text }) => text === "it is me");
    expect(bob.seen("message")).toEqual([]);
  });
});

describe("several at once", () => {
  it("exactly one of many clients gets a name", async () => {
    const all = Array.from({ length: 4 }, (_, i) => Talker.start(user(`user${i}`), "popular"));
    talkers.push(...all);
    const outcomes = await Promise.all(
      all.map((talker) =>
        Promise.race([talker.event("registered"), talker.event("error")]).catch(() => ({ type: "ended" })),
      ),
    );
    expect(outcomes.filter(({ type }) => type === "registered")).toHaveLength(1);
  });
});
