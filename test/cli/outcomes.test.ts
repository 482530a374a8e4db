// What a script reads of its message, with real programs: delivered, failed for good, or unconfirmed; and one id for every attempt.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { TalkClient } from "../../lib/client/talk-client.ts";
import { LookupServer } from "../../lib/server/lookup-server.ts";
import { User } from "../helpers/cli.ts";
import { commandLine } from "../helpers/command.js";
import type { Program } from "../helpers/program.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
let alice: User;
let bob: User;
const running: Program[] = [];
const WARNING = "it may have arrived; sending again may double it";

beforeAll(async () => {
  server = await Serving.start();
  alice = new User({ PTALK_SERVER: server.address });
  bob = new User({ PTALK_SERVER: server.address });
});
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

type Event = { readonly type: string; readonly [field: string]: unknown };

async function receiver(...args: string[]): Promise<Program> {
  const program = bob.start(["recv", "--as", "bob", "--json", ...args]);
  running.push(program);
  expect(JSON.parse(await program.line())).toMatchObject({ type: "registered" });
  return program;
}
const next = async (program: Program): Promise<Event> => JSON.parse(await program.line());
const send = (...args: string[]) => alice.run(["send", "--as", "alice", ...args]);
const idIn = (text: string): string => /\(id ([^)]+)\)/.exec(text)?.[1] ?? "none";
const asClient = (user: User, name: string) =>
  TalkClient.connect({ name, server: server.address, stateDir: join(user.home, "state", "ptalk") });

describe("a receiver that is suspended", () => {
  it("never shows a message that the sender gave up meanwhile: talk and TalkClient read unconfirmed", async () => {
    const inbox = await receiver();
    const person = alice.start(["talk", "--as", "alice", "--json"], { PTALK_TIMEOUT: "1" });
    running.push(person);
    expect(await next(person)).toMatchObject({ type: "registered" });
    const client = await asClient(alice, "alice-2");
    person.say("bob from a person");
    await client.send("bob", "from a program");
    const arrived = [await next(inbox), await next(inbox)].map(({ text }) => text);
    expect(arrived.sort()).toEqual(["from a person", "from a program"]);
    inbox.child.kill("SIGSTOP");
    const events: unknown[] = [];
    client.on("unconfirmed", (event) => events.push(event));
    const late = client.send("bob", "late", { timeoutMs: 1000 });
    person.say("bob late too");
    await expect(late).rejects.toMatchObject({ code: "unconfirmed", message: expect.stringContaining(WARNING) });
    const said = { id: expect.any(String), to: "bob", room: null, at: expect.any(Number) };
    expect(events).toEqual([{ ...said, message: expect.stringContaining(WARNING) }]);
    let event = await next(person);
    while (event.type !== "unconfirmed") event = await next(person);
    expect(Object.keys(event)).toEqual(["type", "id", "to", "room", "at", "message"]);
    inbox.child.kill("SIGCONT");
    await client.send("bob", "after");
    expect(await next(inbox)).toMatchObject({ text: "after" });
    await client.close();
  });

  it("that has never been talked to: the text cannot have arrived, 75 and the id", async () => {
    const inbox = await receiver();
    inbox.child.kill("SIGSTOP");
    const failed = await send("bob", "early", "--timeout", "1");
    expect(failed).toMatchObject({ code: 75, stdout: "", stderr: expect.stringContaining("not delivered to") });
    expect(idIn(failed.stderr)).not.toBe("none");
    inbox.child.kill("SIGCONT");
    expect(await send("bob", "again")).toMatchObject({ code: 0 });
    expect(await next(inbox)).toMatchObject({ text: "again" });
  });

  it("that goes on within a second of the deadline says that it has not shown the text", async () => {
    const [sender, listener] = [await asClient(alice, "alice"), await receiver()];
    await sender.send("bob", "warm");
    await next(listener);
    listener.child.kill("SIGSTOP");
    const late = sender.send("bob", "late", { timeoutMs: 500 });
    const failed = expect(late).rejects.toMatchObject({ code: "not-delivered" });
    await sleep(800);
    listener.child.kill("SIGCONT");
    await failed;
    await sender.send("bob", "next");
    expect(await next(listener)).toMatchObject({ text: "next" });
    await sender.close();
  });
});

describe("output that is stuck in a full pipe", () => {
  it("is answered neither way: 76, and the text appears once somebody reads", async () => {
    const unread = spawn(...commandLine(["recv", "--as", "bob"]), { env: bob.env });
    try {
      await once(unread.stderr, "data"); // "you are bob…"; no process reads its stdout
      const big = "x".repeat(60_000);
      let last = { code: 0 as number | null, stderr: "" };
      // On a busy machine one may take its second to get there, and be given up before its output has begun: 75.
      for (let i = 0; i < 12 && last.code !== 76; i++) last = await send("bob", `${i}${big}`, "--timeout", "1");
      expect(last).toMatchObject({ code: 76, stderr: expect.stringContaining(WARNING) });
      expect(idIn(last.stderr)).not.toBe("none");
      unread.stdout.resume(); // the write returns, and a repetition is answered: shown
      expect(await send("bob", "x", "--id", idIn(last.stderr))).toMatchObject({ code: 0 });
    } finally {
      unread.kill("SIGKILL");
      await once(unread, "close");
    }
  });
});

