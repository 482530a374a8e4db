// JOIN, PART, MEMBERS, NAMES and what WATCH of names and rooms pushes, between two worker processes.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Client, freshStateDir, newKeys, ServerProcess, until } from "../helpers/lookup-server.ts";

const state = freshStateDir();
let server: ServerProcess;
const open: Client[] = [];

beforeAll(async () => {
  server = await ServerProcess.start(["--workers", "2", "--state-dir", state.path]);
});
afterAll(async () => {
  await server.stop();
  state.remove();
});

/** Connections go to the workers in turn: of two that follow each other, each is at its own. */
async function client(name?: string, options: Parameters<Client["register"]>[2] = {}): Promise<Client> {
  const made = await server.client();
  open.push(made);
  if (name !== undefined) expect(await made.register(name, newKeys(), options)).toBe("OK");
  return made;
}

const error = (code: string) => expect.objectContaining({ name: "ReplyError", code });
const names = (reply: unknown) => (reply as Map<string, unknown>[]).map((entry) => entry.get("name"));
const said = (pushes: readonly (readonly unknown[])[]) =>
  pushes.map((push) => push.map((item) => (item instanceof Map ? `<${item.get("name")}>` : item)).join(" "));

describe("rooms", () => {
  it("MEMBERS shows the clients that have joined, at any worker, once the answer to JOIN is there", async () => {
    const [ann, bob, asker] = [await client("ann"), await client("Bob"), await client()];
    expect(await asker.ask("MEMBERS", "#ops")).toEqual([]);
    expect(await ann.ask("JOIN", "#Ops")).toBe("OK");
    expect(names(await asker.ask("MEMBERS", "#OPS"))).toEqual(["ann"]);
    expect(await bob.ask("JOIN", "#ops")).toBe("OK");
    expect(await bob.ask("JOIN", "#ops")).toBe("OK");
    expect(await bob.ask("JOIN", "#dev")).toBe("OK");
    for (const at of [ann, bob, asker]) expect(names(await at.ask("MEMBERS", "#ops"))).toEqual(["ann", "Bob"]);
    const [entry] = (await asker.ask("MEMBERS", "#dev")) as Map<string, unknown>[];
    expect(entry).toEqual(await asker.ask("LOOKUP", "bob"));
    expect(entry?.get("rooms")).toEqual(["#ops", "#dev"]);
    expect(await bob.ask("PART", "#OPS")).toBe("OK");
    expect(await bob.ask("PART", "#ops")).toBe("OK");
    expect(names(await ann.ask("MEMBERS", "#ops"))).toEqual(["ann"]);
    expect(await ann.ask("UNREGISTER")).toBe("OK");
    expect(await bob.ask("MEMBERS", "#ops")).toEqual([]);
  });

  it("a client that is closed is in no room", async () => {
    const [gone, asker] = [await client("gone"), await client()];
    await gone.ask("JOIN", "#short");
    gone.close();
    await until("it has left", async () => names(await asker.ask("MEMBERS", "#short")).length === 0);
  });

  it("only a registered client joins; 16 rooms at most; a room is a name with # before it", async () => {
    const [guest, member] = [await client(), await client("many")];
    expect(await guest.ask("JOIN", "#ops")).toEqual(error("NOAUTH"));
    expect(await guest.ask("PART", "#ops")).toEqual(error("NOAUTH"));
    for (let i = 0; i < 16; i++) expect(await member.ask("JOIN", `#r${i}`)).toBe("OK");
    expect(await member.ask("JOIN", "#r16")).toEqual(error("TOOMANY"));
    expect(await member.ask("JOIN", "#r15")).toBe("OK");
    expect(await member.ask("PART", "#r3")).toBe("OK");
    expect(await member.ask("JOIN", "#all")).toBe("OK"); // with # before it, it is no command
    for (const room of ["ops", "", "#", "#-x", "#a b", `#${"x".repeat(33)}`, "##x", "#ор\u0441"]) {
      for (const command of ["JOIN", "PART", "MEMBERS"]) {
        expect(await member.ask(command, room), `${command} ${room}`).toEqual(error("BADNAME"));
      }
    }
  });

  it("a registration that is continued stays in its rooms; another of the key is in none", async () => {
    const keys = newKeys();
    const first = await server.client();
    expect(await first.register("moves", keys)).toBe("OK");
    const claimId = first.claimId;
    await first.ask("JOIN", "#trip");
    const since = ((await first.ask("LOOKUP", "moves")) as Map<string, unknown>).get("startedAt");
    const second = await server.client();
    expect(await second.register("moves", keys, { takeover: claimId })).toBe("OK");
    const entry = (await second.ask("LOOKUP", "moves")) as Map<string, unknown>;
    expect([entry.get("rooms"), entry.get("startedAt")]).toEqual([["#trip"], since]);
    expect(names(await second.ask("MEMBERS", "#trip"))).toEqual(["moves"]);
    const third = await server.client();
    expect(await third.register("moves", keys, { replace: true })).toBe("OK");
    expect(await third.ask("MEMBERS", "#trip")).toEqual([]);
    third.close();
  });
});

