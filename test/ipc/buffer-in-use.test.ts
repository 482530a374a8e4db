// close() while Node still works on the memory: nobody dies, nothing is cut off, and the memory goes when the work is done.
import { statfsSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { Semaphore, SharedMemory } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";
import { mappings } from "../helpers/own-process.ts";

const names = new ObjectNames("in-use");
afterAll(() => names.sweep());

const SIZE = 2 ** 26;

/** `memory` of SIZE random bytes, `bytes` over it, `sha` of what a job should have seen; `closeSoon()` closes it in the middle. */
const setting = (name: string) => `
  import { createHash, pbkdf2, randomFill, randomFillSync } from "node:crypto";
  import { closeSync, createReadStream, openSync, readFileSync, rmSync, write, writeFile } from "node:fs";
  import { createServer, connect } from "node:net";
  import { pipeline } from "node:stream/promises";
  import { setFlagsFromString } from "node:v8";
  import { runInNewContext } from "node:vm";
  import { createGzip, gunzipSync, gzip } from "node:zlib";
  const memory = ipc.SharedMemory.create(${JSON.stringify(name)}, { size: ${SIZE} });
  memory.unlink();
  const sha = (bytes) => createHash("sha256").update(bytes).digest("hex");
  const bytes = Buffer.from(memory.buffer);
  randomFillSync(bytes);
  const expected = sha(bytes);
  const closeSoon = () => setTimeout(() => memory.close(), 5);
  const mapped = () => readFileSync("/proc/self/maps", "utf8").includes(${JSON.stringify(name)});
  const file = ${JSON.stringify(`/dev/shm${name}.out`)};
`;

const jobs: Record<string, string> = {
  "crypto.randomFill": `randomFill(bytes, (error) => say(error === null && sha(bytes) !== expected)); closeSoon();`,
  "zlib.gzip": `gzip(bytes, { level: 0 }, (error, packed) => say(error === null && sha(gunzipSync(packed)) === expected)); closeSoon();`,
  "crypto.pbkdf2": `pbkdf2(bytes, bytes, 2, 32, "sha256", (error, key) => say(error === null && key.length === 32)); closeSoon();`,
  "fs.write": `
    const fd = openSync(file, "w");
    write(fd, bytes, (error, written) => { closeSync(fd); say(written === ${SIZE} && sha(readFileSync(file)) === expected); rmSync(file); });
    memory.close();`,
  "fs.writeFile": `
    writeFile(file, bytes, (error) => { say(error === null && sha(readFileSync(file)) === expected); rmSync(file); });
    closeSoon();`,
  "socket.write": `
    const hash = createHash("sha256");
    const server = createServer((socket) => socket.on("data", (part) => hash.update(part)).on("end", () => {
      server.close();
      say(hash.digest("hex") === expected);
    })).listen(file, () => {
      connect(file).end(bytes); // not connected yet: waits in JavaScript
      memory.close();
    });`,
  "a stream that waits for its reader": `
    const parts = [];
    const packer = createGzip({ level: 0 });
    packer.end(bytes);
    setTimeout(async () => {
      memory.close();
      for await (const part of packer) parts.push(part);
      say(sha(gunzipSync(Buffer.concat(parts))) === expected);
    }, 20);`,
  "work that a using scope does not wait for": `
    gzip(bytes, { level: 0 }, (error, packed) => say(error === null && sha(gunzipSync(packed)) === expected));
    memory[Symbol.dispose]();`,
};

describe("close during", () => {
  test.each(Object.keys(jobs))("%s neither kills nor cuts off", async (job) => {
    const program = new NodeProgram(setting(names.fresh()) + jobs[job]);
    expect(await program.heard()).toBe(true);
    expect(await program.end()).toMatchObject({ code: 0, signal: null, stderr: "" });
  });

  test("work in a worker thread that is terminated kills nobody", async () => {
    const url = new URL("../../dist/ipc/index.js", import.meta.url).href;
    const program = new NodeProgram(`
      import { Worker } from "node:worker_threads";
      for (let i = 0; i < 6; i++) {
        const worker = new Worker(\`
          const { SharedMemory } = await import(${JSON.stringify(url)});
          const { randomFill } = await import("node:crypto");
          const { gzip } = await import("node:zlib");
          const memory = SharedMemory.create(${JSON.stringify(names.prefix)} + "-w\${i}", { size: 2 ** 25 });
          memory.unlink();
          randomFill(Buffer.from(memory.buffer), () => {});
          gzip(Buffer.from(memory.buffer), () => {});
          memory.close();
          (await import("node:worker_threads")).parentPort.postMessage("at work");\`, { eval: true });
        await new Promise((resolve) => worker.once("message", resolve));
        await worker.terminate();
      }
      say("alive");`);
    expect(await program.heard()).toBe("alive");
    expect(await program.end()).toMatchObject({ code: 0, signal: null });
  });
});

describe("the memory of a closed object", () => {
  test("goes, where it was too large to be copied, when the work is done and nothing refers to it", async () => {
    const program = new NodeProgram(`${setting(names.fresh())}
      setFlagsFromString("--expose-gc");
      const gc = runInNewContext("gc");
      await (async () => {
        let resolve;
        const promise = new Promise((done) => (resolve = done));
        const other = ipc.SharedMemory.create(${JSON.stringify(names.fresh())} + "-gone", { size: 2 ** 26 });
        other.unlink();
        randomFill(Buffer.from(other.buffer), resolve);
        other.close();
        say(readFileSync("/proc/self/maps", "utf8").includes("-gone"));
        await promise;
      })();
      for (let i = 0; i < 10; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 5)); }
      say(readFileSync("/proc/self/maps", "utf8").includes("-gone"));`);
    expect([await program.heard(), await program.heard()]).toEqual([true, false]);
    await program.end();
  });

  test("goes at once if its buffer was never read", () => {
    const name = names.fresh();
    const memory = SharedMemory.create(name, { size: 4096 });
    memory.read();
    expect(mappings(name)).toBe(1);
    memory.close();
    expect(mappings(name)).toBe(0);
  });

  test.each([64, 2 ** 26])(
    "of %d bytes is let go of at once: views that were there before have bytes of their own",
    (size) => {
      const name = names.fresh();
      const memory = SharedMemory.create(name, { size });
      const view = new Uint8Array(memory.buffer);
      view[2] = 6;
      memory.close();
      view[3] = 7;
      using again = SharedMemory.open(name);
      new Uint8Array(again.buffer)[3] = 8;
      expect([view.length, view[2], view[3]]).toEqual([size, 6, 7]);
      expect([...again.read(2, 2)]).toEqual([6, 8]);
    },
  );

  test("of an object that is unlinked is free for others, though views of it are used", () => {
    const before = statfsSync("/dev/shm").bfree;
    const views = Array.from({ length: 8 }, () => {
      const memory = SharedMemory.create(names.fresh(), { size: 2 ** 24 });
      memory.unlink();
      const view = new Uint8Array(memory.buffer).fill(5);
      memory.close();
      return view;
    });
    const { bfree, bsize } = statfsSync("/dev/shm");
    expect((before - bfree) * bsize).toBeLessThan(2 ** 26); // others use it, too
    expect(views.every((view) => view[2 ** 23] === 5)).toBe(true);
  });

  test.each(["open", "closed"])("goes at once by unmapNow of an %s object, and every view is detached", (state) => {
    const name = names.fresh();
    const memory = SharedMemory.create(name, { size: 64 });
    const { buffer } = memory;
    const views = [new Uint8Array(buffer), new DataView(buffer), new Float64Array(buffer, 8, 2)];
    if (state === "closed") memory.close();
    expect(mappings(name)).toBe(state === "closed" ? 0 : 1);
    memory.unmapNow();
    memory.unmapNow();
    expect(mappings(name)).toBe(0);
    expect(buffer.byteLength).toBe(0);
    expect((views[0] as Uint8Array).length).toBe(0);
    expect(() => (views[1] as DataView).getInt8(0)).toThrow(TypeError);
    expect(() => memory.buffer).toThrow(expect.objectContaining({ code: "EBADF" }));
  });

  test("thousands may wait for the garbage collector", async () => {
    const program = new NodeProgram(`
      const name = ${JSON.stringify(names.fresh())};
      ipc.SharedMemory.create(name, { size: 4096 }).close();
      const views = [];
      for (let i = 0; i < 20_000; i++) {
        const memory = ipc.SharedMemory.open(name);
        views.push(new Uint8Array(memory.buffer));
        memory.close();
      }
      for (const [i, view] of views.entries()) view[0] = i;
      say(views.every((view, i) => view[0] === (i & 255)));`);
    expect(await program.heard()).toBe(true);
    await program.end();
  });
});

describe("transfer", () => {
  test("of the buffer is refused, and the object stays open", async () => {
    const program = new NodeProgram(`
      const memory = ipc.SharedMemory.create(${JSON.stringify(names.fresh())}, { size: 64 });
      memory.unlink();
      const { buffer } = memory;
      const codeOf = (call) => { try { call(); return "done"; } catch (error) { return error.code ?? error.name; } };
      const own = ["transfer", "transferToFixedLength"].map((name) => codeOf(() => buffer[name]()));
      const { port1, port2 } = new MessageChannel();
      port1.on("message", () => {}).close();
      const posted = codeOf(() => port2.postMessage(buffer, [buffer]));
      say([own, ["done", "DataCloneError", 25].includes(posted), memory.buffer === buffer, buffer.byteLength, memory.read().length]);`);
    expect(await program.heard()).toEqual([["EBUSY", "EBUSY"], true, true, 64, 64]);
    await program.end();
  });

  test.skipIf(!("transfer" in ArrayBuffer.prototype))("by ArrayBuffer.prototype itself counts as closing", () => {
    const memory = SharedMemory.create(names.fresh(), { size: 64 });
    const transfer = (ArrayBuffer.prototype as unknown as { transfer: () => ArrayBuffer }).transfer;
    const taken = transfer.call(memory.buffer);
    for (const use of [() => memory.buffer, () => memory.read()]) expect(use).toThrow(/EBADF.*transferred away/);
    memory.close();
    new Uint8Array(taken)[0] = 1;
    expect(taken.byteLength).toBe(64);
  });
});

test("names, sizes and modes of use cannot be assigned", () => {
  const [name, other] = [names.fresh(), names.fresh()];
  using memory = SharedMemory.create(name, { size: 8 });
  using semaphore = Semaphore.create(name);
  SharedMemory.create(other, { size: 8 }).close();
  const loose = memory as { name: string; size: number; readOnly: boolean };
  expect(() => (loose.name = other)).toThrow(TypeError);
  expect(() => (loose.size = 1)).toThrow(TypeError);
  expect(() => (loose.readOnly = true)).toThrow(TypeError);
  expect(() => ((semaphore as { name: string }).name = other)).toThrow(TypeError);
  memory.unlink();
  semaphore.unlink();
  expect(SharedMemory.list(names.prefix)).toContain(other);
  expect(SharedMemory.list(names.prefix)).not.toContain(name);
});