describe("--id", () => {
  it("shows one sender's id once, also by another program of the receiver, and says delivered", async () => {
    const first = await receiver("--count", "1");
    expect(await send("bob", "once", "--id", "job-7")).toMatchObject({ code: 0 });
    expect(await next(first)).toMatchObject({ text: "once", id: "job-7", again: false });
    await first.ended;
    expect(readdirSync(join(bob.home, "state", "ptalk", "seen"))).not.toEqual([]);
    const second = await receiver();
    expect(await send("bob", "once", "--id", "job-7")).toMatchObject({ code: 0 });
    const client = await asClient(alice, "alice");
    expect(await client.send("bob", "once", { id: "job-7" })).toMatchObject({ id: "job-7", state: "delivered" });
    expect(await client.send("bob", "other", { id: "job-8" })).toMatchObject({ id: "job-8", via: "direct" });
    expect(await next(second)).toMatchObject({ text: "other", id: "job-8" });
    await client.close();
  });

  it("of another sender is another message", async () => {
    const inbox = await receiver();
    using carol = new User({ PTALK_SERVER: server.address });
    expect(await carol.run(["send", "--as", "carol", "bob", "hers", "--id", "job-7"])).toMatchObject({ code: 0 });
    expect(await next(inbox)).toMatchObject({ from: "carol", text: "hers", id: "job-7" });
  });

  it("repeats an attempt that ended with 75: then the text appears, once", async () => {
    const stopped = await receiver();
    stopped.child.kill("SIGSTOP");
    const failed = await send("bob", "third time lucky", "--timeout", "1");
    stopped.child.kill("SIGCONT");
    const id = idIn(failed.stderr);
    for (let i = 0; i < 2; i++) expect(await send("bob", "third time lucky", "--id", id)).toMatchObject({ code: 0 });
    expect(await send("bob", "end")).toMatchObject({ code: 0 });
    expect([await next(stopped), await next(stopped)]).toMatchObject([
      { text: "third time lucky", id },
      { text: "end" },
    ]);
  });

  it("takes 1 to 64 bytes", async () => {
    expect(await send("bob", "x", "--id", "é".repeat(33))).toMatchObject({ code: 64 });
    expect(await send("bob", "x", "--id=")).toMatchObject({ code: 64 });
  });
});

it("a receiver that ends while a second sender waits: that one's text is not shown, and so not delivered", async () => {
  const inbox = await receiver("--count", "1");
  const [one, other] = await Promise.all([
    send("bob", "a", "--timeout", "3"),
    send("bob", "b", "--timeout", "3", "--as", "alice"),
  ]);
  await inbox.ended;
  const [first, second] = [one.code, other.code].sort();
  expect(first).toBe(0);
  // 67: it had left before it was looked up; 76: it left before it could say that the text was not shown.
  expect([67, 75, 76]).toContain(second);
});

describe("--wait", () => {
  it("sends as soon as somebody is on under the name", async () => {
    const waiting = send("bob", "at last", "--wait", "30s");
    await sleep(1500);
    const inbox = await receiver();
    expect(await next(inbox)).toMatchObject({ text: "at last" });
    expect(await waiting).toMatchObject({ code: 0, stdout: expect.stringContaining("delivered to bob") });
  });

  it("ends with 75 and the id at its end; a time that is none is 64", async () => {
    const gone = await send("bob", "never", "--wait", "1");
    expect(gone).toMatchObject({ code: 75, stderr: expect.stringMatching(/not delivered to "bob".*\(id /) });
    expect(await send("bob", "never", "--wait", "soon")).toMatchObject({ code: 64 });
  });

  it("goes on after the server has died and come back", async () => {
    const listen = { directory: "memory", workers: 0 } as const;
    let other = await LookupServer.start({ ...listen, listen: "127.0.0.1:0" });
    const client = await TalkClient.connect({ name: "alice", server: other.address, stateDir: alice.home });
    const waiting = client.send("bob", "still here", { ifOff: "wait", waitMs: 60_000 });
    await sleep(300);
    await other.stop();
    other = await LookupServer.start({ ...listen, listen: other.address });
    const listener = await TalkClient.connect({ name: "bob", server: other.address, stateDir: bob.home });
    const texts: string[] = [];
    listener.on("message", ({ text }) => void texts.push(text));
    expect(await waiting).toMatchObject({ state: "delivered" });
    expect(texts).toEqual(["still here"]);
    await Promise.all([client.close(), listener.close()]);
    await other.stop();
  });

  it("is given up by the signal", async () => {
    const client = await asClient(alice, "alice");
    const controller = new AbortController();
    const waiting = client.send("bob", "x", { ifOff: "wait", waitMs: 60_000, signal: controller.signal });
    const given = expect(waiting).rejects.toMatchObject({ name: "AbortError" });
    await sleep(200);
    controller.abort();
    await given;
    await client.close();
  });
});
