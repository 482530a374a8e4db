// `ptalk key verify`, `export` and `import`, and what Tab and --version say.

import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { comparisonCode } from "../../lib/crypto/comparison-code.ts";
import { User } from "../helpers/cli.ts";
import { COMMAND, whyNoScript } from "../helpers/command.js";
import { freshStateDir, ServerProcess } from "../helpers/lookup-server.ts";
import type { Program } from "../helpers/program.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
let alice: User;
let bob: User;
let inbox: Program;
beforeAll(async () => {
  server = await Serving.start();
  alice = new User({ PTALK_SERVER: server.address, PTALK_NAME: "alice" });
  bob = new User({ PTALK_SERVER: server.address, PTALK_NAME: "bob" });
  inbox = bob.start(["recv", "--json"]);
  await inbox.line();
  expect(await alice.run(["send", "bob", "hi"])).toMatchObject({ code: 0 });
  await inbox.line();
});
afterAll(async () => {
  await inbox.kill();
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

const peers = async (user: User) =>
  JSON.parse((await user.run(["key", "--json"])).stdout).peers as { name: string; verified: boolean }[];

describe("ptalk key verify", () => {
  it("shows both sides the same digits, and marks the peer until its key is forgotten", async () => {
    expect(await peers(alice)).toMatchObject([{ name: "bob", verified: false }]);
    const here = await alice.run(["key", "verify", "Bob"]);
    const there = await bob.run(["key", "verify", "alice", "--json"]);
    expect(here).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^(\d{5} ){5}\d{5}\nbob on .*: SHA256:.*\nbob is marked as verified\n$/),
    });
    expect(JSON.parse(there.stdout)).toEqual({
      name: "alice",
      server: server.address,
      fingerprint: expect.stringMatching(/^SHA256:/),
      code: here.stdout.split("\n")[0],
      verified: true,
      directory: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    expect(await peers(alice)).toMatchObject([{ name: "bob", verified: true }]);
    expect((await alice.run(["key"])).stdout).toMatch(/^bob .* verified$/m);
    await alice.run(["key", "forget", "bob"]);
    expect(await alice.run(["key", "verify", "bob"])).toMatchObject({ code: 67 });
    expect(await alice.run(["send", "bob", "again"])).toMatchObject({ code: 0 });
    expect(await peers(alice)).toMatchObject([{ name: "bob", verified: false }]);
  });

  it("both sides get the same code, and another key has another one", () => {
    const keys = [1, 2, 3].map((byte) => Buffer.alloc(32, byte)) as [Buffer, Buffer, Buffer];
    expect(comparisonCode(keys[0], keys[1])).toBe(comparisonCode(keys[1], keys[0]));
    expect(comparisonCode(keys[0], keys[2])).not.toBe(comparisonCode(keys[0], keys[1]));
  });
});

describe("what is remembered of a name", () => {
  it("holds at each address of its server, and when the server moves with its key", async () => {
    const folder = freshStateDir();
    const start = (listen: string) =>
      ServerProcess.start(["--listen", listen, "--insecure", "--workers", "1", "--state-dir", folder.path]);
    using carol = new User({ PTALK_NAME: "carol" });
    using dave = new User({ PTALK_NAME: "dave" });
    const receive = async (user: User, address: string) => {
      const program = user.start(["recv", "--server", address, "--json"]);
      await program.line();
      return program;
    };
    let first = await start("0.0.0.0:0");
    let waiting = await receive(dave, `127.0.0.1:${first.port}`);
    try {
      for (const [address, met] of [
        [`127.0.0.1:${first.port}`, /first contact with dave: the key is SHA256:/],
        [`127.0.0.2:${first.port}`, /^$/],
      ] as const) {
        expect(await carol.run(["send", "--server", address, "dave", "hi"])).toMatchObject({
          ...{ code: 0, stderr: expect.stringMatching(met) },
        });
      }
      await waiting.kill();
      await first.stop();
      first = await start("127.0.0.1:0");
      const moved = await carol.run(["send", "--server", first.address, "dave", "nobody is there"]);
      expect(moved).toMatchObject({ code: 67 });
      rmSync(join(dave.home, "state", "ptalk", "key"));
      rmSync(join(folder.path, "server-names"));
      await first.stop();
      first = await start("127.0.0.1:0");
      waiting = await receive(dave, first.address);
      const refused = await carol.run(["send", "--server", first.address, "dave", "another key"]);
      expect(refused).toMatchObject({ code: 77, stderr: expect.stringMatching(/the key of "dave" has changed/) });
      // A server with that id, and without its key.
      rmSync(join(folder.path, "server-key"));
      const id = readFileSync(join(folder.path, "server-id"), "utf8").split(" ")[1] ?? "";
      await waiting.kill();
      await first.stop();
      first = await start("127.0.0.1:0");
      await first.stop();
      const file = join(folder.path, "server-id");
      writeFileSync(file, readFileSync(file, "utf8").replace(/ [0-9a-f]{32} /, ` ${id} `));
      first = await start("127.0.0.1:0");
      for (const command of [["send", "dave", "hi"], ["all"]]) {
        const foreign = await carol.run([...command, "--server", first.address]);
        expect(foreign).toMatchObject({
          ...{ code: 77, stderr: expect.stringMatching(`ptalk key forget ${id}`) },
        });
      }
      expect(await carol.run(["key", "forget", id])).toMatchObject({ code: 0, stdout: `forgot the key of ${id}\n` });
      expect(await carol.run(["all", "--server", first.address])).toMatchObject({ code: 0 });
    } finally {
      await waiting.kill();
      await first.stop();
      folder.remove();
    }
  });
});

describe("ptalk key export and import", () => {
  it("make another machine's user the same one, and replace nothing", async () => {
    using other = new User({ PTALK_SERVER: server.address, PTALK_NAME: "alice" });
    const file = join(alice.home, "moved");
    expect(await alice.run(["key", "export", file])).toMatchObject({ code: 0, stdout: expect.stringContaining(file) });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await other.run(["key", "import", file])).toMatchObject({ code: 0 });
    const own = async (user: User) => JSON.parse((await user.run(["key", "--json"])).stdout).fingerprint;
    expect(await own(other)).toBe(await own(alice));
    expect(await other.run(["send", "bob", "the same alice"])).toMatchObject({ code: 0 });
    expect(await other.run(["key", "import", file])).toMatchObject({ code: 0 }); // it is that one
    expect(await bob.run(["key", "import", file])).toMatchObject({ code: 77, stdout: "" });
    expect(await bob.run(["key", "export", file])).toMatchObject({ code: 77, stdout: "" });
    chmodSync(file, 0o644);
    using third = new User();
    expect(await third.run(["key", "import", file])).toMatchObject({
      code: 77,
      stderr: expect.stringMatching(/chmod 600/),
    });
    writeFileSync(file, "nonsense\n", { mode: 0o600 });
    chmodSync(file, 0o600);
    expect(await third.run(["key", "import", file])).toMatchObject({ code: 65 });
    expect(await third.run(["key", "import", join(third.home, "none")])).toMatchObject({ code: 65 });
    expect(existsSync(join(third.home, "state", "ptalk", "key"))).toBe(false);
  });
});

