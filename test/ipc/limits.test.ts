// What there is no bound for, and what a system without /dev/shm says.
import { afterAll, expect, test } from "vitest";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";
import { whyNoPrivateShm } from "../helpers/privileges.ts";

const names = new ObjectNames("limits");
afterAll(() => names.sweep());

test("ten thousand semaphores are open at once, all of them work, and none is left behind", async () => {
  const program = new NodeProgram(`
    const base = ${JSON.stringify(names.fresh())};
    const all = [];
    for (let i = 0; i < 10_000; i++) {
      all.push(ipc.Semaphore.create(base + "-" + i, { value: 1 }));
      all[i].unlink();
    }
    const same = ipc.Semaphore.create(base + "-same", { value: 10_000 });
    same.unlink();
    for (const semaphore of all) semaphore.wait();
    say(all.every((semaphore) => semaphore.value === 0));
    for (const semaphore of all) semaphore.close();
    say(ipc.Semaphore.list(base).length);`);
  expect([await program.heard(), await program.heard()]).toEqual([true, 0]);
  expect(await program.end()).toMatchObject({ code: 0, stderr: "" });
});

test("list, create and open without a /dev/shm are an IpcError ENOENT", async ({ skip }) => {
  if (whyNoPrivateShm) skip(whyNoPrivateShm);
  const program = new NodeProgram(
    `
    const codeOf = (call) => { try { return call(); } catch (error) { return [error.name, error.code, error.path]; } };
    say([
      codeOf(() => ipc.SharedMemory.list()),
      codeOf(() => ipc.Semaphore.list()),
      codeOf(() => ipc.SharedMemory.create("/x", { size: 8 })).slice(0, 2),
      codeOf(() => ipc.Semaphore.create("/x")).slice(0, 2),
    ]);`,
    [],
    { wrapper: ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /dev && exec "$@"', "sh"] },
  );
  const heard = (await program.heard()) as unknown[];
  expect(heard.slice(0, 2)).toEqual([
    ["IpcError", "ENOENT", "/dev/shm"],
    ["IpcError", "ENOENT", "/dev/shm"],
  ]);
  expect(heard[2]).toEqual(["IpcError", "ENOENT"]);
  expect((heard[3] as string[])[0]).toBe("IpcError");
  await program.end();
});
