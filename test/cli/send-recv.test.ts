// `ptalk send` and `ptalk recv` between real processes, through a real server: what the exit status promises.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { TalkClient } from "../../lib/index.ts";
import { User } from "../helpers/cli.ts";
import { until } from "../helpers/lookup-server.ts";
import type { Program } from "../helpers/program.ts";
import { greeting, ScriptedServer } from "../helpers/scripted-server.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
let alice: User;
let bob: User;
const running: Program[] = [];

beforeAll(async () => {
  server = await Serving.start();
  const PTALK_SERVER = server.address;
  alice = new User({ PTALK_SERVER });
  bob = new User({ PTALK_SERVER });
});
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

type Event = { readonly type: string; readonly [field: string]: unknown };
const parse = (text: string): Event[] =>
  text
    .trim()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));

async function receiver(user: User, name: string, ...args: string[]): Promise<Program> {
  const program = user.start(["recv", "--as", name, "--json", ...args]);
  running.push(program);
  expect(JSON.parse(await program.line())).toMatchObject({ type: "registered", name, server: server.address });
  return program;
}

describe("ptalk send", () => {
  it("ends with 0 when the text has reached the other side's output", async () => {
    const inbox = await receiver(bob, "bob");
    using newcomer = new User({ PTALK_SERVER: server.address }); // who has not met bob
    const sent = await newcomer.run(["send", "--as", "newcomer", "bob", "build", "done"]);
    expect(sent).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(
        /^ptalk: first contact with bob: the key is SHA256:\S+ \(to compare: ptalk key verify bob\)\n$/,
      ),
      stdout: expect.stringMatching(/^delivered to bob \([\d.]+ m?s\)\n$/),
    });
    expect(JSON.parse(await inbox.line())).toEqual({
      type: "message",
      ...{ user: null, uid: null, attested: null }, // root counts on a socket in the file system only
      id: expect.any(String),
      from: "newcomer",
      text: "build done",
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      fingerprint: expect.stringMatching(/^SHA256:/),
      verified: true,
      kind: "text",
      room: null,
      via: "direct",
      leftAt: null,
      again: false,
      auto: false,
    });
  });

  it("takes the text from stdin, several lines and 64 KiB of it", async () => {
    const inbox = await receiver(bob, "bob");
    const text = `first\nsecond ${"漢".repeat(20_000)}`;
    expect(await alice.run(["send", "--as", "alice", "bob"], { input: `${text}\n` })).toMatchObject({ code: 0 });
    expect(JSON.parse(await inbox.line())).toMatchObject({ text });
  });

  it("a changed key is refused, everywhere with what to do about it", async () => {
    await receiver(bob, "bob");
    using carol = new User({ PTALK_SERVER: server.address });
    const other = Buffer.alloc(32, 7).toString("base64");
    mkdirSync(join(carol.home, "state", "ptalk"), { recursive: true, mode: 0o700 });
    writeFileSync(join(carol.home, "state", "ptalk", "known_peers"), `${server.address}/bob ${other}\n`);
    const advice = "ptalk key forget bob";
    const sent = await carol.run(["send", "--as", "carol", "bob", "hi"]);
    expect(sent).toMatchObject({ code: 77, stderr: expect.stringContaining(advice) });
    const json = await carol.run(["send", "--as", "carol", "--json", "bob", "hi"]);
    const failed = { type: "failed", code: "key-mismatch", message: expect.stringContaining(advice) };
    expect(parse(json.stdout).at(-1)).toMatchObject(failed);
    const talk = await carol.run(["talk", "--as", "carol", "--json"], { input: "bob hi\nExit\n" });
    expect(parse(talk.stdout)).toContainEqual(expect.objectContaining(failed));
    const people = await carol.run(["talk", "--as", "carol"], { input: "bob hi\nExit\n" });
    expect(people.stderr).toContain(advice);
  });

  it("sends to several, and its status is that of the first who did not get it", async () => {
    const inbox = await receiver(bob, "bob");
    const sent = await alice.run(["send", "--as", "alice", "--json", "bob,nobody", "hi"]);
    expect(sent.code).toBe(67);
    const events = parse(sent.stdout);
    expect(events.map(({ type, to }) => `${type} ${to}`).sort()).toEqual([
      "delivered bob",
      "failed nobody",
      "sent bob",
      "sent nobody",
    ]);
    expect(events.find(({ type }) => type === "failed")).toMatchObject({
      code: "no-such-user",
      message: 'no user "nobody" is on',
    });
    expect(JSON.parse(await inbox.line())).toMatchObject({ text: "hi" });
  });

  it("to one name in several spellings goes once, and with a name that cannot be to nobody", async () => {
    const inbox = await receiver(bob, "bob", "--count", "1");
    const wrong = await alice.run(["send", "--as", "alice", "bob,bad!,worse!", "hi"]);
    expect(wrong).toMatchObject({ code: 65, stdout: "" });
    expect(wrong.stderr).toMatch(/^ptalk: "worse!".*\nptalk: "bad!".*\n$/);
    const sent = await alice.run(["send", "--as", "alice", "--json", "bob,BOB", "hello"]);
    expect(parse(sent.stdout).map(({ type }) => type)).toEqual(["sent", "delivered"]);
    expect(JSON.parse(await inbox.line())).toMatchObject({ text: "hello" });
  });

  it("as the same user while that user's own client runs arrives under the same name", async () => {
    const own = await receiver(alice, "alice");
    const inbox = await receiver(bob, "bob");
    expect(await alice.run(["send", "--as", "alice", "bob", "from the shell"])).toMatchObject({ code: 0 });
    expect(JSON.parse(await inbox.line())).toMatchObject({ from: "alice", verified: true, text: "from the shell" });
    // And the one that runs is still the one who is found.
    expect(await bob.run(["send", "--as", "bob", "alice", "back"])).toMatchObject({ code: 0 });
    expect(JSON.parse(await own.line())).toMatchObject({ from: "bob", text: "back" });
  });

  it("under a name that another user holds is refused with 73", async () => {
    await receiver(bob, "bob");
    expect(await alice.run(["send", "--as", "bob", "bob", "hi"])).toMatchObject({ code: 73, stdout: "" });
  });

  it("to a receiver that hangs ends with 75 after its time, and so when it is killed meanwhile", async () => {
    const inbox = await receiver(bob, "bob");
    inbox.child.kill("SIGSTOP");
    const late = await alice.run(["send", "--as", "alice", "bob", "hi", "--timeout", "1"]);
    expect(late).toMatchObject({
      code: 75,
      stdout: "",
      stderr: expect.stringMatching(/^ptalk: not delivered to "bob"/),
    });
    const sending = alice.run(["send", "--as", "alice", "bob", "hi", "--timeout", "4"]);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await inbox.kill();
    expect((await sending).code).toSatisfy((code: number) => code === 75 || code === 67);
  });

  it("leaves no trace: nobody sees it come or go, and its user can be on meanwhile", async () => {
    const watcher = bob.start(["talk", "--as", "bob", "--json"]);
    running.push(watcher);
    expect(JSON.parse(await watcher.line())).toMatchObject({ type: "registered" });
    watcher.child.kill("SIGSTOP");
    const sending = alice.run(["send", "--as", "alice", "bob", "one moment", "--timeout", "20"]);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const { stdout } = await alice.run(["all", "--json"]);
    expect((JSON.parse(stdout) as Event[]).map(({ name }) => name)).toEqual(["bob"]);
    const own = await receiver(alice, "alice");
    watcher.child.kill("SIGCONT");
    expect(await sending).toMatchObject({ code: 0 });
    await own.kill();
    const events: Event[] = [];
    while (events.at(-1)?.state !== "left") events.push(JSON.parse(await watcher.line()));
    const told = events.map(({ type, state, name, text }) => [type, state ?? text, name].filter(Boolean).join(" "));
    expect(told.sort()).toEqual(["message one moment", "peer joined alice", "peer left alice"]);
    expect(events.find(({ type }) => type === "message")).toMatchObject({ from: "alice", verified: true });
  });

  it("with a server that says nothing, or something else, ends when it should", async () => {
    await using silent = await ScriptedServer.start();
    await using polite = await ScriptedServer.start((request) => (request[0] === "HELLO" ? greeting(request) : null));
    await using confused = await ScriptedServer.start((request) =>
      request[0] === "HELLO" ? greeting(request) : "-ERR what?\r\n",
    );
    for (const { address, requests } of [silent, polite]) {
      const [sent, received] = await Promise.all([
        alice.run(["send", "--as", "alice", "bob", "hi", "--timeout", "1", "--server", address]),
        alice.run(["recv", "--as", "alice", "--timeout", "1", "--server", address]),
      ]);
      expect(sent).toMatchObject({ code: 75, stdout: "", stderr: expect.stringMatching(/no answer.* within 1 s/) });
      expect(received).toMatchObject({ code: 69, stdout: "" });
      for (const [signal, code] of [["SIGTERM", 143] as const, ["SIGINT", 130] as const]) {
        const asked = requests.length;
        const program = alice.start(["send", "--as", "alice", "bob", "hi", "--server", address]);
        running.push(program);
        await until("it to ask", () => requests.length > asked);
        program.child.kill(signal);
        expect(await program.ended).toMatchObject({ code });
      }
    }
    expect(await alice.run(["send", "bob", "hi", "--server", confused.address])).toMatchObject({
      code: 69,
      stderr: expect.stringMatching(/does not speak ptalk's protocol: .*what\?/),
    });
  });

  it("without a server ends with 69", async () => {
    expect(await alice.run(["send", "bob", "hi", "--server", "127.0.0.1:1"])).toMatchObject({ code: 69, stdout: "" });
  });
});

