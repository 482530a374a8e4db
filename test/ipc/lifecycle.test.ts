// What is left behind: by close, by garbage collection, by threads and processes that end in the middle.
import { afterAll, describe, expect, test } from "vitest";
import { Semaphore, SharedMemory } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";
import { descriptors, mappings } from "../helpers/own-process.ts";

const names = new ObjectNames("life");
afterAll(() => names.sweep());

/** For scripts: `facts()` counts this process's descriptors and its mappings of our objects; `collect()` runs the collector. */
const counting = `
  const { readdirSync, readFileSync } = await import("node:fs");
  const { setFlagsFromString } = await import("node:v8");
  setFlagsFromString("--expose-gc");
  const gc = (await import("node:vm")).runInNewContext("gc");
  const collect = async () => { for (let i = 0; i < 5; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 10)); } };
  const facts = () => ({
    descriptors: readdirSync("/proc/self/fd").length,
    mappings: readFileSync("/proc/self/maps", "utf8").split(${JSON.stringify(names.prefix)}).length - 1
      + readFileSync("/proc/self/maps", "utf8").split("/dev/shm/sem." + ${JSON.stringify(names.prefix.slice(1))}).length - 1,
  });
  const url = ${JSON.stringify(new URL("../../dist/ipc/index.js", import.meta.url).href)};
`;

describe("descriptors and mappings", () => {
  test("are the same after a thousand of everything, failures included", () => {
    const name = names.fresh();
    const round = () => {
      using shm = SharedMemory.create(name, { size: 100_000 });
      using again = SharedMemory.open(name);
      using reader = SharedMemory.open(name, { readOnly: true });
      using sem = Semaphore.create(name, { value: 1 });
      using same = Semaphore.open(name);
      expect(() => SharedMemory.create(name, { size: 1 })).toThrow();
      expect(() => SharedMemory.create(names.fresh(), { size: 2 ** 50 })).toThrow();
      expect(() => SharedMemory.open(`${name}-none`)).toThrow();
      expect(() => Semaphore.create(name)).toThrow();
      for (const made of [shm, sem]) made.unlink();
      return [again, reader, same].length;
    };
    round();
    const before = [descriptors(), mappings(names.prefix.slice(1))];
    for (let i = 0; i < 300; i++) round();
    expect([descriptors(), mappings(names.prefix.slice(1))]).toEqual(before);
  });

  test("are not inherited by programs that Node starts", async () => {
    const name = names.fresh();
    using shm = SharedMemory.create(name, { size: 8 });
    using sem = Semaphore.create(name);
    const program = new NodeProgram(`
      const { readdirSync, readlinkSync } = await import("node:fs");
      const links = readdirSync("/proc/self/fd").map((fd) => { try { return readlinkSync("/proc/self/fd/" + fd); } catch { return ""; } });
      say(links.filter((link) => link.includes("/dev/shm/")));`);
    expect(await program.heard()).toEqual([]);
    await program.end();
    shm.unlink();
    sem.unlink();
  });
});

describe("garbage collection", () => {
  test("closes what was forgotten", async () => {
    const program = new NodeProgram(`${counting}
      const base = ${JSON.stringify(names.fresh())};
      const forget = () => {
        for (let i = 0; i < 50; i++) {
          const shm = ipc.SharedMemory.create(base + i, { size: 4096 });
          new Uint8Array(shm.buffer)[0] = 1;
          ipc.SharedMemory.open(base + i, { readOnly: true }).read();
          ipc.Semaphore.create(base + i).post();
          shm.unlink();
          ipc.Semaphore.unlink(base + i);
        }
      };
      forget();
      await collect();
      const before = facts();
      forget();
      await collect();
      say([before, facts()]);`);
    const [before, after] = (await program.heard()) as [unknown, { mappings: number }];
    expect(after).toEqual(before);
    expect(after.mappings).toBe(0);
    await program.end();
  });

  test("leaves a buffer whole as long as a view of it is used, though the object is forgotten", async () => {
    const program = new NodeProgram(`${counting}
      const name = ${JSON.stringify(names.fresh())};
      const view = (() => new Uint8Array(ipc.SharedMemory.create(name, { size: 64 }).buffer))();
      await collect();
      view.fill(9);
      say([ipc.SharedMemory.open(name).read(0, 2)[1], view.length]);
      ipc.SharedMemory.unlink(name);`);
    expect(await program.heard()).toEqual([9, 64]);
    await program.end();
  });
});