describe("ptalk completion", () => {
  const words = async (...given: string[]) =>
    (await alice.run(["completion", "--words", "--", ...given])).stdout.split("\n").filter(Boolean);

  it("completes commands, their parts and options, and names of clients", async () => {
    expect(await words("se")).toEqual(["send", "serve"]);
    expect(await words("key", "")).toEqual(["claim", "export", "forget", "import", "rotate", "verify"]);
    expect(await words("agent", "st")).toEqual(["start", "status", "stop"]);
    expect(await words("history", "--s")).toEqual(["--server", "--since", "--state-dir"]);
    expect(await words("send", "bo")).toContain("bob");
    expect(await words("send", "alice,bo")).toContain("alice,bob");
    expect(await words("send", "--timeout", "")).toEqual([]);
    expect(await words("send", "bob", "--", "")).toEqual([]);
  });

  it("completes in bash", () => {
    const script = `ptalk() { ${COMMAND.map((word) => `"${word}"`).join(" ")} "$@"; }; eval "$(ptalk completion bash)"
      COMP_WORDS=(ptalk send bo); COMP_CWORD=2; _ptalk; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = spawnSync("bash", ["-c", script], {
      env: alice.env,
      encoding: "utf8",
    });
    expect(stdout.split("\n")).toContain("bob");
  });

  it.each(["bash", "zsh", "fish"])("has a script for %s", async (shell) => {
    const { code, stdout } = await alice.run(["completion", shell]);
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining("ptalk completion --words --") });
    if (spawnSync(shell, ["-c", "true"]).error) return;
    expect(spawnSync(shell, ["-n"], { input: stdout, encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
  });

  it("of another shell is a mistake", async () => {
    expect(await alice.run(["completion", "csh"])).toMatchObject({ code: 64 });
    expect(await alice.run(["completion"])).toMatchObject({ code: 64 });
  });
});

describe("the version", () => {
  it("is one line, or JSON", async () => {
    const { stdout } = await alice.run(["-V"]);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const json = await alice.run(["--version", "--json"]);
    expect(JSON.parse(json.stdout)).toEqual({
      name: "ptalk",
      version: stdout.trim(),
      protocol: expect.any(Number),
      node: whyNoScript === null ? process.version : expect.stringMatching(/^v\d+\.\d+\.\d+$/),
    });
  });
});
