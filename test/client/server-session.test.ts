// A client's standing with real servers: restarts, killed workers, names taken over.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openDirectory } from "../../lib/client/directory-reader.ts";
import { ServerSession, type ServerSessionOptions } from "../../lib/client/server-session.ts";
import { Identity } from "../../lib/crypto/identity.ts";
import { freshStateDir, ServerProcess, until } from "../helpers/lookup-server.ts";

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

async function open(name: string, options: Partial<ServerSessionOptions> = {}): Promise<ServerSession> {
  const session = await ServerSession.open({
    name,
    address: { host: "127.0.0.1", port: server.port },
    identity: Identity.generate(),
    insecure: false,
    checkCertificate: () => {},
    ...options,
  });
  sessions.push(session);
  return session;
}

async function registered(name: string, options: Partial<ServerSessionOptions> = {}): Promise<ServerSession> {
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
    expect(await watcher.ownerOf("ALICE")).toBe(identity.publicKey.toString("base64"));
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

  it("ends for good when another process of the same user has taken its name over", async () => {
    const identity = Identity.generate();
    const first = await registered("alice", { identity });
    const gone = once(first, "gone");
    // What a reconnecting session says; here it is another one that says it.
    const second = await server.client();
    const { registrationBytes } = await import("../../lib/crypto/signed-statements.ts");
    const hello = (await second.ask("HELLO", 3)) as Map<string, string>;
    const nonce = hello.get("nonce") as string;
    const bytes = registrationBytes({ nonce, name: "alice", port: 5000, addresses: [], host: "" });
    const key = identity.publicKey.toString("base64");
    const signature = identity.sign(bytes).toString("base64");
    await second.ask("REGISTER", "alice", "KEY", key, "PORT", 5000, "SIG", signature, "TAKEOVER");
    expect((await gone)[0]).toMatchObject({ code: "name-taken" });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await (await registered("bob")).lookup("alice")).toMatchObject({ port: 5000 });
    second.close();
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
