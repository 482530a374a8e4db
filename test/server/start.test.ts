// What a server refuses to start with, what it says then, and that a start that was broken off leaves nothing.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Directory, LookupServer } from "../../lib/index.ts";
import { COMMAND } from "../helpers/command.js";
import { freshStateDir, newKeys, remains, ServerProcess, startQuietly, within } from "../helpers/lookup-server.ts";
import { whyNoPrivateShm } from "../helpers/privileges.ts";

let state: ReturnType<typeof freshStateDir>;
beforeEach(() => {
  state = freshStateDir();
});
afterEach(() => state.remove());

/** Starts a server that refuses to. */
async function refused(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<[status: number, log: string]> {
  const server = await ServerProcess.start(["--workers", "1", ...args], env);
  const [status] = await within("it to end", server.exited);
  expect(server.port).toBe(0);
  return [status as number, server.log];
}

describe.skipIf(whyNoPrivateShm !== null)("shared memory (skipped without mount namespaces)", () => {
  it.each([
    ["full", "size=16k", 69, /room for 4096 clients.*--capacity.*df \/dev\/shm/],
    ["too small for the table", "size=600k", 69, /--capacity/],
    ["read-only", "ro", 77, /EROFS/],
  ])("that is %s", (_what, options, status, message) => {
    const script = `mount -t tmpfs -o ${options} tmpfs /dev/shm && "$@"; status=$?; ls /dev/shm; exit $status`;
    const serve = [...COMMAND, "serve", "--listen", "127.0.0.1:0", "--state-dir", state.path];
    const result = spawnSync("unshare", ["-m", "sh", "-c", script, "sh", ...serve], { encoding: "utf8", input: "" });
    expect(result.stderr).toMatch(message);
    expect(result.status).toBe(status);
    expect(result.stdout).toBe(""); // nothing in /dev/shm
  });
});

it("what others have put in the place of a server's objects, under every name, has no effect", async () => {
  const first = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
  await first.stop();
  const { port } = first;
  const random = "0123456789abcdef";
  const planted = ["", ".lock", ".owner", `-0.${random}`, `-0.${random}.lock`, `-1.${random}`, `-1.${random}.sock`].map(
    (end) => `/dev/shm/ptalk-server-${port}${end}`,
  );
  for (const path of planted) mkdirSync(path);
  const second = await ServerProcess.start(["--listen", first.address, "--workers", "1", "--state-dir", state.path]);
  try {
    using directory = Directory.open({ port });
    expect(directory.all()).toEqual([]);
  } finally {
    await second.stop();
    for (const path of planted) rmSync(path, { recursive: true });
  }
  expect(remains(port)).toEqual([]);
});

it("a state directory that cannot be made", async () => {
  const [status, log] = await refused(["--state-dir", "/proc/nowhere/deeper"]);
  expect([status, log]).toEqual([77, expect.stringContaining("/proc/nowhere/deeper")]);
});

it("a server to connect to, which only clients have", async () => {
  const [status, log] = await refused(["--server", "127.0.0.1:1", "--state-dir", state.path]);
  expect([status, log]).toEqual([64, expect.stringContaining("--listen")]);
});

it("a file handed over as the listening socket", async () => {
  const script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"';
  const child = spawn("sh", ["-c", script, "sh", ...COMMAND, "serve", "--state-dir", state.path], {
    stdio: ["ignore", "ignore", "pipe", 1],
  });
  let log = "";
  child.stderr?.on("data", (chunk) => {
    log += chunk;
  });
  const [status] = await within("it to end", once(child, "close"));
  expect([status, log]).toEqual([64, expect.stringContaining("no TCP socket")]);
});

describe("a start that is broken off", () => {
  it("rejects, and leaves nothing", async () => {
    let broken = 0;
    for (let delay = 0; delay <= 300; delay += 30) {
      const abort = new AbortController();
      const options = { listen: "127.0.0.1:0", workers: 1, stateDir: state.path, signal: abort.signal };
      const started = LookupServer.start(options);
      setTimeout(() => abort.abort(), delay);
      const outcome = await within(
        "the start",
        started.catch((error: Error) => error),
      );
      if (outcome instanceof Error) {
        expect(outcome.name).toBe("AbortError");
        broken++;
      } else await outcome.stop(); // it was quicker
    }
    expect(broken).toBeGreaterThan(0);
    const next = await LookupServer.start({ listen: "127.0.0.1:0", workers: 0, stateDir: state.path });
    await next.stop();
    expect(remains(next.port)).toEqual([]);
  });

  it("by a signal ends with status 0 once there is something to undo", async () => {
    const { child, ports } = startQuietly(state.path);
    while (!readdirSync(state.path).includes("server-lock")) await new Promise((resolve) => setTimeout(resolve, 1));
    child.kill("SIGTERM");
    expect(await within("it to end", once(child, "exit"))).toEqual([0, null]);
    for (const port of ports()) expect(remains(port)).toEqual([]);
  });
});

it("a port that the system picked leaves no state directory behind", async () => {
  const [home, temporary] = [join(state.path, "home"), join(state.path, "tmp")];
  mkdirSync(temporary);
  const server = await ServerProcess.start(["--workers", "1", "--tls"], { XDG_STATE_HOME: home, TMPDIR: temporary });
  expect(readdirSync(temporary)).toHaveLength(1);
  expect(await server.stop()).toBe(0);
  expect(readdirSync(temporary)).toEqual([]);
  expect(readdirSync(state.path)).toEqual(["tmp"]);
});

it("starts from compiled code that was kept, with all that is loaded when it is needed", async () => {
  for (let start = 1; start <= 2; start++) {
    const server = await ServerProcess.start(["--workers", "1", "--json", "--tls"], { XDG_CACHE_HOME: state.path });
    expect(await server.stop()).toBe(0);
    const events = server.log.trim().split("\n");
    expect(events.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual(["stopping"]);
  }
});

describe("exit-when-empty", () => {
  it.each(["the environment", "the file"])("from %s", async (where) => {
    const config = join(state.path, "ptalk");
    mkdirSync(config);
    writeFileSync(join(config, "config.toml"), where === "the file" ? "[serve]\nexit-when-empty = true\n" : "");
    const server = await ServerProcess.start(["--workers", "1", "--state-dir", state.path], {
      XDG_CONFIG_HOME: state.path,
      PTALK_EXIT_WHEN_EMPTY: where === "the environment" ? "true" : "",
    });
    const client = await server.client();
    await client.register("bob", newKeys());
    client.close();
    expect(await within("the server to end", server.exited)).toEqual([0, null]);
  });
});
