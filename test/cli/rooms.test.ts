// Rooms between real processes: members, messages, and the statuses of `ptalk send`.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { TalkClient } from "../../lib/index.ts";
import { User } from "../helpers/cli.ts";
import type { Program } from "../helpers/program.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
const users: User[] = [];
const running: Program[] = [];
const clients: TalkClient[] = [];

beforeAll(async () => {
  server = await Serving.start();
});
afterEach(async () => {
  for (const program of running.splice(0)) {
    program.child.kill("SIGCONT");
    await program.kill();
  }
  await Promise.all(clients.splice(0).map((client) => client.close()));
  for (const user of users.splice(0)) user[Symbol.dispose]();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

type Event = { readonly type: string; readonly [field: string]: unknown };
let count = 0;

/** Names and rooms of this test alone: the server remembers whose a name is. */
const fresh = (word: string): string => `${word}${++count}`;

function user(): User {
  const one = new User({ PTALK_SERVER: server.address });
  users.push(one);
  return one;
}

class Talker {
  readonly name: string;
  readonly program: Program;
  readonly #events: Event[] = [];
  readonly user: User;

  constructor(name: string, args: string[], owner = user()) {
    this.name = name;
    this.user = owner;
    this.program = owner.start([...args, "--as", name, "--json"]);
    running.push(this.program);
  }

  async event(type: string, fits: (event: Event) => boolean = () => true): Promise<Event> {
    for (;;) {
      const at = this.#events.findIndex((event) => event.type === type && fits(event));
      if (at >= 0) return this.#events.splice(at, 1)[0] as Event;
      this.#events.push(JSON.parse(await this.program.line()) as Event);
    }
  }

  say(line: string): void {
    this.program.say(line);
  }
}

async function inRoom(name: string, room: string, args = ["talk", room]): Promise<Talker> {
  const talker = new Talker(name, args);
  await talker.event("room", ({ name: who, state }) => who === name && state === "joined");
  return talker;
}

const send = (to: string, text: string, args: string[] = [], owner = user()) =>
  owner.run(["send", "--as", fresh("sender"), ...args, to, text]);

describe("a room", () => {
  it("shows its messages to all its members, and to no other client", async () => {
    const room = `#${fresh("ops")}`;
    const outside = new Talker(fresh("out"), ["talk"]);
    const [ann, bob, eve] = [fresh("ann"), fresh("bob"), fresh("eve")];
    const a = await inRoom(ann, room);
    const b = await inRoom(bob, room.toUpperCase());
    expect(await a.event("room", ({ name }) => name === bob)).toEqual({
      type: "room",
      room,
      state: "joined",
      name: bob,
      members: 2,
    });
    const c = await inRoom(eve, room, ["recv", room, "--count", "1"]);
    for (const one of [a, b]) await one.event("room", ({ name }) => name === eve);
    a.say("hello all");
    const { id } = await a.event("sent");
    for (const one of [b, c]) {
      expect(await one.event("message")).toMatchObject({ id, from: ann, text: "hello all", room, verified: true });
    }
    for (const to of [bob, eve]) {
      expect(await a.event("delivered", (event) => event.to === to)).toMatchObject({ id, room });
    }
    expect(await a.event("room-result")).toEqual({
      ...{ type: "room-result", id, room, delivered: 2, of: 2, to: [bob, eve], declined: [], failed: [] },
      newKeys: [bob, eve],
    });
    expect(await c.program.ended).toMatchObject({ code: 0 });
    expect(await a.event("room", ({ state }) => state === "left")).toMatchObject({ name: eve, members: 2 });
    b.say("/part");
    expect(await b.event("room", ({ name, state }) => name === bob && state === "left")).toMatchObject({ members: 0 });
    expect(await a.event("room", ({ name, state }) => name === bob && state === "left")).toMatchObject({ members: 1 });
    a.say("anybody?");
    expect(await a.event("error")).toMatchObject({ code: "no-such-user" });
    outside.say("/exit");
    await outside.program.ended;
    await expect(outside.event("message")).rejects.toThrow("has ended");
  });

  it("is entered and left by commands, and /who lists its members", async () => {
    const room = `#${fresh("dev")}`;
    const [ann, bob] = [fresh("ann"), fresh("bob")];
    const a = new Talker(ann, ["talk"]);
    const b = await inRoom(bob, room);
    a.say(`/who ${room}`);
    expect(await a.event("members")).toMatchObject({ room, clients: [{ name: bob }] });
    a.say(`/join ${room}`);
    a.say("first");
    expect(await b.event("message")).toMatchObject({ text: "first", room });
    a.say("/who");
    expect(await a.event("members")).toMatchObject({ room, clients: [{ name: ann }, { name: bob }] });
    a.say(`@${bob} only you`);
    expect(await b.event("message")).toMatchObject({ text: "only you", room: null });
    a.say(`/part ${room}`);
    a.say("/part");
    expect(await a.event("error")).toMatchObject({ message: expect.stringContaining("which room?") });
    a.say(`/join ${room.slice(1)}`);
    expect(await a.event("error")).toMatchObject({ code: "bad-name" });
    a.say("/join #\u043e\u0440\u0441");
    expect(await a.event("error")).toMatchObject({ message: expect.stringContaining("looks like") });
    for (let i = 0; i < 16; i++) a.say(`/join ${room}-${i}`);
    for (let i = 0; i < 16; i++) await a.event("room", (event) => event.room === `${room}-${i}`);
    a.say(`/join ${room}`);
    expect(await a.event("error")).toMatchObject({ code: "too-many" });
  });
});

describe("ptalk send to a room", () => {
  it("names the recipients and marks new keys; 0 when all have it", async () => {
    const room = `#${fresh("ops")}`;
    const [ann, bob] = [fresh("ann"), fresh("bob")];
    const a = await inRoom(ann, room);
    await inRoom(bob, room);
    const owner = user();
    const first = await owner.run(["send", "--as", fresh("s"), room, "one"]);
    expect(first).toMatchObject({
      code: 0,
      stdout: `${room}: 2 of 2 have it: ${ann} (new key), ${bob} (new key)\n`,
      stderr: "",
    });
    expect(await a.event("message")).toMatchObject({ text: "one", room });
    const second = await owner.run(["send", "--as", fresh("s"), room, "two"]);
    expect(second.stdout).toBe(`${room}: 2 of 2 have it: ${ann}, ${bob}\n`);
    const third = await owner.run(["send", "--as", fresh("s"), "--json", room, "three"]);
    const events = third.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Event);
    expect(events.map(({ type }) => type)).toEqual(["sent", "delivered", "delivered", "room-result"]);
  });

  it("of an empty room is 67, of a room that is none 65", async () => {
    expect(await send(`#${fresh("nobody")}`, "x")).toMatchObject({
      code: 67,
      stderr: expect.stringContaining("nobody else is in"),
    });
    expect(await send("#-x", "x")).toMatchObject({ code: 65 });
    expect(await send("#a", "x", ["--file", "/etc/hostname"])).toMatchObject({ code: 64 });
  });

  it("does not count a member that declines as a failure", async () => {
    const room = `#${fresh("ops")}`;
    const [ann, bob, sender] = [fresh("ann"), fresh("bob"), fresh("sender")];
    const a = await inRoom(ann, room);
    await inRoom(bob, room);
    const owner = user();
    await new Talker(sender, ["talk"], owner).event("registered");
    a.say(`/ignore ${sender}`);
    await a.event("ignored");
    const sent = await owner.run(["send", "--as", sender, room, "hello"]);
    expect(sent).toMatchObject({ code: 0, stdout: `${room}: 1 of 2 have it: ${bob} (new key); ${ann} declines\n` });
  });

  it("is 76 when some have it, and names the one whose key has changed; 75 when none has it", async () => {
    const room = `#${fresh("ops")}`;
    const [ann, bob] = [fresh("ann"), fresh("bob")];
    const a = await inRoom(ann, room);
    const owner = user();
    const state = join(owner.home, "state", "ptalk");
    mkdirSync(state, { recursive: true, mode: 0o700 });
    const other = Buffer.alloc(32, 7).toString("base64");
    writeFileSync(join(state, "known_peers"), `${server.address}/${ann} ${other}\n`);
    const nobody = await owner.run(["send", "--as", fresh("s"), room, "hello"]);
    expect(nobody).toMatchObject({
      code: 75,
      stdout: expect.stringMatching(`^${room}: 0 of 1 have it; ${ann}: key-mismatch \\(id \\S+\\)\n$`),
    });
    const b = await inRoom(bob, room);
    const some = await owner.run(["send", "--as", fresh("s"), room, "hello"]);
    expect(some).toMatchObject({
      code: 76,
      stdout: expect.stringContaining(`${room}: 1 of 2 have it: ${bob} (new key); ${ann}: key-mismatch`),
    });
    expect(await b.event("message")).toMatchObject({ text: "hello" });
    a.say("/exit");
    await a.program.ended;
  });

  it("reaches the others at once while one member is stopped", async () => {
    const room = `#${fresh("ops")}`;
    const names = [fresh("ann"), fresh("bob"), fresh("eve")];
    const [a, b, c] = await Promise.all(names.map((name) => inRoom(name, room)));
    if (!a || !b || !c) throw new Error("three are in the room");
    b.program.child.kill("SIGSTOP");
    const sending = send(room, "hello", ["--timeout", "8s", "--json"]);
    for (const one of [a, c]) await one.event("message");
    const { code, stdout } = await sending;
    expect(code).toBe(76);
    const result = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Event;
    expect(result).toMatchObject({ type: "room-result", delivered: 2, of: 3, to: [names[0], names[2]] });
    expect(result.failed).toMatchObject([{ to: names[1] }]);
  });
});

describe("in the library", () => {
  async function on(name: string, owner = user()): Promise<TalkClient> {
    const client = await TalkClient.connect({ name, server: server.address, stateDir: join(owner.home, "lib") });
    clients.push(client);
    return client;
  }

  it("join, part, members and send() to a room", async () => {
    const room = `#${fresh("lib")}`;
    const [ann, bob] = [await on(fresh("ann")), await on(fresh("bob"))];
    const events: unknown[] = [];
    ann.on("room", (event) => void events.push(event));
    expect(await ann.join(room)).toEqual([]);
    expect((await bob.join(room.toUpperCase())).map(({ name }) => name)).toEqual([ann.name]);
    expect(bob.rooms).toEqual([room]);
    expect((await ann.members(room)).map(({ name }) => name)).toEqual([ann.name, bob.name]);
    const texts: unknown[] = [];
    ann.on("message", ({ text, room: at }) => void texts.push([text, at]));
    const result = await bob.send(room as `#${string}`, "hi");
    expect(result).toMatchObject({ room, delivered: 1, of: 1, to: [ann.name], declined: [], failed: [] });
    expect(texts).toEqual([["hi", room]]);
    await ann.part(room);
    await expect(ann.part(room)).rejects.toMatchObject({ code: "usage" });
    await expect(bob.send(room as `#${string}`, "x".repeat(70_000))).rejects.toMatchObject({ code: "too-long" });
    await expect.poll(() => bob.send(room as `#${string}`, "x").catch(({ code }) => code)).toBe("no-such-user");
    expect(events).toEqual([
      { room, state: "joined", name: ann.name, members: 1 },
      { room, state: "joined", name: bob.name, members: 2 },
      { room, state: "left", name: ann.name, members: 0 },
    ]);
  });

  it("declines messages of a room that it is not in", async () => {
    const room = `#${fresh("lib")}`;
    const [ann, bob, eve] = [await on(fresh("ann")), await on(fresh("bob")), await on(fresh("eve"))];
    for (const one of [ann, bob, eve]) {
      one.on("message", () => {});
      await one.join(room);
    }
    await expect.poll(() => ann.send(room as `#${string}`, "1").then(({ of }) => of)).toBe(2);
    await bob.part(room);
    await expect.poll(() => ann.send(room as `#${string}`, "2").then(({ of }) => of)).toBe(1);
  });
});

it("a server that dies does not end a room: its members are in it again, and it goes on meanwhile", async () => {
  await using other = await Serving.start();
  const room = `#${fresh("stay")}`;
  const owners = [user(), user()];
  const [ann, bob] = await Promise.all(
    owners.map((owner, i) =>
      TalkClient.connect({ name: `m${i}`, server: other.address, stateDir: join(owner.home, "lib") }),
    ),
  );
  if (!ann || !bob) throw new Error("two are on");
  clients.push(ann, bob);
  for (const one of [ann, bob]) {
    one.on("message", () => {});
    one.on("error", () => {});
    await one.join(room);
  }
  await expect
    .poll(() =>
      ann.send(room as `#${string}`, "before").then(
        ({ of }) => of,
        () => 0,
      ),
    )
    .toBe(1);
  const events: string[] = [];
  ann.on("room", ({ state, name }) => void events.push(`${state} ${name}`));
  const back = Promise.all(
    [ann, bob].map(
      (one) =>
        new Promise<void>((resolve) => {
          one.on("server", ({ state }) => state === "back" && resolve());
        }),
    ),
  );
  await other.restart();
  expect(await ann.send(room as `#${string}`, "meanwhile")).toMatchObject({ delivered: 1, of: 1 });
  await back;
  await expect.poll(async () => (await ann.members(room)).map(({ name }) => name)).toEqual(["m0", "m1"]);
  expect(await bob.send(room as `#${string}`, "after")).toMatchObject({ delivered: 1, of: 1 });
  expect(events).toEqual([]);
});
