import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { defaultStateDir } from "../../lib/base/files.ts";
import { loadConfig, loadServeConfig, settingOrigins } from "../../lib/cli/config.ts";
import { configFile } from "../../lib/cli/config-files.ts";

let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "ptalk-config-"));
  mkdirSync(join(home, ".config/ptalk"), { recursive: true });
});
afterAll(() => rmSync(home, { recursive: true }));
const env = (more: Record<string, string> = {}) => ({ HOME: home, ...more });
const file = (text: string | Buffer): void => writeFileSync(configFile(env()) ?? "", text);

describe("settings", () => {
  it("have defaults", async () => {
    file("");
    expect(await loadConfig({}, env())).toEqual({
      server: "127.0.0.1:5518",
      serverConfigured: false,
      stateDir: join(home, ".local/state/ptalk"),
      insecure: false,
      timeFormat: "%H:%M",
      bell: "direct",
      accept: "all",
      listed: true,
      relay: true,
      history: true,
      historyDays: 90,
    });
  });

  it("come from flags, then the environment, then the file", async () => {
    file(
      'server = "file:1"\nname = "filer"\ntimeout = 2.5\ninsecure = true\n[serve]\nworkers = 3\ntable-mode = "0600"\n',
    );
    expect(await loadConfig({}, env())).toMatchObject({
      server: "file:1",
      name: "filer",
      timeout: 2.5,
      insecure: true,
      serverConfigured: true,
    });
    const set = env({ PTALK_SERVER: "[::1]:2", PTALK_TIMEOUT: "7", PTALK_INSECURE: "0" });
    expect(await loadConfig({}, set)).toMatchObject({ server: "[::1]:2", name: "filer", timeout: 7, insecure: false });
    expect(await loadConfig({ server: "flag:3", name: "flagger" }, set)).toMatchObject({
      server: "flag:3",
      name: "flagger",
      timeout: 7,
    });
    expect(await loadServeConfig({ workers: "1" }, env({ PTALK_WORKERS: "2", PTALK_CAPACITY: "10" }))).toMatchObject({
      workers: 1,
      capacity: 10,
      tableMode: 0o600,
    });
    expect(await loadServeConfig({}, env())).toMatchObject({ workers: 3 });
    file("[serve]\nexit-when-empty = true\n");
    expect(await loadServeConfig({}, env())).toEqual({ exitWhenEmpty: true });
    expect(await loadServeConfig({}, env({ PTALK_EXIT_WHEN_EMPTY: "no" }))).toEqual({ exitWhenEmpty: false });
  });

  it("ignore empty variables and relative XDG folders", async () => {
    file("");
    expect((await loadConfig({}, env({ PTALK_SERVER: "" }))).serverConfigured).toBe(false);
    expect(defaultStateDir(env({ XDG_STATE_HOME: "relative" }))).toBe(join(home, ".local/state/ptalk"));
    expect(defaultStateDir(env({ XDG_STATE_HOME: "/abs" }))).toBe("/abs/ptalk");
    expect(configFile(env({ XDG_CONFIG_HOME: "relative" }))).toBe(join(home, ".config/ptalk/config.toml"));
  });

  it.each([
    ["servr = 'x:1'", /config\.toml: servr: unknown key; known are .*server/],
    ["[serve]\nworker = 1", /config\.toml: serve\.worker: unknown key/],
    ["serve = 1", /config\.toml: serve: expected a table/],
    ["server = 'a:b'", /config\.toml: server "a:b": the port must be/],
    ["server = 5", /config\.toml: server: expected text, not 5/],
    ["timeout = -1", /config\.toml: timeout: expected a time/],
    ["port = 70000", /config\.toml: port: expected a whole number from 0 to 65535/],
    ["insecure = 'maybe'", /expected true or false/],
    ["server = ", /config\.toml: [^\n]* \(line 1, column \d+\)$/],
  ])("refuse %j with a sentence that names file and key", async (text, message) => {
    file(text);
    await expect(loadConfig({}, env())).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringMatching(message),
    });
  });

  it.each([
    ['listen = "a:b"', "the port must be"],
    ["workers = -1", "expected a whole number"],
    ['capacity = "many"', "expected a whole number"],
    ['table-mode = "0999"', "expected"],
    ['mailbox-age = "soon"', "expected a time"],
    ['relay = "maybe"', "expected true or false"],
    ['relay-rate = "fast"', "expected"],
    ['directory = "redis://x/y"', "expected etcd://"],
    ["directory-ca = 5", "expected"],
    ['realm = ""', 'expected text, not ""'],
    ["realm = 5", "expected text, not 5"],
    ['peer-listen = "a:b"', "the port must be"],
    ["admins = []", "expected"],
    ["admins = [5]", "expected"],
    ['admins = "ann ben"', "expected"],
  ])("refuse [serve] %s, naming file and key", async (line, reason) => {
    file(`[serve]\n${line}\n`);
    const key = line.split(" ")[0];
    await expect(loadServeConfig({}, env())).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringMatching(new RegExp(`config\\.toml: serve\\.${key}.*${reason}`)),
    });
  });

  it("refuse a file that is not UTF-8, with the line", async () => {
    file(Buffer.from('# mine\nname = "bj\xf6rn"\n', "latin1"));
    await expect(loadConfig({}, env())).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringMatching(/config\.toml, line 2: it is not UTF-8/),
    });
  });

  it("take a byte order mark and CR LF, as TOML does", async () => {
    file('\ufeffname = "bob"\r\nserver = "lab:1"\r\n');
    expect(await loadConfig({}, env())).toMatchObject({ name: "bob", server: "lab:1" });
  });

  it.each([
    [{ timeout: "soon" }, {}, "usage", /^--timeout: expected a time/],
    [{ timeout: "0" }, {}, "usage", /^--timeout/],
    [{ timeout: "1e9" }, {}, "usage", /^--timeout/],
    [{}, { PTALK_TIMEOUT: "NaN" }, "bad-config", /^PTALK_TIMEOUT/],
    [{}, { PTALK_PORT: "1.5" }, "bad-config", /^PTALK_PORT/],
    [{ timeout: "5w" }, {}, "usage", /^--timeout: expected a time such as 90, 500ms, 20s, 5m, 2h or 7d/],
    [{ timeout: "8d" }, {}, "usage", /at most 7 days/],
    [{ stateDir: "a\0b" }, {}, "usage", /^--state-dir/],
  ])("refuse %j %j, naming where it came from", async (flags, variables, code, message) => {
    file("");
    await expect(loadConfig(flags, env(variables))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it("take a time with a unit", async () => {
    file('timeout = "2h"\n');
    expect((await loadConfig({}, env())).timeout).toBe(7_200);
    for (const [text, seconds] of [
      ["90", 90],
      ["20s", 20],
      ["5m", 300],
      ["7d", 7 * 86_400],
      ["500ms", 0.5],
      ["2.5", 2.5],
    ] as const) {
      expect((await loadConfig({ timeout: text }, env())).timeout).toBe(seconds);
    }
  });

  it("refuse a relative path in a file, and take one that begins with ~/", async () => {
    file('state-dir = "here"\n');
    await expect(loadConfig({}, env())).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringMatching(/begins with \/ or ~\//),
    });
    file('state-dir = "~/kept"\n');
    expect((await loadConfig({}, env())).stateDir).toMatch(/^\/.*\/kept$/);
    file("");
    expect((await loadConfig({ stateDir: "here" }, env())).stateDir).toBe("here");
  });
});

