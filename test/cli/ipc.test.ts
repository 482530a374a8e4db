// `ptalk ipc`: objects of real processes, alive and killed. Other tests' objects are in the same /dev/shm, so --clean as a
// command runs in a mount namespace with a /dev/shm of its own.

import { spawnSync } from "node:child_process";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean } from "../../lib/cli/ipc/clean.ts";
import { type IpcGroup, inventory, YOUNG_MS } from "../../lib/cli/ipc/inventory.ts";
import { Mutex, Semaphore, SharedMemory } from "../../lib/ipc/index.ts";
import { User } from "../helpers/cli.ts";
import { COMMAND } from "../helpers/command.js";
import { Program } from "../helpers/program.ts";

const MEMBER = join(import.meta.dirname, "../fixtures/cli/member.js");
const OUR_UID = process.getuid?.() ?? 0;
const OWN_SHM = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm && exec "$@"', "sh"] as const;
const canHaveOwnShm = spawnSync(OWN_SHM[0], [...OWN_SHM.slice(1), "true"]).status === 0;

let count = 0;
const newBase = (): string => `/ptalk-host-${process.pid}${Math.floor(Math.random() * 1e6)}${count++}`;
const group = (base: string): IpcGroup | undefined => inventory(OUR_UID).find(({ name }) => name === base);
async function started(base: string): Promise<Program> {
  const member = new Program(process.execPath, [MEMBER, base]);
  expect(await member.line()).toBe("ready");
  return member;
}

let user: User;
beforeAll(() => {
  user = new User();
});
afterAll(() => user[Symbol.dispose]());

