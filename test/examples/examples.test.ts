// The examples do what their first lines say, and are short enough to be read.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { Program } from "../helpers/program.ts";
import { Serving } from "../helpers/serving.ts";

const folder = join(import.meta.dirname, "../../examples");
const MOST_LINES = 60;

let server: Serving;
const user = new User();
const other = new User();
beforeAll(async () => {
  server = await Serving.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  user[Symbol.dispose]();
  other[Symbol.dispose]();
});

const start = (name: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, of = user): Program =>
  new Program(process.execPath, [join(folder, name), ...args], { env: { ...of.env, ...env } });

const examples = readdirSync(folder).filter((name) => name.endsWith(".js"));
it.each(examples)("%s is under 60 lines, and imports as a program of anybody's does", (name) => {
  const text = readFileSync(join(folder, name), "utf8");
  expect(text.split("\n").length).toBeLessThanOrEqual(MOST_LINES);
  expect(text).toMatch(/from "ptalk(\/ipc)?"/);
  expect(text).not.toMatch(/from "\.\.?\//);
});

describe("echo", () => {
  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("answers, and leaves in good order at %s", async (signal) => {
    const echo = start("echo.js", [server.address]);
    expect(await echo.line()).toMatch(/^on as echo, SHA256:/);
    const sent = await other.run(["send", "echo", "hello", "--server", server.address, "--as", "asker"]);
    expect(sent.code).toBe(0);
    expect(await echo.line()).toMatch(/^asker.*: hello$/);
    echo.child.kill(signal);
    expect(await echo.ended).toMatchObject({ code: 0, stderr: "" });
  });

  it("says in one line why it cannot be on", async () => {
    const echo = start("echo.js", ["127.0.0.1:1"]);
    const { code, stderr } = await echo.ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(/^echo: [^\n]+\n$/);
  });
});

describe("presence-bar", () => {
  it("shows the clients, and leaves at SIGTERM", async () => {
    const bar = start("presence-bar.js", [server.address]);
    expect(await bar.line()).toBe("nobody is on");
    const bob = other.start(["recv", "--as", "bob", "--server", server.address]);
    expect(await bar.line()).toBe("1 on: bob");
    bob.child.kill("SIGTERM");
    expect(await bar.line()).toBe("nobody is on");
    bar.child.kill("SIGTERM");
    expect(await bar.ended).toMatchObject({ code: 0, stderr: "" });
  });
});

describe("job-notifier", () => {
  it("tells how the job ended, and ends as the job did", async () => {
    const bob = other.start(["recv", "--count", "1", "--as", "bob", "--server", server.address, "--json"]);
    await bob.line(); // registered
    const env = { PTALK_SERVER: server.address, PTALK_NAME: "job" };
    const job = start("job-notifier.js", ["bob", "sh", "-c", "exit 3"], env);
    expect(JSON.parse(await bob.line())).toMatchObject({
      from: "job",
      text: expect.stringMatching(/^sh on .*: status 3 after/),
    });
    expect(await job.ended).toMatchObject({ code: 3 });
  });

  it("ends as the job did when the notice fails", async () => {
    const job = start("job-notifier.js", ["nobody", "true"], { PTALK_SERVER: "127.0.0.1:1", PTALK_NAME: "job" });
    const { code, stderr } = await job.ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^nobody was not told: /) });
  });
});

describe("worker-pool", () => {
  it("does each job once", async () => {
    const pool = start("worker-pool.js", ["3", "500"]);
    expect(await pool.line()).toBe("500 jobs, 500 different answers, 3 workers");
    const { pid } = pool;
    expect((await pool.ended).code).toBe(0);
    expect(readdirSync("/dev/shm").filter((name) => name.startsWith(`ptalk-example-${pid}-`))).toEqual([]);
  });
});

describe("shared-file", () => {
  it("loses no change of several processes", async () => {
    const file = join(user.home, "counts.json");
    const processes = Array.from({ length: 3 }, () => start("shared-file.js", [file, "100"]));
    for (const each of processes) expect(await each.ended).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ total: 300 });
  });

  it("says in one line why it cannot lock", async () => {
    const { code, stderr } = await start("shared-file.js", ["/nowhere/counts.json"]).ended;
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^shared-file: .*ENOENT.*\n$/) });
  });
});
