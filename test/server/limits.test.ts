// What one client may do to the others: nothing.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { COMMAND } from "../helpers/command.js";
import { Client, freshStateDir, LocalServer, newKeys, ServerProcess, until, within } from "../helpers/lookup-server.ts";

let state: ReturnType<typeof freshStateDir>;
let server: ServerProcess | null = null;
let local: LocalServer | null = null;
let cramped: ChildProcess | null = null;
beforeEach(() => {
  state = freshStateDir();
});
afterEach(async () => {
  if (server?.child.exitCode === null && server.child.signalCode === null) await server.stop();
  await local?.stop();
  if (cramped?.exitCode === null) cramped.kill("SIGTERM");
  cramped = null;
  server = null;
  local = null;
  state.remove();
});

const small = { connections: 20, requestsPerSecond: 1000 };

/** In this process: what is counted is the same as in a worker. */
async function startSmall(): Promise<LocalServer> {
  local = await LocalServer.start({ limits: small });
  return local;
}

async function closing(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk;
  });
  await within("the connection to be closed", once(socket, "close"));
  return text;
}

describe("bounds", () => {
  it("connections: the oldest that has not registered makes room for one more", async () => {
    const { port } = await startSmall();
    const clients: Client[] = [];
    for (let i = 0; i < 20; i++) clients.push(await Client.connect(port));
    const [first, second, third] = clients as [Client, Client, Client];
    await first.register("first", newKeys());
    await second.ask("HELLO", 3);
    expect(await clients[19]?.ask("PING")).toBe("PONG");
    const newcomer = await Client.connect(port);
    expect(await newcomer.register("newcomer", newKeys())).toBe("OK");
    await second.closed;
    expect(second.pushes).toEqual([["closing", "full"]]);
    expect(await first.ask("PING")).toBe("PONG");
    expect(await third.ask("PING")).toBe("PONG");
    for (const client of [...clients, newcomer]) client.close();
  });

  it("connections: when all have registered, one more is told so and closed; when one leaves there is room", async () => {
    const { port } = await startSmall();
    const clients = await Promise.all(Array.from({ length: 20 }, () => Client.connect(port)));
    for (const [i, client] of clients.entries()) expect(await client.register(`c${i}`, newKeys())).toBe("OK");
    const extra = connect(port, "127.0.0.1");
    expect(await closing(extra)).toMatch(/^-FULL too many connections/);
    clients[0]?.close();
    await until("room", async () => {
      const client = await Client.connect(port);
      const reply = await Promise.race([client.ask("PING"), client.closed]);
      client.close();
      return reply === "PONG";
    });
    expect((await clients[1]?.ask("INFO")) as string).toContain("refused_too_many_connections:");
    for (const client of clients) client.close();
  });

  it("names: whoever claims one counts as whoever registers one", async () => {
    local = await LocalServer.start({ limits: { names: 2 } });
    const client = await Client.connect(local.port);
    const keys = newKeys();
    expect(await client.register("one", keys)).toBe("OK");
    expect(await client.claim("two", keys)).toBe("OK");
    expect(await client.claim("three", keys)).toMatchObject({ code: "FULL" });
    expect(await client.ask("KEY", "three")).toBeNull();
    expect(await client.claim("two", keys)).toBe("OK");
    client.close();
  });

  it("requests in a second: whoever sends more is closed, others go on", async () => {
    const { port } = await startSmall();
    const other = await Client.connect(port);
    const greedy = connect(port, "127.0.0.1");
    greedy.write("PING\r\n".repeat(3000));
    expect(await closing(greedy)).toMatch(/-ERR Protocol error: too many requests in one second\r\n$/);
    expect(await other.ask("PING")).toBe("PONG");
    other.close();
  });

  it("slow readers: a flood of pushes that nobody reads ends the connection, not the server", async () => {
    server = await ServerProcess.start(["--workers", "2", "--state-dir", state.path]);
    const [deaf, caller] = [await server.client(), await server.client()];
    await deaf.register("deaf", newKeys());
    await caller.register("caller", newKeys());
    expect(await deaf.ask("WATCH", "caller")).toBe("OK");
    deaf.socket.pause();
    const text = "x".repeat(120);
    const changes = Buffer.from(`STATUS away ${text}\r\nSTATUS here\r\n`.repeat(500));
    const isClosed = async () => ((await caller.ask("INFO")) as string).includes("refused_slow_reader:1");
    await until("the deaf one to be closed", async () => {
      caller.socket.write(changes);
      await until("the changes to be made", () => caller.unasked.length > 0 && caller.unasked.length % 1000 === 0);
      caller.unasked.length = 0;
      return isClosed();
    });
    expect(await caller.ask("LOOKUP", "deaf")).toBeNull();
    deaf.close();
    caller.close();
  });

  it("pipelining without reading stalls only who does it", async () => {
    server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
    const client = await server.client();
    await client.register("bob", newKeys());
    const deaf = connect(server.port, "127.0.0.1");
    deaf.on("error", () => {});
    deaf.pause();
    const flood = Buffer.from("LOOKUP bob\r\nCOMMAND\r\nALL\r\nINFO\r\n".repeat(2000));
    for (let i = 0; i < 40; i++) deaf.write(flood);
    for (let i = 0; i < 50; i++) expect(await client.ask("PING")).toBe("PONG");
    const info = (await client.ask("INFO")) as string;
    expect(Number(/memory=(\d+)/.exec(info)?.[1])).toBeLessThan(400 * 1024 * 1024);
    deaf.destroy();
    client.close();
  });
});