describe("objects", () => {
  it("of a living process are live, and cleaning leaves them alone", async () => {
    const base = newBase();
    const member = await started(base);
    expect(group(base)).toMatchObject({ state: "live", objects: { length: 3 } });
    expect(clean(group(base) as IpcGroup)).toEqual([]);
    const { code, stdout } = await user.run(["ipc"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^${base}\\.lock\\.7\\.queue +semaphore +\\d+ +\\d{4} +live$`, "m"));
    await member.kill();
    clean(group(base) as IpcGroup);
  });

  it("of a killed process are dead at once, and are cleaned away", async () => {
    const base = newBase();
    await (await started(base)).kill();
    const dead = group(base) as IpcGroup;
    expect(dead).toMatchObject({ state: "dead", passing: false });
    expect(clean(dead).map(({ name }) => name)).toEqual([base, `${base}.lock.7.queue`, `${base}.lock`]);
    expect(group(base)).toBeUndefined();
  });

  it("are new only while nobody could have taken a seat in them: without an anchor, or with an empty one", async () => {
    const base = newBase();
    using table = SharedMemory.create(base, { size: 64 });
    expect(group(base)).toMatchObject({ state: "new", passing: true });
    writeFileSync(`/dev/shm${base}.lock`, "");
    expect(group(base)).toMatchObject({ state: "new", passing: true });
    truncateSync(`/dev/shm${base}.lock`, 64);
    expect(group(base)).toMatchObject({ state: "dead", passing: false });
    truncateSync(`/dev/shm${base}.lock`, 0);
    await new Promise((resolve) => setTimeout(resolve, YOUNG_MS + 100));
    expect(group(base)).toMatchObject({ state: "dead", passing: false });
    table.unlink();
    SharedMemory.unlink(`${base}.lock`);
  });

  it("into which somebody moves between the look and the cleaning are left alone", async () => {
    const base = newBase();
    const member = await started(base);
    const outdated: IpcGroup = { ...(group(base) as IpcGroup), state: "dead" };
    expect(clean(outdated)).toEqual([]);
    expect(group(base)?.state).toBe("live");
    await member.kill();
    clean(outdated);
  });

  it("of a second local table are a group of their own", async () => {
    const base = newBase();
    const names = [base, `${base}.1`].map((name) => SharedMemory.create(name, { size: 64 }));
    using semaphore = Semaphore.create(`${base}.1.lock.3.room`);
    expect(group(base)?.objects).toHaveLength(1);
    expect(group(`${base}.1`)?.objects).toHaveLength(2);
    for (const object of [...names, semaphore]) object.unlink();
  });
});

describe("ptalk ipc --all", () => {
  it("shows every POSIX object of the host: kind, owner, size, mode, processes that have it open, locks held", async () => {
    const name = `/test-ptalk-all-${process.pid}`;
    using mutex = Mutex.create(name);
    const { stdout } = await mutex.withLock(() => user.run(["ipc", "--all", "--json"]));
    const found = JSON.parse(stdout).find((row: { name: string }) => row.name === name);
    const expected = { name, kind: "memory", uid: OUR_UID, size: 64, mode: "0600", openBy: [process.pid], locks: 1 };
    expect(found).toEqual(expected);
    const { stdout: text } = await user.run(["ipc", "--all"]);
    expect(text).toMatch(new RegExp(`^${name} +memory +${OUR_UID} +64 +0600 +0 +${process.pid}$`, "m"));
    expect((await user.run(["ipc", "--all", "--clean"])).code).toBe(64);
    mutex.unlink();
  });
});

describe.skipIf(!canHaveOwnShm)("ptalk ipc --clean (skipped where user namespaces are not allowed)", () => {
  it("removes what a killed process has left, and nothing that lives", () => {
    const script = `
      "$1" "$2" /ptalk-host-1 & dead=$!
      "$1" "$2" /ptalk-host-2 & live=$!
      while ! [ -e /dev/shm/sem.ptalk-host-1.lock.7.queue ] || ! [ -e /dev/shm/sem.ptalk-host-2.lock.7.queue ]; do sleep 0.05; done
      kill -9 $dead; wait $dead 2>/dev/null
      "\${@:3}" ipc --json
      "\${@:3}" ipc --clean --json
      "\${@:3}" ipc --json
      kill -9 $live`;
    const run = spawnSync(
      OWN_SHM[0],
      [...OWN_SHM.slice(1), "bash", "-c", script, "sh", process.execPath, MEMBER, ...COMMAND],
      {
        env: user.env,
        encoding: "utf8",
        timeout: 50_000,
      },
    );
    const states = run.stdout
      .split("\n")
      .filter((line) => line.startsWith("["))
      .map((line) =>
        JSON.parse(line)
          .map((r: { name: string; state: string }) => `${r.name} ${r.state}`)
          .sort(),
      );
    const each = (base: string, state: string) => ["", ".lock", ".lock.7.queue"].map((end) => `${base}${end} ${state}`);
    expect(states).toEqual([
      [...each("/ptalk-host-1", "dead"), ...each("/ptalk-host-2", "live")],
      [...each("/ptalk-host-1", "removed"), ...each("/ptalk-host-2", "live")],
      each("/ptalk-host-2", "live"),
    ]);
  });

  it("removes at once what a killed server, and a killed client, have left", () => {
    const script = `
      exec 3< <(exec "\${@:3}" serve --listen 127.0.0.1:0 --workers 2 2>/dev/null); serve=$!
      read -r _ _ _ address <&3
      exec 4< <(exec "\${@:3}" recv --json --as bob --server "$address"); recv=$!
      read -r registered <&4
      kill -9 $recv $serve
      "\${@:3}" ipc --clean --json
      ls /dev/shm`;
    const run = spawnSync(
      OWN_SHM[0],
      [...OWN_SHM.slice(1), "bash", "-c", script, "sh", process.execPath, MEMBER, ...COMMAND],
      { env: user.env, encoding: "utf8", timeout: 50_000 },
    );
    expect(run.stderr).toBe("");
    const [json = "", ...left] = run.stdout.trim().split("\n");
    const states: string[] = JSON.parse(json).map(({ state }: { state: string }) => state);
    // The command itself removes a dead server's objects at its start.
    expect(states.length).toBeGreaterThan(1);
    expect(new Set(states)).toEqual(new Set(["removed"]));
    expect(left).toEqual([]);
  });
});
