// Compiled code that the command keeps for its next start: used when it fits, never trusted from others, never in the way.

import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import module from "node:module";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { COMMAND, commandLine, whyNoScript } from "../helpers/command.js";
import { whyNoProcTaken } from "../helpers/privileges.ts";

const nodeKeepsItself = "enableCompileCache" in module;

// The run has a cache of its own, which these tests are not about.
delete process.env["XDG_CACHE_HOME"];

beforeEach(({ skip }) => skip(whyNoScript !== null, whyNoScript ?? ""));

function folderOf({ home }: { readonly home: string }): string {
  return join(home, ".cache", "ptalk");
}

async function version(user: User, env: NodeJS.ProcessEnv = {}): Promise<void> {
  const { code, stdout, stderr } = await user.run(["--version"], { env });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
}

function onlyFile(user: User): string {
  const files = readdirSync(folderOf(user));
  expect(files).toHaveLength(1);
  return join(folderOf(user), files[0] as string);
}

it.skipIf(nodeKeepsItself)("is kept for oneself, and used again", async () => {
  using user = new User();
  await version(user);
  const file = onlyFile(user);
  expect(statSync(folderOf(user)).mode & 0o777).toBe(0o700);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const before = statSync(file, { bigint: true });
  await version(user);
  expect(statSync(file, { bigint: true })).toMatchObject({ ino: before.ino, mtimeNs: before.mtimeNs });
});

it.skipIf(nodeKeepsItself)("is made anew when it is of another program, or damaged", async () => {
  using user = new User();
  await version(user);
  const good = readFileSync(onlyFile(user));
  const other = Buffer.from(good);
  other.write("0".repeat(64), "latin1");
  const cut = good.subarray(0, good.length / 2);
  const garbled = Buffer.from(good).fill(0xa5, 70, 200);
  const zeroed = Buffer.from(good).fill(0, 4096); // what a power cut leaves of a file: V8 would run into it
  const flipped = Buffer.from(good);
  flipped.writeUInt8(flipped.readUInt8(10_000) ^ 1, 10_000);
  for (const bytes of [other, cut, garbled, zeroed, flipped, Buffer.alloc(0)]) {
    writeFileSync(onlyFile(user), bytes);
    await version(user);
    expect(readFileSync(onlyFile(user)).equals(bytes)).toBe(false);
  }
});

it("is not looked for where others can write", async () => {
  using user = new User();
  mkdirSync(folderOf(user), { recursive: true });
  chmodSync(folderOf(user), 0o777);
  await version(user);
  expect(readdirSync(folderOf(user))).toEqual([]);
});

describe("a folder that others can put another in place of", () => {
  it("is left alone: somebody may rename what it is in", async () => {
    using user = new User();
    const open = join(user.home, "open");
    const home = join(open, "home");
    mkdirSync(folderOf({ home }), { recursive: true, mode: 0o700 });
    await version(user, { HOME: home });
    expect(readdirSync(folderOf({ home }))).not.toEqual([]);
    rmSync(folderOf({ home }), { recursive: true });
    mkdirSync(folderOf({ home }), { mode: 0o700 });
    for (const mode of [0o777, 0o775]) {
      chmodSync(open, mode);
      await version(user, { HOME: home });
      expect(readdirSync(folderOf({ home }))).toEqual([]);
    }
    chmodSync(open, 0o1777); // as /tmp is: nobody renames what is another's
    await version(user, { HOME: home });
    expect(readdirSync(folderOf({ home }))).not.toEqual([]);
  });

  it("is not even made", async () => {
    using user = new User();
    const open = join(user.home, "open");
    const home = join(open, "home");
    mkdirSync(home, { recursive: true, mode: 0o700 });
    chmodSync(open, 0o777);
    await version(user, { HOME: home });
    expect(readdirSync(home)).toEqual([]);
  });

  it("is left alone at the end of a link that others can change", async () => {
    using user = new User();
    const target = join(user.home, "target");
    const open = join(user.home, "open");
    const home = join(user.home, "home");
    for (const folder of [folderOf({ home: target }), open, home]) mkdirSync(folder, { recursive: true, mode: 0o700 });
    symlinkSync(join("..", "target", ".cache"), join(open, "cache"));
    symlinkSync(join("..", "open", "cache"), join(home, ".cache"));
    chmodSync(open, 0o777);
    await version(user, { HOME: home });
    expect(readdirSync(folderOf({ home: target }))).toEqual([]);
    chmodSync(open, 0o755);
    await version(user, { HOME: home });
    expect(readdirSync(folderOf({ home: target }))).not.toEqual([]);
  });

  it.skipIf(process.getuid?.() !== 0)("is left alone below somebody else's (needs root)", async () => {
    using user = new User();
    const theirs = join(user.home, "theirs");
    const home = join(theirs, "home");
    mkdirSync(folderOf({ home }), { recursive: true, mode: 0o700 });
    chownSync(theirs, 1234, 1234);
    await version(user, { HOME: home });
    expect(readdirSync(folderOf({ home }))).toEqual([]);
  });
});

it.skipIf(whyNoProcTaken !== null)(`is done without where there is no /proc (${whyNoProcTaken ?? "runs"})`, () => {
  using user = new User();
  const commands = [["--version"], ["key"], ["list"], ["send", "--as", "a", "--server", "127.0.0.1:1", "bob", "hi"]];
  const statuses = commands.map((args) => {
    const script = 'umount -l /proc && exec "$@"';
    const command = ["-m", "sh", "-c", script, "sh", ...COMMAND, ...args];
    const { status, stderr } = spawnSync("unshare", command, { env: user.env, encoding: "utf8" });
    expect(stderr).not.toMatch(/^ {4}at /m);
    return status;
  });
  expect(statuses).toEqual([0, 0, 0, 69]);
});

it("is not looked for in the present folder, whatever HOME says", async () => {
  using user = new User();
  for (const home of ["", "here"]) {
    const child = spawnSync(...commandLine(["--version"]), {
      cwd: user.home,
      env: { ...user.env, HOME: home },
    });
    expect(child.status).toBe(0);
  }
  expect(readdirSync(user.home)).toEqual([]);
});

it.skipIf(process.getuid?.() !== 0)("leaves nothing in somebody else's home (needs root)", async () => {
  using user = new User();
  chownSync(user.home, 1234, 1234);
  await version(user);
  expect(readdirSync(user.home)).toEqual([]);
});

it("is done without where there is no place for it", async () => {
  using user = new User();
  const file = join(user.home, "file");
  writeFileSync(file, "");
  await version(user, { XDG_CACHE_HOME: file });
  await version(user, { XDG_CACHE_HOME: "relative" });
  await version(user, { XDG_CACHE_HOME: "/proc/nowhere" });
  mkdirSync(folderOf(user), { recursive: true });
  chmodSync(folderOf(user), 0o600);
  await version(user);
  expect(readdirSync(process.cwd())).not.toContain("relative");
});