describe("ptalk recv", () => {
  it("ends after --count messages, and is gone from the directory", async () => {
    const inbox = await receiver(bob, "bob", "--count", "2");
    for (const text of ["one", "two"])
      expect(await alice.run(["send", "--as", "alice", "bob", text])).toMatchObject({ code: 0 });
    expect([JSON.parse(await inbox.line()).text, JSON.parse(await inbox.line()).text]).toEqual(["one", "two"]);
    expect(await inbox.ended).toMatchObject({ code: 0 });
    expect(await alice.run(["send", "--as", "alice", "bob", "three"])).toMatchObject({ code: 67 });
  });

  it("ends with 75 when the time is up before anything has come", async () => {
    expect(await bob.run(["recv", "--as", "bob", "--timeout", "0.5"])).toMatchObject({ code: 75, stdout: "" });
  });

  it("says how many have come when the time is up before all have", async () => {
    const stateDir = join(alice.home, "state", "ptalk");
    const sender = await TalkClient.connect({ name: "alice", server: server.address, stateDir });
    const inbox = await receiver(bob, "bob", "--count", "3", "--timeout", "3");
    await Promise.all(["one", "two"].map((text) => sender.send("bob", text)));
    await sender.close();
    const { code, stderr } = await inbox.ended;
    expect({ code, error: JSON.parse(stderr) }).toMatchObject({
      code: 75,
      error: { message: "2 of 3 messages within 3 s" },
    });
  });

  it("is not ended by the setting for how long a message may take", async () => {
    const inbox = bob.start(["recv", "--as", "bob", "--json", "--count", "1"], { PTALK_TIMEOUT: "0.2" });
    running.push(inbox);
    expect(JSON.parse(await inbox.line())).toMatchObject({ type: "registered" });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await alice.run(["send", "--as", "alice", "bob", "still there?"])).toMatchObject({ code: 0 });
    expect(await inbox.ended).toMatchObject({ code: 0 });
  });

  it("prints for people what no terminal obeys", async () => {
    const inbox = bob.start(["recv", "--as", "bob", "--count", "1"]);
    running.push(inbox);
    const text = "\u001b]0;x\u0007\u202eevil";
    const outcome = async () => (await alice.run(["send", "--as", "alice", "bob", text])).code;
    let code = await outcome();
    while (code === 67) code = await outcome(); // not registered yet
    expect(code).toBe(0);
    expect(await inbox.line()).toBe("alice: ^[]0;x^G<U+202E>evil");
  });

  it("does not confirm what nobody reads: the reader of its output has gone", async () => {
    const inbox = await receiver(bob, "bob");
    inbox.child.stdout?.destroy();
    const sent = await alice.run(["send", "--as", "alice", "bob", "lost?", "--timeout", "2"]);
    expect(sent).toMatchObject({ code: 75, stdout: "" });
    expect(await inbox.ended).toMatchObject({ code: 0, stderr: "" });
  });

  it("leaves in good order when told to", async () => {
    const inbox = await receiver(bob, "bob");
    inbox.child.kill("SIGTERM");
    expect(await inbox.ended).toMatchObject({ code: 143, stderr: expect.not.stringContaining("Error") });
    expect(await alice.run(["lookup", "bob"])).toMatchObject({ code: 67 });
  });
});

