// When a server that --exit-when-empty started ends: by the clock of the test, and as a real process.
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FIRST_CLIENT_MS, IdleShutdown } from "../../lib/server/idle-shutdown.ts";
import { Client, freshStateDir, newKeys, ServerProcess, until, within } from "../helpers/lookup-server.ts";

describe("an idle server", () => {
  let clients = 0;
  let connectedAt = Number.NEGATIVE_INFINITY;
  let stops = 0;
  let idle: IdleShutdown;
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    [clients, connectedAt, stops] = [0, Number.NEGATIVE_INFINITY, 0];
    idle = new IdleShutdown(
      () => clients,
      () => performance.now() - connectedAt,
      () => stops++,
    );
  });
  afterEach(() => {
    idle.stop();
    vi.useRealTimers();
  });

  const come = (): void => {
    clients++;
    idle.clientSeen();
  };
  const go = (): void => {
    clients--;
    idle.clientSeen();
  };

  it("waits for its first client, and ends when none comes", () => {
    idle.start();
    vi.advanceTimersByTime(FIRST_CLIENT_MS - 1);
    expect(stops).toBe(0);
    vi.advanceTimersByTime(1);
    expect(stops).toBe(1);
  });

  it("ends a quarter of a second after the last client has gone", () => {
    idle.start();
    come();
    come();
    go();
    vi.advanceTimersByTime(FIRST_CLIENT_MS);
    expect(stops).toBe(0);
    go();
    vi.advanceTimersByTime(249);
    expect(stops).toBe(0);
    vi.advanceTimersByTime(1);
    expect(stops).toBe(1);
  });

  it("does so for clients that came and went before all workers were ready", () => {
    come();
    go();
    idle.start();
    vi.advanceTimersByTime(250);
    expect(stops).toBe(1);
  });

  it("stays for a client that came before all workers were ready", () => {
    come();
    idle.start();
    vi.advanceTimersByTime(2 * FIRST_CLIENT_MS);
    expect(stops).toBe(0);
    go();
    vi.advanceTimersByTime(250);
    expect(stops).toBe(1);
  });

  it("gives a client that has just connected the time to register", () => {
    idle.start();
    come();
    go();
    vi.advanceTimersByTime(200);
    connectedAt = performance.now();
    vi.advanceTimersByTime(249);
    expect(stops).toBe(0);
    vi.advanceTimersByTime(1);
    expect(stops).toBe(1);
  });
});

describe("a server process", () => {
  const state = freshStateDir();
  afterEach(() => state.remove());

  it("ends after a client that came and went while a worker was still starting", async () => {
    const listen = `127.0.0.1:${20_000 + (process.pid % 10_000)}`;
    const starting = ServerProcess.start([
      ...["--listen", listen, "--workers", "2", "--exit-when-empty", "--state-dir", state.path],
    ]);
    const late = await secondChild(listen);
    process.kill(late, "SIGSTOP");
    try {
      let client: Client | null = null;
      await until("the other worker", async () => {
        client = await Client.connect(Number(listen.split(":")[1])).catch(() => null);
        return client !== null;
      });
      expect(await (client as unknown as Client).register("early", newKeys())).toBe("OK");
      (client as unknown as Client).close();
    } finally {
      process.kill(late, "SIGCONT");
    }
    const server = await starting;
    // The minute that a server waits for its first client is longer than this test does.
    expect(await within("the server to end", server.exited)).toEqual([0, null]);
  });
});

it("stays for a client that only watches a name, and ends when that one has gone", async () => {
  const state = freshStateDir();
  const server = await ServerProcess.start([
    ...["--listen", "127.0.0.1:0", "--workers", "1", "--exit-when-empty", "--state-dir", state.path],
  ]);
  const [waiter, other] = [await Client.connect(server.port), await Client.connect(server.port)];
  await waiter.ask("HELLO", "3");
  expect(await waiter.ask("WATCH", "bob")).toBe("OK");
  expect(await other.register("early", newKeys())).toBe("OK");
  other.close();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect(await waiter.ask("PING")).toBe("PONG");
  waiter.close();
  expect(await within("the server to end", server.exited)).toEqual([0, null]);
});

/** Pid of the second worker of the server that listens there, as soon as it is one: stopped before its exec, it stops its parent. */
async function secondChild(listen: string): Promise<number> {
  let found: number | undefined;
  await until("two workers", () => {
    const [server] = childrenOf(process.pid, listen);
    found = server === undefined ? undefined : childrenOf(server, "worker-main")[1];
    return found !== undefined;
  });
  return found as number;
}

/** Pids of a process's children with that text in their command line, the oldest first. */
function childrenOf(parent: number, text: string): number[] {
  try {
    const pids = readFileSync(`/proc/${parent}/task/${parent}/children`, "latin1").trim().split(" ").filter(Boolean);
    return pids.map(Number).filter((pid) => readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(text));
  } catch {
    return []; // one has ended meanwhile
  }
}
