// The question, at a real terminal. The program runs under a shell, as it does for people: Ctrl-C reaches the whole group.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  Client,
  freshStateDir,
  newKeys,
  remains,
  ServerProcess,
  startQuietly,
  until,
} from "../helpers/lookup-server.ts";
import { Pty } from "../helpers/pty.ts";

const PROGRAM = join(import.meta.dirname, "../../bin/ptalk.js");
const QUESTION = /(\d+) clients are connected\. Shut down\? \[y\/N\]/;

let state: ReturnType<typeof freshStateDir>;
beforeEach(() => {
  state = freshStateDir();
});
afterEach(() => state.remove());

async function serveAtTerminal(): Promise<{ pty: Pty; port: number }> {
  const args = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--workers", "2", "--state-dir", state.path];
  const pty = new Pty(process.execPath, args, { columns: 100 });
  await pty.shows(/serving on 127\.0\.0\.1:\d+/);
  return { pty, port: Number(/serving on 127\.0\.0\.1:(\d+)/.exec(pty.raw)?.[1]) };
}

async function serves(port: number): Promise<void> {
  const client = await Client.connect(port);
  expect(await client.ask("PING")).toBe("PONG");
  client.close();
}

const questions = (pty: Pty) => pty.raw.match(/Shut down\?/g)?.length ?? 0;

describe("SIGINT at a terminal", () => {
  it.each([
    ["y and Enter", "y\r"],
    ["yes and Enter", "YES\r"],
    ["Ctrl-C again", "\x03"],
  ])("asks; %s shuts down", async (_what, keys) => {
    const { pty, port } = await serveAtTerminal();
    const client = await Client.connect(port);
    await client.register("bob", newKeys());
    pty.type("\x03");
    await pty.shows(QUESTION);
    expect(QUESTION.exec(pty.raw)?.[1]).toBe("1");
    await serves(port);
    pty.type(keys);
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
    expect(await client.push("closing")).toEqual(["closing", "SIGINT"]);
    await client.closed;
    expect(remains(port)).toEqual([]);
  });

  it.each([
    ["n and Enter", "n\r"],
    ["Enter", "\r"],
    ["anything and Enter", "maybe\r"],
    ["Ctrl-D", "\x04"],
  ])("asks; %s goes on, and it can be asked again", async (_what, keys) => {
    const { pty, port } = await serveAtTerminal();
    for (let round = 1; round <= 2; round++) {
      pty.type("\x03");
      await until("the question", () => questions(pty) === round);
      pty.type(keys);
      await until("an answer", () => (pty.raw.match(/going on/g)?.length ?? 0) === round);
      await serves(port);
    }
    pty.type("\x03");
    await until("the question", () => questions(pty) === 3);
    pty.type("y\r");
    expect((await pty.ended).exitCode).toBe(0);
    expect(remains(port)).toEqual([]);
  });

  it("says who sent it, if another process did", async () => {
    const { pty, port } = await serveAtTerminal();
    const killer = spawnSync("sh", ["-c", `echo $$; kill -INT ${pty.pid}`], { encoding: "utf8" });
    const pid = killer.stdout.trim();
    await pty.shows(QUESTION);
    expect(pty.raw).toContain(`SIGINT from pid ${pid} (uid ${process.getuid?.()}). 0 clients are connected.`);
    pty.type("n\r");
    await pty.shows("going on");
    pty.type("\x03");
    await until("the question", () => questions(pty) === 2);
    expect(pty.raw.match(/from pid/g)).toHaveLength(1);
    spawnSync("kill", ["-INT", String(pty.pid)]);
    expect((await pty.ended).exitCode).toBe(0);
    expect(remains(port)).toEqual([]);
  });

  it("SIGTERM does not ask, not even while it asks", async () => {
    const { pty, port } = await serveAtTerminal();
    pty.type("\x03");
    await pty.shows(QUESTION);
    process.kill(pty.pid, "SIGTERM");
    expect((await pty.ended).exitCode).toBe(0);
    expect(remains(port)).toEqual([]);
  });
});

describe("a terminal that goes away", () => {
  it.each(["while it serves", "while it asks"])("ends the server in good order, %s", async (when) => {
    const { pty, port } = await serveAtTerminal();
    if (when === "while it asks") {
      pty.type("\x03");
      await pty.shows(QUESTION);
    }
    pty.hangUp();
    await until("the server to clean up", () => remains(port).length === 0);
  });
});

describe("without a terminal", () => {
  it("goes on when nobody reads its output any more", async () => {
    const server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
    server.child.stdout?.destroy();
    server.child.stderr?.destroy();
    server.child.kill("SIGINT");
    const client = await server.client();
    await client.register("bob", newKeys());
    client.close();
    await serves(server.port);
    expect(await server.stop()).toBe(0);
    expect(remains(server.port)).toEqual([]);
  });

  it("asks on stderr and reads stdin", async () => {
    const server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
    server.child.kill("SIGINT");
    await until("the question", () => QUESTION.test(server.log));
    server.child.stdin?.write("n\n");
    await until("an answer", () => server.log.includes("going on"));
    server.child.kill("SIGINT");
    await until("the question", () => (server.log.match(/Shut down\?/g)?.length ?? 0) === 2);
    server.child.stdin?.write("y\n");
    expect(await server.exited).toEqual([0, null]);
    expect(server.output.split("\n")[0]).toBe(`ptalk: serving on ${server.address}`);
    expect(remains(server.port)).toEqual([]);
  });

  it("goes on when nobody can answer", async () => {
    const server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
    server.child.stdin?.end();
    for (let round = 1; round <= 3; round++) {
      server.child.kill("SIGINT");
      await until("the question", () => (server.log.match(/going on/g)?.length ?? 0) === round);
      await serves(server.port);
    }
    expect(await server.stop()).toBe(0);
    expect(remains(server.port)).toEqual([]);
  });

  it("SIGTERM during the start leaves nothing either", async () => {
    for (let delay = 0; delay < 500; delay += 60) {
      const { child, ports } = startQuietly(state.path);
      await new Promise((resolve) => setTimeout(resolve, delay));
      child.kill("SIGTERM");
      await new Promise((resolve) => child.once("exit", resolve));
      for (const port of ports()) expect(remains(port)).toEqual([]);
    }
  });
});
