// The command line without a server: usage, exit statuses, what goes where, and the commands that need nobody else.
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PTALK, User } from "../helpers/cli.ts";

const NOBODY = "127.0.0.1:1"; // tcpmux: nothing listens there
let user: User;
beforeAll(() => {
  user = new User();
});
afterAll(() => user[Symbol.dispose]());

describe("usage", () => {
  it.each([
    [["--help"]],
    [["send", "--help"]],
    [["help", "recv"]],
    [["key", "forget", "--help"]],
    [["talk", "--help"]],
  ])("%j prints help on stdout", async (args) => {
    const { code, stdout, stderr } = await user.run(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^Usage: ptalk/);
    expect(stdout).toContain("--server <host:port>");
  });

  it("--version prints the version", async () => {
    expect(await user.run(["--version"])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });

  it.each([
    [["send"], 64, /^ptalk: missing required argument 'names'\n$/],
    [["send", "bob", "hi", "--bogus"], 64, /unknown option '--bogus'/],
    [["send", "bob,,alice", "hi"], 64, /a name is missing/],
    [["send", "bob", "hi", "--timeout", "soon"], 64, /--timeout: expected seconds/],
    [["recv", "--count", "0"], 64, /--count <n>.*at least 1/],
    [["all", "extra"], 64, /too many arguments/],
    [["all", "--server", "nonsense:port"], 64, /--server "nonsense:port": the port/],
    [["talk", "a", "b"], 64, /too many arguments/],
    [["send", "no/body", "hi"], 65, /"no\/body" is not a valid name/],
    [["send", "bob", "hi", "--as", "list"], 65, /"list" is not a valid name: it is a command/],
    [["lookup", "\u001b[2J"], 65, /"<U\+001B>\[2J" is not a valid name/],
    [["talk", "no body"], 65, /not a valid name/],
    [["send", "bob", ""], 65, /the message is empty/],
    [["all", "--server", NOBODY], 69, /no lookup server at 127\.0\.0\.1:1/],
    [["lookup", "bob", "--server", NOBODY], 69, /no lookup server/],
    [["key", "forget", "stranger"], 67, /nothing is remembered of "stranger"/],
  ])("%j ends with %d and says why on stderr", async (args, code, message) => {
    const outcome = await user.run(args);
    expect(outcome).toMatchObject({ code, stdout: "" });
    expect(outcome.stderr).toMatch(message);
    expect(outcome.stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  it("a message on stdin that is not UTF-8, or too long, is bad data", async () => {
    expect(await user.run(["send", "bob"], { input: Buffer.of(0xff, 0xfe) })).toMatchObject({ code: 65, stdout: "" });
    expect(await user.run(["send", "bob"], { input: "x".repeat(70_000) })).toMatchObject({ code: 65, stdout: "" });
  });

  it("--json makes the error JSON too, on stderr", async () => {
    const { code, stdout, stderr } = await user.run(["--json", "all", "--server", NOBODY]);
    expect({ code, stdout }).toEqual({ code: 69, stdout: "" });
    expect(JSON.parse(stderr)).toMatchObject({ type: "error", code: "unreachable" });
  });

  it("options stand before or after the command", async () => {
    for (const args of [
      ["--server", NOBODY, "all"],
      ["all", "--server", NOBODY],
    ])
      expect((await user.run(args)).code).toBe(69);
  });
});

describe("settings", () => {
  it("a bad configuration file is named, with the key", async () => {
    using other = new User();
    mkdirSync(join(other.home, "config/ptalk"), { recursive: true });
    writeFileSync(join(other.home, "config/ptalk/config.toml"), 'sever = "x:1"\n');
    const { code, stderr } = await other.run(["all"]);
    expect(code).toBe(64);
    expect(stderr).toMatch(/config\.toml: sever: unknown key/);
  });

  it("the environment names the server", async () => {
    expect(await user.run(["all"], { env: { PTALK_SERVER: NOBODY } })).toMatchObject({ code: 69 });
    expect((await user.run(["all"], { env: { PTALK_SERVER: "a:b" } })).stderr).toMatch(/PTALK_SERVER "a:b"/);
  });
});

describe("ptalk list", () => {
  it("needs no server", async () => {
    const { code, stdout } = await user.run(["list", "--json", "--server", NOBODY]);
    expect(code).toBe(0);
    expect(Array.isArray(JSON.parse(stdout))).toBe(true);
  });
});

describe("ptalk key", () => {
  it("makes the key once and prints its fingerprint", async () => {
    const first = JSON.parse((await user.run(["key", "--json"])).stdout);
    expect(first).toMatchObject({
      fingerprint: expect.stringMatching(/^SHA256:[A-Za-z0-9+/]{43}$/),
      peers: [],
      servers: [],
    });
    expect((await user.run(["key"])).stdout).toContain(first.fingerprint);
  });

  it("refuses a key file that others can read", async () => {
    using other = new User();
    await other.run(["key"]);
    chmodSync(join(other.home, "state/ptalk/key"), 0o644);
    expect(await other.run(["key"])).toMatchObject({ code: 77, stdout: "" });
    const doctor = await other.run(["doctor"]);
    expect(doctor.code).toBe(69);
    expect(doctor.stdout).toMatch(/fail {2}key: .*can be read by others \(mode 644\)\n {6}-> chmod 600/);
  });
});

describe("ptalk doctor", () => {
  const findings = async (args: string[], env: NodeJS.ProcessEnv = {}) => {
    const { code, stdout } = await user.run(["doctor", "--json", ...args], { env });
    return { code, of: (name: string) => JSON.parse(stdout).find((f: { name: string }) => f.name === name) };
  };

  it("tells no server from no network", async () => {
    const refused = await findings(["--server", NOBODY]);
    expect(refused.code).toBe(69);
    expect(refused.of("server")).toMatchObject({ state: "fail", detail: expect.stringMatching(/no server at/) });
    const unknown = await findings(["--server", "no-such-host.invalid:5518"]);
    expect(unknown.of("server")).toMatchObject({ state: "fail", detail: expect.stringMatching(/cannot be resolved/) });
  });

  it("sees a locale that is not UTF-8, and says what to do", async () => {
    const { of } = await findings([], { LC_ALL: "C", LANG: "" });
    expect(of("locale")).toMatchObject({ state: "warn", advice: expect.stringContaining("export LANG=C.UTF-8") });
  });

  it("tries the real things", async () => {
    const { of } = await findings([]);
    for (const name of ["node", "addon", "shared memory", "semaphore", "UDP"])
      expect(of(name)).toMatchObject({ state: "ok" });
  });
});

describe("pipes", () => {
  it("a reader that has seen enough is no error", async () => {
    const child = spawn(
      "/bin/bash",
      ["-c", `set -o pipefail; "${process.execPath}" "${PTALK}" --help | true; echo "$?"`],
      { env: user.env },
    );
    let out = "";
    let err = "";
    child.stdout.on("data", (b) => (out += b));
    child.stderr.on("data", (b) => (err += b));
    await new Promise((resolve) => child.on("close", resolve));
    expect({ out, err }).toEqual({ out: "0\n", err: "" });
  });
});
