// Messages for users that are off, with real programs: kept by the server, shown once, in order, with receipts.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { receiptText } from "../../lib/cli/talk/texts.ts";
import type { ReceiptEvent } from "../../lib/client/types.ts";
import { User } from "../helpers/cli.ts";
import { COMMAND } from "../helpers/command.js";
import { whyNoPrivateShm } from "../helpers/privileges.ts";
import { Program } from "../helpers/program.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
let alice: User;
let bob: User;
const running: Program[] = [];

beforeAll(async () => {
  server = await Serving.start();
  alice = new User({ PTALK_SERVER: server.address });
  bob = new User({ PTALK_SERVER: server.address });
  // The server has met both.
  for (const [user, name] of [
    [alice, "alice"],
    [bob, "bob"],
  ] as const) {
    const program = user.start(["recv", "--as", name, "--json"]);
    expect(JSON.parse(await program.line())).toMatchObject({ type: "registered" });
    await program.kill();
  }
});
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

type Event = { readonly type: string; readonly [field: string]: unknown };
const leave = (...args: string[]) => alice.run(["send", "--as", "alice", "--leave", ...args]);
const next = async (program: Program): Promise<Event> => JSON.parse(await program.line());

async function on(user: User, name: string, ...args: string[]): Promise<Program> {
  const program = user.start(["recv", "--as", name, "--json", ...args]);
  running.push(program);
  expect(await next(program)).toMatchObject({ type: "registered" });
  return program;
}

describe("send --leave", { shuffle: false }, () => {
  it("keeps messages for a user that is off; they come in order, once, and the sender gets receipts", async () => {
    expect(await leave("bob", "one")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^kept for bob until .*SHA256:/),
    });
    const kept = await leave("bob", "two", "--json");
    const events: Event[] = kept.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events.at(-1)).toEqual({
      ...{ type: "kept", id: expect.any(String), to: "bob" },
      ...{ at: expect.stringMatching(/Z$/), until: expect.stringMatching(/Z$/) },
    });
    const inbox = await on(bob, "bob");
    const [one, two] = [await next(inbox), await next(inbox)];
    expect([one, two]).toMatchObject([
      {
        type: "message",
        from: "alice",
        text: "one",
        via: "mailbox",
        again: false,
        leftAt: expect.stringMatching(/Z$/),
      },
      { text: "two", id: events.at(-1)?.id },
    ]);
    expect(one).toMatchObject({ verified: true, kind: "text", room: null });
    const sender = await on(alice, "alice");
    const receipts = [await next(sender), await next(sender)];
    expect(receipts).toEqual(
      [one, two].map(({ id }) => ({ type: "receipt", id, to: "bob", at: expect.any(String), state: "delivered" })),
    );
    await inbox.kill();
    const again = await on(bob, "bob");
    expect(await leave("bob", "direct")).toMatchObject({ code: 0, stdout: expect.stringMatching(/^delivered to bob/) });
    expect(await next(again)).toMatchObject({ text: "direct", via: "direct", leftAt: null });
  });

  it("is 67 for a name without a known key, and 64 with --wait", async () => {
    expect(await leave("stranger", "x")).toMatchObject({
      code: 67,
      stderr: expect.stringContaining("nobody knows a key"),
    });
    expect(await leave("bob", "x", "--wait", "1")).toMatchObject({ code: 64 });
  });

  it("recv --count takes so many, and loses none of the others", async () => {
    for (let i = 0; i < 3; i++) expect(await leave("bob", `m${i}`)).toMatchObject({ code: 0 });
    for (let i = 0; i < 3; i++) {
      const inbox = await on(bob, "bob", "--count", "1");
      expect(await next(inbox)).toMatchObject({ text: `m${i}`, via: "mailbox", again: false });
      expect(await inbox.ended).toMatchObject({ code: 0 });
    }
  });

  it("comes before a direct message, and is shown once though it was left and sent", async () => {
    expect(await leave("bob", "left", "--id", "same")).toMatchObject({ code: 0 });
    expect(await leave("bob", "left", "--id", "same")).toMatchObject({ code: 0 });
    const inbox = bob.start(["recv", "--as", "bob", "--json"]);
    running.push(inbox);
    const direct = alice.run(["send", "--as", "alice", "bob", "direct", "--wait", "20"]);
    expect(await next(inbox)).toMatchObject({ type: "registered" });
    expect(await next(inbox)).toMatchObject({ text: "left" });
    expect(await next(inbox)).toMatchObject({ text: "direct" });
    expect(await direct).toMatchObject({ code: 0 });
    expect(await alice.run(["send", "--as", "alice", "bob", "left", "--id", "same"])).toMatchObject({ code: 0 });
    expect(await alice.run(["send", "--as", "alice", "bob", "end"])).toMatchObject({ code: 0 });
    expect(await next(inbox)).toMatchObject({ text: "end" });
  });

  it("has a receipt that says declined when the recipient ignores the sender", async () => {
    const person = bob.start(["talk", "--as", "bob", "--json"]);
    running.push(person);
    expect(await next(person)).toMatchObject({ type: "registered" });
    const sender = await on(alice, "alice");
    person.say("/ignore alice");
    let event = await next(person);
    while (event.type !== "ignored") event = await next(person);
    person.say("Exit");
    await person.ended;
    const client = await leave("bob", "unwanted", "--id", "unwanted");
    expect(client).toMatchObject({ code: 0, stdout: expect.stringContaining("kept") });
    const back = await on(bob, "bob");
    let receipt = await next(sender);
    while (receipt.id !== "unwanted") receipt = await next(sender); // those of the messages before
    expect(receipt).toMatchObject({ type: "receipt", to: "bob", state: "declined" });
    await back.kill();
  });

  it("takes the longest text, and a text of control characters as it is", async () => {
    const long = "ü".repeat(32_768);
    using carol = new User({ PTALK_SERVER: server.address });
    const first = await on(carol, "carol");
    await first.kill();
    const left = await alice.run(["send", "--as", "alice", "--leave", "carol"], { input: long });
    expect(left).toMatchObject({ code: 0 });
    const inbox = await on(carol, "carol");
    expect(await next(inbox)).toMatchObject({ text: long });
    await inbox.kill();
  });
});

