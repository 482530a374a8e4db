// A client's standing with real servers: restarts, killed workers, names taken over.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ServerAddress } from "../../lib/base/server-address.ts";
import { openDirectory } from "../../lib/client/directory-reader.ts";
import type { ListedServer } from "../../lib/client/server-list.ts";
import {
  PING_EVERY_MS,
  SETTLING_MS,
  ServerSession,
  type ServerSessionOptions,
} from "../../lib/client/server-session.ts";
import { Identity } from "../../lib/crypto/identity.ts";
import { claimIdOf } from "../../lib/crypto/signed-statements.ts";
import { freshStateDir, ServerProcess, until } from "../helpers/lookup-server.ts";
import { registeredRow } from "../helpers/registrations.ts";
import { greeting, ScriptedServer } from "../helpers/scripted-server.ts";

let state: ReturnType<typeof freshStateDir>;
let server: ServerProcess;
const sessions: ServerSession[] = [];

beforeEach(async () => {
  state = freshStateDir();
  server = await ServerProcess.start(["--state-dir", state.path, "--workers", "2"]);
});
afterEach(async () => {
  await Promise.all(sessions.splice(0).map((session) => session.close()));
  await server.stop();
  state.remove();
});

interface Opening extends Partial<ServerSessionOptions> {
  readonly address?: ServerAddress;
}

async function open(name: string, { address, ...options }: Opening = {}): Promise<ServerSession> {
  const listed: ListedServer = {
    address: address ?? { host: "127.0.0.1", port: server.port },
    checkCertificate: () => {},
    identify: () => ({ current: server.address, former: [] }),
  };
  const session = await ServerSession.open({
    name,
    servers: [listed],
    identity: Identity.generate(),
    insecure: false,
    chain: "",
    ...options,
  });
  sessions.push(session);
  return session;
}

async function registered(name: string, options: Opening = {}): Promise<ServerSession> {
  const session = await open(name, options);
  await session.register(4000);
  return session;
}

async function restartServer(): Promise<void> {
  server.child.kill("SIGKILL");
  await server.exited;
  server = await ServerProcess.start(["--listen", server.address, "--state-dir", state.path]);
}

