// A disk that is full, and an error that nobody foresaw: the server goes on, or at least leaves nothing behind.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { createServer } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { commandLine, whyNoScript } from "../helpers/command.js";
import { Client, freshStateDir, newKeys, remains, ServerProcess, until, within } from "../helpers/lookup-server.ts";

let state: ReturnType<typeof freshStateDir>;
beforeEach(() => {
  state = freshStateDir();
});
afterEach(() => state.remove());

/** A port that was free just now: what the server says of its own goes to a full disk. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

function serveWith(port: number, options: readonly string[], streams: ("full" | "ignore")[]): ChildProcess {
  const full = openSync("/dev/full", "w");
  const args = ["serve", "--listen", `127.0.0.1:${port}`, "--workers", "1", "--state-dir", state.path];
  try {
    return spawn(...commandLine([...args, ...options]), {
      stdio: ["ignore", ...streams.map((stream) => (stream === "full" ? full : stream))],
    });
  } finally {
    closeSync(full);
  }
}

async function connected(port: number): Promise<Client> {
  let client: Client | null = null;
  await until("the server to serve", async () => {
    client = await Client.connect(port).catch(() => null);
    return client !== null;
  });
  return client as unknown as Client;
}

it.each([
  ["stdout", [], ["full", "ignore"]],
  ["stderr", [], ["ignore", "full"]],
  ["both, and the log is JSON", ["--json"], ["full", "full"]],
] as const)("a full disk behind %s: it serves, and stops in order", async (_what, options, streams) => {
  const port = await freePort();
  const child = serveWith(port, options, [...streams]);
  const exited = once(child, "exit");
  const client = await connected(port);
  expect(await client.register("bob", newKeys())).toBe("OK");
  child.kill("SIGINT"); // it asks, and nobody answers; another one while it asks would be the answer
  for (let i = 0; i < 3; i++) expect(await client.ask("PING")).toBe("PONG");
  child.kill("SIGTERM");
  expect(await within("the server to stop", exited)).toEqual([0, null]);
  expect(remains(port)).toEqual([]);
});

it.skipIf(whyNoScript !== null)(
  "an error that nobody foresaw ends it with status 70, and nothing is left",
  async () => {
    const bomb = `if (process.argv.includes("serve")) process.on("SIGUSR2", () => { throw new Error("boom"); });`;
    const server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path], {
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(bomb)}`,
    });
    const client = await server.client();
    await client.register("bob", newKeys());
    server.child.kill("SIGUSR2");
    expect(await client.push("closing")).toEqual(["closing", "failed"]);
    expect(await within("the server to stop", server.exited)).toEqual([70, null]);
    expect(server.log).toContain("boom");
    expect(remains(server.port)).toEqual([]);
  },
);

/** Runs in each worker process before the worker's own program, and nowhere else. */
const inWorkers = (script: string): NodeJS.ProcessEnv => ({
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(
    `if (process.argv[1]?.endsWith("worker-main.js")) { ${script} }`,
  )}`,
});

it.skipIf(whyNoScript !== null).each([
  ["lacks something", "Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })", 69, "EMFILE"],
  ["has a fault", "new TypeError('boom')", 70, "boom"],
])(
  "a worker that %s when it starts ends the server's start, with the reason and no stack",
  async (_what, error, status, reason) => {
    const fails = `process.on("message", (messages) => { if (messages.some(({ type }) => type === "start")) throw ${error}; });`;
    const server = await ServerProcess.start(["--workers", "2", "--state-dir", state.path], inWorkers(fails));
    expect(await within("the server to end", server.exited)).toEqual([status, null]);
    expect(server.log).toMatch(new RegExp(`ptalk: a worker process does not start: .*${reason}`));
    expect(server.log).not.toMatch(/^ +at /m);
  },
);

it.skipIf(whyNoScript !== null)("a worker with a fault is replaced; the log says why in one line", async () => {
  const fails = `process.on("SIGUSR2", () => { throw new Error("boom"); });`;
  const server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path], inWorkers(fails));
  const client = await server.client();
  const pid = Number(/^worker_0:id=\d+,pid=(\d+)/m.exec((await client.ask("INFO")) as string)?.[1]);
  process.kill(pid, "SIGUSR2");
  await client.closed;
  const next = await server.client();
  expect(await next.ask("PING")).toBe("PONG");
  next.close();
  expect(server.log).toMatch(/worker died, starting another worker=1 how="status 70" reason=boom/);
  expect(server.log).not.toMatch(/^ +at /m);
  expect(await server.stop()).toBe(0);
});