it("a server that keeps no messages: 69", async () => {
  using owner = new User();
  const other = owner.start(["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--no-mailbox"]);
  running.push(other);
  const [address = ""] = /127\.0\.0\.1:\d+$/.exec(await other.line()) ?? [];
  using dave = new User({ PTALK_SERVER: address });
  const inbox = await on(dave, "dave");
  await inbox.kill();
  const left = await dave.run(["send", "--as", "dave", "--leave", "dave", "x"]);
  expect(left).toMatchObject({ code: 69, stderr: expect.stringContaining("keeps no messages") });
});

describe("receipts that the server leaves", () => {
  /** On a port of its own, where its state stays. */
  const serve = async (owner: User, address: string, ...more: string[]): Promise<[Program, string]> => {
    const program = owner.start(["serve", "--listen", address, "--workers", "2", ...more]);
    running.push(program);
    const [found = ""] = /127\.0\.0\.1:\d+$/.exec(await program.line()) ?? [];
    return [program, found];
  };

  it("a message that nobody fetched in time is expired", async () => {
    using owner = new User();
    const state = ["--state-dir", `${owner.home}/mail`];
    const [first, address] = await serve(owner, "127.0.0.1:0", ...state);
    using carol = new User({ PTALK_SERVER: address });
    using dave = new User({ PTALK_SERVER: address });
    await (await on(carol, "carol")).kill();
    const left = await dave.run(["send", "--as", "dave", "--leave", "--id", "late", "carol", "hello"]);
    expect(left).toMatchObject({ code: 0 });
    const leftAt = Date.now();
    await first.kill();
    while (Date.now() <= leftAt + 1000) await new Promise((resolve) => setTimeout(resolve, 100)); // older than it gets
    await serve(owner, address, ...state, "--mailbox-age", "1s");
    const sender = await on(dave, "dave");
    expect(await next(sender)).toEqual({
      ...{ type: "receipt", id: "late", to: "carol", state: "expired" },
      at: expect.stringMatching(/Z$/),
    });
    const inbox = await on(carol, "carol");
    expect(await dave.run(["send", "--as", "dave", "carol", "end"])).toMatchObject({ code: 0 });
    expect(await next(inbox)).toMatchObject({ text: "end" });
  });

  it("one that its recipient has no key for any more is lost-key, told at once to a sender that is on", async () => {
    using owner = new User();
    const state = ["--state-dir", `${owner.home}/mail`];
    const [first, address] = await serve(owner, "127.0.0.1:0", ...state);
    using before = new User({ PTALK_SERVER: address });
    using after = new User({ PTALK_SERVER: address });
    using dave = new User({ PTALK_SERVER: address });
    await (await on(before, "carol")).kill();
    const left = await dave.run(["send", "--as", "dave", "--leave", "--id", "sealed", "carol", "hello"]);
    expect(left).toMatchObject({ code: 0 });
    await first.kill();
    rmSync(`${owner.home}/mail/server-names`); // the name is free again, for whoever comes first
    await serve(owner, address, ...state);
    const sender = await on(dave, "dave");
    const inbox = await on(after, "carol");
    expect(await next(sender)).toMatchObject({ type: "receipt", id: "sealed", to: "carol", state: "lost-key" });
    await inbox.kill();
  });
});

