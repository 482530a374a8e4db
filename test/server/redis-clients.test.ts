// Redis's own tools and libraries, unmodified.
import { spawnSync } from "node:child_process";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { python } from "../helpers/compile.ts";
import { type Client, freshStateDir, newKeys, ServerProcess, within } from "../helpers/lookup-server.ts";
import { Program } from "../helpers/program.ts";
import { Pty } from "../helpers/pty.ts";

const state = freshStateDir();
const keys = newKeys();
let server: ServerProcess;
let bob: Client;
beforeAll(async () => {
  server = await ServerProcess.start(["--workers", "2", "--state-dir", state.path]);
  bob = await server.client();
  await bob.register("bob", keys, { port: 4711, host: "here" });
});
afterAll(async () => {
  await server.stop();
  state.remove();
});

const has = (tool: string) => spawnSync(tool, ["--version"]).status === 0;
const redisCli = (...args: string[]) =>
  within("redis-cli", new Program("redis-cli", ["-p", String(server.port), ...args]).end());
/** Of a client that says of its status and its rooms nothing. */
const FIELDS = [
  ...["name", "address", "port", "host", "key", "startedAt", "lastLookupAt", "endpoints", "protocol", "server"],
  ...["user", "uid", "attested"],
];

describe.skipIf(!has("redis-cli"))("redis-cli (skipped where it is not installed)", () => {
  it.each(["-2", "-3"])("asks %s", async (protocol) => {
    const program = new Program("redis-cli", ["-p", String(server.port), protocol, "LOOKUP", "bob"]);
    const lines: string[] = [];
    for (let i = 0; i < FIELDS.length * (protocol === "-2" ? 2 : 1); i++) lines.push(await program.line());
    expect(lines.join("\n")).toContain(keys.key);
    expect(await program.end()).toMatchObject({ code: 0, stderr: "" });
  });

  it("starts quietly at a terminal, completes and explains commands", async () => {
    using pty = new Pty("redis-cli", ["-p", String(server.port)], { columns: 100 });
    // It throws away what is typed before it shows its prompt.
    const prompt = () => pty.until((screen) => screen.cursor().row.trim() === `127.0.0.1:${server.port}>`);
    await prompt();
    pty.type("LOOKUP bob\r");
    await pty.shows(keys.key);
    await prompt();
    pty.type("COUNT\r");
    await pty.shows("(integer) 1");
    await prompt();
    expect(pty.raw).not.toContain("(error)");
  });

  it("reports errors", async () =>
    expect((await redisCli("-e", "LOOKUP")).stderr).toContain("wrong number of arguments"));
});

it.skipIf(!has("redis-benchmark"))(
  "redis-benchmark runs with a command of its own (skipped where it is not installed)",
  async () => {
    for (const pipeline of ["1", "50"]) {
      const args = ["-p", String(server.port), "-c", "20", "-n", "5000", "-P", pipeline, "--csv", "LOOKUP", "bob"];
      const program = new Program("redis-benchmark", args);
      let line = await program.line();
      while (!line.startsWith('"LOOKUP bob"')) line = await program.line();
      expect(Number(line.split(",")[1]?.replaceAll('"', ""))).toBeGreaterThan(0);
      const end = await program.end();
      expect(end.code).toBe(0);
      expect(end.stderr).not.toContain("WARNING");
    }
  },
);

it("ioredis", async () => {
  const redis = new Redis({ port: server.port, host: server.host });
  expect(await redis.ping()).toBe("PONG");
  const entry = (await redis.call("LOOKUP", "bob")) as unknown[];
  expect(entry.filter((_, i) => i % 2 === 0)).toEqual(FIELDS);
  expect(entry[1]).toBe("bob");
  expect(await redis.call("LOOKUP", "nobody")).toBeNull();
  expect(await redis.info()).toContain("clients:1");
  const pipeline = await redis.pipeline().call("COUNT").call("PING").call("LOOKUP").exec();
  expect(pipeline?.[0]).toEqual([null, 1]);
  expect(pipeline?.[2]?.[0]?.message).toContain("wrong number");
  await redis.quit();
});

it.each([2, 3] as const)("node-redis, RESP%i", async (RESP) => {
  const redis = createClient({ RESP, socket: { port: server.port, host: server.host, reconnectStrategy: false } });
  redis.on("error", (error) => {
    throw error;
  });
  await redis.connect();
  expect(await redis.ping()).toBe("PONG");
  const entry = await redis.sendCommand(["LOOKUP", "bob"]);
  if (RESP === 3) expect(Object.keys(entry as object)).toEqual(FIELDS);
  else expect((entry as unknown as unknown[])[1]).toBe("bob");
  expect(await redis.sendCommand(["COUNT"])).toBe(1);
  await redis.close();
});

const withRedis = python("redis");
it.skipIf(withRedis === null)("redis-py (skipped where it is not installed)", async () => {
  const script = `
import redis
r = redis.Redis(port=${server.port}, decode_responses=True)
assert r.ping()
entry = r.execute_command("LOOKUP", "bob")
fields = dict(zip(entry[::2], entry[1::2]))
assert fields["port"] == 4711 and fields["key"] == "${keys.key}", fields
assert r.execute_command("LOOKUP", "nobody") is None
assert r.execute_command("COUNT") == 1
assert r.info()["capacity"] == 4096
with r.pipeline(transaction=False) as p:
    p.execute_command("COUNT"); p.ping()
    assert p.execute() == [1, True]
try:
    r.execute_command("NONSENSE")
    raise SystemExit("no error")
except redis.ResponseError as e:
    assert "unknown command" in str(e)
print("fine")
`;
  const program = new Program(withRedis as string, ["-c", script]);
  expect(await program.line()).toBe("fine");
  expect((await program.end()).code).toBe(0);
});