describe("worker threads", () => {
  test("leave nothing behind when they end or are terminated, with everything open and waits pending", async () => {
    const program = new NodeProgram(`${counting}
      const { Worker } = await import("node:worker_threads");
      const code = (i) => \`
        const ipc = await import(\${JSON.stringify(url)});
        const name = \${JSON.stringify(${JSON.stringify(names.fresh())})} + \${i};
        globalThis.shm = ipc.SharedMemory.create(name, { size: 4096 });
        globalThis.again = ipc.SharedMemory.open(name, { readOnly: true });
        globalThis.sem = ipc.Semaphore.create(name);
        ipc.sigaction("SIGRTMIN+" + \${i % 20}, () => {});
        for (let i = 0; i < 5; i++) sem.waitAsync().catch(() => {});
        shm.unlink(); sem.unlink();
        (await import("node:worker_threads")).parentPort.postMessage("ready");
        if (\${i} % 2) process.exit(0);\`;
      const round = async () => {
        for (let i = 0; i < 6; i++) {
          const worker = new Worker(code(i), { eval: true });
          worker.on("error", (error) => say(String(error)));
          const exit = new Promise((resolve) => worker.once("exit", resolve));
          await new Promise((resolve) => worker.once("message", resolve));
          if (i % 2 === 0) worker.terminate();
          await exit;
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      };
      await round();
      const before = facts();
      await round();
      say([before, facts()]);`);
    const [before, after] = (await program.heard()) as [unknown, { mappings: number }];
    expect(after).toEqual(before);
    expect(after.mappings).toBe(0);
    expect(await program.end()).toMatchObject({ code: 0, stderr: "" });
  });

  test("can be terminated while they block in wait and timedWait", async () => {
    const name = names.fresh();
    using sem = Semaphore.create(name);
    const program = new NodeProgram(`
      const { Worker } = await import("node:worker_threads");
      for (const call of ["wait()", "timedWait(1e9)"]) {
        const worker = new Worker(\`
          const ipc = await import(${JSON.stringify(new URL("../../dist/ipc/index.js", import.meta.url).href)});
          const sem = ipc.Semaphore.open(${JSON.stringify(name)});
          (await import("node:worker_threads")).parentPort.postMessage("blocking");
          sem.\${call};\`, { eval: true });
        await new Promise((resolve) => worker.once("message", resolve));
        await new Promise((resolve) => setTimeout(resolve, 50));
        await worker.terminate();
        say("terminated");
      }`);
    expect([await program.heard(), await program.heard()]).toEqual(["terminated", "terminated"]);
    expect(await program.end()).toMatchObject({ code: 0 });
    expect(sem.value).toBe(0);
    sem.unlink();
  });

  test("share one object with each other and with the main thread", async () => {
    const name = names.fresh();
    const program = new NodeProgram(`
      const { Worker } = await import("node:worker_threads");
      const name = ${JSON.stringify(name)};
      const shm = ipc.SharedMemory.create(name, { size: 4 });
      const sem = ipc.Semaphore.create(name);
      const code = \`
        const ipc = await import(${JSON.stringify(new URL("../../dist/ipc/index.js", import.meta.url).href)});
        const shm = ipc.SharedMemory.open(${JSON.stringify(name)});
        for (let i = 0; i < 1000; i++) Atomics.add(new Int32Array(shm.buffer), 0, 1);
        ipc.Semaphore.open(${JSON.stringify(name)}).post();\`;
      for (let i = 0; i < 4; i++) new Worker(code, { eval: true });
      for (let i = 0; i < 4; i++) await sem.waitAsync();
      say(new Int32Array(shm.buffer)[0]);
      shm.unlink(); sem.unlink();`);
    expect(await program.heard()).toBe(4000);
    await program.end();
  });
});

describe("the end of a process", () => {
  test.each([
    [
      "process.exit in a signal's callback",
      `ipc.sigaction("SIGRTMIN+1", () => process.exit(7)); ipc.sigqueue(process.pid, "SIGRTMIN+1", 1); setTimeout(() => {}, 5000);`,
    ],
    [
      "process.exit in a worker",
      `const { Worker } = await import("node:worker_threads"); new Worker('import(' + JSON.stringify(${JSON.stringify(new URL("../../dist/ipc/index.js", import.meta.url).href)}) + ').then((ipc) => { ipc.sigaction("SIGRTMIN+1", () => process.exit(1)); ipc.sigqueue(process.pid, "SIGRTMIN+1", 1); setTimeout(() => {}, 5000); })', { eval: true }).on("exit", () => process.exit(7));`,
    ],
    [
      "process.exit after a wait",
      `const sem = ipc.Semaphore.create(name); sem.unlink(); sem.waitAsync().then(() => process.exit(7)); sem.post();`,
    ],
    [
      "process.exit in a wait's own turn, with more pending",
      `const sem = ipc.Semaphore.create(name); sem.unlink(); for (let i = 0; i < 20; i++) sem.waitAsync().then(() => process.exit(7)); setTimeout(() => { sem.post(); sem.post(); }, 5);`,
    ],
    [
      "an uncaught exception with everything open",
      `process.on("exit", () => { process.exitCode = 7; }); globalThis.a = ipc.SharedMemory.create(name, { size: 1 }); a.unlink(); const sem = ipc.Semaphore.create(name); sem.unlink(); sem.waitAsync(); ipc.sigaction("SIGUSR2", () => {}); process.on("uncaughtException", () => process.exit(7)); throw new Error("x");`,
    ],
    [
      "process.exit while signals pour in",
      `const spam = () => { for (let i = 0; i < 200; i++) ipc.sigqueue(process.pid, "SIGRTMIN+1", i); }; ipc.sigaction("SIGRTMIN+1", ({ value }) => { if (value === 150) process.exit(7); }); setInterval(spam, 0);`,
    ],
  ])("%s is clean", async (_, script) => {
    const program = new NodeProgram(`const name = ${JSON.stringify(names.fresh())}; ${script}`);
    const { code, signal, stderr } = await program.ended;
    expect({ code, signal, stderr }).toEqual({ code: 7, signal: null, stderr: "" });
  });
});