describe("config files", () => {
  const system = (): string => join(home, "system.toml");

  it("of the host come behind the user's, setting by setting", async () => {
    file('server = "user:1"\n');
    writeFileSync(system(), 'server = "system:2"\ninsecure = true\n[serve]\ncapacity = 12\n');
    expect(await loadConfig({}, env(), system())).toMatchObject({ server: "user:1", insecure: true });
    expect(await loadServeConfig({}, env(), system())).toEqual({ capacity: 12 });
  });

  it("are refused when others can write them", async () => {
    file("");
    for (const mode of [0o602, 0o666]) {
      chmodSync(configFile(env()) ?? "", mode);
      await expect(loadConfig({}, env())).rejects.toMatchObject({
        code: "refused",
        message: expect.stringMatching(/written by everybody/),
      });
    }
    chmodSync(configFile(env()) ?? "", 0o644);
    writeFileSync(system(), "");
    chmodSync(system(), 0o646);
    await expect(loadConfig({}, env(), system())).rejects.toMatchObject({
      code: "refused",
      message: expect.stringMatching(/system\.toml/),
    });
    chmodSync(system(), 0o644);
  });

  it("that are something else, or cannot be read, are refused and never waited for", async () => {
    file("");
    rmSync(configFile(env()) ?? "");
    mkdirSync(configFile(env()) ?? "");
    await expect(loadConfig({}, env())).rejects.toMatchObject({ code: "refused" });
    rmSync(configFile(env()) ?? "", { recursive: true });
    execFileSync("mkfifo", [configFile(env()) ?? ""]);
    await expect(loadConfig({}, env())).rejects.toMatchObject({
      code: "refused",
      message: expect.stringMatching(/no regular file/),
    });
    rmSync(configFile(env()) ?? "");
  });

  it.skipIf(process.getuid?.() !== 0)(
    "of another user are refused, with both users (only root can make one)",
    async () => {
      file("");
      chownSync(configFile(env()) ?? "", 12_345, 12_345);
      await expect(loadConfig({}, env())).rejects.toMatchObject({
        code: "refused",
        message: expect.stringMatching(/belongs to uid 12345/),
      });
      chownSync(configFile(env()) ?? "", 0, 0);
      writeFileSync(system(), "");
      chownSync(system(), 12_345, 0);
      await expect(loadConfig({}, env(), system())).rejects.toMatchObject({
        code: "refused",
        message: expect.stringMatching(/not to root/),
      });
      rmSync(system());
    },
  );
});

