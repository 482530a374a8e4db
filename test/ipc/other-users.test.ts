// Objects of other users, and a /dev/shm that is full. Needs root to become somebody else; says so where it is not.
import { spawnSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Semaphore, SharedMemory } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames, segmentFile } from "../helpers/object-names.ts";
import { isRoot } from "../helpers/own-process.ts";

const names = new ObjectNames("users");
afterAll(() => names.sweep());

const PROTECTED = "/proc/sys/fs/protected_regular";
const USER = 12345;
const OTHER_USER = 12346;
/** Becomes an ordinary user, for good. */
const become = (uid: number) => `process.setgroups([]); process.setgid(${uid}); process.setuid(${uid});`;
/** What a call gives, or the code of its error. */
const outcome =
  "const outcome = (action) => { try { return action() ?? 'done'; } catch (error) { return error.code; } };";

async function ask(script: string, uid = USER): Promise<unknown> {
  const program = new NodeProgram(`${become(uid)} ${outcome} ${script}`);
  const heard = await program.heard();
  await program.end();
  return heard;
}

describe.skipIf(!isRoot)("another user", () => {
  const name = names.fresh();
  let shm: SharedMemory;
  let sem: Semaphore;

  beforeAll(() => {
    const umask = process.umask(0);
    shm = SharedMemory.create(name, { size: 16, mode: 0o644 });
    sem = Semaphore.create(name, { value: 1, mode: 0o600 });
    process.umask(umask);
    new Uint8Array(shm.buffer)[0] = 3;
  });
  afterAll(() => {
    shm.close();
    sem.close();
  });

  test("reads what the mode allows, and gets EACCES for the rest", async () => {
    const heard = await ask(`
      const name = ${JSON.stringify(name)};
      say([
        outcome(() => ipc.SharedMemory.open(name, { readOnly: true }).read(0, 1)[0]),
        outcome(() => ipc.SharedMemory.open(name)),
        outcome(() => ipc.SharedMemory.unlink(name)),
        outcome(() => ipc.SharedMemory.create(name, { size: 1 })),
        outcome(() => ipc.Semaphore.open(name)),
        outcome(() => ipc.Semaphore.unlink(name)),
        outcome(() => ipc.SharedMemory.list(name).length),
      ]);`);
    // Linux reports EACCES, POSIX's word, for unlinking in the sticky directory through shm_unlink and sem_unlink
    expect(heard).toEqual([3, "EACCES", "EACCES", "EEXIST", "EACCES", "EACCES", 1]);
  });

  test("may not signal our processes: EPERM", async () => {
    expect(await ask(`say(outcome(() => ipc.sigqueue(${process.pid}, "SIGUSR2", 1)));`)).toBe("EPERM");
    expect(await ask(`say(outcome(() => ipc.processIdentity(${process.pid}).pid));`)).toBe(process.pid);
  });

  describe("with fs.protected_regular, as Debian and Ubuntu have it", () => {
    let before = "";
    beforeAll(() => {
      before = readFileSync(PROTECTED, "utf8");
      try {
        writeFileSync(PROTECTED, "2");
      } catch {
        // in a container it may be read-only: then this runs with what there is
      }
    });
    afterAll(() => {
      try {
        writeFileSync(PROTECTED, before);
      } catch {
        // as above
      }
    });

    test("openOrCreate opens an object that everyone may write, whoever made it", async () => {
      // Both ordinary users: what root made, as the owner of /dev/shm, is exempt.
      const shared = names.fresh();
      const quoted = JSON.stringify(shared);
      await ask(`
        process.umask(0);
        ipc.SharedMemory.create(${quoted}, { size: 32, mode: 0o666 });
        ipc.Semaphore.create(${quoted}, { value: 1, mode: 0o666 });
        say("made");`);
      const heard = await ask(
        `
        const { openSync, constants: { O_CREAT, O_RDWR } } = await import("node:fs");
        say([
          outcome(() => ipc.SharedMemory.openOrCreate(${quoted}, { size: 99 }).size),
          outcome(() => ipc.Semaphore.openOrCreate(${quoted}).tryWait()),
          outcome(() => (openSync("/dev/shm" + ${quoted}, O_CREAT | O_RDWR), "allowed")),
        ]);`,
        OTHER_USER,
      );
      // The last is the naive way, to show that this test tests something where the kernel setting can be changed.
      const naive = readFileSync(PROTECTED, "utf8").trim() === "0" ? "allowed" : "EACCES";
      expect(heard).toEqual([32, true, naive]);
      SharedMemory.unlink(shared);
      Semaphore.unlink(shared);
    });
  });

  test("the umask applies to the mode, as POSIX says", async () => {
    const theirs = names.fresh();
    await ask(
      `process.umask(0o027); ipc.SharedMemory.create(${JSON.stringify(theirs)}, { size: 1, mode: 0o666 }); say("made");`,
    );
    const { mode, uid } = statSync(segmentFile(theirs));
    expect([mode & 0o777, uid]).toEqual([0o640, USER]);
    SharedMemory.unlink(theirs);
  });
});

describe.skipIf(!isRoot || spawnSync("unshare", ["-m", "true"]).status !== 0)("a small /dev/shm of its own", () => {
  test("create is ENOSPC when the memory is not there, leaves nothing, and what fits still works", () => {
    const built = new URL("../../dist/ipc/index.js", import.meta.url).href;
    const script = `
      const { SharedMemory } = await import(${JSON.stringify(built)});
      const codes = [];
      const attempt = (size) => { try { return SharedMemory.create("/big", { size }); } catch (error) { codes.push(error.code + " " + error.syscall); } };
      attempt(1024 * 1024);
      const half = attempt(40 * 1024);
      half.unlink();
      attempt(40 * 1024);
      new Uint8Array(half.buffer).fill(1);
      half.close();
      const fits = attempt(60 * 1024);
      new Uint8Array(fits.buffer).fill(1);
      fits.unlink();
      console.log(JSON.stringify([codes, SharedMemory.list()]));`;
    const shell = `mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$0" --input-type=module -e "$1"`;
    const result = spawnSync("unshare", ["-m", "sh", "-c", shell, process.execPath, script], { encoding: "utf8" });
    expect(result.stderr).toBe("");
    expect(JSON.parse(result.stdout)).toEqual([["ENOSPC posix_fallocate", "ENOSPC posix_fallocate"], []]);
  });
});
