// One segment in several threads and processes without its name: handles that are posted, descriptors that are sent.
import { closeSync, openSync } from "node:fs";
import { connect, createServer } from "node:net";
import { afterAll, expect, test } from "vitest";
import { receiveDescriptors, SharedMemory, sendDescriptors } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames, segmentFile } from "../helpers/object-names.ts";

const names = new ObjectNames("handle");
afterAll(() => names.sweep());

test("a handle, posted to worker threads, maps the same segment, though its name is gone or another's", async () => {
  const url = new URL("../../dist/ipc/index.js", import.meta.url).href;
  const program = new NodeProgram(`
    import { Worker } from "node:worker_threads";
    const name = ${JSON.stringify(names.fresh())};
    const memory = ipc.SharedMemory.create(name, { size: 64 });
    memory.unlink();
    const other = ipc.SharedMemory.create(name, { size: 32 });
    const workers = Array.from({ length: 3 }, () => new Worker(\`
      const { SharedMemory } = await import(${JSON.stringify(url)});
      const { parentPort, workerData } = await import("node:worker_threads");
      const memory = SharedMemory.fromHandle(workerData);
      for (let i = 0; i < 10_000; i++) Atomics.add(new Int32Array(memory.buffer), 0, 1);
      const seen = [memory.size, memory.name === workerData.name, memory.readOnly];
      memory.close();
      parentPort.postMessage(seen);\`, { eval: true, workerData: memory.handle }));
    const seen = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once("message", resolve))));
    say([seen, new Int32Array(memory.buffer)[0], new Int32Array(other.buffer)[0]]);
    const { handle } = memory;
    memory.close();
    for (const wrong of [handle, { ...other.handle, ino: 1 }])
      try { ipc.SharedMemory.fromHandle(wrong); say("mapped"); } catch (error) { say(error.code); }
    const reader = ipc.SharedMemory.open(name, { readOnly: true });
    const copy = ipc.SharedMemory.fromHandle(structuredClone(reader.handle));
    try { copy.buffer; } catch (error) { say([copy.readOnly, error.code]); }
    other.unlink();`);
  const one = [64, true, false];
  expect(await program.heard()).toEqual([[one, one, one], 30_000, 0]);
  expect([await program.heard(), await program.heard()]).toEqual(["EBADF", "EBADF"]);
  expect(await program.heard()).toEqual([true, "EACCES"]);
  expect(await program.end()).toMatchObject({ code: 0, stderr: "" });
});

test("a handle's descriptor may be 0", async () => {
  const program = new NodeProgram(
    `import { closeSync } from "node:fs";
    closeSync(0);
    const memory = ipc.SharedMemory.create(${JSON.stringify(names.fresh())}, { size: 8 });
    say([memory.fd, ipc.SharedMemory.fromHandle(memory.handle).size]);
    memory.unlink();`,
    [],
    { keepsInput: true },
  );
  expect(await program.heard()).toEqual([0, 8]);
  expect(await program.ended).toMatchObject({ code: 0, stderr: "" });
});

test("a segment without a name goes to another process by its descriptor", async () => {
  using memory = SharedMemory.create(names.fresh(), { size: 64 });
  memory.unlink();
  const path = `${segmentFile(memory.name)}.sock`;
  const server = createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  server.on("connection", (socket) => sendDescriptors(socket, [memory.fd]).then(() => socket.destroy()));
  const socket = connect(path);
  socket.pause();
  await new Promise((resolve) => socket.once("connect", resolve));
  const [fd = -1] = (await receiveDescriptors(socket))?.descriptors ?? [];
  using mapped = SharedMemory.fromDescriptor(fd);
  closeSync(fd);
  new Uint8Array(memory.buffer)[5] = 9;
  expect([mapped.size, mapped.read(5, 1)[0]]).toEqual([64, 9]);
  socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  expect(() => SharedMemory.fromDescriptor(987_654)).toThrow(expect.objectContaining({ name: "IpcError" }));
  const device = openSync("/dev/null", "r");
  expect(() => SharedMemory.fromDescriptor(device)).toThrow(expect.objectContaining({ code: "EINVAL" }));
  closeSync(device);
});
