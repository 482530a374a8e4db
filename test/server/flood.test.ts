// Many requests from one client, and many replies that nobody reads: the others, and their workers, go on.
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  Client,
  freshStateDir,
  hostEndpoint,
  LocalServer,
  newKeys,
  ServerProcess,
  until,
  within,
} from "../helpers/lookup-server.ts";

let state: ReturnType<typeof freshStateDir>;
let server: ServerProcess | null = null;
let local: LocalServer | null = null;
let clients: Client[] = [];
beforeEach(() => {
  state = freshStateDir();
});
afterEach(async () => {
  for (const client of clients) client.close();
  if (server?.child.exitCode === null && server.child.signalCode === null) await server.stop();
  await local?.stop();
  [server, local, clients] = [null, null, []];
  state.remove();
});

async function on(port: number): Promise<Client> {
  const client = await Client.connect(port);
  clients.push(client);
  return client;
}

/** Clients whose entries are as long as they can be. */
async function crowd(port: number, size: number): Promise<Client[]> {
  const endpoints = [1, 2, 3, 4, 5, 6, 7, 8].map((i) => hostEndpoint(`2001:db8:aaaa:bbbb:cccc:dddd:eeee:f00${i}`));
  return Promise.all(
    Array.from({ length: size }, async (_, i) => {
      const client = await on(port);
      const name = `${i}${"x".repeat(28)}`;
      expect(await client.register(name, newKeys(), { host: "h".repeat(64), endpoints })).toBe("OK");
      return client;
    }),
  );
}

describe("one client", () => {
  it("that calls and calls: no worker grows or is lost, and the callee is told of what it can take", async () => {
    server = await ServerProcess.start(["--workers", "2", "--state-dir", state.path]);
    const [caller, callee, witness] = [await on(server.port), await on(server.port), await on(server.port)];
    await callee.register("callee", newKeys());
    await caller.register("caller", newKeys());
    const workers = async () => {
      const info = (await witness.ask("INFO")) as string;
      return [...info.matchAll(/pid=(\d+),.*memory=(\d+)/g)].map(([, pid, memory]) => [pid, Number(memory)] as const);
    };
    const before = await workers();
    expect(before).toHaveLength(2);
    const CALLS = 150_000;
    caller.socket.write("CALL callee\r\n".repeat(CALLS));
    let most = 0;
    await until("the calls to be answered", async () => {
      most = Math.max(most, ...(await workers()).map(([, memory]) => memory));
      callee.pushes.length = 0;
      return caller.unasked.length === CALLS;
    });
    expect((await workers()).map(([pid]) => pid)).toEqual(before.map(([pid]) => pid));
    expect(callee.isClosed).toBe(false);
    expect(most).toBeLessThan(250 * 1024 * 1024);
    // Ten a second: the next one may call again in a moment.
    await until("a call to be passed on", async () => (await caller.ask("CALL", "callee")) === "OK");
    expect((await callee.push("call"))[1]).toBe("caller");
  });

  it("that watches and unwatches: the primary is told of the last state", async () => {
    server = await ServerProcess.start(["--workers", "2", "--state-dir", state.path]);
    const [fickle, other] = [await on(server.port), await on(server.port)];
    await fickle.ask("HELLO", 3);
    fickle.socket.write("WATCH\r\nUNWATCH\r\n".repeat(50_000));
    await until("the answers", () => fickle.unasked.length === 100_000);
    expect(await fickle.ask("WATCH")).toBe("OK");
    await other.register("late", newKeys());
    expect((await fickle.push("joined"))[1]).toBe("late");
  });
});