it("running out of descriptors is survived and reported", async () => {
  // 100 descriptors for the server and each of its workers, which need many at once when they load their modules; the shell sets the
  // limit, as an administrator would.
  const args = ["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--state-dir", state.path];
  const command = `ulimit -n 100; exec ${COMMAND.join(" ")} ${args.join(" ")}`;
  const child = spawn("sh", ["-c", command], { stdio: ["ignore", "pipe", "pipe"] });
  cramped = child;
  let output = "";
  let log = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  child.stderr.on("data", (chunk) => {
    log += chunk;
  });
  await until("the server", () => /serving on \S+\n/.test(output));
  const port = Number(/serving on \S+:(\d+)\n/.exec(output)?.[1]);
  const sockets = Array.from({ length: 150 }, () => connect(port, "127.0.0.1").on("error", () => {}));
  await until("complaints", () => /connection refused.*descriptor/.test(log));
  for (const socket of sockets) socket.destroy();
  await until("service again", async () => {
    const client = await Client.connect(port);
    const reply = await Promise.race([
      client.tell("PING"),
      client.closed,
      new Promise((resolve) => setTimeout(resolve, 1000)),
    ]);
    client.close();
    return reply === "PONG";
  });
  child.kill("SIGTERM");
  expect((await within("it to stop", once(child, "exit")))[0]).toBe(0);
});

it("a TLS server says nothing to whom it turns away", async () => {
  local = await LocalServer.start({ tls: true, limits: { connections: 0 } });
  const extra = connect(local.port, "127.0.0.1");
  expect(await closing(extra)).toBe("");
});

describe("silence", () => {
  it("of a client that hangs: it is probed, and removed within 30 s", async () => {
    server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
    const [hung, well, watcher] = [await server.client(), await server.client(), await server.client()];
    await hung.register("hung", newKeys(), { probe: true });
    await well.register("well", newKeys(), { probe: true });
    await watcher.ask("WATCH");
    const answers = setInterval(() => {
      if (well.pushes.splice(0).some(([kind]) => kind === "probe")) void well.ask("PING");
    }, 100);
    await until("the hanging one to be removed", () => watcher.pushes.length > 0);
    clearInterval(answers);
    expect(watcher.pushes).toEqual([["left", "hung"]]);
    expect(hung.pushes).toEqual([["probe"]]);
    expect(await well.ask("PING")).toBe("PONG");
    for (const client of [hung, well, watcher]) client.close();
  });
});

it("an idle server sleeps", async () => {
  server = await ServerProcess.start(["--workers", "2", "--state-dir", state.path]);
  const ticks = (pid: number) => {
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
    return Number(fields[11]) + Number(fields[12]);
  };
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const before = ticks(server.pid);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  expect(ticks(server.pid) - before).toBeLessThan(10); // hundredths of a second in two seconds
});