describe("NAMES", () => {
  it("gives the first names that begin with the text, listed ones only", async () => {
    const all = [await client("Zed1"), await client("zed2"), await client("zed3", { unlisted: true })];
    const asker = await client();
    expect(await asker.ask("NAMES", "ZED")).toEqual(["Zed1", "zed2"]);
    expect(await asker.ask("NAMES", "zed", "COUNT", 1)).toEqual(["Zed1"]);
    expect(await asker.ask("NAMES", "zed", "COUNT", 1_000_000)).toEqual(["Zed1", "zed2"]);
    expect(await asker.ask("NAMES", "zed3")).toEqual([]);
    expect(await asker.ask("LOOKUP", "zed3")).toBeInstanceOf(Map);
    expect(names(await asker.ask("ALL"))).not.toContain("zed3");
    for (const args of [
      ["z", "COUNT"],
      ["z", "COUNT", "0"],
      ["z", "LIMIT", "1"],
      ["z", "COUNT", "x"],
    ]) {
      expect(await asker.ask("NAMES", ...args)).toEqual(error("ERR"));
    }
    expect(await asker.ask("NAMES")).toEqual(error("ERR"));
    for (const one of all) one.close();
  });
});

describe("WATCH of names and rooms", () => {
  it("pushes what becomes of those and of no other, from any worker", async () => {
    const watcher = await client();
    expect(await watcher.ask("WATCH", "Carol", "#talks")).toBe("OK");
    const expected: string[] = [];
    const step = async (by: Client, request: string[], ...pushes: string[]) => {
      expect(await by.ask(...request)).toBe("OK");
      expected.push(...pushes);
      await until(`the pushes of ${request.join(" ")}`, () => watcher.pushes.length >= expected.length);
      expect(said(watcher.pushes)).toEqual(expected);
    };
    const carol = await client("carol");
    await step(carol, ["JOIN", "#quiet"], "joined carol <carol>", "changed carol <carol>");
    const dave = await client("dave");
    await step(dave, ["JOIN", "#talks"], "room #talks joined dave <dave>");
    await step(dave, ["JOIN", "#quiet"], "room #talks joined dave <dave>");
    await step(dave, ["PART", "#talks"], "room #talks left dave");
    await step(dave, ["PART", "#quiet"]);
    await step(carol, ["JOIN", "#TALKS"], "changed carol <carol>", "room #talks joined carol <carol>");
    await step(dave, ["UNREGISTER"]);
    await step(carol, ["UNREGISTER"], "left carol", "room #talks left carol");
  });

  it("UNWATCH ends it for what it names, or for all", async () => {
    const watcher = await client();
    await watcher.ask("WATCH", "erin", "frank", "#x");
    await watcher.ask("UNWATCH", "ERIN", "#X", "nobody");
    const [erin, frank] = [await client("erin"), await client("frank")];
    await erin.ask("JOIN", "#x");
    expect(said([await watcher.push("joined")])).toEqual(["joined frank <frank>"]);
    await watcher.ask("UNWATCH");
    frank.close();
    await until("frank to leave", async () => (await watcher.ask("LOOKUP", "frank")) === null);
    expect(said(watcher.pushes)).toEqual([]);
  });

  it("takes 1,024 names and rooms, and not one more; bad ones change nothing", async () => {
    const watcher = await client();
    const many = Array.from({ length: 1024 }, (_, i) => (i % 2 === 0 ? `n${i}` : `#n${i}`));
    expect(await watcher.ask("WATCH", ...many)).toBe("OK");
    expect(await watcher.ask("WATCH", ...many)).toBe("OK");
    expect(await watcher.ask("WATCH", "more")).toEqual(error("TOOMANY"));
    expect(await watcher.ask("UNWATCH", "n0")).toBe("OK");
    expect(await watcher.ask("WATCH", "more")).toBe("OK");
    expect(await watcher.ask("WATCH", "a b")).toEqual(error("BADNAME"));
    const old = await server.client(2);
    expect(await old.ask("WATCH", "ann")).toEqual(error("ERR"));
  });
});