test("each setting tells its origin", async () => {
  file('server = "user:1"\n[serve]\nworkers = 3\n');
  const origins = await settingOrigins({ timeout: "5m" }, env({ PTALK_INSECURE: "1" }), "/nonexistent");
  const of = (key: string) => origins.find((setting) => setting.key === key);
  expect(of("timeout")).toEqual({ key: "timeout", value: 300, origin: "flag", where: "--timeout" });
  expect(of("insecure")).toEqual({ key: "insecure", value: true, origin: "env", where: "PTALK_INSECURE" });
  expect(of("server")).toEqual({ key: "server", value: "user:1", origin: "user", where: configFile(env()) });
  expect(of("serve.workers")).toMatchObject({ value: 3, origin: "user" });
  expect(of("serve.capacity")).toEqual({ key: "serve.capacity", value: 4096, origin: "default", where: null });
  expect(of("serve.table-mode")).toMatchObject({ value: "0644" });
  expect(origins.map(({ key }) => key)).toEqual(origins.map(({ key }) => key).sort());
});

describe("a home", () => {
  it("of another user is not used: nothing is made there", () => {
    const foreign = env({ HOME: "/proc/1/root/nowhere", XDG_STATE_HOME: "" });
    expect(defaultStateDir({ ...foreign, HOME: "relative" })).not.toContain("relative");
  });

  it.skipIf(process.getuid?.() !== 0)("that sudo has kept gives way to the own one (only root can make one)", () => {
    const kept = mkdtempSync(join(tmpdir(), "ptalk-home-"));
    chownSync(kept, 12_345, 12_345);
    expect(defaultStateDir({ HOME: kept })).not.toContain(kept);
    expect(defaultStateDir({ HOME: home, XDG_STATE_HOME: join(kept, "state") })).toBe(join(home, ".local/state/ptalk"));
    rmSync(kept, { recursive: true });
  });
});