describe.skipIf(whyNoPrivateShm !== null)("a full disk of the server", () => {
  it("is 75 with the id, keeps nothing, and ends when there is room", async () => {
    using owner = new User();
    const state = join(owner.home, "mail");
    const script = `mkdir -p "$1" && mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"`;
    const serve = [...COMMAND, "serve", "--listen", "127.0.0.1:0", "--workers", "1", "--state-dir", state];
    const full = new Program("unshare", ["-m", "sh", "-c", script, "sh", state, ...serve], { env: owner.env });
    running.push(full);
    const [address = ""] = /127\.0\.0\.1:\d+$/.exec(await full.line()) ?? [];
    using carol = new User({ PTALK_SERVER: address });
    await (await on(carol, "carol")).kill();
    const send = (id: string, text: string) =>
      carol.run(["send", "--as", "dave", "--leave", "--id", id, "carol"], { input: text });
    const kept: string[] = [];
    let failure = await send("first", "x".repeat(65_000));
    for (let i = 0; failure.code === 0; i++) {
      kept.push(i === 0 ? "first" : `${i}`);
      failure = await send(`${i + 1}`, "x".repeat(65_000));
    }
    const failedId = String(kept.length);
    expect(failure).toMatchObject({ code: 75, stdout: "", stderr: expect.stringContaining(`(id ${failedId})`) });
    // What was answered is there, and the rest is not; then there is room again, for the one that was refused too.
    const inbox = await on(carol, "carol");
    for (const id of kept) expect(await next(inbox)).toMatchObject({ id, via: "mailbox" });
    await inbox.kill();
    expect(await send(failedId, "x".repeat(65_000))).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("kept"),
    });
  });
});

it("people read receipts in words", () => {
  const text = (state: ReceiptEvent["state"]): string => receiptText({ id: "1", to: "b\x1bob", at: 0, state });
  expect(text("delivered")).toMatch(/^delivered to b\^\[ob at /);
  expect(text("declined")).toMatch(/^declined by b\^\[ob at /);
  expect(text("expired")).toMatch(
    /^not delivered: b\^\[ob has not fetched a message by .*, and the server has discarded it$/,
  );
  expect(text("lost-key")).toMatch(/^not delivered: b\^\[ob has another key now, and could not open a message at /);
});