describe("ptalk all, list and lookup", () => {
  it("agree about who is on", async () => {
    await receiver(bob, "Bob");
    const client = {
      name: "Bob",
      address: "127.0.0.1",
      port: expect.any(Number),
      host: expect.any(String),
      key: expect.stringMatching(/^[A-Za-z0-9+/]{43}=$/),
      fingerprint: expect.stringMatching(/^SHA256:/),
      startedAt: expect.stringMatching(/Z$/),
      lastLookupAt: null,
      endpoints: [{ address: "127.0.0.1", port: expect.any(Number), kind: "host" }],
      protocol: 2,
      server: "",
      user: null,
      uid: null,
      attested: null,
      status: { state: "here", text: "", since: expect.stringMatching(/Z$/) },
      rooms: [],
      stale: false,
    };
    expect(JSON.parse((await alice.run(["lookup", "BOB", "--json"])).stdout)).toEqual(client);
    expect(JSON.parse((await alice.run(["all", "--json"])).stdout)).toEqual([client]);
    const local = JSON.parse((await alice.run(["list", "--json"])).stdout).filter(
      (row: Event) => row.server === server.address,
    );
    expect(local).toEqual([
      {
        name: "Bob",
        pid: running[0]?.pid,
        uid: process.getuid?.(),
        user: expect.any(String),
        tty: null,
        server: server.address,
        address: "127.0.0.1",
        port: expect.any(Number),
        startedAt: expect.stringMatching(/Z$/),
        lastMessageAt: null,
        sent: 0,
        received: 0,
      },
    ]);
    expect((await alice.run(["all"])).stdout).toMatch(
      /^NAME +ADDRESS +HOST +SINCE +LAST LOOKUP\nBob +127\.0\.0\.1:\d+ /,
    );
    expect((await alice.run(["lookup", "bob"])).stdout).toMatch(/^name +Bob\naddress +127/);
  });
});
