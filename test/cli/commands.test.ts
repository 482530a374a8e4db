// The command line without a server: usage, exit statuses, what goes where, and the commands that need nobody else.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { COMMAND, commandLine } from "../helpers/command.js";
import { canChangeUser } from "../helpers/privileges.ts";
import { Serving } from "../helpers/serving.ts";

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
    expect(stdout).toContain("--server <host:port[,…]>");
  });

  it("--version prints the version", async () => {
    expect(await user.run(["--version"])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });

  it.each([
    [["send"], 64, /^ptalk: missing required argument 'names'; see ptalk send --help\n$/],
    [["send", "bob", "hi", "--bogus"], 64, /unknown option '--bogus'/],
    [["send", "bob,,alice", "hi"], 64, /a name is missing/],
    [["send", "bob", "hi", "--timeout", "soon"], 64, /--timeout: expected a time/],
    [["recv", "--count", "0"], 64, /--count <n>.*at least 1/],
    [["all", "extra"], 64, /too many arguments/],
    [["admin", "kick", "b ob", "--server", NOBODY], 65, /"b ob" is not a valid name/],
    [["admin", "free", "b ob", "--server", NOBODY], 65, /"b ob" is not a valid name/],
    [["serve", "--server", NOBODY], 64, /serve takes no --server: where it listens is --listen/],
    [["serve", "--port", "1"], 64, /serve takes no --port: where it listens is --listen/],
    [["serve", "--as", "bob"], 64, /serve takes no --as: a server has no name/],
    [["all", "--server", "nonsense:port"], 64, /--server "nonsense:port": the port/],
    [["help", "nonsense"], 64, /^ptalk: no command "nonsense"; there are talk, serve,/],
    [["help", "help"], 64, /no command "help"/],
    [["send", "bob", "hi", "--as", ""], 65, /"" is not a valid name: it is empty .*--as NAME/],
    [["recv", "--as", ""], 65, /"" is not a valid name: it is empty .*--as NAME/],
    [["talk", ""], 65, /"" is not a valid name: it is empty/],
    [["talk", "a", "b"], 64, /too many arguments/],
    [["bob", "hi", "there"], 64, /no command "bob"; to send a message: ptalk send NAME TEXT/],
    [["sned", "bob", "hi"], 64, /no command "sned"; did you mean send\?/],
    [["lits"], 64, /no command "lits", and nobody of that name is known; did you mean list\?/],
    [["al"], 64, /did you mean all\?/],
    [["send", "no/body", "hi"], 65, /"no\/body" is not a valid name/],
    [["send", "bob", "hi", "--as", "list"], 65, /"list" is not a valid name: it is a command/],
    [["lookup", "\u001b[2J"], 65, /"<U\+001B>\[2J" is not a valid name/],
    [["talk", "no body"], 65, /not a valid name/],
    [["send", "bob", ""], 65, /the message is empty/],
    [["all", "--server", NOBODY], 69, /no lookup server at 127\.0\.0\.1:1/],
    [["lookup", "bob", "--server", NOBODY], 69, /no lookup server/],
    [["key", "forget"], 64, /^ptalk: missing required argument 'name'; see ptalk key forget --help\n$/],
    [["key", "forget", "--bogus", "x"], 64, /unknown option '--bogus'/],
    [["recv", "--timeout", "8d"], 64, /at most 7 days/],
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

  it.each([[["-h"]], [["list", "-h"]], [["key", "forget", "-h"]]])("%j is help", async (args) => {
    expect(await user.run(args)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Usage: ptalk/), stderr: "" });
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

  it("a file that is no TOML is named in one line, with the place", async () => {
    using other = new User();
    mkdirSync(join(other.home, "config/ptalk"), { recursive: true });
    writeFileSync(join(other.home, "config/ptalk/config.toml"), "timeout = 5\nserver = \n");
    const { code, stderr } = await other.run(["all"]);
    expect(code).toBe(64);
    expect(stderr).toMatch(/^ptalk: \S+\/config\.toml: [^\n]+ \(line 2, column \d+\)\n$/);
  });

  it.skipIf(!canChangeUser)(
    "a user without a home is told what to set, and is not needed to see who is on",
    async () => {
      const homeless = async (...args: string[]) => {
        const { HOME: _, XDG_STATE_HOME: __, XDG_CONFIG_HOME: ___, ...env } = user.env;
        const child = spawn(...commandLine(args), { env, uid: 54_321, cwd: "/" });
        let output = "";
        for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
        const [code] = await once(child, "close");
        return { code, output };
      };
      expect(await homeless("list", "--json")).toMatchObject({ code: 0, output: expect.stringMatching(/^\[/) });
      expect(await homeless("ipc", "--json")).toMatchObject({ code: 0 });
      for (const args of [["all"], ["key"], ["send", "bob", "hi", "--as", "me"]]) {
        const { code, output } = await homeless(...args);
        expect({ code, output }).toEqual({
          code: 77,
          output:
            "ptalk: there is no home directory that is this user's own, to keep the key in. Give another one with --state-dir\n",
        });
      }
      expect(await homeless("all", "--state-dir", "/nonexistent", "--server", NOBODY)).toMatchObject({ code: 69 });
    },
  );

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

it("a state folder that cannot be is no internal error", async () => {
  using other = new User();
  writeFileSync(join(other.home, "file"), "");
  const below = join(other.home, "file", "folder");
  for (const args of [["key"], ["send", "--server", NOBODY, "bob", "hi"]]) {
    const { code, stderr } = await other.run([...args, "--state-dir", below]);
    expect({ code, stderr }).toEqual({ code: 77, stderr: expect.stringMatching(/^ptalk: ENOTDIR: [^\n]*\n$/) });
  }
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

  it("tells a ptalk server from others, and how it is spoken to", async () => {
    await using server = await Serving.start();
    const good = await findings(["--server", server.address]);
    expect(good.of("server")).toMatchObject({ state: "ok", detail: `${server.address}: ptalk 0.1.0, plain TCP` });
    const others: [string, (socket: Socket) => void, RegExp][] = [
      ["mute", () => {}, /takes connections but does not answer/],
      ["gone", (socket) => socket.destroy(), /closed the connection|ECONNRESET/],
      ["ssh", (socket) => socket.write("SSH-2.0-OpenSSH_9.2\r\n"), /no ptalk server answers there/],
      ["web", (socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"), /no ptalk server answers there/],
      ["redis", (socket) => socket.write("-NOPROTO unsupported\r\n"), /no ptalk server answers there/],
    ];
    for (const [what, behave, detail] of others) {
      const other = createServer((socket) => {
        socket.on("error", () => {}).once("data", () => behave(socket));
      }).listen(0, "127.0.0.1");
      await once(other, "listening");
      const { code, of } = await findings(["--server", `127.0.0.1:${(other.address() as AddressInfo).port}`]);
      other.close();
      expect({ what, code }).toEqual({ what, code: 69 });
      expect(of("server")).toMatchObject({ state: "fail", detail: expect.stringMatching(detail) });
    }
  });

  it("finds what is wrong with settings, state folder, key and known peers", async () => {
    expect((await findings(["--state-dir", "/etc/passwd/x"])).of("state folder")).toMatchObject({
      state: "fail",
      detail: "/etc/passwd/x: /etc/passwd is no folder",
    });
    using other = new User();
    const [config, state] = [join(other.home, "config/ptalk"), join(other.home, "state/ptalk")];
    for (const folder of [config, state]) mkdirSync(folder, { recursive: true });
    writeFileSync(join(state, "key"), "nonsense\n", { mode: 0o600 });
    writeFileSync(join(state, "known_peers"), "one-word\n");
    writeFileSync(join(state, "known_servers"), "a b c\n");
    const corrupt = await findings([], other.env);
    expect(corrupt.code).toBe(69);
    expect(corrupt.of("key")).toMatchObject({ state: "fail", detail: expect.stringMatching(/holds no ptalk key/) });
    expect(corrupt.of("known peers")).toMatchObject({ state: "fail", detail: expect.stringMatching(/line 1/) });
    expect(corrupt.of("known servers")).toMatchObject({ state: "fail", detail: expect.stringMatching(/line 1/) });
    writeFileSync(join(config, "config.toml"), "port = no");
    const broken = await findings([], other.env);
    expect(broken.code).toBe(69);
    expect(broken.of("settings")).toMatchObject({ state: "fail", detail: expect.stringMatching(/config\.toml/) });
    expect(broken.of("addon")).toMatchObject({ state: "ok" });
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
      ["-c", `set -o pipefail; ${COMMAND.map((word) => `"${word}"`).join(" ")} --help | true; echo "$?"`],
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
