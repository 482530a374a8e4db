// The question, at a real terminal. The program runs under a shell, as it does for people: Ctrl-C reaches the whole group.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { COMMAND, commandLine } from "../helpers/command.js";
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

const QUESTION = /(\d+) clients are connected\. Shut down\? \[y\/N\]/;

let state: ReturnType<typeof freshStateDir>;
beforeEach(() => {
  state = freshStateDir();
});
afterEach(() => state.remove());

const command = () => ["serve", "--listen", "127.0.0.1:0", "--workers", "2", "--state-dir", state.path];

/** @param script what the shell does with "$@", the command */
async function serveAtTerminal(script?: string): Promise<{ pty: Pty; port: number }> {
  const args = command();
  const pty =
    script === undefined
      ? new Pty(...commandLine(args), { columns: 100 })
      : new Pty("/bin/sh", ["-c", script, "sh", ...COMMAND, ...args], { columns: 100 });
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
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
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
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
    expect(remains(port)).toEqual([]);
  });

  it("SIGTERM does not ask, not even while it asks", async () => {
    const { pty, port } = await serveAtTerminal();
    pty.type("\x03");
    await pty.shows(QUESTION);
    process.kill(pty.pid, "SIGTERM");
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
    expect(remains(port)).toEqual([]);
  });
});

describe("the terminal", () => {
  it("has the question, and the log has not, when the log goes elsewhere", async () => {
    const file = join(state.path, "err.log");
    const { pty, port } = await serveAtTerminal(`exec "$@" 2>${file}`);
    pty.type("\x03");
    await pty.shows(QUESTION);
    pty.type("n\r");
    await pty.shows("going on");
    pty.type("\x03");
    await until("the question", () => questions(pty) === 2);
    pty.type("y\r");
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
    const log = readFileSync(file, "utf8");
    expect(log).not.toContain("Shut down?");
    expect(log.trim().split("\n")).toEqual([
      expect.stringMatching(/^\S+Z interrupted clients=0$/),
      expect.stringMatching(/^\S+Z "?going on"? answer=n$/),
      expect.stringMatching(/^\S+Z interrupted clients=0$/),
      expect.stringMatching(/^\S+Z stopping reason=SIGINT clients=0$/),
    ]);
    expect(remains(port)).toEqual([]);
  });

  it("has the question with --json as well, whose log has events only", async () => {
    const file = join(state.path, "err.log");
    const { pty } = await serveAtTerminal(`exec "$@" --json 2>${file}`);
    pty.type("\x03");
    await pty.shows(QUESTION);
    pty.type("y\r");
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
    const events = readFileSync(file, "utf8").trim().split("\n");
    expect(events.map((line) => JSON.parse(line).msg)).toEqual(["interrupted", "stopping"]);
  });

  it.each([
    ["a line", "y\r"],
    ["half a line", "y"],
  ])("does not answer with %s that was typed before the question", async (_what, keys) => {
    const { pty, port } = await serveAtTerminal();
    await pty.shows(/room for \d+ clients/); // the last of its lines: the echo is what stands at the end
    pty.type(keys);
    await until("the echo", () => pty.raw.includes("y\r\n") || /y$/.test(pty.raw));
    process.kill(pty.pid, "SIGINT");
    await pty.shows(QUESTION);
    pty.type("\r");
    await pty.shows("going on");
    await serves(port);
    process.kill(pty.pid, "SIGTERM");
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
  });

  it("is as it was, even if the server is killed while it asks", async () => {
    const { pty, port } = await serveAtTerminal('"$@"; stty -a');
    await pty.shows(/pid \d+/);
    const pid = Number(/pid (\d+)/.exec(pty.raw)?.[1]);
    process.kill(pid, "SIGINT");
    await pty.shows(QUESTION);
    process.kill(pid, "SIGKILL");
    await pty.shows(/[^-]icanon/);
    await pty.ended;
    const next = await ServerProcess.start(["--state-dir", state.path, "--listen", `127.0.0.1:${port}`]);
    await next.stop(); // what the killed one left is gone
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
    expect(await pty.ended).toEqual({ exitCode: 0, signal: 0 });
    expect(remains(port)).toEqual([]);
  });

  it("does not matter under nohup", async () => {
    const out = join(state.path, "out");
    const script = `nohup "$@" >${out} 2>&1 & until grep -q pid ${out}; do sleep 0.1; done; cat ${out}; read answer`;
    const { pty, port } = await serveAtTerminal(script);
    await pty.shows(/pid \d+/);
    const pid = Number(/pid (\d+)/.exec(pty.raw)?.[1]);
    pty.hangUp();
    await pty.ended;
    await serves(port);
    process.kill(pid, "SIGTERM");
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

  it("takes one line for each question", async () => {
    const server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
    server.child.stdin?.write("n\ny\n");
    server.child.kill("SIGINT");
    await until("an answer", () => server.log.includes("going on"));
    server.child.kill("SIGINT");
    expect(await server.exited).toEqual([0, null]);
    expect(remains(server.port)).toEqual([]);
  });

  it("with --json everything on stderr is events", async () => {
    const server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path, "--json"]);
    server.child.stdin?.write("n\n");
    server.child.kill("SIGINT");
    await until("an answer", () => server.log.includes("going on"));
    server.child.stdin?.end();
    server.child.kill("SIGINT");
    await until("an answer", () => (server.log.match(/going on/g)?.length ?? 0) === 2);
    expect(await server.stop()).toBe(0);
    const events = server.log
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events.map(({ msg, answer, reason }) => [msg, answer ?? reason])).toEqual([
      ["interrupted", undefined],
      ["going on", "n"],
      ["interrupted", undefined],
      ["going on", expect.stringMatching(/end of input|nobody to ask/)], // it may have seen the end before
      ["stopping", "SIGTERM"],
    ]);
    expect(events[0]).toMatchObject({
      level: "info",
      clients: 0,
      pid: server.pid,
      from: `pid ${process.pid} (uid ${process.getuid?.()})`,
    });
  });

  it("SIGHUP is about a terminal: it changes nothing", async () => {
    const server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
    server.child.kill("SIGHUP");
    await serves(server.port);
    expect(await server.stop()).toBe(0);
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
