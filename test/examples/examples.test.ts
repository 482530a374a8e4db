// The examples do what their first lines say, and are short enough to be read.
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
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

describe("files", () => {
  it("sends and takes a file; one under way is given up at SIGINT, and the other side goes on", async () => {
    const env = { PTALK_SERVER: server.address };
    const inbox = join(other.home, "inbox");
    const receiver = start("files.js", ["taker", inbox], env, other);
    expect(await receiver.line()).toBe("on as taker");
    const [small, big] = [join(user.home, "small.txt"), join(user.home, "big.dat")];
    writeFileSync(small, "some bytes");
    writeFileSync(big, "");
    truncateSync(big, 2 ** 26);
    const sender = start("files.js", ["giver", join(user.home, "in"), "taker", small, big], env);
    let line = "";
    while (!line.includes("big.dat: accepted")) line = await sender.line();
    sender.child.kill("SIGINT");
    const { code, stderr } = await sender.ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^\S+big\.dat: given up\n$/) });
    expect(await receiver.line()).toMatch(/^giver sent \S+small\.txt in \d+ ms$/);
    expect(readFileSync(join(inbox, "small.txt"), "utf8")).toBe("some bytes");
    receiver.child.kill("SIGTERM");
    expect((await receiver.ended).stderr).toMatch(/^big\.dat of giver: [^\n]+\n$/);
    expect(readdirSync(inbox)).toEqual(["small.txt"]);
  });
});

describe("left-message", () => {
  it("leaves a message for somebody who is off, and has the receipt later", async () => {
    const env = { PTALK_SERVER: server.address, PTALK_NAME: "leaver" };
    const first = other.start(["recv", "--as", "reader", "--server", server.address, "--json"]);
    await first.line();
    await first.kill();
    const left = start("left-message.js", ["reader", "see you"], env);
    expect(await left.line()).toMatch(/^kept for reader until /);
    expect(await left.line()).toMatch(/^reader is met for the first time: compare SHA256:/);
    const [, id = ""] = /^(\S+) is kept by way of mailbox, /.exec(await left.line()) ?? [];
    expect(await left.ended).toMatchObject({ code: 0, stderr: "" });
    const reader = other.start(["recv", "--as", "reader", "--server", server.address, "--json", "--count", "1"]);
    await reader.line();
    expect(JSON.parse(await reader.line())).toMatchObject({ id, text: "see you", via: "mailbox" });
    await reader.ended;
    const later = start("left-message.js", ["--receipts", "60"], env);
    expect(await later.line()).toMatch(new RegExp(`^${id}: delivered, reader, `));
    later.child.kill("SIGINT");
    await later.ended;
  });

  it("waits for somebody who is off, and says why a message could not be left", async () => {
    const env = { PTALK_SERVER: server.address, PTALK_NAME: "waiter" };
    const waiting = start("left-message.js", ["--wait", "60", "comer", "at last"], env);
    const comer = other.start(["recv", "--as", "comer", "--server", server.address, "--json"]);
    await comer.line();
    expect(JSON.parse(await comer.line())).toMatchObject({ text: "at last", via: "direct" });
    expect(await waiting.line()).toMatch(/ is delivered by way of direct, /);
    await comer.kill();
    const failed = await start("left-message.js", ["nobody-knows-me", "hello"], env).ended;
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringMatching(/^no-key: /) });
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