describe("everyone at once", () => {
  const FLOOD = "ALL\r\n".repeat(120);

  it("is for all, whoever does not read", async () => {
    server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
    await crowd(server.port, 300);
    const deaf = Array.from({ length: 8 }, () => connect((server as ServerProcess).port, "127.0.0.1"));
    for (const socket of deaf)
      socket
        .on("error", () => {})
        .pause()
        .write(FLOOD);
    const reader = await on(server.port);
    // Until the deaf ones' buffers are full, and after.
    for (let i = 0; i < 100; i++) expect(await reader.ask("ALL")).toHaveLength(300);
    expect(await reader.ask("INFO")).toContain("connected_clients:309"); // the deaf ones are still there
    for (const socket of deaf) socket.destroy();
  });

  it("ends the connection of who takes too long, however it trickles", async () => {
    local = await LocalServer.start({ limits: { longReplyMs: 1000 } });
    const [witness] = (await crowd(local.port, 100)) as [Client];
    const slow = await on(local.port);
    slow.socket.pause();
    slow.socket.write(FLOOD.repeat(4));
    const trickle = setInterval(() => slow.socket.read(1), 50);
    await until("it to be closed", async () =>
      ((await witness.ask("INFO")) as string).includes("refused_slow_reader:1"),
    );
    clearInterval(trickle);
    expect(await witness.ask("PING")).toBe("PONG");
  });

  it("ends the one that waits longest when too much waits", async () => {
    local = await LocalServer.start({ limits: { longReplyBytes: 200_000 } });
    const [witness] = (await crowd(local.port, 300)) as [Client];
    const deaf = Array.from({ length: 4 }, () => connect((local as LocalServer).port, "127.0.0.1"));
    for (const socket of deaf)
      socket
        .on("error", () => {})
        .pause()
        .write(FLOOD);
    await until("some to be closed", async () =>
      /refused_slow_reader:[1-9]/.test((await witness.ask("INFO")) as string),
    );
    expect(await within("everyone", witness.ask("ALL"))).toHaveLength(300);
    for (const socket of deaf) socket.destroy();
  });
});

describe("pushes", () => {
  it("stand between replies, however slowly those leave", async () => {
    server = await ServerProcess.start(["--workers", "2", "--watch-limit", "512", "--state-dir", state.path]);
    const { port } = server;
    const watchers = await Promise.all(Array.from({ length: 6 }, () => on(port)));
    const guests = await crowd(server.port, 300);
    for (const watcher of watchers) {
      await watcher.ask("HELLO", 3);
      await watcher.ask("WATCH");
      watcher.socket.pause();
      watcher.socket.write("ALL\r\n".repeat(120));
    }
    for (const [i, guest] of guests.slice(0, 150).entries()) {
      guest.close();
      if (i % 10 === 0) for (const watcher of watchers) watcher.socket.resume();
      await new Promise((resolve) => setTimeout(resolve, 2));
      for (const watcher of watchers) watcher.socket.pause();
    }
    for (const watcher of watchers) watcher.socket.resume();
    for (const watcher of watchers) {
      await until("the replies", () => watcher.unasked.length === 120);
      for (const reply of watcher.unasked as Map<string, unknown>[][]) {
        expect(reply.every((entry) => entry instanceof Map && entry.size === 13)).toBe(true);
      }
      // What happened just before WATCH may be told as well.
      const left = () => watcher.pushes.filter(([kind]) => kind === "left");
      await until("the pushes", () => left().length === 150);
      expect(watcher.pushes.every(([kind]) => kind === "left" || kind === "joined")).toBe(true);
    }
  });

  it("that say goodbye come behind the reply that is under way", async () => {
    server = await ServerProcess.start(["--workers", "1", "--watch-limit", "512", "--state-dir", state.path]);
    const watcher = await on(server.port);
    await crowd(server.port, 300);
    await watcher.ask("HELLO", 3);
    await watcher.ask("WATCH");
    watcher.socket.pause();
    watcher.socket.write("ALL\r\n".repeat(120));
    await new Promise((resolve) => setTimeout(resolve, 500));
    const stopped = server.stop();
    watcher.socket.resume();
    await watcher.closed;
    await stopped;
    for (const reply of watcher.unasked) expect(reply).toHaveLength(300);
    expect(watcher.pushes).toEqual([["closing", "SIGTERM"]]);
  });

  it("end when the connection goes back to RESP2", async () => {
    local = await LocalServer.start();
    const [watcher, other] = [await on(local.port), await on(local.port)];
    await watcher.ask("HELLO", 3);
    await watcher.ask("WATCH");
    await watcher.ask("HELLO", 2);
    await other.register("unseen", newKeys());
    expect(await watcher.ask("PING")).toBe("PONG");
    await watcher.ask("HELLO", 3);
    expect(await watcher.ask("PING")).toBe("PONG");
    expect(watcher.pushes).toEqual([]);
  });
});
