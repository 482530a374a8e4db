import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { defaultStateDir } from "../../lib/base/files.ts";
import { configFile, loadConfig, loadServeConfig } from "../../lib/cli/config.ts";

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
    ["timeout = -1", /config\.toml: timeout: expected seconds/],
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
    [{ timeout: "soon" }, {}, "usage", /^--timeout: expected seconds/],
    [{ timeout: "0" }, {}, "usage", /^--timeout/],
    [{ timeout: "1e9" }, {}, "usage", /^--timeout/],
    [{}, { PTALK_TIMEOUT: "NaN" }, "bad-config", /^PTALK_TIMEOUT/],
    [{}, { PTALK_PORT: "1.5" }, "bad-config", /^PTALK_PORT/],
    [{ stateDir: "a\0b" }, {}, "usage", /^--state-dir/],
  ])("refuse %j %j, naming where it came from", async (flags, variables, code, message) => {
    file("");
    await expect(loadConfig(flags, env(variables))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });
});
