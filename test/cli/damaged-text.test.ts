// Bytes that are not UTF-8 in arguments and variables: Node hides them, ptalk does not pass them on as something else.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { COMMAND } from "../helpers/command.js";
import { whyNoProcTaken } from "../helpers/privileges.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
let user: User;
beforeAll(async () => {
  server = await Serving.start();
  user = new User({ PTALK_SERVER: server.address });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  user[Symbol.dispose]();
});

/** Runs `ptalk` with what a shell makes of the arguments: `$'caf\351'` is Latin-1. */
function inShell(line: string, { before = "", input = "" } = {}) {
  const script = `${before} exec "$0" "$@" ${line}`;
  const wrapper = before.includes("umount") ? ["unshare", "-m"] : [];
  const [file = "", ...args] = [...wrapper, "bash", "-c", script, ...COMMAND];
  return spawnSync(file, args, {
    env: { ...user.env, LC_ALL: "C.UTF-8" },
    encoding: "utf8",
    input,
    timeout: 40_000,
    killSignal: "SIGKILL",
  });
}

describe("an argument that is not UTF-8", () => {
  it.each([
    ["send --as alice bob $'caf\\351'", 5],
    ["send --as alice bob caf '' $'\\351' $'\\ufffd' ''", 7],
    ["send $'b\\366b' hi", 2],
    ["--json send bob $'caf\\351'", 4],
    ["lookup $'b\\366b'", 2],
    ["key --state-dir $'/tmp/ptalk-\\351'", 3],
    ["$'b\\366b'", 1],
  ])("is refused: ptalk %s", (line, place) => {
    const { status, stdout, stderr } = inShell(line);
    expect({ status, stdout }).toEqual({ status: 65, stdout: "" });
    expect(stderr).toContain(`argument ${place} is not UTF-8`);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(existsSync("/tmp/ptalk-\ufffd")).toBe(false);
  });

  it("is refused before anything is sent", async () => {
    const bob = user.start(["recv", "--as", "bob", "--count", "1"]);
    await expect.poll(() => inShell("lookup bob").status, { timeout: 30_000 }).toBe(0);
    expect(inShell("send --as alice bob $'caf\\351'").status).toBe(65);
    expect(inShell("send --as alice bob $'caf\\ufffd'").status).toBe(0); // U+FFFD itself is as good as any character
    expect(await bob.line()).toBe("alice: caf\ufffd");
    await bob.ended;
  });

  it.skipIf(whyNoProcTaken)(
    `may be one that nobody can tell apart without /proc${whyNoProcTaken ? ` (skipped: ${whyNoProcTaken})` : ""}`,
    () => {
      const before = "umount -l /proc &&";
      const damaged = inShell("send --as alice nobody $'caf\\351'", { before });
      expect(damaged).toMatchObject({ status: 65, stderr: expect.stringContaining("on standard input") });
      expect(inShell("send --as alice nobody $'caf\\u00e9'", { before }).status).toBe(67);
      expect(inShell("send --as alice nobody", { before, input: "caf\ufffd" }).status).toBe(67);
    },
  );
});

describe("a variable that is not UTF-8", () => {
  it.each(["PTALK_NAME", "PTALK_STATE_DIR", "HOME", "XDG_STATE_HOME"])("is refused: %s", (name) => {
    const folder = join(user.home, "elsewhere");
    const { status, stderr } = inShell("key", { before: `export ${name}=${folder}$'\\351';` });
    expect({ status, stderr }).toEqual({ status: 64, stderr: `ptalk: ${name}: it is not UTF-8\n` });
    expect(readdirSync(user.home).filter((entry) => entry.startsWith("elsewhere"))).toEqual([]);
  });

  it("is nobody's business if it is another's", () => {
    expect(inShell("key", { before: "export GREETING=$'caf\\351' HOME=$HOME/$'\\ufffd' LANG=C.UTF-8;" }).status).toBe(
      0,
    );
  });
});
