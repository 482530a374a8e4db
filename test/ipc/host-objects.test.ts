// What of POSIX IPC there is on the host, as the kernel shows it.
import { closeSync, openSync, rmSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { hostObjects, Mutex, Semaphore, SharedMemory } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";
import { inPrivateShm, whyNoPrivateShm, whyNoQueues, withQueues } from "../helpers/privileges.ts";

const names = new ObjectNames("host");
afterAll(() => names.sweep());

test("each object has its kind, owner, size, mode, the processes that use it, and the locks held on it", async () => {
  const name = names.fresh();
  using memory = SharedMemory.create(name, { size: 5000, mode: 0o640 });
  using _semaphore = Semaphore.create(`${name}-s`);
  using mutex = Mutex.create(`${name}-m`);
  const program = new NodeProgram(`
    globalThis.memory = ipc.SharedMemory.open(${JSON.stringify(name)});
    globalThis.semaphore = ipc.Semaphore.open(${JSON.stringify(`${name}-s`)});
    ipc.Mutex.open(${JSON.stringify(`${name}-m`)}).withLock(() => { say("inside"); return new Promise(() => {}); });`);
  await program.heard();
  const own = () => hostObjects().filter((object) => object.name.startsWith(name));
  const uid = process.getuid?.();
  const both = [process.pid, program.pid].sort((a, b) => a - b);
  const mode = 0o640 & ~process.umask();
  expect(own()).toEqual([
    { name, kind: "memory", uid, size: 5000, mode, openBy: both, locks: 0 },
    { name: mutex.name, kind: "memory", uid, size: 64, mode: 0o600, openBy: both, locks: 1 },
    { name: `${name}-s`, kind: "semaphore", uid, size: 32, mode: 0o600, openBy: both, locks: 0 },
  ]);
  await program.kill();
  expect(own()[0]).toMatchObject({ openBy: [process.pid] });
  expect(own()[1]).toMatchObject({ openBy: [process.pid], locks: 0 });
  for (const each of [memory, mutex]) each.unlink();
  Semaphore.unlink(`${name}-s`);
  expect(own()).toEqual([]);
});

test("a name that is not UTF-8 shows, with a mark for each wrong byte", () => {
  const file = Buffer.concat([Buffer.from(`/dev/shm${names.fresh()}`), Buffer.from([0xff])]);
  const fd = openSync(file, "wx");
  try {
    const name = `${file.toString().slice("/dev/shm".length)}`;
    expect(hostObjects()).toContainEqual(
      expect.objectContaining({ name, kind: "memory", size: 0, openBy: [process.pid] }),
    );
  } finally {
    closeSync(fd);
    rmSync(file);
  }
});

// A tmpfs counts its inodes from the start, so those of another one have the same numbers.
test.skipIf(whyNoPrivateShm !== null)(
  "a process that has an object of another /dev/shm open is not one of its users",
  async () => {
    const program = inPrivateShm(
      "size=1m",
      `
    const held = Array.from({ length: 40 }, (_, i) => ipc.SharedMemory.create("/test-ptalk-" + i, { size: 8 }));
    const locks = held.map((each) => ipc.FileLock.open("/dev/shm" + each.name));
    await Promise.all(locks.slice(0, 20).map((lock) => new Promise((got) => lock.withLock(() => (got(), new Promise(() => {}))))));
    const seen = ipc.hostObjects();
    say([seen.length, seen.every(({ openBy }) => openBy.includes(process.pid)), seen.filter(({ locks }) => locks === 1).length]);`,
    );
    expect(await program.heard()).toEqual([40, true, 20]);
    expect(hostObjects().filter(({ openBy }) => openBy.includes(program.pid))).toEqual([]);
    await program.end();
  },
);

test.skipIf(whyNoQueues !== null)(
  "queues show with the bytes that wait in them, where /dev/mqueue is mounted",
  async () => {
    const name = names.fresh();
    const program = withQueues(`
    const queue = ipc.MessageQueue.create(${JSON.stringify(name)}, { mode: 0o600 });
    queue.trySend("four");
    queue.trySend("sixsix");
    const found = ipc.hostObjects().find((each) => each.name === queue.name);
    queue.unlink();
    say([found, process.pid, ipc.hostObjects()]);`);
    const [found, pid, after] = (await program.heard()) as [unknown, number, unknown[]];
    const uid = process.getuid?.();
    expect(found).toEqual({ name, kind: "queue", uid, size: 10, mode: 0o600, openBy: [pid], locks: 0 });
    expect(after).toEqual([]);
    await program.end();
  },
);