describe("a session", () => {
  it("puts its client into the directory, and takes it out when it closes", async () => {
    const [alice, bob] = [await registered("alice"), await registered("bob")];
    const record = await bob.lookup("ALICE");
    expect(record).toMatchObject({ name: "alice", address: "127.0.0.1", port: 4000 });
    expect((await alice.all()).map(({ name }) => name).sort()).toEqual(["alice", "bob"]);
    const left = once(bob, "peer");
    await alice.close();
    expect(await left).toEqual([{ name: "alice", state: "left" }]);
    expect(await bob.lookup("alice")).toBeNull();
  });

  it("is told of others who join, and not of itself", async () => {
    const alice = await registered("alice");
    const events: string[] = [];
    alice.on("peer", ({ name, state }) => events.push(`${name} ${state}`));
    alice.on("seen", ({ name, port }) => events.push(`${name} ${port}`));
    const bob = await registered("bob");
    await until("bob to join", () => events.includes("bob joined"));
    await bob.close();
    await until("bob to leave", () => events.includes("bob left"));
    expect(events).toEqual(["bob 4000", "bob joined", "bob left"]);
  });

  it("cannot have a name that another key holds, in any spelling", async () => {
    await registered("alice");
    await expect(registered("Alice")).rejects.toMatchObject({ code: "name-taken" });
    await expect((await open("Alice")).claim()).rejects.toMatchObject({ code: "name-taken" });
  });

  it("may claim a name without being on, beside the session that is on under it", async () => {
    const identity = Identity.generate();
    const watcher = await registered("watcher");
    const events: string[] = [];
    watcher.on("peer", ({ name, state }) => events.push(`${name} ${state}`));
    const sender = await open("alice", { identity });
    await sender.claim();
    expect(await watcher.lookup("alice")).toBeNull();
    expect((await watcher.ownerOf("ALICE"))?.key).toBe(identity.publicKey.toString("base64"));
    const first = await registered("alice", { identity });
    const second = await open("alice", { identity });
    await second.claim();
    await Promise.all([sender.close(), second.close()]);
    expect(await first.lookup("alice")).not.toBeNull();
    await expect(registered("alice")).rejects.toMatchObject({ code: "name-taken" });
    await first.close();
    await until("alice to leave", () => events.includes("alice left"));
    expect(events).toEqual(["alice joined", "alice left"]);
  });

  it("comes back under its name after the server was killed and started again", async () => {
    const alice = await registered("alice");
    const events: string[] = [];
    alice.on("server", (event) => events.push(event.state));
    await restartServer();
    await until("alice to be back", () => events.includes("back"));
    expect(events).toEqual(["lost", "back"]);
    expect(await (await registered("bob")).lookup("alice")).toMatchObject({ name: "alice", port: 4000 });
  });

  it.each([
    ["the greeting", "HELLO"],
    ["the registration", "REGISTER"],
  ])("begins again when its first connection breaks off before %s is answered", async (_what, request) => {
    let broken = 0;
    await using scripted = await ScriptedServer.start((words, socket) => {
      if (words[0] === request && broken++ < 2) {
        socket.destroy();
        return null;
      }
      return words[0] === "HELLO" ? greeting(words) : "+OK\r\n";
    });
    const address = { host: "127.0.0.1", port: Number(scripted.address.split(":")[1]) };
    const session = await registered("alice", { address });
    expect(session.isConnected).toBe(true);
    expect(scripted.requests.filter(([word]) => word === request)).toHaveLength(3);
    // An answer that was lost leaves it open whether there is a row already: the client continues it.
    const last = scripted.requests.findLast(([word]) => word === "REGISTER") ?? [];
    expect(last.includes("TAKEOVER")).toBe(request === "REGISTER");
  });

  it("gives up a server that always breaks off, with its reason", async () => {
    await using scripted = await ScriptedServer.start((_words, socket) => {
      socket.destroy();
      return null;
    });
    const address = { host: "127.0.0.1", port: Number(scripted.address.split(":")[1]) };
    await expect(open("alice", { address })).rejects.toMatchObject({ code: "unreachable" });
    expect(scripted.requests).toHaveLength(4);
  });

  it("keeps its name through the death of its worker", async () => {
    const some = await Promise.all(["a", "b", "c", "d"].map((name) => registered(name)));
    const back = some.map(
      (session) => new Promise((resolve) => session.on("server", ({ state }) => state === "back" && resolve(state))),
    );
    const lost = some.map(() => false);
    some.forEach((session, i) => {
      session.on("server", ({ state }) => {
        if (state === "lost") lost[i] = true;
      });
    });
    const workers = execFileSync("ps", ["-o", "pid=", "--ppid", String(server.pid)], { encoding: "utf8" });
    process.kill(Number(workers.trim().split(/\s+/)[0]), "SIGKILL");
    await until("somebody to notice", () => lost.includes(true));
    await Promise.all(back.filter((_, i) => lost[i]));
    const seen = await (some[0] as ServerSession).all();
    expect(seen.map(({ name }) => name).sort()).toEqual(["a", "b", "c", "d"]);
  });

  it("ends for good when another program of the same user replaces it, and does not come back", async () => {
    const identity = Identity.generate();
    const first = await registered("alice", { identity });
    const events: string[] = [];
    first.on("server", ({ state }) => events.push(state));
    const gone = once(first, "gone");
    const second = await registeredRow({ server: server.address, name: "alice", identity, port: 5000, replace: true });
    expect((await gone)[0]).toMatchObject({ code: "name-taken", message: /another program of yours/ });
    await expect(first.whenConnected(AbortSignal.timeout(10_000))).rejects.toMatchObject({ code: "name-taken" });
    expect([first.isConnected, events]).toEqual([false, []]);
    await first.close();
    expect(await (await registered("bob")).lookup("alice")).toMatchObject({ port: 5000 });
    second.close();
  });

  it("and another one of the same user do not push each other out, whichever comes first after a restart", async () => {
    const identity = Identity.generate();
    const first = await registered("alice", { identity });
    const outcome = new Promise<string>((resolve) => {
      first.on("server", ({ state }) => state === "back" && resolve("back"));
      first.on("gone", (error) => resolve("code" in error ? String(error.code) : error.message));
    });
    await restartServer();
    const second = await open("alice", { identity });
    const came = await second.register(5000).then(
      () => "back",
      ({ code }) => code,
    );
    expect([await outcome, came].sort()).toEqual(["back", "name-taken"]);
    const port = came === "back" ? 5000 : 4000;
    const bob = await registered("bob");
    for (let i = 0; i < 3; i++) {
      await expect(registered("alice", { identity })).rejects.toMatchObject({ code: "name-taken" });
      expect(await bob.lookup("alice")).toMatchObject({ port });
    }
  });

  it("knows how long its server is up, and by that whether others may still be on their way back to it", async () => {
    const before = performance.now();
    await restartServer();
    const alice = await registered("alice");
    expect(alice.serverStartedAt).toBeGreaterThan(before);
    expect(alice.serverStartedAt).toBeLessThan(performance.now());
    expect(alice.settlingMs).toBeGreaterThan(0);
    expect(alice.settlingMs).toBeLessThan(SETTLING_MS);
    const lost = once(alice, "server");
    const restarted = performance.now();
    await restartServer();
    expect(await lost).toEqual([
      { state: "lost", address: expect.any(String), uid: process.getuid?.(), user: expect.anything() },
    ]);
    await until("alice to be back", () => alice.stats().reconnects === 1);
    expect(alice.serverStartedAt).toBeGreaterThan(restarted);
    expect(alice.stats()).toEqual({ isConnected: true, reconnects: 1, roundTripMs: expect.any(Number) });
  });

  it("says when the server is about to close", async () => {
    const alice = await registered("alice");
    const events: string[] = [];
    alice.on("server", (event) => events.push(event.state));
    await server.stop();
    await until("the loss", () => events.includes("lost"));
    expect(events).toEqual(["closing", "lost"]);
  });

  it("does not begin without a server, and says what to do", async () => {
    const address = { host: "127.0.0.1", port: 1 };
    await expect(open("alice", { address })).rejects.toMatchObject({
      code: "unreachable",
      message: expect.stringMatching(/127\.0\.0\.1:1: /),
      remedy: "start-server",
    });
  });

  it("stops connecting when it is aborted", async () => {
    const signal = AbortSignal.abort();
    await expect(open("alice", { signal })).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("a look at the directory", () => {
  it("needs no name", async () => {
    await registered("alice");
    const directory = await openDirectory({ server: server.address, stateDir: state.path });
    expect(await directory.lookup("alice")).toMatchObject({ name: "alice", address: "127.0.0.1" });
    expect(await directory.lookup("nobody")).toBeNull();
    expect((await directory.all()).map(({ name }) => name)).toEqual(["alice"]);
    await directory.close();
  });
});

describe("a registration whose answer was lost", () => {
  const address = (scripted: ScriptedServer) => ({ host: "127.0.0.1", port: Number(scripted.address.split(":")[1]) });

  /** What each REGISTER says of the one before it, and the claim id that the server has made for it. */
  function script(onRegister: (count: number, socket: Socket) => string | null) {
    const takeovers: (string | undefined)[] = [];
    const claims: string[] = [];
    return {
      takeovers,
      claims,
      serve: (request: readonly string[], socket: Socket) => {
        if (request[0] === "HELLO") {
          const reply = greeting(request);
          claims.push(claimIdOf(/\+nonce\r\n\+(\S+)/.exec(reply)?.[1] ?? ""));
          return reply;
        }
        if (request[0] !== "REGISTER") return "+OK\r\n";
        const at = request.indexOf("TAKEOVER");
        takeovers.push(at < 0 ? undefined : request[at + 1]);
        return onRegister(takeovers.length, socket);
      },
    };
  }

  it("may have been carried out: the next one continues it, or the one before", async () => {
    const { takeovers, claims, serve } = script((count, socket) => {
      if (count === 2) socket.destroy(); // the answer never comes
      return count === 3 ? "-TAKEN the name is in use\r\n" : "+OK\r\n";
    });
    await using scripted = await ScriptedServer.start(serve);
    const alice = await registered("alice", { address: address(scripted) });
    const back = new Promise((resolve) => alice.on("server", ({ state }) => state === "back" && resolve(state)));
    scripted.cut();
    await back;
    const [first, second] = claims;
    expect(takeovers).toEqual([undefined, first, second, first]);
    expect(alice.isConnected).toBe(true);
  });

  it("is somebody else's when none of them is the one", async () => {
    const { takeovers, claims, serve } = script((count, socket) => {
      if (count === 2) socket.destroy();
      return count >= 3 ? "-TAKEN the name is in use\r\n" : "+OK\r\n";
    });
    await using scripted = await ScriptedServer.start(serve);
    const alice = await registered("alice", { address: address(scripted) });
    const gone = once(alice, "gone");
    scripted.cut();
    expect((await gone)[0]).toMatchObject({ code: "name-taken" });
    expect(takeovers).toEqual([undefined, claims[0], claims[1], claims[0]]);
  });
});

describe("a room that the server could not take a client out of, or into", () => {
  const address = (scripted: ScriptedServer) => ({ host: "127.0.0.1", port: Number(scripted.address.split(":")[1]) });
  const said = ({ requests }: ScriptedServer) =>
    requests.filter(([word]) => word === "JOIN" || word === "PART").map(([word, room]) => `${word} ${room}`);
  /** @param fails the words that it cannot tell an answer to */
  const serving = (fails: Set<string>) =>
    ScriptedServer.start((request) => {
      const [word = ""] = request;
      if (word === "HELLO") return greeting(request);
      if (fails.has(word)) return "-TRYAGAIN the engine does not answer\r\n";
      return word === "MEMBERS" ? "*0\r\n" : "+OK\r\n";
    });

  it("is said again on the next connection", async () => {
    const fails = new Set(["PART"]);
    await using scripted = await serving(fails);
    const alice = await registered("alice", { address: address(scripted) });
    await alice.enterRoom("#ops");
    await expect(alice.leaveRoom("#ops")).rejects.toMatchObject({ code: "try-again" });
    fails.clear();
    const back = new Promise((resolve) => alice.on("server", ({ state }) => state === "back" && resolve(state)));
    scripted.cut();
    await back;
    expect(said(scripted)).toEqual(["JOIN #ops", "PART #ops", "PART #ops"]);
  });

  it("is said again on the same one, until the server confirms it", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    try {
      const fails = new Set(["PART", "JOIN"]);
      await using scripted = await serving(fails);
      const alice = await registered("alice", { address: address(scripted) });
      await expect(alice.enterRoom("#lab")).rejects.toMatchObject({ code: "try-again" }); // the row may have it
      fails.delete("PART");
      vi.advanceTimersByTime(PING_EVERY_MS);
      await until("the client to leave it", () => said(scripted).length === 2);
      fails.clear();
      await alice.enterRoom("#lab");
      vi.advanceTimersByTime(PING_EVERY_MS);
      await alice.count().catch(() => {});
      expect(said(scripted)).toEqual(["JOIN #lab", "PART #lab", "JOIN #lab"]);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("a lookup that memory has answered", () => {
  const touched = ({ requests }: ScriptedServer) => requests.filter(([command]) => command === "TOUCH").length;
  const address = (scripted: ScriptedServer) => ({ host: "127.0.0.1", port: Number(scripted.address.split(":")[1]) });

  it("is told to the server of whoever is registered, and to no other", async () => {
    await using scripted = await ScriptedServer.start((request) =>
      request[0] === "HELLO" ? greeting(request) : "+OK\r\n",
    );
    const sender = await open("alice", { address: address(scripted) });
    await sender.claim();
    sender.touch();
    await sender.all().catch(() => {});
    expect(touched(scripted)).toBe(0);
    const bob = await registered("bob", { address: address(scripted) });
    bob.touch();
    bob.touch();
    await bob.all().catch(() => {});
    expect(touched(scripted)).toBe(2);
  });

  it("is not told again to a server that does not know the request", async () => {
    await using scripted = await ScriptedServer.start((request) => {
      if (request[0] === "TOUCH") return "-ERR unknown command\r\n";
      return request[0] === "HELLO" ? greeting(request) : "+OK\r\n";
    });
    const bob = await registered("bob", { address: address(scripted) });
    for (let i = 0; i < 3; i++) {
      bob.touch();
      await bob.all().catch(() => {});
    }
    expect(touched(scripted)).toBe(1);
    expect(bob.isConnected).toBe(true);
  });
});
